//! What of a chat its reader has not read, and what changes say of themselves.

use chatplane_domain::{CallKind, ChatId, Command, MessageId, NextStep};
use sqlx::{Connection as _, PgConnection, Row as _};

use super::world::{World, applied, call, edit_message, run, step, summary, text, world};
use crate::store::{Ask, Snapshot};

impl World {
    async fn read_up_to(&self, chat: ChatId, message: i64) {
        // As `MarkRead` does it, in its two statements.
        let mut connection = PgConnection::connect_with(&self.store.connections.options())
            .await
            .expect("the database answers");
        let mut transaction = connection.begin().await.expect("it begins");
        mark(&mut transaction, chat, message).await;
        look_again(&mut transaction, chat).await;
        transaction.commit().await.expect("it commits");
    }

    async fn xids(&self, chat: ChatId) -> Vec<String> {
        let sql = "select c.change_xid::text, c.state_xid::text, c.archive_xid::text, c.summary_xid::text, \
                       c.action_xid::text, u.change_xid::text, u.read_xid::text, u.pin_xid::text \
                   from chats c \
                   join chat_user_metadata u on u.chat_id = c.chat_id \
                   where c.chat_id = $1";
        let row = sqlx::query(sql).bind(chat.0).fetch_one(&self.pool).await.expect("it is there");
        (0..8).map(|column| row.get(column)).collect()
    }
}

async fn mark(connection: &mut PgConnection, chat: ChatId, message: i64) {
    let sql = "update chat_user_metadata set read_message_id = greatest(read_message_id, $2), \
               has_unread = false where chat_id = $1";
    sqlx::query(sql).bind(chat.0).bind(message).execute(connection).await.expect("it is right");
}

async fn look_again(connection: &mut PgConnection, chat: ChatId) {
    let sql = "update chat_user_metadata u set has_unread = true from chats c \
               where c.chat_id = u.chat_id and u.chat_id = $1 and c.last_answer_id > u.read_message_id";
    sqlx::query(sql).bind(chat.0).execute(connection).await.expect("it is right");
}

/// Which of the xids are others, in their order.
fn moved(before: &[String], after: &[String]) -> Vec<&'static str> {
    let names = ["change", "state", "archive", "summary", "action", "user", "read", "pin"];
    names
        .into_iter()
        .zip(before.iter().zip(after))
        .filter(|(_, (a, b))| a != b)
        .map(|(name, _)| name)
        .collect()
}

#[tokio::test]
async fn only_answers_make_a_chat_unread() {
    let world = world().await;
    let chat = world.new_chat().await;
    let unread = async || world.view(chat).await.has_unread;

    world.lease(chat).await;
    let before = unread().await;
    world.answer(chat, vec![text("one")], NextStep::Finish).await;
    let answered = unread().await;
    world.read_up_to(chat, 2).await;
    let read = unread().await;
    let sent = applied(world.transact(chat, &world.ask(), world.send("more")).await).reply.chat;
    let cleared_by_nobody = unread().await;
    world.lease(chat).await;
    world.answer(chat, vec![call(CallKind::Worker)], NextStep::Continue).await;

    assert_eq!((before, answered, read), (false, true, false));
    assert!(!sent.has_unread && !cleared_by_nobody, "a user's message is none");
    assert!(unread().await, "an answer that calls tools is one");
    assert_eq!(world.view(chat).await.read_message_id, Some(MessageId(2)));
}

#[tokio::test]
async fn an_edit_takes_back_what_was_unread_and_boundaries_are_no_answers() {
    let world = world().await;
    let chat = world.new_chat().await;
    world.lease(chat).await;
    world.answer(chat, vec![text("one")], NextStep::Finish).await;
    world.read_up_to(chat, 2).await;
    world.apply(chat, world.send("more")).await;
    world.lease(chat).await;
    let both = step(Some(vec![text("two")]), NextStep::Finish, Some(summary(2, "in short")));
    applied(world.hold(chat, both).await);
    let last_answer = async || world.snapshot(chat, &Ask::default()).await.last_answer;
    let newest = last_answer().await;
    let unread = world.view(chat).await.has_unread;

    let ask = Ask { target: Some(MessageId(3)), ..world.ask() };
    let replacement = world.message("instead");
    let edit = |snapshot: &Snapshot| run(snapshot, edit_message(snapshot, 3, replacement.clone()));
    let edited = applied(world.store.transact(chat, &ask, |_| Ok(()), edit).await).reply.chat;

    assert_eq!((newest, unread), (Some(MessageId(7)), true), "the rows of the boundary are 4 to 6");
    assert_eq!(last_answer().await, Some(MessageId(2)));
    assert!(!edited.has_unread);
    assert_eq!(world.view(chat).await, edited);
}

#[tokio::test]
async fn who_reads_while_an_answer_is_stored_has_it_unread() {
    let world = world().await;
    let chat = world.new_chat().await;
    world.lease(chat).await;
    world.answer(chat, vec![text("one")], NextStep::Finish).await;
    world.apply(chat, world.send("more")).await;
    world.lease(chat).await;
    let mut reader =
        PgConnection::connect_with(&world.store.connections.options()).await.expect("it answers");

    // The answer is stored between the reader's two statements, or waits for both.
    let mut reading = reader.begin().await.expect("it begins");
    mark(&mut reading, chat, 2).await;
    let read = async {
        world.until_somebody_waits().await;
        look_again(&mut reading, chat).await;
        reading.commit().await.expect("it commits");
    };
    tokio::join!(read, world.answer(chat, vec![text("two")], NextStep::Finish));

    let view = world.view(chat).await;
    assert_eq!((view.read_message_id, view.has_unread), (Some(MessageId(2)), true));
}

#[tokio::test]
async fn an_answer_that_is_being_stored_is_not_missed_by_who_reads() {
    let world = world().await;
    let chat = world.new_chat().await;
    world.lease(chat).await;
    world.answer(chat, vec![text("one")], NextStep::Finish).await;
    let mut writer =
        PgConnection::connect_with(&world.store.connections.options()).await.expect("it answers");

    // As the write of an answer does it, which commits while the reader waits for the row.
    let mut writing = writer.begin().await.expect("it begins");
    for sql in [
        "update chats set last_answer_id = 4",
        "update chat_user_metadata set has_unread = 4 > read_message_id",
    ] {
        sqlx::query(sql).execute(&mut *writing).await.expect("it is right");
    }
    let written = async {
        world.until_somebody_waits().await;
        writing.commit().await.expect("it commits");
    };
    tokio::join!(written, world.read_up_to(chat, 2));

    let view = world.view(chat).await;
    assert_eq!((view.read_message_id, view.has_unread), (Some(MessageId(2)), true));
}

#[tokio::test]
async fn each_write_says_what_it_changes() {
    let world = world().await;
    let chat = world.new_chat().await;
    let mut before = world.xids(chat).await;
    let mut changes = async || {
        let after = world.xids(chat).await;
        let moved = moved(&before, &after);
        before = after;
        moved
    };

    world.lease(chat).await;
    assert_eq!(changes().await, ["change"], "running stays running");
    world.answer(chat, vec![call(CallKind::Client)], NextStep::Suspend).await;
    assert_eq!(changes().await, ["change", "state", "action", "user", "read"]);
    world.apply(chat, Command::InterruptChat).await;
    assert_eq!(changes().await, ["change", "state", "summary", "action"]);
    world.execute("update chat_user_metadata set pin_order = 1").await;
    let archived = applied(world.transact(chat, &world.ask(), Command::ArchiveChat).await);
    assert_eq!(changes().await, ["change", "archive", "user", "pin"]);
    let archived = archived.reply.chat;
    assert_eq!(world.view(chat).await, archived);
    assert_eq!((archived.pin_order, archived.archive_time), (None, Some(archived.update_time)));
    let back = applied(world.transact(chat, &world.ask(), Command::UnarchiveChat).await).reply.chat;
    assert_eq!(changes().await, ["change", "archive"]);
    assert_eq!((world.view(chat).await, back.archive_time), (back, None));
}

//! What is left of a chat that is deleted for good.

use std::time::Duration;

use chatplane_domain::{AnswerContent, CallKind, ChatId, Command, Fence, HolderWrite, NextStep, Usage};
use sqlx::Row as _;

use super::world::{World, applied, call_of, result, step, text, tool, world};
use crate::store::{Ask, FileView, MessageBounds, ModelCall, SyncFrom, TransactError};

/// Everything of a chat that says something.
pub(super) const SECRET: &str = "s3cret";

impl World {
    pub(super) async fn delete(&self, chat: ChatId) {
        self.apply(chat, Command::ArchiveChat).await;
        self.apply(chat, Command::DeleteChat).await;
    }

    /// An idle chat that says its secret wherever a chat can say something.
    pub(super) async fn telling_chat(&self, file: &FileView) -> ChatId {
        let mut new = self.new_chat_of(SECRET);
        new.message.parts.extend(self.attaching(&[file]).parts);
        new.system_prompt = Some(SECRET.to_owned());
        new.client_tools = vec![tool(SECRET)];
        let ask = Ask { request: Some(self.request(1)), ..self.attaches(&[file]) };
        let chat = applied(self.create(new, &ask).await).decision.chat.id;
        self.lease(chat).await;
        let asked = call_of(SECRET, SECRET, CallKind::Worker);
        self.answer(chat, vec![text(SECRET), asked], NextStep::Continue).await;
        let queued = self.send(SECRET);
        self.apply(chat, queued).await;
        let done = HolderWrite::CommitToolResults(vec![result(3, 0, SECRET)]);
        applied(self.hold(chat, done).await);
        let call = ModelCall { fence: Fence(1), number: 2, model: "m".to_owned(), usage: Usage::default() };
        let session =
            self.snapshot(chat, &Ask::default()).await.chat.last_lease.expect("it is leased").session;
        self.store.report_usage(chat, session, &call).await.expect("it answers");
        self.answer(chat, vec![text(SECRET), AnswerContent::Reasoning(SECRET.to_owned())], NextStep::Finish)
            .await;
        applied(self.hold(chat, step(Some(vec![text(SECRET)]), NextStep::Finish, None)).await);
        chat
    }

    /// Tables in which the secret stands.
    pub(super) async fn telling(&self) -> Vec<String> {
        let tables: Vec<String> = sqlx::query_scalar(
            "select table_name::text from information_schema.tables \
             where table_schema = 'public' and table_type = 'BASE TABLE' order by 1",
        )
        .fetch_all(&self.pool)
        .await
        .expect("it is right");
        let mut telling = Vec::new();
        for table in tables {
            let sql = format!("select count(*) from {table} t where position('{SECRET}' in t::text) > 0");
            let rows: i64 = sqlx::query_scalar(sqlx::AssertSqlSafe(sql))
                .fetch_one(&self.pool)
                .await
                .expect("it is right");
            if rows > 0 {
                telling.push(table);
            }
        }
        telling
    }

    /// What accounts are made from, as text.
    pub(super) async fn accounts(&self, chat: ChatId) -> Vec<String> {
        let sql = "select (m.id, m.role, m.model, m.created_by, m.usage, m.runtime_ms, m.create_time)::text \
                   from messages m where m.chat_id = $1 \
                   union all select c::text from model_calls c where c.chat_id = $1 order by 1";
        let rows = sqlx::query(sql).bind(chat.0).fetch_all(&self.pool).await.expect("it is right");
        rows.iter().map(|row| row.get(0)).collect()
    }
}

#[tokio::test]
async fn a_deleted_chat_says_nothing_anywhere_and_its_accounts_lose_no_row() {
    let world = world().await;
    let file = world.file(SECRET).await;
    let chat = world.telling_chat(&file).await;
    let accounts = world.accounts(chat).await;
    let told = world.telling().await;

    world.delete(chat).await;

    assert_eq!(told, ["calls", "chats", "files", "messages", "queued_messages", "requests"]);
    assert_eq!(world.telling().await, Vec::<String>::new());
    assert_eq!(world.accounts(chat).await, accounts);
    assert!(accounts.len() >= 6, "{accounts:?}");
    for table in ["file_contents", "files", "chat_files", "queued_messages", "calls", "requests", "jobs"] {
        let sql = format!("select count(*) from {table}");
        let rows: i64 =
            sqlx::query_scalar(sqlx::AssertSqlSafe(sql)).fetch_one(&world.pool).await.expect("it is right");
        assert_eq!(rows, 0, "{table}");
    }
    assert_eq!(world.count("select count(*) from chat_metadata where title = ''").await, 1);
    let contents = "select distinct content::text || content_version from messages";
    let contents: Vec<String> =
        sqlx::query_scalar(contents).fetch_all(&world.pool).await.expect("it is right");
    assert_eq!(contents, ["{\"parts\": []}1"], "of the form that every release reads");
}

#[tokio::test]
async fn nobody_finds_a_deleted_chat() {
    let world = world().await;
    let chat = world.new_chat().await;
    world.lease(chat).await;
    world.answer(chat, vec![text("one")], NextStep::Finish).await;
    world.delete(chat).await;

    let from = SyncFrom::Start { history_limit: None };
    assert_eq!(world.store.chat(chat, world.user).await.expect("it answers"), None);
    assert_eq!(world.store.sync(chat, world.user, from).await.expect("it answers"), None);
    assert!(world.store.read(chat, &Ask::default()).await.expect("it answers").is_none());
    let written = world.transact(chat, &world.ask(), world.send("more")).await;
    assert!(matches!(written, Err(TransactError::ChatNotFound)), "{written:?}");
    let copied = world.fork(chat, 1, None).await;
    assert!(matches!(copied, Err(TransactError::ChatNotFound)), "{copied:?}");
    // What is read after the chat was found finds no words either.
    let page = world.store.messages(chat, MessageBounds::default(), 10).await.expect("it answers");
    assert!(page.messages.iter().all(|message| message.body.content_bytes() == 0));
    let changed = "select count(*) from chats c join chat_user_metadata u on u.chat_id = c.chat_id \
                   where c.delete_time is not null and c.change_xid = u.change_xid";
    assert_eq!(world.count(changed).await, 1, "those who follow their chats hear of it");
}

#[tokio::test]
async fn a_file_goes_with_the_last_chat_that_is_linked_to_it_and_its_content_with_its_last_name() {
    let world = world().await;
    let shared = world.file("shared").await;
    let sha256 = <[u8; 32] as TryFrom<Vec<u8>>>::try_from(
        sqlx::query_scalar("select sha256 from files").fetch_one(&world.pool).await.expect("it is there"),
    )
    .expect("it has 32 bytes");
    let alias = world.file_named("alias", sha256).await;
    let mut chats = Vec::new();
    for files in [&[&shared][..], &[&shared], &[&alias]] {
        let mut new = world.new_chat_of("");
        new.message = world.attaching(files);
        let chat = applied(world.create(new, &world.attaches(files)).await).decision.chat.id;
        world.apply(chat, Command::InterruptChat).await;
        chats.push(chat);
    }
    let left = async || {
        (
            world.count("select count(*) from files").await,
            world.count("select count(*) from file_contents").await,
        )
    };

    assert_eq!(left().await, (2, 1));
    world.delete(chats[0]).await;
    assert_eq!(left().await, (2, 1), "another chat is linked to it");
    world.delete(chats[1]).await;
    assert_eq!(left().await, (1, 1), "the alias has the same content");
    world.delete(chats[2]).await;
    assert_eq!(left().await, (0, 0));
}

#[tokio::test]
async fn of_two_chats_that_go_at_once_the_last_takes_their_file_along() {
    let world = world().await;
    let shared = world.file("shared").await;
    let mut chats = Vec::new();
    for _ in 0..2 {
        let mut new = world.new_chat_of("");
        new.message = world.attaching(&[&shared]);
        let chat = applied(world.create(new, &world.attaches(&[&shared])).await).decision.chat.id;
        world.apply(chat, Command::InterruptChat).await;
        world.apply(chat, Command::ArchiveChat).await;
        chats.push(chat);
    }

    tokio::join!(world.apply(chats[0], Command::DeleteChat), world.apply(chats[1], Command::DeleteChat));

    assert_eq!(world.count("select count(*) from files").await, 0);
    assert_eq!(world.count("select count(*) from file_contents").await, 0);
}

#[tokio::test]
async fn of_two_chats_with_a_content_under_two_names_that_go_at_once_the_last_takes_it_along() {
    let world = world().await;
    let file = world.file("a name").await;
    let sha256 = sqlx::query_scalar::<_, Vec<u8>>("select sha256 from files");
    let sha256 = sha256.fetch_one(&world.pool).await.expect("it is there");
    let alias = world.file_named("another", sha256.try_into().expect("it has 32 bytes")).await;
    let mut chats = Vec::new();
    for file in [&file, &alias] {
        let mut new = world.new_chat_of("");
        new.message = world.attaching(&[file]);
        let chat = applied(world.create(new, &world.attaches(&[file])).await).decision.chat.id;
        world.apply(chat, Command::InterruptChat).await;
        world.apply(chat, Command::ArchiveChat).await;
        chats.push(chat);
    }
    let mut holding = world.pool.begin().await.expect("it begins");
    sqlx::query("select sha256 from file_contents for update")
        .fetch_all(&mut *holding)
        .await
        .expect("locked");

    let released = async {
        world.until_waiting(2).await;
        holding.rollback().await.expect("it ends");
    };
    tokio::join!(
        world.apply(chats[0], Command::DeleteChat),
        world.apply(chats[1], Command::DeleteChat),
        released
    );

    assert_eq!(world.count("select count(*) from files").await, 0);
    assert_eq!(world.count("select count(*) from file_contents").await, 0);
}

#[tokio::test]
async fn a_file_that_was_uploaded_just_now_outlives_its_only_chat_and_goes_later() {
    let world = world().await;
    let (old, new) = (world.file("old").await, world.file("new").await);
    let mut chat = world.new_chat_of("");
    chat.message = world.attaching(&[&old, &new]);
    let chat = applied(world.create(chat, &world.attaches(&[&old, &new])).await).decision.chat.id;
    world.apply(chat, Command::InterruptChat).await;
    world.apply(chat, Command::ArchiveChat).await;
    world.execute("update files set unlink_time = now() - interval '2 days' where name = 'old'").await;

    let day = Duration::from_secs(24 * 60 * 60);
    let ask = Ask { files_kept: day, ..Ask::default() };
    applied(world.transact(chat, &ask, Command::DeleteChat).await);
    let kept: Vec<String> =
        sqlx::query_scalar("select name from files").fetch_all(&world.pool).await.expect("it is right");
    world.execute("update files set unlink_time = unlink_time - interval '2 days'").await;
    world.store.sweep_files(day, 10).await.expect("it answers");

    assert_eq!(kept, ["new"]);
    assert_eq!(world.count("select count(*) from file_contents").await, 0);
}

//! Chats that are too large to be erased by one statement.

use std::time::Duration;

use chatplane_domain::{ChatId, Command};
use uuid::Uuid;

use super::{
    erasure::SECRET,
    world::{World, applied, world},
};
use crate::store::{Ask, Erased, erasing::MESSAGES_MAX};

/// Before all chats.
const NONE: ChatId = ChatId(Uuid::nil());

impl World {
    /// Adds as many messages as two batches and a half have, and rows of every other kind.
    async fn grow(&self, chat: ChatId) {
        let next = self.snapshot(chat, &Ask::default()).await.chat.next_message_id.0;
        let last = next + MESSAGES_MAX * 5 / 2;
        for statement in [
            "insert into messages (chat_id, id, role, visibility, content_version, content, content_bytes, \
             revision, created_by, search) \
             select $1, n, 'user', 'both', 1, jsonb_build_object('parts', $2 || n), 6, 1, owner_id, \
                 ($2 || n)::tsvector \
             from chats, generate_series($3, $4) n where chat_id = $1",
            "insert into calls (chat_id, message_id, call_index, tool_name, kind, settled) \
             select $1, n, 0, $2, 'worker', true from generate_series($3, $4) n",
            "insert into requests (actor_id, request_id, method, body_sha256, chat_id, result) \
             select owner_id, gen_random_uuid(), '', sha256(''), $1, jsonb_build_object('title', $2 || n) \
             from chats, generate_series($3, $4) n where chat_id = $1",
            "insert into debug_runs (chat_id, run_id, start_time, end_time) \
             select $1, gen_random_uuid(), now(), now() from generate_series(1, 25) n \
             where $2 <> '' and $3 < $4",
            "update chats set next_message_id = $4 + 1 where chat_id = $1 and $2 <> '' and $3 < $4",
        ] {
            let run = sqlx::query(statement).bind(chat.0).bind(SECRET).bind(next).bind(last);
            run.execute(&self.pool).await.expect("the statement is right");
        }
    }

    async fn is_erasing(&self, chat: ChatId) -> bool {
        self.erasing(NONE, 10).await.contains(&chat)
    }

    async fn erasing(&self, after: ChatId, limit: i64) -> Vec<ChatId> {
        self.store.erasing_chats(after, limit).await.expect("it answers")
    }

    async fn erase_some(&self, chat: ChatId, after: i64) -> Erased {
        self.store.erase_some(chat, after).await.expect("it answers")
    }
}

#[tokio::test]
async fn a_large_chat_is_gone_at_once_and_its_rows_are_erased_in_batches() {
    let world = world().await;
    let file = world.file(SECRET).await;
    let chat = world.telling_chat(&file).await;
    world.grow(chat).await;
    let accounts = world.accounts(chat).await;

    world.delete(chat).await;
    let found = world.store.chat(chat, world.user).await.expect("it answers");
    let left = world.telling().await;
    let mut batches = 0;
    let mut after = 0;
    while let Erased::Through(last) = world.erase_some(chat, after).await {
        (batches, after) = (batches + 1, last);
    }

    assert_eq!(found, None);
    assert_eq!(left, ["calls", "messages", "queued_messages", "requests"]);
    assert!(batches >= 3, "{batches}");
    assert_eq!(world.telling().await, Vec::<String>::new());
    assert_eq!(world.accounts(chat).await, accounts);
    assert!(!world.is_erasing(chat).await);
    assert_eq!(world.count("select count(*) from debug_runs").await, 0);
}

#[tokio::test]
async fn chats_of_which_something_is_left_are_found_in_pages() {
    let world = world().await;
    let mut chats = Vec::new();
    for _ in 0..3 {
        let chat = world.new_chat().await;
        world.apply(chat, Command::InterruptChat).await;
        world.delete(chat).await;
        chats.push(chat);
    }
    world.execute("update chats set erasing = true").await;
    chats.sort();

    let first = world.erasing(NONE, 2).await;
    let second = world.erasing(chats[1], 2).await;

    assert_eq!((first.as_slice(), second.as_slice()), (&chats[..2], &chats[2..]));
    assert_eq!(world.erasing(chats[2], 2).await, []);
}

#[tokio::test]
async fn a_batch_that_is_repeated_or_done_by_two_does_no_harm() {
    let world = world().await;
    let chat = world.new_chat().await;
    world.apply(chat, Command::InterruptChat).await;
    world.grow(chat).await;
    world.delete(chat).await;
    let mut other = world.pool.begin().await.expect("it begins");
    sqlx::query("select chat_id from chats for update").fetch_all(&mut *other).await.expect("it is locked");

    let meanwhile = world.erase_some(chat, 0).await;
    other.rollback().await.expect("it ends");
    let first = world.erase_some(chat, 0).await;
    let before = world.count("select sum(xmin::text::bigint)::bigint from messages").await;
    let again = world.erase_some(chat, 0).await;
    let after = world.count("select sum(xmin::text::bigint)::bigint from messages").await;

    assert_eq!(meanwhile, Erased::Elsewhere);
    assert_eq!((first, again), (Erased::Through(MESSAGES_MAX), Erased::Through(MESSAGES_MAX)));
    assert_eq!(before, after, "what is erased is not written again");
    assert!(world.is_erasing(chat).await);
}

#[tokio::test]
async fn files_that_are_too_large_for_one_statement_go_with_the_next_sweep() {
    let world = world().await;
    let file = world.file("large").await;
    let mut new = world.new_chat_of("");
    new.message = world.attaching(&[&file]);
    let chat = applied(world.create(new, &world.attaches(&[&file])).await).decision.chat.id;
    world.apply(chat, Command::InterruptChat).await;
    world.execute("update files set size_bytes = 1000000000, unlink_time = null").await;

    world.delete(chat).await;
    let left = world.count("select count(*) from files").await;
    let day = Duration::from_secs(24 * 60 * 60);
    let swept = world.store.sweep_files(day, 10).await.expect("it answers");

    assert_eq!((left, swept.deleted), (1, 1));
    assert_eq!(world.count("select count(*) from file_contents").await, 0);
}

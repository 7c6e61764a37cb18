//! What a replica of the release before writes while it still runs, as this one sees it.

mod statements;

use chatplane_domain::{CallKind, ChatId, MessageId, NextStep};
use serde_json::json;
use sqlx::{Connection as _, PgConnection};
use uuid::Uuid;

use super::world::{World, applied, call, text, world};
use crate::{
    store::{
        Ask, DEFAULT_ORGANIZATION, FeedAspects, FeedEntry, FeedFrom, FeedPosition, FeedSnapshot,
        MetadataLocks, MetadataUpdate, MetadataWrite, ReadTo, Store,
    },
    testing::database,
};

const CREATE: &str = include_str!("release_before/create.sql");
const FORK: &str = include_str!("release_before/fork.sql");
/// Which texts are found, by their first lexeme without owner and bucket.
const FOUND: &str = "
    select coalesce(array_agg(substr(n.search, 10, 3) order by n.id), '{}')
    from (
        select m.id, tsvector_to_array(m.search) as words
        from messages m
        where m.chat_id = $1
        and m.search is not null
        union all
        select 0, tsvector_to_array(d.search)
        from chat_metadata d
        where d.chat_id = $1
        and d.search is not null
    ) w (id, words)
    cross join lateral (select w.id, '.' || w.words[1] as search) n";

impl World {
    /// A chat that the release before creates, with its title and a question.
    async fn old_chat(&self, title: &str) -> ChatId {
        let chat = Uuid::now_v7();
        let message = json!([{
            "id": 1, "role": "user", "visibility": "both", "content_version": 1,
            "content": {"parts": [{"kind": "text", "text": "question"}]}, "content_bytes": 8,
            "created_by": self.user.0, "model": "test",
        }]);
        let created: i64 = sqlx::query_scalar(CREATE)
            .bind(chat)
            .bind(DEFAULT_ORGANIZATION.0)
            .bind(self.user.0)
            .bind(None::<Uuid>)
            .bind("test")
            .bind("unspecified")
            .bind(json!([]))
            .bind(json!([]))
            .bind(300_000_i64)
            .bind(None::<i64>)
            .bind(0)
            .bind(0_i64)
            .bind(None::<Uuid>)
            .bind(false)
            .bind(chrono::Utc::now())
            .bind(2_i64)
            .bind(8_i64)
            .bind(chrono::Utc::now())
            .bind(title)
            .bind(json!({}))
            .bind(message)
            .bind(json!([]))
            .bind(None::<Uuid>)
            .fetch_one(&self.pool)
            .await
            .expect("it is created");
        assert_eq!(created, 1);
        ChatId(chat)
    }

    /// A copy that the release before makes of a chat, up to a message.
    async fn old_fork(&self, chat: ChatId, through: i64) -> ChatId {
        let copy = Uuid::now_v7();
        let history = self.snapshot(chat, &Ask::default()).await.chat.versions.history;
        let created: i64 = sqlx::query_scalar(FORK)
            .bind(chat.0)
            .bind(history)
            .bind(through)
            .bind(copy)
            .bind(DEFAULT_ORGANIZATION.0)
            .bind(self.user.0)
            .bind(None::<Uuid>)
            .bind("test")
            .bind("unspecified")
            .bind(json!([]))
            .bind(300_000_i64)
            .bind(None::<i64>)
            .bind(through + 1)
            .bind(true)
            .bind(None::<i64>)
            .bind(0_i64)
            .bind(chrono::Utc::now())
            .bind(json!([]))
            .bind(json!([]))
            .bind(1_i64)
            .fetch_one(&self.pool)
            .await
            .expect("it is copied");
        assert_eq!(created, 1);
        ChatId(copy)
    }

    async fn old(&self, statement: &'static str, chat: ChatId, text: &str) {
        let written: i64 = sqlx::query_scalar(statement)
            .bind(chat.0)
            .bind(text)
            .fetch_one(&self.pool)
            .await
            .expect("the statement is right");
        assert_eq!(written, 1);
    }

    async fn now(&self) -> FeedSnapshot {
        let page = self.store.feed(self.user, &FeedFrom::Present).await.expect("it answers");
        page.snapshot.expect("there is a present")
    }

    /// What a watcher who has seen a snapshot is told of a chat: its aspects, by name.
    async fn told(&self, seen: &FeedSnapshot, chat: ChatId) -> Vec<&'static str> {
        let from = FeedFrom::After { seen: seen.clone(), after: FeedPosition::before(seen.horizon()) };
        let page = self.store.feed(self.user, &from).await.expect("it answers");
        let entry = page.entries.iter().find(|entry| entry.position.chat == chat);
        entry.map(|entry| new_aspects(seen, entry)).unwrap_or_default()
    }

    /// Gives everything its words, as far as it is due.
    async fn fill(&self) {
        while self.store.fill_search().await.expect("it answers") {}
    }

    async fn found(&self, chat: ChatId) -> Vec<String> {
        sqlx::query_scalar(FOUND).bind(chat.0).fetch_one(&self.pool).await.expect("the statement is right")
    }

    async fn pin(&self, chat: ChatId) {
        let update = MetadataUpdate { chat, viewer: self.user, locks: MetadataLocks::Pins, request: None };
        let pinned = self
            .store
            .update_metadata(
                update,
                |_| Ok::<_, ()>(()),
                |now| {
                    let pins = now.pins.iter().copied().chain([chat]).collect();
                    Ok(MetadataWrite { pins: Some(pins), ..MetadataWrite::default() })
                },
            )
            .await;
        assert!(pinned.is_ok(), "it is pinned");
    }

    async fn read(&self, chat: ChatId) {
        self.store.mark_read(chat, self.user, ReadTo::Newest).await.expect("it answers");
    }
}

fn new_aspects(seen: &FeedSnapshot, entry: &FeedEntry) -> Vec<&'static str> {
    let FeedAspects { create, archive, state, metadata, summary, action, read, pin } = entry.aspects;
    let all = [
        ("create", create),
        ("archive", archive),
        ("state", state),
        ("metadata", metadata),
        ("summary", summary),
        ("action", action),
        ("read", read),
        ("pin", pin),
    ];
    all.into_iter().filter(|(_, xid)| !seen.sees(*xid)).map(|(name, _)| name).collect()
}

#[tokio::test]
async fn a_chat_of_the_release_before_is_told_as_created_and_kept_by_its_owner() {
    let world = world().await;
    let seen = world.now().await;

    let chat = world.old_chat("garden").await;
    let told = world.told(&seen, chat).await;
    world.pin(chat).await;

    assert!(told.contains(&"create"), "{told:?}");
    let view = world.view(chat).await;
    assert_eq!((view.has_unread, view.pin_order), (false, Some(1)));
    assert_eq!(world.count("select count(*) from chat_user_metadata").await, 1);
    world.fill().await;
    assert_eq!(world.found(chat).await, ["gar", "que"]);
}

#[tokio::test]
async fn what_the_release_before_does_with_a_chat_is_told_by_its_name() {
    let world = world().await;
    let chat = world.new_chat().await;
    let told = async |statement, text| {
        let seen = world.now().await;
        world.old(statement, chat, text).await;
        world.told(&seen, chat).await
    };

    let answered = told(statements::ANSWER, "done").await;
    let unread = world.view(chat).await.has_unread;
    world.read(chat).await;
    let read = world.view(chat).await.has_unread;
    let sent = told(statements::SEND, "more").await;
    let again = told(statements::ANSWER, "done").await;
    let taken_back = told(statements::TAKE_BACK, "done").await;
    let after = world.view(chat).await.has_unread;
    let titled = told(statements::TITLE, "phacelia").await;
    world.pin(chat).await;
    let archived = told(statements::ARCHIVE, "done").await;

    assert_eq!(answered, ["state", "summary", "read"]);
    assert_eq!((unread, read, after), (true, false, false));
    assert_eq!(sent, ["state"]);
    assert_eq!(again, ["state", "read"]);
    assert_eq!(taken_back, ["read"]);
    assert_eq!(titled, ["metadata"]);
    assert_eq!(archived, ["archive", "pin"]);
    let view = world.view(chat).await;
    assert!(view.archived && view.archive_time.is_some() && view.pin_order.is_none());
}

#[tokio::test]
async fn a_fork_of_the_release_before_has_been_read() {
    let world = world().await;
    let chat = world.old_chat("garden").await;
    world.old(statements::ANSWER, chat, "digging").await;

    let fork = world.old_fork(chat, 2).await;
    world.fill().await;

    let view = world.view(fork).await;
    assert_eq!((view.has_unread, view.read_message_id), (false, Some(MessageId(2))));
    assert_eq!(world.found(fork).await, ["gar", "que", "dig"]);
    assert!(world.view(chat).await.has_unread);
}

#[tokio::test]
async fn a_copy_of_what_is_not_found_yet_is_found_with_it() {
    let world = world().await;
    let chat = world.old_chat("garden").await;
    world.old(statements::ANSWER, chat, "digging").await;

    let copy = applied(world.fork(chat, 2, None).await).decision.chat.id;
    world.fill().await;

    assert_eq!(world.found(copy).await, ["gar", "que", "dig"]);
    assert_eq!(world.found(chat).await, ["gar", "que", "dig"]);
}

#[tokio::test]
async fn texts_of_the_release_before_are_found_also_when_they_have_waited_in_the_queue() {
    let world = world().await;
    let chat = world.new_chat().await;
    world.fill().await;
    assert_eq!(world.found(chat).await, ["a", "fir"].map(str::to_owned), "of this release, at once");

    // One is queued there, and enters here before it has its words; another after.
    world.old(statements::QUEUE, chat, "beans").await;
    world.lease(chat).await;
    world.answer(chat, vec![text("done")], NextStep::Finish).await;
    let before = world.found(chat).await;
    world.fill().await;
    let entered = world.found(chat).await;
    world.old(statements::QUEUE, chat, "peas").await;
    world.fill().await;
    let waiting = world.count("select count(*) from search_backlog").await;
    world.answer(chat, vec![text("done")], NextStep::Finish).await;
    let at_once = world.found(chat).await;
    world.execute("update search_backlog set due_time = now()").await;
    world.fill().await;

    assert_eq!(before, ["a", "fir", "don"]);
    assert_eq!(entered, ["a", "fir", "don", "bea"]);
    assert_eq!(waiting, 1, "it is looked at once more");
    assert_eq!(at_once, ["a", "fir", "don", "bea", "don", "pea"]);
    assert_eq!(world.count("select count(*) from search_backlog").await, 0);
}

#[tokio::test]
async fn what_the_release_before_deletes_or_names_anew_is_found_no_more_by_its_old_words() {
    let world = world().await;
    let chat = world.new_chat().await;
    world.lease(chat).await;
    world.answer(chat, vec![text("done")], NextStep::Finish).await;

    world.old(statements::TAKE_BACK, chat, "").await;
    world.old(statements::TITLE, chat, "phacelia").await;
    let at_once = world.found(chat).await;
    world.fill().await;

    assert_eq!(at_once, ["fir"]);
    assert_eq!(world.found(chat).await, ["pha", "fir"]);
}

#[tokio::test]
async fn old_texts_are_found_whatever_their_number_and_those_without_words_are_left_alone() {
    let world = world().await;
    let chat = world.new_chat().await;
    world
        .execute(
            "insert into messages (
                 chat_id, id, role, visibility, content_version, content, content_bytes, created_by, model,
                 revision
             )
             select
                 c.chat_id, n, 'user', case when n % 10 = 0 then 'model' else 'both' end, 1,
                 jsonb_build_object('parts', jsonb_build_array(jsonb_build_object(
                     'kind', 'text', 'text', case when n % 3 = 0 then '?!' else 'seed ' || n end
                 ))),
                 case when n % 100 = 1 then 2000000 else 10 end, c.owner_id, 'test', 1
             from chats c, generate_series(3, 1002) n",
        )
        .await;
    world.execute("update messages set search = null").await;
    world.execute("update chat_metadata set search = null").await;
    world.execute("insert into search_backlog (chat_id, bucket) select chat_id, 7 from chats").await;

    world.fill().await;

    let found = world.found(chat).await;
    let expected = 2 + (3..1003).filter(|n| n % 3 != 0 && n % 10 != 0).count();
    assert_eq!((found.len(), &found[..2]), (expected, &["a".to_owned(), "fir".to_owned()][..]));
    assert_eq!(world.count("select count(*) from search_backlog").await, 0, "nothing is tried again");
    assert!(!world.store.fill_search().await.expect("it answers"));
}

#[tokio::test]
async fn what_comes_to_a_chat_while_it_is_filled_is_filled_after() {
    let world = world().await;
    let chat = world.old_chat("garden").await;
    // Somebody has taken it and ended; then there is more.
    world
        .execute("update search_backlog set due_time = now() + interval '1 hour', after_message_id = 1")
        .await;
    let not_due = world.store.fill_search().await.expect("it answers");

    world.old(statements::ANSWER, chat, "digging").await;
    world.fill().await;

    assert!(!not_due);
    assert_eq!(world.found(chat).await, ["gar", "dig"]);
    assert_eq!(world.count("select count(*) from search_backlog").await, 0);
}

#[tokio::test]
async fn the_triggers_leave_this_release_alone() {
    let world = world().await;
    let chat = world.new_chat().await;
    world.lease(chat).await;
    world.answer(chat, vec![text("one"), call(CallKind::Worker)], NextStep::Continue).await;
    world.apply(chat, world.send("more")).await;
    world.fork(chat, 1, None).await.expect("it is copied");
    world.edit(chat, 1, "instead").await.expect("it is edited");

    assert_eq!(world.count("select count(*) from search_backlog").await, 0);
}

#[tokio::test]
async fn a_replica_starts_again_while_the_next_release_has_changed_the_schema() {
    let url = database().await;
    let mut connection = PgConnection::connect(&url).await.expect("the database is there");
    let next = "insert into _sqlx_migrations (version, description, success, checksum, execution_time)
                values (9999, 'of the next release', true, '', 0)";
    sqlx::query(next).execute(&mut connection).await.expect("it is noted");

    let migrated = Store::migrate(&url).await;

    assert!(migrated.is_ok(), "{migrated:?}");
}

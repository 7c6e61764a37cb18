//! What has changed in a user's chats, from a real PostgreSQL.

use std::collections::BTreeSet;

use chatplane_domain::{ChatId, UserId};
use serde_json::Value;
use sqlx::{AssertSqlSafe, Postgres, Transaction};
use uuid::Uuid;

use super::{
    prompts::collect,
    world::{World, world},
};
use crate::store::{
    DEFAULT_ORGANIZATION, FeedEntry, FeedFrom, FeedPosition, FeedSnapshot,
    feed::{FEED_PAGE_MAX, PAGE},
};

/// More than a page, and not a number of whole pages.
const MANY: usize = 2 * FEED_PAGE_MAX + 20;

const TOUCH: &str = "update chats set state_xid = pg_current_xact_id(), change_xid = pg_current_xact_id() \
                     where chat_id = $1";
const READ: &str = "update chat_user_metadata set read_xid = pg_current_xact_id(), \
                    change_xid = pg_current_xact_id() where chat_id = $1";

impl World {
    async fn present(&self) -> FeedSnapshot {
        let page = self.store.feed(self.user, &FeedFrom::Present).await.expect("it answers");
        page.snapshot.expect("there is a present")
    }

    /// Everything that a snapshot does not see, in as many pages as it takes.
    async fn news(&self, seen: &FeedSnapshot) -> Vec<FeedEntry> {
        let mut after = FeedPosition::before(seen.horizon());
        let mut news = Vec::new();
        loop {
            let from = FeedFrom::After { seen: seen.clone(), after };
            let page = self.store.feed(self.user, &from).await.expect("it answers");
            assert!(page.entries.len() <= FEED_PAGE_MAX);
            news.extend(page.entries);
            match page.through {
                Some(through) => after = through,
                None => return news,
            }
        }
    }

    async fn changed_chats(&self, seen: &FeedSnapshot) -> Vec<ChatId> {
        self.news(seen).await.iter().map(|entry| entry.position.chat).collect()
    }

    async fn change(&self, sql: &'static str, chat: ChatId) {
        let mut transaction = self.pool.begin().await.expect("it begins");
        change_in(&mut transaction, sql, chat).await;
        transaction.commit().await.expect("it is committed");
    }
}

async fn change_in(transaction: &mut Transaction<'_, Postgres>, sql: &'static str, chat: ChatId) {
    let changed = sqlx::query(sql).bind(chat.0).execute(&mut **transaction).await;
    assert_eq!(changed.expect("the statement is right").rows_affected(), 1);
}

#[tokio::test]
async fn a_chat_that_changed_is_news_as_its_reader_sees_it_and_others_are_not() {
    let world = world().await;
    let (created, other) = (world.new_chat().await, world.new_chat().await);
    let stranger = UserId(Uuid::now_v7());
    world.store.create_user(stranger, DEFAULT_ORGANIZATION, "stranger", false).await.expect("new");
    let seen = world.present().await;
    let first = FeedFrom::After { seen: FeedSnapshot::below(0), after: FeedPosition::before(0) };

    world.apply(created, world.send("more")).await;
    let news = world.news(&seen).await;
    let of_all = world.store.feed(world.user, &first).await.expect("it answers");
    let of_stranger = world.store.feed(stranger, &first).await.expect("it answers");

    let told: Vec<_> = news.iter().map(|entry| entry.position.chat).collect();
    assert_eq!(told, [created]);
    let view = world.store.chat(created, world.user).await.expect("it answers").expect("it is there");
    assert_eq!(news[0].chat, Some(Box::new(view)));
    assert!(!seen.sees(news[0].chat_xid) && seen.sees(news[0].aspects.create));
    let all: BTreeSet<_> = of_all.entries.iter().map(|entry| entry.position.chat).collect();
    assert_eq!(all, BTreeSet::from([created, other]));
    assert_eq!((of_stranger.entries, of_stranger.snapshot), (Vec::new(), None));
}

#[tokio::test]
async fn what_a_transaction_writes_that_ends_late_is_news_whatever_came_before_it() {
    let world = world().await;
    let (early, late) = (world.new_chat().await, world.new_chat().await);
    let before = world.present().await;

    let mut running = world.pool.begin().await.expect("it begins");
    change_in(&mut running, TOUCH, late).await;
    world.change(TOUCH, early).await;
    let seen = world.present().await;
    let while_it_runs = world.changed_chats(&before).await;
    let nothing_yet = world.changed_chats(&seen).await;
    running.commit().await.expect("it is committed");
    let in_the_end = world.news(&seen).await;

    assert_eq!(while_it_runs, [early]);
    assert_eq!(nothing_yet, []);
    assert_eq!(in_the_end.len(), 1);
    let position = in_the_end[0].position;
    assert_eq!(position.chat, late);
    assert!(seen.horizon() <= position.xid && position.xid < seen.end(), "its number is an old one");
    let after_it = world.present().await;
    assert_eq!(world.changed_chats(&after_it).await, []);
}

#[tokio::test]
async fn what_ends_before_anybody_looks_comes_in_the_order_of_the_transactions() {
    let world = world().await;
    let chats = [world.new_chat().await, world.new_chat().await, world.new_chat().await];
    let before = world.present().await;

    let mut first = world.pool.begin().await.expect("it begins");
    change_in(&mut first, TOUCH, chats[0]).await;
    world.change(TOUCH, chats[1]).await;
    world.change(READ, chats[2]).await;
    first.commit().await.expect("it is committed");

    assert_eq!(world.changed_chats(&before).await, chats);
}

#[tokio::test]
async fn a_transaction_that_does_not_commit_is_never_news() {
    let world = world().await;
    let chat = world.new_chat().await;
    let before = world.present().await;

    let mut running = world.pool.begin().await.expect("it begins");
    change_in(&mut running, TOUCH, chat).await;
    let seen = world.present().await;
    running.rollback().await.expect("it is rolled back");

    assert_eq!(world.changed_chats(&before).await, []);
    assert_eq!(world.changed_chats(&seen).await, []);
}

#[tokio::test]
async fn what_the_reader_keeps_about_a_chat_is_news_at_a_place_of_its_own() {
    let world = world().await;
    let chat = world.new_chat().await;
    let before = world.present().await;

    world.change(READ, chat).await;
    let read = world.news(&before).await;
    world.change(TOUCH, chat).await;
    let both = world.news(&before).await;

    assert_eq!(read.len(), 1);
    assert_eq!((read[0].position.xid, read[0].aspects.read), (read[0].user_xid, read[0].user_xid));
    assert!(before.sees(read[0].chat_xid) && before.sees(read[0].aspects.metadata));
    let places: Vec<_> = both.iter().map(|entry| entry.position.xid).collect();
    assert_eq!(places, [both[0].user_xid, both[0].chat_xid]);
}

#[tokio::test]
async fn a_long_absence_comes_in_pages_that_hold_every_chat_once() {
    let world = world().await;
    let before = world.present().await;
    let mut chats = BTreeSet::new();
    for _ in 0..MANY {
        chats.insert(world.new_chat().await);
    }

    let news = world.news(&before).await;

    assert_eq!(news.len(), MANY);
    assert!(news.is_sorted_by_key(|entry| entry.position));
    assert_eq!(news.iter().map(|entry| entry.position.chat).collect::<BTreeSet<_>>(), chats);
    // One transaction that changed more than a page holds is cut between two chats.
    let middle = world.present().await;
    let touch_all = "update chats set change_xid = pg_current_xact_id()";
    world.execute(touch_all).await;
    let news = world.news(&middle).await;
    assert_eq!(news.iter().map(|entry| entry.position.xid).collect::<BTreeSet<_>>().len(), 1);
    assert_eq!(news.iter().map(|entry| entry.position.chat).collect::<BTreeSet<_>>(), chats);
    assert_eq!(news.len(), MANY);
}

#[tokio::test]
async fn a_deleted_chat_is_news_without_what_it_was() {
    let world = world().await;
    let chat = world.new_chat().await;
    let before = world.present().await;

    world
        .execute(
            "update chats
             set state = 'waiting', runnable_since = null, archived = true, delete_time = now(),
                 change_xid = pg_current_xact_id()",
        )
        .await;
    let news = world.news(&before).await;

    assert_eq!(
        news.iter().map(|entry| (entry.position.chat, &entry.chat)).collect::<Vec<_>>(),
        [(chat, &None)]
    );
}

#[tokio::test]
async fn what_a_restored_database_has_from_its_former_life_is_no_news() {
    let world = world().await;
    let (old, chat) = (world.new_chat().await, world.new_chat().await);
    let before = world.present().await;

    world.execute("update chats set change_xid = '900000000000', state_xid = '900000000000'").await;
    let at_first = world.changed_chats(&before).await;
    world
        .execute("update chat_user_metadata set change_xid = '900000000000', pin_xid = '900000000000'")
        .await;
    let then = world.changed_chats(&before).await;
    let change = "update chats set change_xid = pg_current_xact_id() where chat_id = $1";
    world.change(change, chat).await;
    let news = world.news(&before).await;

    assert_eq!((at_first, then), (Vec::new(), Vec::new()));
    assert_eq!(news.iter().map(|entry| entry.position.chat).collect::<Vec<_>>(), [chat], "and not {old}");
    assert_eq!((news[0].aspects.state, news[0].aspects.pin, news[0].user_xid), (0, 0, 0));
}

#[tokio::test]
async fn a_chat_of_the_release_before_has_no_row_of_its_reader_and_is_news_all_the_same() {
    let world = world().await;
    let before = world.present().await;
    let chat = world.new_chat().await;
    world.execute("delete from chat_user_metadata").await;

    let news = world.news(&before).await;

    assert_eq!(news.iter().map(|entry| entry.position.chat).collect::<Vec<_>>(), [chat]);
    assert_eq!((news[0].user_xid, news[0].aspects.read), (0, 0));
}

#[tokio::test]
async fn the_poll_finds_the_owners_with_news_and_those_of_late_transactions_too() {
    let world = world().await;
    let (chat, other) = (world.new_chat().await, UserId(Uuid::now_v7()));
    let owners = [world.user, other];
    let look = async |seen: Option<&FeedSnapshot>| {
        world.store.owners_with_news(&owners, seen).await.expect("it answers")
    };

    let (first, all) = look(None).await;
    let (_, none) = look(Some(&first)).await;
    let mut running = world.pool.begin().await.expect("it begins");
    change_in(&mut running, READ, chat).await;
    world.change(TOUCH, chat).await;
    let (second, changed) = look(Some(&first)).await;
    let (_, not_yet) = look(Some(&second)).await;
    running.commit().await.expect("it is committed");
    let (_, late) = look(Some(&second)).await;

    assert_eq!((all, none), (owners.to_vec(), Vec::new()));
    assert_eq!((changed, not_yet, late), (vec![world.user], Vec::new(), vec![world.user]));
}

#[tokio::test]
async fn what_is_new_is_found_among_thousands_of_chats_without_reading_them() {
    let world = world().await;
    let chat = world.new_chat().await;
    world
        .execute(
            "with copies as (
                 select gen_random_uuid() as copy, c.chat_id from chats c, generate_series(1, 5000)
             ),
             chats_copied as (
                 insert into chats (
                     chat_id, organization_id, owner_id, root_chat_id, model, effort, state,
                     snapshot_version, history_version, next_message_id
                 )
                 select n.copy, c.organization_id, c.owner_id, n.copy, c.model, c.effort, 'waiting', 1, 1, 2
                 from copies n join chats c on c.chat_id = n.chat_id
             ),
             metadata_copied as (
                 insert into chat_metadata (chat_id, owner_id, metadata_version, title, labels)
                 select n.copy, d.owner_id, 1, d.title, d.labels
                 from copies n join chat_metadata d on d.chat_id = n.chat_id
             )
             insert into chat_user_metadata (chat_id, user_id)
             select n.copy, c.owner_id
             from copies n join chats c on c.chat_id = n.chat_id",
        )
        .await;
    world.execute("vacuum analyze chats").await;
    world.execute("vacuum analyze chat_user_metadata").await;
    let seen = world.present().await;
    world.change(TOUCH, chat).await;

    let plan = explained(&world, &seen).await;

    let mut nodes = Vec::new();
    collect(&plan, &mut nodes);
    // The files of a chat that has none are planned for, and not read.
    let is_read = |node: &&Value| node["Relation Name"].is_string() && node["Actual Loops"] != 0;
    let scans: Vec<_> = nodes.into_iter().filter(is_read).collect();
    let rows = |node: &Value, field: &str| {
        node[field].as_u64().unwrap_or(0) * node["Actual Loops"].as_u64().unwrap_or(1)
    };
    let read: u64 =
        scans.iter().map(|node| rows(node, "Actual Rows") + rows(node, "Rows Removed by Filter")).sum();
    assert!(scans.iter().all(|node| node["Node Type"] != "Seq Scan"), "{scans:#?}");
    assert!(read <= 8, "one chat has a row in each of its tables: {read} rows, {scans:#?}");
}

/// How a page is read, by the one plan that connections have for it.
async fn explained(world: &World, seen: &FeedSnapshot) -> Value {
    let mut connection = world.pool.acquire().await.expect("it answers");
    let types = "uuid, bigint, uuid, bigint, bigint[], bigint";
    let prepare = format!("prepare news ({types}) as {}", PAGE.as_str());
    sqlx::raw_sql(AssertSqlSafe(prepare)).execute(&mut *connection).await.expect("the statement is right");
    let running: Vec<String> = seen.running().iter().map(ToString::to_string).collect();
    let explain = format!(
        "explain (analyze, format json) execute news ('{}', {}, '{}', {}, '{{{}}}', {FEED_PAGE_MAX})",
        world.user,
        seen.horizon(),
        Uuid::nil(),
        seen.end(),
        running.join(","),
    );
    let plan: Value = sqlx::query_scalar(AssertSqlSafe(explain))
        .fetch_one(&mut *connection)
        .await
        .expect("it is explained");
    plan[0]["Plan"].clone()
}

//! What is recorded of model calls, at the same time as what it tells of is deleted.

use chatplane_domain::{
    BusyBehavior, ChatId, Command, Fence, HolderWrite, MessageId, NextStep, Rejection, SessionId, Usage,
};
use chrono::Utc;
use sqlx::{PgConnection, Postgres, Transaction};

use super::world::{World, applied, text, world};
use crate::store::{
    Ask, DEFAULT_ORGANIZATION, DebugPolicy, DebugStep, DebugSwitchesChange, HandedIn, Recorded,
};

const RUNS: &str = "select count(*) from debug_runs";

impl World {
    async fn set(&self, policy: Option<DebugPolicy>, user_enabled: Option<bool>) {
        let change = DebugSwitchesChange { policy, user_enabled };
        let set = self.store.put_debug_switches(DEFAULT_ORGANIZATION, self.user, change).await;
        set.expect("it answers").expect("it is allowed");
    }

    /// An idle chat whose last lease was given to this session.
    async fn leased_chat(&self) -> (ChatId, SessionId) {
        let chat = self.new_chat().await;
        let session = self.lease(chat).await;
        sqlx::query(
            "insert into sessions (session_id, replica_id, connection, worker_name, slots_total, expire_time) \
             values ($1, $1, 1, 'test', 1, now())",
        )
        .bind(session.0)
        .execute(&self.pool)
        .await
        .expect("it is new");
        (chat, session)
    }

    async fn record(&self, chat: ChatId, session: SessionId) -> Recorded {
        self.record_of(chat, session, (1, MessageId::FIRST)).await
    }

    /// A call of the turn that this message is part of.
    async fn record_of(&self, chat: ChatId, session: SessionId, call: (i64, MessageId)) -> Recorded {
        let (model_call, message) = call;
        let trigger = Some(message);
        let step = DebugStep {
            assistant_message: None,
            history_tip: trigger,
            model: "test".to_owned(),
            request_json: "{}".to_owned(),
            response_json: String::new(),
            truncated: false,
            usage: Usage::default(),
            attempts: Vec::new(),
            error: None,
            start_time: Utc::now(),
            first_token_ms: 0,
            duration_ms: 1,
        };
        let (fence, run_history_tip) = (Fence::FIRST, trigger);
        let handed_in = HandedIn { chat, session, fence, model_call, trigger, run_history_tip, step };
        self.store.record_debug_step(&handed_in).await.expect("it answers")
    }

    /// A step that is being stored, by somebody who has the chat's lock.
    async fn storing(&self, chat: ChatId) -> Transaction<'_, Postgres> {
        let mut transaction = self.pool.begin().await.expect("it begins");
        run(&mut transaction, chat, "select from chats where chat_id = $1 for no key update").await;
        let stored = "insert into debug_runs (chat_id, run_id, trigger_message_id, start_time, end_time) \
                      values ($1, $1, 1, now(), now())";
        run(&mut transaction, chat, stored).await;
        transaction
    }
}

async fn run(connection: &mut PgConnection, chat: ChatId, sql: &'static str) {
    sqlx::query(sql).bind(chat.0).execute(connection).await.expect("the statement is right");
}

#[tokio::test]
async fn an_edit_deletes_the_step_that_it_had_to_wait_for() {
    let world = world().await;
    let (chat, _) = world.leased_chat().await;
    let storing = world.storing(chat).await;

    let edited = world.edit(chat, 1, "other");
    let stored = async {
        world.until_somebody_waits().await;
        storing.commit().await.expect("it is stored");
    };
    let (edited, ()) = tokio::join!(edited, stored);

    applied(edited);
    assert_eq!(world.count(RUNS).await, 0);
}

#[tokio::test]
async fn a_deletion_erases_the_step_that_it_had_to_wait_for() {
    let world = world().await;
    let chat = world.new_chat().await;
    world.apply(chat, Command::InterruptChat).await;
    world.apply(chat, Command::ArchiveChat).await;
    let storing = world.storing(chat).await;

    let ask = Ask::default();
    let deleted = world.transact(chat, &ask, Command::DeleteChat);
    let stored = async {
        world.until_somebody_waits().await;
        storing.commit().await.expect("it is stored");
    };
    let (deleted, ()) = tokio::join!(deleted, stored);

    applied(deleted);
    assert_eq!(world.count(RUNS).await, 0);
}

#[tokio::test]
async fn a_deletion_erases_the_reply_of_a_new_title_that_it_had_to_wait_for() {
    let world = world().await;
    let chat = world.new_chat().await;
    world.apply(chat, Command::InterruptChat).await;
    world.apply(chat, Command::ArchiveChat).await;
    let mut naming = world.pool.begin().await.expect("it begins");
    run(&mut naming, chat, "update chat_metadata set title = 's3cret' where chat_id = $1").await;
    let replied = "insert into requests (actor_id, request_id, method, body_sha256, chat_id, result) \
                   select c.owner_id, c.chat_id, 'UpdateChat', decode(repeat('00', 32), 'hex'), c.chat_id, \
                       '{\"title\": \"s3cret\"}' \
                   from chats c where c.chat_id = $1";
    run(&mut naming, chat, replied).await;

    let ask = Ask::default();
    let deleted = world.transact(chat, &ask, Command::DeleteChat);
    let named = async {
        world.until_somebody_waits().await;
        naming.commit().await.expect("it is stored");
    };
    let (deleted, ()) = tokio::join!(deleted, named);

    applied(deleted);
    assert_eq!(world.count("select count(*) from requests").await, 0);
    assert_eq!(world.count("select count(*) from chat_metadata where title <> ''").await, 0);
}

#[tokio::test]
async fn a_step_that_waits_for_an_edit_finds_its_message_gone() {
    let world = world().await;
    let (chat, session) = world.leased_chat().await;
    world.set(Some(DebugPolicy::Forced), None).await;
    let mut editing = world.pool.begin().await.expect("it begins");
    run(&mut editing, chat, "select from chats where chat_id = $1 for no key update").await;
    run(&mut editing, chat, "update messages set deleted = true where chat_id = $1").await;

    let recorded = world.record(chat, session);
    let edited = async {
        world.until_somebody_waits().await;
        editing.commit().await.expect("it is edited");
    };
    let (recorded, ()) = tokio::join!(recorded, edited);

    assert_eq!(recorded, Recorded::Unwanted);
    assert_eq!(world.count(RUNS).await, 0);
}

#[tokio::test]
async fn a_run_that_a_sweep_has_just_deleted_is_begun_anew() {
    let world = world().await;
    let (chat, session) = world.leased_chat().await;
    world.set(Some(DebugPolicy::Forced), None).await;
    world.storing(chat).await.commit().await.expect("it is stored");
    let mut sweeping = world.pool.begin().await.expect("it begins");
    run(&mut sweeping, chat, "delete from debug_runs where chat_id = $1").await;

    let recorded = world.record(chat, session);
    let swept = async {
        world.until_somebody_waits().await;
        sweeping.commit().await.expect("it is deleted");
    };
    let (recorded, ()) = tokio::join!(recorded, swept);

    assert_eq!(recorded, Recorded::Stored);
    assert_eq!(world.count(RUNS).await, 1);
    assert_eq!(world.count("select count(*) from debug_steps").await, 1);
}

#[tokio::test]
async fn a_step_is_of_the_message_that_started_its_turn_whichever_of_the_turn_is_named() {
    let world = world().await;
    let (chat, session) = world.leased_chat().await;
    world.set(Some(DebugPolicy::Forced), None).await;
    world.apply(chat, world.send_busy("steering", BusyBehavior::Steer)).await;
    world.answer(chat, vec![text("one")], NextStep::Finish).await;
    world.apply(chat, world.send("queued")).await;
    world.answer(chat, vec![text("two")], NextStep::Finish).await;
    applied(world.hold(chat, HolderWrite::Release).await);
    // Put into a turn that is stopped before it could be read, so that it starts the next.
    world.apply(chat, world.send_busy("steering that comes too late", BusyBehavior::Steer)).await;
    world.apply(chat, Command::InterruptChat).await;
    assert_eq!(world.live(chat).await, [1, 2, 3, 4, 5, 6]);

    for (model_call, message) in (1..).zip(1..=6) {
        let recorded = world.record_of(chat, session, (model_call, MessageId(message))).await;
        assert_eq!(recorded, Recorded::Stored);
    }

    let sql = "select r.trigger_message_id, count(*) from debug_runs r join debug_steps s using (chat_id, run_id) \
               group by 1 order by 1";
    let runs: Vec<(i64, i64)> =
        sqlx::query_as(sql).fetch_all(&world.pool).await.expect("the statement is right");
    assert_eq!(runs, [(1, 4), (5, 1), (6, 1)]);
}

#[tokio::test]
async fn a_turn_is_recorded_as_the_policy_says_and_its_owner() {
    let world = world().await;
    let chat = world.new_chat().await;
    let offered = Ask { turn_bytes_max: Some(1024), ..Ask::default() };
    let records = async || {
        let beginning = world.store.beginning::<Rejection>(world.user, DEFAULT_ORGANIZATION, None).await;
        let settings = world.snapshot(chat, &offered).await.turn_settings.expect("it was asked for");
        let of_new = beginning.expect("it answers").turn_settings;
        assert_eq!(settings.debug_recording, of_new.debug_recording);
        settings.debug_recording
    };

    let at_first = records().await;
    world.set(Some(DebugPolicy::Allowed), None).await;
    let allowed = records().await;
    world.set(None, Some(true)).await;
    let chosen = records().await;
    world.set(Some(DebugPolicy::Forbidden), None).await;
    let forbidden = records().await;
    world.set(Some(DebugPolicy::Allowed), Some(false)).await;
    let not_chosen = records().await;
    world.set(Some(DebugPolicy::Forced), None).await;
    let forced = records().await;

    let found = [at_first, allowed, chosen, forbidden, not_chosen, forced];
    assert_eq!(found, [false, false, true, false, false, true]);
}

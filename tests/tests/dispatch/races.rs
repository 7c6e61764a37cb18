//! Orders of events that must not matter, forced on a real database. Each test is
//! named after the rule that it holds.

use std::time::Duration;

use chatplane_control_plane::SchedulerLimits;
use chatplane_proto::{chat::v1 as chat, worker::v1 as proto};
use chatplane_tests::eventually;

use crate::{
    comes_to, execute, number, reason,
    replica::{World, calm, quick},
    worker::{Worker, answer, commit_of},
};

#[tokio::test]
async fn a_claim_skips_a_chat_that_somebody_else_has_locked() {
    let world = World::new().await;
    let replica = world.replica(quick()).await;
    let mut client = world.client(&replica);
    let first = client.create_chat("First").await;
    let second = client.create_chat("Second").await;
    let mut locker = world.database.connection().await;
    execute(&mut locker, "begin".to_owned()).await;
    let lock = format!("select from chats where chat_id = '{}' for update", first.chat_id);
    execute(&mut locker, lock).await;

    let mut worker = Worker::open(&replica, &world.worker_token, 2).await;
    let claimed = worker.lease().await;
    execute(&mut locker, "rollback".to_owned()).await;
    let next = worker.lease().await;

    assert_eq!([claimed.chat, next.chat], [second.chat_id, first.chat_id]);
}

#[tokio::test]
async fn a_lease_reads_its_input_at_the_version_that_its_write_compared() {
    let world = World::new().await;
    let replica = world.replica(calm()).await;
    let mut client = world.client(&replica);
    let created = client.create_chat("One").await;
    let mut worker = Worker::open(&replica, &world.worker_token, 8).await;
    let mut held = worker.lease().await;
    worker.finish(&mut held).await;
    worker.forget(&held).await;
    comes_to(&mut client, &created.chat_id, chat::ChatState::Waiting).await;

    // The write of the message gives the lease too: slots have been free all the time.
    client.send(&created.chat_id, "Two").await.expect("it is sent");
    let leased = worker.lease().await;

    let newest = leased.messages.last().and_then(|message| message.message.clone()).expect("a message");
    assert_eq!(newest.revision, leased.header.snapshot_version);
    assert_eq!(leased.header.history_version, leased.header.snapshot_version);
    let ids: Vec<i64> =
        leased.messages.iter().map(|message| message.message.as_ref().unwrap().message_id).collect();
    assert_eq!(ids, [1, 2, 3]);
}

#[tokio::test]
async fn a_lease_given_to_a_session_that_has_just_closed_does_no_harm() {
    let world = World::new().await;
    // The replica finds out late: it asks for no renewal.
    let limits = SchedulerLimits { renew_every: Duration::from_secs(3600), ..calm() };
    let replica = world.replica(limits).await;
    let closed = Worker::open(&replica, &world.worker_token, 1).await;
    let mut database = world.database.connection().await;
    let close = format!("update sessions set close_time = now() where session_id = '{}'", closed.session);
    execute(&mut database, close).await;

    let created = world.client(&replica).create_chat("Hello").await;
    drop(closed);
    let mut other = Worker::open(&replica, &world.worker_token, 1).await;
    let held = other.lease().await;

    assert_eq!(held.chat, created.chat_id);
    assert!(held.fence > 1, "memory proposed the closed session first");
}

#[tokio::test]
async fn a_session_that_resumed_elsewhere_is_not_closed_by_its_old_replica() {
    let world = World::new().await;
    // Long enough for the worker to come back on a busy machine.
    let limits = SchedulerLimits { close_grace: Duration::from_secs(3), ..quick() };
    let first = world.replica(limits).await;
    let second = world.replica(quick()).await;
    let mut before = Worker::open(&first, &world.worker_token, 1).await;
    world.client(&first).create_chat("Hello").await;
    let mut held = before.lease().await;
    let session = before.session.clone();
    drop(before);
    let after = Worker::try_open(&second, &world.worker_token, 1, &session, &[held.key()]).await;
    let mut after = after.expect("the session is resumed");

    // The grace has passed when a session that broke later has been closed.
    let later = Worker::open(&first, &world.worker_token, 1).await;
    let witness = later.session.clone();
    drop(later);
    let mut database = world.database.connection().await;
    eventually("the witness is closed", async || {
        let query = format!(
            "select count(*) from sessions where session_id = '{witness}' and close_time is not null"
        );
        (number(&mut database, query).await == 1).then_some(())
    })
    .await;

    let open = format!("select count(*) from sessions where session_id = '{session}' and close_time is null");
    assert_eq!(number(&mut database, open).await, 1);
    after.finish(&mut held).await;
}

#[tokio::test]
async fn of_two_holders_only_the_later_fence_commits() {
    let world = World::new().await;
    let replica = world.replica(quick()).await;
    let mut first = Worker::open(&replica, &world.worker_token, 1).await;
    let created = world.client(&replica).create_chat("Hello").await;
    let early = first.lease().await;
    let mut calls = first.calls.clone();
    // The first worker's write is made, and reaches nobody before its lease is another's.
    let late = commit_of(&early, answer("Late."), proto::NextStep::Finish);
    let mut second = Worker::open(&replica, &world.worker_token, 1).await;
    drop(first);
    let mut held = second.lease().await;

    let refused = calls.commit_step(late.clone()).await.expect_err("the fence is old");
    second.finish(&mut held).await;
    let still = calls.commit_step(late).await.expect_err("the fence is old");

    assert_eq!([reason(&refused), reason(&still)], ["LEASE_LOST", "LEASE_LOST"]);
    let messages = world.client(&replica).messages(&created.chat_id).await;
    assert_eq!(messages.len(), 2);
    assert_eq!(messages[1].parts, answer("Done.").parts);
}

#[tokio::test]
async fn a_commit_that_meets_an_interruption_is_stored_and_ends_it() {
    let world = World::new().await;
    let replica = world.replica(calm()).await;
    let mut client = world.client(&replica);
    let mut worker = Worker::open(&replica, &world.worker_token, 1).await;
    let created = client.create_chat("Hello").await;
    let mut held = worker.lease().await;
    // The commit waits for the row; the interruption is written first.
    let mut locker = world.database.connection().await;
    execute(&mut locker, "begin".to_owned()).await;
    let stop = "update chats set state = 'interrupting', interrupt_time = now(), \
                snapshot_version = snapshot_version + 1";
    execute(&mut locker, stop.to_owned()).await;
    let request = commit_of(&held, answer("Done."), proto::NextStep::Continue);
    let mut calls = worker.calls.clone();
    let committing = tokio::spawn(async move { calls.commit_step(request).await });
    let mut looker = world.database.connection().await;
    waits_for_a_lock(&mut looker).await;

    execute(&mut locker, "commit".to_owned()).await;

    let outcome =
        committing.await.expect("no panic").expect("it is stored").into_inner().outcome.expect("one");
    held.written(&outcome);
    assert_eq!(outcome.disposition(), proto::Disposition::Released);
    assert_eq!(outcome.snapshot_version, 3, "it was decided again after the lost compare");
    comes_to(&mut client, &created.chat_id, chat::ChatState::Waiting).await;
}

#[tokio::test]
async fn an_interruption_that_its_holder_does_not_finish_is_finished_for_it() {
    let world = World::new().await;
    let replica = world.replica(quick()).await;
    let mut client = world.client(&replica);
    let mut worker = Worker::open(&replica, &world.worker_token, 1).await;
    let created = client.create_chat("Hello").await;
    let held = worker.lease().await;
    let request = chat::InterruptChatRequest { chat_id: created.chat_id.clone(), ..Default::default() };
    client.chats.interrupt_chat(request).await.expect("it is interrupted");
    worker.next().await.expect("the holder is told");

    let mut database = world.database.connection().await;
    let age = "update chats set interrupt_time = interrupt_time - interval '10 seconds'";
    execute(&mut database, age.to_owned()).await;

    comes_to(&mut client, &created.chat_id, chat::ChatState::Waiting).await;
    let lost = loop {
        match worker.next().await.expect("a word") {
            proto::session_response::Message::Lost(lost) => break lost,
            proto::session_response::Message::Interrupt(_) => {}
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(lost.lease, Some(held.lease_key()));
}

#[tokio::test]
async fn a_chat_that_kills_its_workers_runs_out_of_attempts() {
    let world = World::new().await;
    let replica = world.replica(quick()).await;
    let mut client = world.client(&replica);
    let created = client.create_chat("Hello").await;
    let mut database = world.database.connection().await;
    execute(&mut database, "update chats set attempt = 24".to_owned()).await;
    let mut last = Worker::open(&replica, &world.worker_token, 1).await;
    assert_eq!(last.lease().await.header.attempt, 25);
    let _other = Worker::open(&replica, &world.worker_token, 1).await;

    drop(last);

    let failed = comes_to(&mut client, &created.chat_id, chat::ChatState::Error).await;
    assert_eq!(failed.last_error.expect("an error").kind(), chat::ErrorKind::AttemptsExhausted);
}

#[tokio::test]
async fn a_resume_that_waited_for_the_row_sees_the_leases_of_then() {
    let world = World::new().await;
    let never = Duration::from_secs(3600);
    // Only the answer to the resume can tell.
    let limits = SchedulerLimits { close_grace: never, renew_every: never, ..quick() };
    let first = world.replica(limits).await;
    let second = world.replica(limits).await;
    let before = Worker::open(&first, &world.worker_token, 1).await;
    let session = before.session.clone();
    drop(before);
    let created = world.client(&first).create_chat("Hello").await;
    // Somebody has the session's row, and gives the session a lease before they let go.
    let mut locker = world.database.connection().await;
    execute(&mut locker, "begin".to_owned()).await;
    execute(&mut locker, format!("select from sessions where session_id = '{session}' for update")).await;
    let token = world.worker_token.clone();
    let (second_url, resumed) = (session.clone(), second);
    let resuming = tokio::spawn(async move {
        let worker = Worker::try_open(&resumed, &token, 1, &second_url, &[]).await;
        (worker, resumed)
    });
    let mut looker = world.database.connection().await;
    waits_for_a_lock(&mut looker).await;
    let give = format!(
        "update chats set session_id = '{session}', fence = 1, leased = true, attempt = 1, \
         runnable_since = null, snapshot_version = snapshot_version + 1"
    );
    execute(&mut locker, give).await;

    execute(&mut locker, "commit".to_owned()).await;

    let (worker, _second) = resuming.await.expect("no panic");
    let held = worker.expect("the session is resumed").lease().await;
    assert_eq!((held.chat, held.fence), (created.chat_id, 1));
}

#[tokio::test]
async fn a_session_that_is_being_renewed_is_not_closed_by_the_clock() {
    let world = World::new().await;
    let limits = SchedulerLimits { session_ttl: Duration::from_secs(3), ..quick() };
    let _replica = world.replica(limits).await;
    let mut database = world.database.connection().await;
    let row = async |database: &mut sqlx::PgConnection, last_digit: u8| {
        let insert = format!(
            "insert into sessions (session_id, replica_id, connection, worker_name, slots_total, expire_time) \
             values ('00000000-0000-4000-8000-00000000000{last_digit}', gen_random_uuid(), 1, '', 1, \
                     now() + interval '3 seconds')"
        );
        execute(database, insert).await;
    };
    let closed = async |database: &mut sqlx::PgConnection, last_digit: u8| {
        let query = format!(
            "select count(*) from sessions where close_time is not null \
             and session_id = '00000000-0000-4000-8000-00000000000{last_digit}'"
        );
        number(database, query).await == 1
    };
    row(&mut database, 1).await;
    // A renewal that is not committed yet; everybody else sees the row expire.
    let mut renewing = world.database.connection().await;
    execute(&mut renewing, "begin".to_owned()).await;
    execute(&mut renewing, "update sessions set expire_time = now() + interval '1 hour'".to_owned()).await;

    for witness in [2, 3] {
        row(&mut database, witness).await;
        eventually("the witness is closed by the clock", async || {
            closed(&mut database, witness).await.then_some(())
        })
        .await;
        if witness == 2 {
            execute(&mut renewing, "commit".to_owned()).await;
        }
    }

    assert!(!closed(&mut database, 1).await);
}

#[tokio::test]
async fn a_turn_whose_history_changes_while_it_is_read_is_superseded() {
    let world = World::new().await;
    let replica = world.replica(quick()).await;
    let mut worker = Worker::open(&replica, &world.worker_token, 1).await;
    world.client(&replica).create_chat("Hello").await;
    let mut held = worker.lease().await;
    // More than the transport's buffers hold, so that the end is read after the change.
    let long = "x".repeat(1024 * 1024);
    for _ in 0..12 {
        worker.commit(&mut held, answer(&long), proto::NextStep::Continue).await.expect("committed");
    }
    let mut pieces = worker.calls.get_turn(held.get(0)).await.expect("it begins").into_inner();
    pieces.message().await.expect("a piece").expect("the header");

    worker.commit(&mut held, answer("Newer."), proto::NextStep::Continue).await.expect("committed");

    let end = loop {
        match pieces.message().await {
            Ok(Some(_)) => {}
            Ok(None) => panic!("a turn of two histories was handed out"),
            Err(status) => break status,
        }
    };
    assert_eq!(reason(&end), "SUPERSEDED");
}

async fn waits_for_a_lock(looker: &mut sqlx::PgConnection) {
    eventually("somebody waits for the row", async || {
        let waiting = "select count(*) from pg_stat_activity \
                       where wait_event_type = 'Lock' and datname = current_database()";
        (number(looker, waiting.to_owned()).await > 0).then_some(())
    })
    .await;
}

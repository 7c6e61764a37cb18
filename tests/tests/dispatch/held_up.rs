//! What is in the way of one chat is in the way of no other.

use std::time::Duration;

use chatplane_control_plane::SchedulerLimits;
use chatplane_proto::{chat::v1 as chat, worker::v1 as proto};
use chatplane_tests::eventually;
use sqlx::PgConnection;

use crate::{
    execute, number,
    replica::{World, quick},
    worker::{Held, Worker},
};

/// As many as wait for a lock of this database.
async fn waiters(looker: &mut PgConnection, wanted: i64) {
    eventually(&format!("{wanted} wait for a lock"), async || {
        let waiting = "select count(*) from pg_stat_activity \
                       where wait_event_type = 'Lock' and datname = current_database()";
        (number(looker, waiting.to_owned()).await >= wanted).then_some(())
    })
    .await;
}

#[tokio::test]
async fn nobody_overtakes_a_chat_that_is_being_claimed_and_who_found_no_slot_is_next() {
    let world = World::new().await;
    // No sweep comes to the rescue.
    let limits = SchedulerLimits { sweep_every: Duration::from_secs(3600), ..quick() };
    let replica = world.replica(limits).await;
    let mut client = world.client(&replica);
    let waiting = client.create_chat("First").await;
    let mut locker = world.database.connection().await;
    let mut looker = world.database.connection().await;
    execute(&mut locker, "begin".to_owned()).await;
    execute(&mut locker, "lock table chat_metadata in access exclusive mode".to_owned()).await;
    // The claim has the slot and reads its chat, while a new chat is written.
    let mut worker = Worker::open(&replica, &world.worker_token, 1).await;
    waiters(&mut looker, 1).await;
    let mut newcomer = client.clone();
    let creating = tokio::spawn(async move { newcomer.create_chat("Second").await });
    waiters(&mut looker, 2).await;

    execute(&mut locker, "rollback".to_owned()).await;
    let created = creating.await.expect("no panic");
    let mut first = worker.lease().await;
    worker.finish(&mut first).await;
    worker.forget(&first).await;

    assert_eq!(first.chat, waiting.chat_id);
    assert_eq!(worker.lease().await.chat, created.chat_id);
}

#[tokio::test]
async fn a_chat_whose_row_cannot_be_read_keeps_nobody_behind_it_waiting() {
    let world = World::new().await;
    let replica = world.replica(quick()).await;
    let mut client = world.client(&replica);
    let mut database = world.database.connection().await;
    for breaking in [
        "update chats set client_tools = '7'",
        "update chats set last_write = '7'",
        "delete from chat_metadata",
    ] {
        let broken = client.create_chat("Broken").await;
        execute(&mut database, format!("{breaking} where chat_id = '{}'", broken.chat_id)).await;
    }
    let healthy = client.create_chat("Healthy").await;

    let mut worker = Worker::open(&replica, &world.worker_token, 2).await;

    assert_eq!(worker.lease().await.chat, healthy.chat_id);
    let later = client.create_chat("Later").await;
    assert_eq!(worker.lease().await.chat, later.chat_id);
}

#[tokio::test]
async fn a_held_row_does_not_keep_other_leases_from_being_expired_and_claimed() {
    let world = World::new().await;
    let limits = SchedulerLimits { statement_timeout: Duration::from_millis(500), ..quick() };
    let replica = world.replica(limits).await;
    let mut client = world.client(&replica);
    let mut gone = Worker::open(&replica, &world.worker_token, 3).await;
    for no in 0..3 {
        client.create_chat(&format!("Chat {no}")).await;
    }
    let [first, free, last]: [Held; 3] = [gone.lease().await, gone.lease().await, gone.lease().await];
    let mut holder = world.database.connection().await;
    execute(&mut holder, "begin".to_owned()).await;
    let hold = format!("select from chats where chat_id in ('{}', '{}') for update", first.chat, last.chat);
    execute(&mut holder, hold).await;
    let mut other = Worker::open(&replica, &world.worker_token, 3).await;

    drop(gone);
    let taken = other.lease().await;
    execute(&mut holder, "rollback".to_owned()).await;
    let mut rest = [other.lease().await.key(), other.lease().await.key()];

    assert_eq!(taken.key(), (free.chat, 2));
    rest.sort();
    let mut held = [(first.chat, 2), (last.chat, 2)];
    held.sort();
    assert_eq!(rest, held);
}

#[tokio::test]
async fn a_held_row_does_not_keep_sessions_from_being_closed_by_the_clock() {
    let world = World::new().await;
    // Each try to expire the held lease takes longer than sweeps may be apart.
    let (session_ttl, statement_timeout) = (Duration::from_secs(2), Duration::from_millis(1200));
    let replica = world.replica(SchedulerLimits { session_ttl, statement_timeout, ..quick() }).await;
    let mut client = world.client(&replica);
    let mut gone = Worker::open(&replica, &world.worker_token, 1).await;
    client.create_chat("Held").await;
    let held = gone.lease().await;
    let mut silent = Worker::open(&replica, &world.worker_token, 1).await;
    let created = client.create_chat("Free").await;
    silent.lease().await;
    let mut holder = world.database.connection().await;
    execute(&mut holder, "begin".to_owned()).await;
    execute(&mut holder, format!("select from chats where chat_id = '{}' for update", held.chat)).await;

    drop(gone);
    silent.fall_silent();
    let mut other = Worker::open(&replica, &world.worker_token, 1).await;

    let taken = other.lease().await;
    assert_eq!((taken.chat, taken.fence), (created.chat_id, 2));
}

#[tokio::test]
async fn a_turn_that_cannot_be_read_for_the_moment_is_read_again_and_not_ended() {
    let world = World::new().await;
    let replica = world.replica(quick()).await;
    let mut client = world.client(&replica);
    let created = client.create_chat("Hello").await;
    let mut database = world.database.connection().await;
    // Each read of a history fails, and is counted: sequences keep what is rolled back.
    for statement in [
        "create sequence failures",
        "create function fails() returns boolean language plpgsql as \
         'begin perform nextval(''failures''); raise exception ''not now''; end'",
        "alter view message_rows rename to message_rows_kept",
        "create view message_rows as select * from message_rows_kept where fails()",
    ] {
        execute(&mut database, statement.to_owned()).await;
    }

    let mut worker = Worker::open(&replica, &world.worker_token, 1).await;
    eventually("the turn is read again and again", async || {
        (number(&mut database, "select last_value from failures".to_owned()).await >= 4).then_some(())
    })
    .await;
    let meanwhile = client.chat(&created.chat_id).await.expect("it is there");
    execute(&mut database, "drop view message_rows".to_owned()).await;
    execute(&mut database, "alter view message_rows_kept rename to message_rows".to_owned()).await;

    let held = worker.lease().await;
    assert_eq!(meanwhile.state(), chat::ChatState::Running);
    assert_eq!((held.chat, held.fence), (created.chat_id, 1));
    assert_eq!(held.messages.len(), 1);
}

#[tokio::test]
async fn a_turn_of_very_many_small_messages_comes_in_pieces() {
    let world = World::new().await;
    let replica = world.replica(quick()).await;
    let created = world.client(&replica).create_chat("Hello").await;
    let mut database = world.database.connection().await;
    let many = format!(
        "insert into messages (chat_id, id, role, visibility, content_version, content, content_bytes, \
                               created_by, revision) \
         select m.chat_id, m.id + no, m.role, m.visibility, m.content_version, \
                '{{\"parts\": []}}', 0, m.created_by, m.revision \
         from messages m, generate_series(1, 30000) as no \
         where m.chat_id = '{}'",
        created.chat_id
    );
    execute(&mut database, many).await;
    execute(&mut database, "update chats set next_message_id = next_message_id + 30000".to_owned()).await;

    let mut worker = Worker::open(&replica, &world.worker_token, 1).await;
    let lease = worker.leave_lease().await;
    let is_complete = lease.complete;
    let held = worker.take(lease).await;
    let read = crate::writes::get_turn(&mut worker, held.get(0)).await.expect("the turn is read");

    assert!(!is_complete);
    assert_eq!(held.messages, Vec::<proto::TurnMessage>::new());
    assert_eq!(read.messages.len(), 30_001);
    assert!(read.largest_piece <= 3 * 1024 * 1024, "{} bytes", read.largest_piece);
}

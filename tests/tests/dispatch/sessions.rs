//! How sessions begin, move and end.

use std::time::Duration;

use chatplane_control_plane::{Limits, SchedulerLimits};
use chatplane_proto::{
    chat::v1 as chat,
    worker::v1::{self as proto, session_response::Message as Down},
};
use chatplane_tests::{
    eventually,
    tcp_proxy::{Mode, TcpProxy, Upstream},
};
use tonic::Code;

use crate::{
    comes_to, execute, number, reason,
    replica::{World, quick},
    worker::{Worker, calls},
};

#[tokio::test]
async fn a_worker_that_is_gone_loses_its_chat_to_another_after_the_grace() {
    let world = World::new().await;
    let replica = world.replica(quick()).await;
    let mut gone = Worker::open(&replica, &world.worker_token, 1).await;
    let created = world.client(&replica).create_chat("Hello").await;
    let held = gone.lease().await;
    let mut late = calls(&replica, &world.worker_token);
    let mut other = Worker::open(&replica, &world.worker_token, 1).await;

    drop(gone);

    let taken = other.lease().await;
    assert_eq!((taken.chat.as_str(), taken.fence), (created.chat_id.as_str(), 2));
    let release = proto::ReleaseRequest { header: held.write() };
    let refused = late.release(release).await.expect_err("the fence is old");
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::FailedPrecondition, "LEASE_LOST"));
}

#[tokio::test]
async fn a_silent_worker_gets_nothing_more_and_loses_its_chat_after_the_ttl() {
    let world = World::new().await;
    let limits = SchedulerLimits { session_ttl: Duration::from_secs(3), ..quick() };
    let replica = world.replica(limits).await;
    let mut client = world.client(&replica);
    let mut silent = Worker::open(&replica, &world.worker_token, 10).await;
    let created = client.create_chat("Hello").await;
    silent.lease().await;

    silent.fall_silent();
    let mut other = Worker::open(&replica, &world.worker_token, 1).await;

    let taken = other.lease().await;
    assert_eq!((taken.chat, taken.fence), (created.chat_id, 2));
    let mut database = world.database.connection().await;
    let query = format!(
        "select count(*) from sessions where session_id = '{}' and close_time is null",
        silent.session
    );
    assert_eq!(number(&mut database, query).await, 0, "the session was closed before");
}

#[tokio::test]
async fn a_worker_that_dies_while_the_database_is_away_loses_its_chat_when_it_is_back() {
    let world = World::new().await;
    let line = TcpProxy::start(Upstream::Unix(world.database.socket().await)).await;
    let url = world.database.url_at(line.address());
    // By the clock its session would outlive this test.
    let limits = SchedulerLimits { session_ttl: Duration::from_secs(600), ..quick() };
    let replica = world.replica_with(Limits::default(), limits, |config| config.database_url = url).await;
    let mut gone = Worker::open(&replica, &world.worker_token, 1).await;
    let created = world.client(&replica).create_chat("Hello").await;
    gone.lease().await;
    let mut other = Worker::open(&replica, &world.worker_token, 1).await;

    line.set(Mode::Refuse);
    let before = line.refused();
    drop(gone);
    // Every sweep tries once at least, and the grace is as short as the time between two.
    eventually("the grace passes", async || (line.refused() > before + 20).then_some(())).await;
    line.set(Mode::Pass);

    let taken = other.lease().await;
    assert_eq!((taken.chat, taken.fence), (created.chat_id, 2));
}

#[tokio::test]
async fn a_session_resumes_on_another_replica_and_keeps_its_leases() {
    let world = World::new().await;
    let patient = SchedulerLimits { close_grace: Duration::from_secs(3600), ..quick() };
    let first = world.replica(patient).await;
    let second = world.replica(quick()).await;
    let mut client = world.client(&second);
    let mut before = Worker::open(&first, &world.worker_token, 2).await;
    let kept = client_chat(&world, &first, &mut before).await;
    // The worker never saw this one; the database has it.
    let unseen = world.client(&first).create_chat("Unseen").await;
    before.leave_lease().await;
    let stranger = ("00000000-0000-7000-8000-0000000000aa".to_owned(), 4);
    let session = before.session.clone();
    drop(before);

    let held = [kept.key(), stranger.clone()];
    let after = Worker::try_open(&second, &world.worker_token, 2, &session, &held).await;

    let mut after = after.expect("the session is resumed");
    assert_eq!(after.session, session);
    let alive = after.resumed.iter().find(|lease| !lease.lost).expect("one goes on");
    assert_eq!(alive.lease, Some(kept.lease_key()));
    assert_eq!((alive.state(), alive.last_write_no), (chat::ChatState::Running, 0));
    assert_eq!(alive.snapshot_version, kept.header.snapshot_version);
    let lost = after.resumed.iter().find(|lease| lease.lost).expect("one is lost");
    assert_eq!(lost.lease.as_ref().map(|key| key.chat_id.clone()), Some(stranger.0));
    assert_eq!(after.leave_lease().await.lease.expect("a key").chat_id, unseen.chat_id);
    let mut kept = kept;
    after.finish(&mut kept).await;
    comes_to(&mut client, &kept.chat, chat::ChatState::Waiting).await;
}

async fn client_chat(
    world: &World,
    replica: &crate::replica::Replica,
    worker: &mut Worker,
) -> crate::worker::Held {
    world.client(replica).create_chat("Hello").await;
    worker.lease().await
}

#[tokio::test]
async fn a_closed_session_cannot_be_resumed() {
    let world = World::new().await;
    let replica = world.replica(quick()).await;
    let worker = Worker::open(&replica, &world.worker_token, 1).await;
    let session = worker.session.clone();
    drop(worker);
    let mut database = world.database.connection().await;
    eventually("the session is closed", async || {
        let query = format!(
            "select count(*) from sessions where session_id = '{session}' and close_time is not null"
        );
        (number(&mut database, query).await == 1).then_some(())
    })
    .await;

    let closed = Worker::try_open(&replica, &world.worker_token, 1, &session, &[]).await.err();
    let unknown = "00000000-0000-4000-8000-000000000000";
    let unknown = Worker::try_open(&replica, &world.worker_token, 1, unknown, &[]).await.err();

    for refused in [closed, unknown] {
        let refused = refused.expect("it is refused");
        assert_eq!((refused.code(), reason(&refused).as_str()), (Code::FailedPrecondition, "SESSION_LOST"));
    }
}

#[tokio::test]
async fn a_session_merely_past_its_time_can_be_resumed() {
    let world = World::new().await;
    // Nobody sweeps, and nobody renews.
    let never = Duration::from_secs(3600);
    let limits = SchedulerLimits { sweep_every: never, renew_every: never, close_grace: never, ..quick() };
    let replica = world.replica(limits).await;
    let worker = Worker::open(&replica, &world.worker_token, 1).await;
    let session = worker.session.clone();
    drop(worker);
    let mut database = world.database.connection().await;
    let past =
        format!("update sessions set expire_time = now() - interval '1 hour' where session_id = '{session}'");
    execute(&mut database, past).await;

    let resumed = Worker::try_open(&replica, &world.worker_token, 1, &session, &[]).await;

    assert!(resumed.is_ok());
    let query = format!(
        "select count(*) from sessions where session_id = '{session}' and expire_time > now() and connection = 2"
    );
    assert_eq!(number(&mut database, query).await, 1);
}

#[tokio::test]
async fn a_session_that_is_closed_elsewhere_ends_its_stream() {
    let world = World::new().await;
    let replica = world.replica(quick()).await;
    let mut worker = Worker::open(&replica, &world.worker_token, 1).await;

    let mut database = world.database.connection().await;
    execute(&mut database, "update sessions set close_time = now()".to_owned()).await;

    let ended = worker.next().await.expect_err("the stream ends");
    assert_eq!(reason(&ended), "SESSION_LOST");
}

#[tokio::test]
async fn renewals_keep_a_session_alive_without_touching_its_chats() {
    let world = World::new().await;
    let replica = world.replica(quick()).await;
    let mut worker = Worker::open(&replica, &world.worker_token, 1).await;
    world.client(&replica).create_chat("Hello").await;
    worker.lease().await;
    let mut database = world.database.connection().await;
    let row_version = "select xmin::text::bigint from chats".to_owned();
    let before = number(&mut database, row_version.clone()).await;
    let expiry = "select (extract(epoch from expire_time) * 1000)::bigint from sessions".to_owned();
    let first = number(&mut database, expiry.clone()).await;

    eventually("the session is renewed twice", async || {
        let later = number(&mut database, expiry.clone()).await;
        (later >= first + 300).then_some(())
    })
    .await;

    assert_eq!(number(&mut database, row_version).await, before);
}

#[tokio::test]
async fn a_stopping_replica_sends_its_workers_away_and_leaves_their_sessions_open() {
    let world = World::new().await;
    let leaving = world.replica(quick()).await;
    let staying = world.replica(quick()).await;
    let mut worker = Worker::open(&leaving, &world.worker_token, 1).await;
    world.client(&leaving).create_chat("Hello").await;
    let held = worker.lease().await;
    let session = worker.session.clone();

    leaving.stop().await;

    let last = loop {
        match worker.next().await {
            Ok(Down::Drain(_)) => {}
            other => break other,
        }
    };
    assert_eq!(reason(&last.expect_err("the stream ends")), "SHUTTING_DOWN");
    let resumed = Worker::try_open(&staying, &world.worker_token, 1, &session, &[held.key()]).await;
    assert!(!resumed.expect("the session is resumed").resumed[0].lost);
}

#[tokio::test]
async fn a_session_is_opened_by_a_worker_that_says_who_it_is() {
    let world = World::new().await;
    let replica = world.replica(quick()).await;

    let user = Worker::try_open(&replica, &world.user_token, 1, "", &[]).await.err().expect("refused");
    let no_slots = Worker::try_open(&replica, &world.worker_token, 0, "", &[]).await.err().expect("refused");
    let no_id = Worker::try_open(&replica, &world.worker_token, 1, "7", &[]).await.err().expect("refused");

    assert_eq!((user.code(), reason(&user).as_str()), (Code::Unauthenticated, "CREDENTIALS_INVALID"));
    assert_eq!((no_slots.code(), reason(&no_slots).as_str()), (Code::InvalidArgument, "FIELD_INVALID"));
    assert_eq!((no_id.code(), reason(&no_id).as_str()), (Code::InvalidArgument, "FIELD_INVALID"));
}

#[tokio::test]
async fn a_worker_that_speaks_nonsense_is_told_and_hung_up_on() {
    let world = World::new().await;
    let replica = world.replica(quick()).await;
    let mut worker = Worker::open(&replica, &world.worker_token, 1).await;

    worker.send(proto::session_request::Message::Open(proto::Open::default())).await;

    let ended = worker.next().await.expect_err("the stream ends");
    assert_eq!(reason(&ended), "FIELD_INVALID");
}

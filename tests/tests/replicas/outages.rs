//! Two things that break at the same time. Nothing is looked for by itself here.

use std::collections::BTreeSet;

use chatplane_control_plane::Config;
use chatplane_proto::chat::v1 as chat;
use chatplane_tests::{
    eventually,
    tcp_proxy::{Mode, TcpProxy, Upstream},
};
use sqlx::PgConnection;
use tokio::net::TcpListener;

use crate::{
    execute,
    hints::hints_only,
    peers::{Watcher, write},
    replica::{Replica, World},
    worker::Worker,
};

/// A replica whose peers reach it over a line.
async fn replica(world: &World) -> (Replica, TcpProxy) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
    let address = listener.local_addr().expect("it is bound");
    let line = TcpProxy::start(Upstream::Tcp(vec![address])).await;
    let (calls, limits) = hints_only();
    let advertise = |config: &mut Config| config.advertise = Some(line.url());
    (world.replica_on(listener, calls, limits, advertise).await, line)
}

/// Ends reads that wait for a lock with an error of the database, until so many have failed.
async fn fail_reads(database: &mut PgConnection, times: usize) {
    let mut failed = BTreeSet::new();
    eventually("reads wait for the lock", async || {
        // One that has not noticed yet is found again: it is told apart by its beginning.
        let query = "select a.pid || ' ' || a.query_start, pg_cancel_backend(a.pid) \
                     from pg_stat_activity a \
                     where a.datname = current_database() \
                     and a.wait_event_type = 'Lock'";
        let waiting = sqlx::query_as(query).fetch_all(&mut *database).await.expect("it answers");
        failed.extend(waiting.into_iter().map(|(read, _): (String, bool)| read));
        (failed.len() >= times).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_watcher_whose_reads_fail_while_its_link_comes_back_gets_the_rest() {
    let world = World::new().await;
    let ((first, to_first), (second, to_second)) = (replica(&world).await, replica(&world).await);
    let mut worker = Worker::open(&first, &world.worker_token, 1).await;
    let created = world.client(&first).create_chat("Hello").await;
    let mut held = worker.lease().await;
    let mut watcher = Watcher::open(&world, &second, &created.chat_id).await;
    write(&worker, &held, 0, "Once upon").await;
    watcher.shows("Once upon").await;
    let (mut locker, mut database) = (world.database.connection().await, world.database.connection().await);
    execute(&mut locker, "begin".to_owned()).await;
    // A watcher's read needs it, and no commit does.
    execute(&mut locker, "lock table sessions in access exclusive mode".to_owned()).await;

    for mode in [Mode::Refuse, Mode::Pass] {
        to_first.set(mode);
        to_second.set(mode);
        fail_reads(&mut database, 1).await;
    }
    write(&worker, &held, 9, " a time").await;
    watcher.shows("Once upon a time").await;
    worker.finish(&mut held).await;
    // What was hinted at is asked for by now; only who asks again hears of it.
    fail_reads(&mut database, 2).await;
    execute(&mut locker, "rollback".to_owned()).await;

    watcher.sees(chat::ChatState::Waiting).await;
    first.stop().await;
    second.stop().await;
}

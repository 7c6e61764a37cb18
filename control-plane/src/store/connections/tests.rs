mod proxy;

use std::future::pending;

use futures::{FutureExt as _, future::join_all};
use sqlx::Connection as _;

use self::proxy::Proxy;
use super::*;
use crate::{store, testing::database};

/// Longer than a use takes on a busy machine.
const USE_MAX: Duration = Duration::from_secs(2);
/// Longer than anything takes; a test that reaches it has failed.
const TEST_TIMEOUT: Duration = Duration::from_secs(60);

fn uses(use_max: Duration) -> Use<'static> {
    Use { front: Front::None, settings: Vec::new(), reads: Reads::Committed, use_max }
}

async fn connections(connections_max: u32) -> Connections {
    let options = database().await.parse().expect("the launcher gives a URL");
    Connections::open(options, connections_max, &uses(USE_MAX)).await.expect("the database is there")
}

/// So many connections through a proxy, open and waiting.
async fn through_a_proxy(connections_max: u32, use_max: Duration) -> (Proxy, Connections) {
    let options: PgConnectOptions = database().await.parse().expect("the launcher gives a URL");
    let proxy = Proxy::before(&options);
    let options = options.socket(proxy.directory());
    let connections = Connections::open(options, connections_max, &uses(use_max)).await.expect("it answers");
    let held = join_all((0..connections_max).map(|_| connections.acquire())).await;
    held.into_iter().for_each(|connection| connection.expect("there are as many").keep());
    (proxy, connections)
}

async fn server_process(connections: &Connections) -> Result<i32, sqlx::Error> {
    sqlx::query_scalar("select pg_backend_pid()").fetch_one(connections).await
}

#[tokio::test]
async fn a_connection_is_used_again_and_never_by_two() {
    let connections = connections(2).await;

    let first = server_process(&connections).await.expect("it answers");
    let again = server_process(&connections).await.expect("it answers");
    let many = join_all((0..20).map(|_| server_process(&connections))).await;

    assert_eq!(first, again);
    let mut processes: Vec<i32> = many.into_iter().map(|process| process.expect("it answers")).collect();
    processes.sort_unstable();
    processes.dedup();
    assert!(processes.len() <= 2, "{processes:?}");
}

#[tokio::test]
async fn a_statement_that_fails_or_is_given_up_leaves_nothing_behind() {
    let connections = connections(1).await;

    let failed = sqlx::query("select 1/0").execute(&connections).await;
    let mut given_up = connections.acquire().await.expect("there is one");
    let mut transaction = given_up.begin().await.expect("it begins");
    sqlx::query("create table half_done ()").execute(&mut *transaction).await.expect("it is made");
    let mut slow = Box::pin(sqlx::query("select pg_sleep(0.05)").execute(&mut *transaction));
    assert!(futures::poll!(&mut slow).is_pending());
    drop(slow);
    drop(transaction);
    drop(given_up);
    let left: Result<bool, _> =
        sqlx::query_scalar("select to_regclass('half_done') is not null").fetch_one(&connections).await;

    assert!(failed.is_err());
    assert!(!left.expect("the connection answers the one who asks now"), "it was rolled back");
}

#[tokio::test]
async fn what_is_answered_after_a_transaction_was_given_up_while_it_began_is_committed() {
    let url = database().await;
    let open = async || {
        let options = url.parse().expect("the launcher gives a URL");
        Connections::open(options, 1, &uses(USE_MAX)).await.expect("the database is there")
    };
    let (connections, another) = (open().await, open().await);
    let before = server_process(&connections).await.expect("it answers");
    let mut given_up = connections.acquire().await.expect("there is one");
    // Now and then the server is quicker than the look for its answer.
    while given_up.begin().now_or_never().is_some() {}
    drop(given_up);

    sqlx::query("create table accepted ()").execute(&connections).await.expect("it answers");

    let is_there: Result<bool, _> =
        sqlx::query_scalar("select to_regclass('accepted') is not null").fetch_one(&another).await;
    assert!(is_there.expect("it answers"), "others see it");
    assert_eq!(server_process(&connections).await.expect("it answers"), before, "it is good for more");
}

#[tokio::test]
async fn connections_that_the_server_has_ended_are_replaced() {
    let connections = connections(4).await;
    let held = join_all((0..4).map(|_| connections.acquire())).await;
    held.into_iter().for_each(|connection| connection.expect("there are four").keep());
    let other = PgPoolOptions::new()
        .max_connections(1)
        .connect_with(connections.options())
        .await
        .expect("the database is there");
    let end = "select count(pg_terminate_backend(pid)) from pg_stat_activity
               where datname = current_database() and pid <> pg_backend_pid()";
    let ended: i64 = sqlx::query_scalar(end).fetch_one(&other).await.expect("they are ended");

    let first = server_process(&connections).await;
    let second = server_process(&connections).await;

    assert_eq!(ended, 4);
    assert!(first.is_err(), "one caller finds out");
    assert!(second.is_ok(), "and nobody else: {second:?}");
}

#[tokio::test]
async fn a_silent_connection_is_closed_with_those_of_its_age_and_leaves_its_place() {
    let (proxy, connections) = through_a_proxy(4, USE_MAX).await;

    proxy.silence();
    let first = timeout(TEST_TIMEOUT, server_process(&connections)).await.expect("it has a deadline");
    let others = join_all((0..4).map(|_| server_process(&connections))).await;

    let error = store::Error::from(first.expect_err("it hears of it"));
    assert!(matches!(error, store::Error::Unavailable(_)), "{error:?}");
    for other in others {
        other.expect("nobody else hears of it, and all places are free");
    }
}

#[tokio::test]
async fn uses_of_silent_connections_that_are_given_up_leave_their_places() {
    let (proxy, connections) = through_a_proxy(4, USE_MAX).await;

    proxy.silence();
    for _ in 0..4 {
        let mut given_up = Box::pin(server_process(&connections));
        assert!(futures::poll!(&mut given_up).is_pending());
    }
    let next = timeout(TEST_TIMEOUT, server_process(&connections)).await.expect("it has a deadline");

    next.expect("it waited until a place was free");
}

#[tokio::test]
async fn a_use_of_several_statements_has_one_deadline() {
    let (proxy, connections) = through_a_proxy(1, USE_MAX).await;

    let used = connections.with(async |connection| {
        let mut transaction = connection.begin().await?;
        sqlx::query("select 1").execute(&mut *transaction).await?;
        proxy.silence();
        transaction.commit().await
    });
    let used = timeout(TEST_TIMEOUT, used).await.expect("it has a deadline");
    let next = server_process(&connections).await;

    assert!(used.is_err());
    next.expect("the place is free");
}

#[tokio::test]
async fn connections_that_failed_beside_a_silent_one_are_asked_before_they_are_used() {
    let (proxy, connections) = through_a_proxy(3, Duration::from_secs(3600)).await;

    let failed = sqlx::query("select 1/0").execute(&connections).await;
    connections.looks.close();
    connections.looks.wait().await;
    proxy.silence();
    let next = timeout(TEST_TIMEOUT, connections.acquire()).await.expect("it is not waited for");

    assert!(failed.is_err());
    // The one that was looked at has answered since: only a use finds out.
    drop(next);
    let next = timeout(TEST_TIMEOUT, connections.acquire()).await.expect("the others are asked");
    let mut next = next.expect("a new one is opened");
    next.ping().await.expect("it lives");
}

#[tokio::test]
async fn silent_connections_do_not_keep_a_replica_from_stopping() {
    let (proxy, connections) = through_a_proxy(2, Duration::from_secs(3600)).await;
    let in_use = tokio::spawn({
        let connections = connections.clone();
        async move { connections.with(async |_| pending::<Result<(), sqlx::Error>>().await).await }
    });
    let mut given_up = Box::pin(server_process(&connections));
    assert!(futures::poll!(&mut given_up).is_pending());

    proxy.silence();
    drop(given_up);
    let closed = timeout(TEST_TIMEOUT, connections.close()).await;

    closed.expect("it has a deadline");
    assert!(server_process(&connections).await.is_err());
    in_use.abort();
}

#[tokio::test]
async fn behind_a_pooler_each_use_has_its_settings_and_forgets_what_was_prepared() {
    let options: PgConnectOptions = database().await.parse().expect("the launcher gives a URL");
    let settings = vec![("lock_timeout", "3s"), ("plan_cache_mode", "force_generic_plan")];
    let behind = |reads| Use { front: Front::Pooler, settings: settings.clone(), reads, use_max: USE_MAX };
    let writes = Connections::open(options.clone(), 1, &behind(Reads::Committed)).await.expect("it answers");
    let reads = Connections::lazy(options, 1, &behind(Reads::Snapshot));
    let prepared = "select count(*) from pg_prepared_statements";

    for _ in 0..3 {
        let (timeout, count): (String, i64) = sqlx::query_as(
            "select current_setting('lock_timeout'), (select count(*) from pg_prepared_statements)",
        )
        .fetch_one(&writes)
        .await
        .expect("it answers");
        assert_eq!((timeout.as_str(), count), ("3s", 1), "what an earlier use has prepared is gone");
    }
    let nested = writes.with(async |connection: &mut PgConnection| {
        let mut within = connection.begin().await?;
        sqlx::query("create table kept ()").execute(&mut *within).await?;
        within.commit().await?;
        let within = connection.begin().await?;
        within.rollback().await
    });
    nested.await.expect("transactions of a use are savepoints of its own");
    assert_eq!(
        sqlx::query("select from kept").execute(&writes).await.expect("it is there").rows_affected(),
        0
    );
    let refused = sqlx::query("create table refused ()").execute(&reads).await;
    assert!(refused.is_err(), "lists only read");
    let count: i64 = sqlx::query_scalar(prepared).fetch_one(&reads).await.expect("a refusal breaks nothing");
    assert_eq!(count, 1);
}

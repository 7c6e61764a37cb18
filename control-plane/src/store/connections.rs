//! The replica's connections to the database.
//!
//! sqlx's pool opens them, counts them and closes them. But it asks a connection that is
//! given back whether it still lives, and on the path of a turn that question would be
//! every third round trip. So a connection whose statement has come to its end is kept
//! here for the next one; one that was left in the middle, or whose statement has failed,
//! goes back to the pool, which looks at it.

use std::{
    fmt,
    ops::{Deref, DerefMut},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures::{
    StreamExt, TryStreamExt,
    future::BoxFuture,
    stream::{self, BoxStream},
};
use sqlx::{
    Describe, Either, Execute, Executor, PgConnection, PgPool, Postgres, SqlStr,
    pool::PoolConnection,
    postgres::{PgConnectOptions, PgPoolOptions, PgQueryResult, PgRow, PgStatement, PgTypeInfo},
};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, timeout},
};

/// A connection is waited for this long: a caller had better hear UNAVAILABLE.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(5);

/// A connection is renewed now and then, since a server process only grows: what it has
/// looked at once it remembers.
const LIFETIME_MAX: Duration = Duration::from_secs(30 * 60);

/// Connections, at most as many as were asked for.
#[derive(Clone)]
pub(crate) struct Connections {
    pool: PgPool,
    idle: Idle,
    permits: Arc<Semaphore>,
}

/// Those that wait for a statement, the last used on top.
type Idle = Arc<Mutex<Vec<Kept>>>;

struct Kept {
    connection: PoolConnection<Postgres>,
    since: Instant,
}

impl Connections {
    /// Opens the first one, to see that the database is there.
    pub(super) async fn open(options: PgConnectOptions, connections_max: u32) -> Result<Self, sqlx::Error> {
        let pool = PgPoolOptions::new()
            .max_connections(connections_max)
            .acquire_timeout(ACQUIRE_TIMEOUT)
            // A ping before each use is a round trip; a dead connection shows at its use.
            .test_before_acquire(false)
            .connect_with(options)
            .await?;
        let permits = Arc::new(Semaphore::new(connections_max as usize));
        Ok(Self { pool, idle: Idle::default(), permits })
    }

    /// A connection for one caller.
    pub(crate) async fn acquire(&self) -> Result<Connection, sqlx::Error> {
        let permit = match timeout(ACQUIRE_TIMEOUT, Arc::clone(&self.permits).acquire_owned()).await {
            Ok(Ok(permit)) => permit,
            Ok(Err(_)) => return Err(sqlx::Error::PoolClosed),
            Err(_) => return Err(sqlx::Error::PoolTimedOut),
        };
        let kept = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let kept = match kept {
            Some(kept) => kept,
            None => Kept { connection: self.pool.acquire().await?, since: Instant::now() },
        };
        Ok(Connection { kept: Some(kept), idle: Arc::clone(&self.idle), _permit: permit })
    }

    #[cfg(test)]
    pub(super) fn options(&self) -> PgConnectOptions {
        (*self.pool.connect_options()).clone()
    }

    /// Closes every connection, once those that are in use have come back.
    pub(super) async fn close(&self) {
        self.permits.close();
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).clear();
        self.pool.close().await;
    }
}

impl fmt::Debug for Connections {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connections").field("pool", &self.pool).finish_non_exhaustive()
    }
}

/// A connection in use.
pub(crate) struct Connection {
    /// None only while it is dropped.
    kept: Option<Kept>,
    idle: Idle,
    _permit: OwnedSemaphorePermit,
}

impl Connection {
    /// Gives the connection back after its last statement has come to its end.
    pub(crate) fn keep(mut self) {
        if let Some(kept) = self.kept.take()
            && kept.since.elapsed() < LIFETIME_MAX
        {
            self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(kept);
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        if let Some(kept) = self.kept.take() {
            drop(kept);
            // What has befallen it may have befallen them all. The pool looks at each.
            self.idle.lock().unwrap_or_else(PoisonError::into_inner).clear();
        }
    }
}

impl Deref for Connection {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        &self.kept.as_ref().expect("it is taken at the end only").connection
    }
}

impl DerefMut for Connection {
    fn deref_mut(&mut self) -> &mut PgConnection {
        &mut self.kept.as_mut().expect("it is taken at the end only").connection
    }
}

/// A statement on any connection. Its rows are read to their end before the first is seen,
/// so the connection is not held up by who reads them.
impl<'c> Executor<'c> for &'_ Connections {
    type Database = Postgres;

    fn fetch_many<'e, 'q: 'e, E>(
        self,
        query: E,
    ) -> BoxStream<'e, Result<Either<PgQueryResult, PgRow>, sqlx::Error>>
    where
        E: 'q + Execute<'q, Postgres>,
    {
        let connections = self.clone();
        let rows = async move {
            let mut connection = connections.acquire().await?;
            let rows: Vec<_> = connection.fetch_many(query).try_collect().await?;
            connection.keep();
            Ok::<_, sqlx::Error>(stream::iter(rows.into_iter().map(Ok)))
        };
        stream::once(rows).try_flatten().boxed()
    }

    fn fetch_optional<'e, 'q: 'e, E>(self, query: E) -> BoxFuture<'e, Result<Option<PgRow>, sqlx::Error>>
    where
        E: 'q + Execute<'q, Postgres>,
    {
        let connections = self.clone();
        Box::pin(async move {
            let mut connection = connections.acquire().await?;
            let row = connection.fetch_optional(query).await?;
            connection.keep();
            Ok(row)
        })
    }

    fn prepare_with<'e>(
        self,
        sql: SqlStr,
        parameters: &'e [PgTypeInfo],
    ) -> BoxFuture<'e, Result<PgStatement, sqlx::Error>>
    where
        'c: 'e,
    {
        let connections = self.clone();
        Box::pin(async move {
            let mut connection = connections.acquire().await?;
            let statement = connection.prepare_with(sql, parameters).await?;
            connection.keep();
            Ok(statement)
        })
    }

    fn describe<'e>(self, sql: SqlStr) -> BoxFuture<'e, Result<Describe<Postgres>, sqlx::Error>>
    where
        'c: 'e,
    {
        let connections = self.clone();
        Box::pin(async move {
            let mut connection = connections.acquire().await?;
            let described = connection.describe(sql).await?;
            connection.keep();
            Ok(described)
        })
    }
}

#[cfg(test)]
mod tests {
    use futures::future::join_all;
    use sqlx::Connection as _;

    use super::*;
    use crate::testing::database;

    async fn connections(connections_max: u32) -> Connections {
        let options = database().await.parse().expect("the launcher gives a URL");
        Connections::open(options, connections_max).await.expect("the database is there")
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
}

//! The replica's connections to the database.
//!
//! sqlx's pool opens them and counts them. But it asks a connection that is given back
//! whether it still lives, and on the path of a turn that question would be every third
//! round trip. So a connection whose use has come to its end is kept here for the next one.
//!
//! # Silence
//!
//! The server bounds its statements, but a connection whose other end is gone without a word
//! never hears of that. So every use has a deadline of its own. When it passes, the
//! connection is closed there and then, without a word to the server, and with it all that
//! wait and are as old. A use that has failed, or was given up in the middle, is looked at
//! in a task, until the same deadline: what was begun is rolled back, and the connection
//! kept. The others that wait then are doubted: each is asked whether it lives before it is
//! used again. The pool never gets a connection back: it would ask, and wait for ever.

mod executor;
mod front;
#[cfg(test)]
mod tests;

use std::{
    fmt, io,
    ops::{Deref, DerefMut},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use sqlx::{
    Executor as _, PgConnection, PgPool, Postgres,
    pool::PoolConnection,
    postgres::{PgConnectOptions, PgPoolOptions},
};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, timeout, timeout_at},
};
use tokio_util::task::TaskTracker;

pub(crate) use front::Front;
pub(super) use front::{Reads, Use};

/// A connection is waited for this long: a caller had better hear UNAVAILABLE.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(5);

/// A connection is renewed now and then, since a server process only grows: what it has
/// looked at once it remembers.
const LIFETIME_MAX: Duration = Duration::from_secs(30 * 60);

/// A connection that does nothing answers at once whether it lives.
const PING_TIMEOUT: Duration = Duration::from_secs(1);

/// How long uses that are under way may take to end when all is closed: within any grace
/// that a replica is given.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// Connections, at most as many as were asked for.
#[derive(Clone)]
pub(crate) struct Connections {
    pool: PgPool,
    waiting: Arc<Mutex<Waiting>>,
    permits: Arc<Semaphore>,
    /// How long one use may take.
    use_max: Duration,
    /// Those that look at what a use has left behind.
    looks: TaskTracker,
    /// What each use begins with behind a pooler; none where the connection is PostgreSQL's own.
    begins: Option<Arc<str>>,
}

/// Those that wait for a use, the last used on top.
#[derive(Default)]
struct Waiting {
    connections: Vec<Open>,
    /// One has failed then: those that were last used before are asked first.
    doubted: Option<Instant>,
}

/// An open connection. Dropped, it is closed hard, and its place in the pool is free.
struct Open {
    /// None only while it is dropped.
    connection: Option<PoolConnection<Postgres>>,
    since: Instant,
    used: Instant,
}

impl Open {
    fn new(connection: PoolConnection<Postgres>) -> Self {
        let now = Instant::now();
        Self { connection: Some(connection), since: now, used: now }
    }

    /// Asks it to forget what was begun and not ended: a `begin` whose caller gave up while it was
    /// under way has begun a transaction that sqlx knows nothing of. What is written in it later
    /// would be answered, and lost. Where there is none, it is asked whether it lives.
    async fn is_alive(&mut self, until: Instant) -> Answer {
        let connection: &mut PgConnection = self;
        match timeout_at(until, connection.execute("rollback")).await {
            Ok(Ok(_)) => Answer::Alive,
            Ok(Err(_)) => Answer::Broken,
            Err(_) => Answer::Silent,
        }
    }
}

/// Whether a connection lives.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Answer {
    Alive,
    Broken,
    Silent,
}

impl Drop for Open {
    fn drop(&mut self) {
        if let Some(connection) = self.connection.take() {
            drop(connection.detach());
        }
    }
}

impl Deref for Open {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        self.connection.as_ref().expect("it is taken at the end only")
    }
}

impl DerefMut for Open {
    fn deref_mut(&mut self) -> &mut PgConnection {
        self.connection.as_mut().expect("it is taken at the end only")
    }
}

impl Connections {
    /// Opens the first one, to see that the database is there.
    pub(super) async fn open(
        options: PgConnectOptions,
        connections_max: u32,
        uses: &Use<'_>,
    ) -> Result<Self, sqlx::Error> {
        let pool = pool_options(connections_max).connect_with(uses.options(options)).await?;
        Ok(Self::of(pool, connections_max, uses))
    }

    /// Opens each when it is first needed.
    pub(super) fn lazy(options: PgConnectOptions, connections_max: u32, uses: &Use<'_>) -> Self {
        let pool = pool_options(connections_max).connect_lazy_with(uses.options(options));
        Self::of(pool, connections_max, uses)
    }

    fn of(pool: PgPool, connections_max: u32, uses: &Use<'_>) -> Self {
        let permits = Arc::new(Semaphore::new(connections_max as usize));
        let (waiting, begins) = (Arc::default(), uses.begins());
        Self { pool, waiting, permits, use_max: uses.use_max, looks: TaskTracker::new(), begins }
    }

    /// One use of a connection. One that succeeds leaves it for the next; it must not leave
    /// a statement or a transaction in the middle.
    ///
    /// # Errors
    ///
    /// What `work` says, that no connection is free, or that the connection is silent.
    pub(super) async fn with<T, E>(
        &self,
        work: impl AsyncFnOnce(&mut PgConnection) -> Result<T, E>,
    ) -> Result<T, E>
    where
        E: From<sqlx::Error>,
    {
        let mut in_use = self.acquire().await?;
        let deadline = in_use.deadline;
        let done = async {
            match &self.begins {
                None => work(&mut in_use).await,
                Some(begins) => front::in_transaction(&mut in_use, begins, work).await,
            }
        };
        match timeout_at(deadline, done).await {
            Ok(Ok(done)) => {
                in_use.keep();
                Ok(done)
            }
            Ok(Err(error)) => Err(error),
            Err(_) => Err(silent().into()),
        }
    }

    /// One use, all of whose reads are of one moment.
    ///
    /// # Errors
    ///
    /// As [`Self::with`].
    pub(super) async fn in_snapshot<T, E>(
        &self,
        work: impl AsyncFnOnce(&mut PgConnection) -> Result<T, E>,
    ) -> Result<T, E>
    where
        E: From<sqlx::Error>,
    {
        match &self.begins {
            // Whoever reads snapshots has their uses begin with one.
            Some(_) => self.with(work).await,
            None => {
                let begins = format!("begin {}", front::SNAPSHOT);
                self.with(async |connection: &mut PgConnection| {
                    front::in_transaction(connection, &begins, work).await
                })
                .await
            }
        }
    }

    /// A connection for one caller.
    async fn acquire(&self) -> Result<InUse, sqlx::Error> {
        let permit = match timeout(ACQUIRE_TIMEOUT, Arc::clone(&self.permits).acquire_owned()).await {
            Ok(Ok(permit)) => permit,
            Ok(Err(_)) => return Err(sqlx::Error::PoolClosed),
            Err(_) => return Err(sqlx::Error::PoolTimedOut),
        };
        let mut in_use =
            InUse { open: None, deadline: Instant::now(), all: self.clone(), permit: Some(permit) };
        while let Some((open, is_doubted)) = self.next_waiting() {
            in_use.start(open);
            if !is_doubted || in_use.is_alive().await {
                return Ok(in_use);
            }
        }
        in_use.start(Open::new(self.pool.acquire().await?));
        Ok(in_use)
    }

    fn next_waiting(&self) -> Option<(Open, bool)> {
        self.waiting().pop()
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[cfg(test)]
    pub(super) fn options(&self) -> PgConnectOptions {
        (*self.pool.connect_options()).clone()
    }

    /// Closes every connection. Those in use have a moment to come back.
    pub(super) async fn close(&self) {
        self.permits.close();
        self.looks.close();
        self.waiting().connections.clear();
        let ended = async {
            self.looks.wait().await;
            self.waiting().connections.clear();
            self.pool.close().await;
        };
        if timeout(CLOSE_TIMEOUT, ended).await.is_err() {
            tracing::warn!("connections to the database were still in use when they were to be closed");
        }
    }
}

fn pool_options(connections_max: u32) -> PgPoolOptions {
    PgPoolOptions::new()
        .max_connections(connections_max)
        .acquire_timeout(ACQUIRE_TIMEOUT)
        // A ping before each use is a round trip; a dead connection shows at its use.
        .test_before_acquire(false)
}

impl fmt::Debug for Connections {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connections").field("pool", &self.pool).finish_non_exhaustive()
    }
}

/// The error of a use whose deadline has passed.
fn silent() -> sqlx::Error {
    io::Error::new(io::ErrorKind::TimedOut, "the connection is silent").into()
}

impl Waiting {
    /// The last used, and whether it is to be asked first.
    fn pop(&mut self) -> Option<(Open, bool)> {
        let open = self.connections.pop()?;
        let is_doubted = self.doubted.is_some_and(|doubted| open.used <= doubted);
        Some((open, is_doubted))
    }

    /// One was silent from `since` on: those that are as old are closed, the others doubted.
    fn silence(&mut self, since: Instant) {
        self.connections.retain(|open| open.since > since);
        self.doubted = Some(Instant::now());
    }
}

/// A connection in use.
struct InUse {
    /// None before the use has begun, and after it has ended.
    open: Option<Open>,
    deadline: Instant,
    all: Connections,
    permit: Option<OwnedSemaphorePermit>,
}

impl InUse {
    fn start(&mut self, open: Open) {
        self.deadline = Instant::now() + self.all.use_max;
        self.open = Some(open);
    }

    /// Asks the connection whether it lives; one that does not is closed.
    async fn is_alive(&mut self) -> bool {
        let since = Instant::now();
        let until = since + PING_TIMEOUT.min(self.all.use_max);
        let Some(open) = &mut self.open else { return false };
        let answer = open.is_alive(until).await;
        if answer != Answer::Alive {
            self.open = None;
        }
        if answer == Answer::Silent {
            self.all.waiting().silence(since);
        }
        answer == Answer::Alive
    }

    /// The use has ended as it should.
    fn keep(mut self) {
        if let Some(open) = self.open.take() {
            self.all.keep(open);
        }
    }
}

impl Connections {
    fn keep(&self, mut open: Open) {
        open.used = Instant::now();
        if open.since.elapsed() < LIFETIME_MAX && !self.permits.is_closed() {
            self.waiting().connections.push(open);
        }
    }

    /// Looks at what a use has left behind, and holds its permit meanwhile.
    async fn look(self, mut open: Open, deadline: Instant, permit: Option<OwnedSemaphorePermit>) {
        match open.is_alive(deadline).await {
            Answer::Alive => self.keep(open),
            Answer::Broken => drop(open),
            Answer::Silent => self.close_silent(open, deadline),
        }
        drop(permit);
    }

    fn close_silent(&self, open: Open, deadline: Instant) {
        tracing::warn!("a connection to the database is silent, and closed");
        drop(open);
        self.waiting().silence(deadline - self.use_max);
    }
}

impl Drop for InUse {
    fn drop(&mut self) {
        let Some(open) = self.open.take() else { return };
        if Instant::now() >= self.deadline {
            return self.all.close_silent(open, self.deadline);
        }
        // What has befallen it may have befallen them all.
        self.all.waiting().doubted = Some(Instant::now());
        let look = self.all.clone().look(open, self.deadline, self.permit.take());
        self.all.looks.spawn(look);
    }
}

impl Deref for InUse {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        self.open.as_ref().expect("its use has begun")
    }
}

impl DerefMut for InUse {
    fn deref_mut(&mut self) -> &mut PgConnection {
        self.open.as_mut().expect("its use has begun")
    }
}

//! The database of a run: a private PostgreSQL, kept by a thread of its own, or one that was named.
//!
//! Starting and stopping PostgreSQL blocks, and on Linux the kernel stops it when the thread that started it
//! ends. So one thread starts it, waits, and stops it.

use std::{
    future::pending,
    path::PathBuf,
    sync::mpsc::{self, RecvTimeoutError},
    thread,
    time::Duration,
};

use chatplane_embedded_postgres::{Postgres, Settings};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use crate::dev::DevError;

/// The database that the launcher makes in every cluster. The cluster is ours alone, so it needs no other.
const DATABASE: &str = "postgres";
/// How often the thread looks whether PostgreSQL still runs.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// A database that accepts connections.
pub(crate) struct Database {
    url: String,
    keeper: Option<Keeper>,
}

struct Keeper {
    /// Dropping it stops PostgreSQL.
    stop: mpsc::Sender<()>,
    /// Answers when PostgreSQL has ended, asked to or not.
    ended: oneshot::Receiver<()>,
}

impl Database {
    /// A database that somebody else runs.
    pub(crate) fn external(url: String) -> Self {
        Self { url, keeper: None }
    }

    /// Starts a private PostgreSQL, and gives up when `shutdown` comes first: the thread then stops what it
    /// has started by itself.
    pub(crate) async fn start(
        dir: PathBuf,
        bin_dir: Option<PathBuf>,
        shutdown: &CancellationToken,
    ) -> Result<Self, DevError> {
        let settings = Settings { bin_dir, ..Settings::kept_in(dir) };
        let (started_sender, started) = oneshot::channel();
        let (stop, stop_receiver) = mpsc::channel();
        let (ended_sender, ended) = oneshot::channel();
        thread::spawn(move || {
            match Postgres::start(settings) {
                Ok(postgres) => {
                    // Nobody may be waiting any more; then the sender of `stop` is gone too.
                    let _ = started_sender.send(Ok(postgres.url(DATABASE)));
                    keep(postgres, &stop_receiver);
                }
                Err(error) => {
                    let _ = started_sender.send(Err(error));
                }
            }
            let _ = ended_sender.send(());
        });
        let keeper = Keeper { stop, ended };
        tokio::select! {
            started = started => match started {
                Ok(Ok(url)) => Ok(Self { url, keeper: Some(keeper) }),
                Ok(Err(error)) => Err(error.into()),
                Err(_) => Err(DevError::PostgresEnded),
            },
            () = shutdown.cancelled() => {
                keeper.stop().await;
                Err(DevError::Interrupted)
            }
        }
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Returns when a private PostgreSQL has ended although nobody has asked it to.
    pub(crate) async fn ended(&mut self) -> DevError {
        match &mut self.keeper {
            Some(keeper) => {
                let _ = (&mut keeper.ended).await;
                DevError::PostgresEnded
            }
            None => pending().await,
        }
    }

    /// Stops a private PostgreSQL; a named one goes on.
    pub(crate) async fn stop(self) {
        if let Some(keeper) = self.keeper {
            keeper.stop().await;
        }
    }
}

impl Keeper {
    /// Ends: the launcher's start and stop both have deadlines.
    async fn stop(self) {
        drop(self.stop);
        if !self.ended.is_terminated() {
            // An error says that the thread is gone, and PostgreSQL with it.
            let _ = self.ended.await;
        }
    }
}

/// Keeps PostgreSQL until it is no longer wanted or has ended by itself.
fn keep(mut postgres: Postgres, stop: &mpsc::Receiver<()>) {
    while stop.recv_timeout(LOOK_EVERY) == Err(RecvTimeoutError::Timeout) && postgres.pid().is_some() {}
    postgres.stop();
}

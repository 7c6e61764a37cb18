//! A proxy between a replica and PostgreSQL that counts round trips.
//!
//! It listens on a unix socket as PostgreSQL does, and passes every byte on as it comes.
//! It reads just enough of the protocol to know when the replica waits for an answer.
//! It costs time, so nothing is timed through it.
//!
//! - `wire`: messages in bytes that come in pieces, and round trips in messages;
//! - `statements`: which statements those trips ran.

mod statements;
mod wire;

use std::{
    fs, io,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        UnixListener, UnixStream,
        unix::{OwnedReadHalf, OwnedWriteHalf},
    },
    select,
    task::JoinSet,
};
use tokio_util::task::AbortOnDropHandle;

use crate::{
    bench::Bench,
    error::{OrFailed as _, Result},
};
pub(crate) use statements::Counts;
use statements::Statements;
use wire::{SYNC, Splitter, Trips};

/// The name under which clients look for the socket.
const SOCKET: &str = ".s.PGSQL.5432";
/// A `Sync` with nothing before it asks for nothing but an answer.
const PING: &str = "(ping)";
/// What is passed on at a time.
const BUFFER_BYTES: usize = 64 * 1024;

/// What was counted so far, of all connections.
#[derive(Clone, Debug, Default)]
pub(crate) struct Found {
    /// Round trips.
    pub(crate) trips: u64,
    /// Runs of each statement.
    pub(crate) statements: Counts,
}

/// A counting proxy. It ends when it is dropped.
pub(crate) struct Proxy {
    directory: PathBuf,
    found: Arc<Mutex<Found>>,
    _serving: AbortOnDropHandle<()>,
}

impl Proxy {
    /// Listens in a directory of its own.
    pub(crate) fn start(bench: &Bench<'_>) -> Result<Self> {
        let directory = bench.new_path();
        fs::create_dir(&directory).or_failed("make a directory for a socket")?;
        fs::set_permissions(&directory, fs::Permissions::from_mode(0o700)).or_failed("close a directory")?;
        let listener = UnixListener::bind(directory.join(SOCKET)).or_failed("listen as PostgreSQL")?;
        let found = Arc::new(Mutex::new(Found::default()));
        let server = bench.postgres.socket_dir().join(SOCKET);
        let serving = tokio::spawn(serve(listener, server, Arc::clone(&found)));
        Ok(Self { directory, found, _serving: AbortOnDropHandle::new(serving) })
    }

    /// The address of a database through the proxy, from its own address.
    pub(crate) fn url(&self, database: &str) -> String {
        let host = self.directory.to_string_lossy().replace('/', "%2F");
        format!("postgres://chatplane@{host}:5432/{database}?sslmode=disable")
    }

    /// Round trips so far, of all connections.
    pub(crate) fn trips(&self) -> u64 {
        lock(&self.found).trips
    }

    /// Everything that was counted so far.
    pub(crate) fn found(&self) -> Found {
        lock(&self.found).clone()
    }
}

async fn serve(listener: UnixListener, server: PathBuf, found: Arc<Mutex<Found>>) {
    // Dropping the set ends the connections with it.
    let mut connections = JoinSet::new();
    loop {
        select! {
            Some(_) = connections.join_next() => {}
            accepted = listener.accept() => match accepted {
                // A replica bounds its connections, and so do we with it.
                Ok((client, _)) => {
                    let (server, found) = (server.clone(), Arc::clone(&found));
                    connections.spawn(async move {
                        // Its end is the end of one of its sides, who notice.
                        let _ = pass(client, &server, &found).await;
                    });
                }
                // Without descriptors the measurement fails by itself.
                Err(_) => return,
            },
        }
    }
}

/// One connection: both directions, until either side ends.
async fn pass(client: UnixStream, server: &Path, found: &Mutex<Found>) -> io::Result<()> {
    let server = UnixStream::connect(server).await?;
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let trips = Mutex::new(Trips::default());
    // Counted before it is passed on: whoever has seen an answer finds its trip counted.
    let mut statements = Statements::default();
    let asked = |tag, body: &[u8]| {
        let begun = lock(&trips).asked(tag);
        let mut found = lock(found);
        found.trips += begun;
        let ping = (begun > 0 && tag == SYNC).then(|| PING.to_owned());
        if let Some(words) = ping.or_else(|| statements.run(tag, body)) {
            *found.statements.entry(words).or_default() += 1;
        }
    };
    let answered = |tag, _: &[u8]| lock(&trips).answered(tag);
    select! {
        ended = pump(from_client, to_server, Splitter::of_client(), asked) => ended,
        ended = pump(from_server, to_client, Splitter::of_server(), answered) => ended,
    }
}

/// Passes on what comes, and says each message before it does.
async fn pump(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut splitter: Splitter,
    mut found: impl FnMut(u8, &[u8]),
) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        let length = from.read(&mut buffer).await?;
        if length == 0 {
            return Ok(());
        }
        splitter.split(&buffer[..length], &mut found);
        to.write_all(&buffer[..length]).await?;
    }
}

fn lock<T>(counts: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing panics while it holds them.
    counts.lock().unwrap_or_else(PoisonError::into_inner)
}

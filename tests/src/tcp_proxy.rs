//! A TCP proxy that a test can delay, hold up, swallow or cut.
//!
//! Each connection is two pumps, one a direction, which look at the line's [`Mode`] before
//! everything they carry. What a held line was given arrives later, as after a partition in
//! which the network's own repetitions got through in the end. What a swallowed line was
//! given is gone, so its connections break when the line works again: a stream of bytes
//! with a hole in it would be a fault that no network has.

use std::{
    net::SocketAddr,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, split},
    net::{TcpListener, TcpStream, UnixStream},
    sync::watch,
    task::JoinSet,
    time::sleep,
};
use tokio_util::task::AbortOnDropHandle;

/// What is carried at a time.
const PIECE_BYTES: usize = 16 * 1024;

/// Where a line leads.
#[derive(Clone, Debug)]
pub enum Upstream {
    /// To the first of these that answers, each connection beginning with another: a load
    /// balancer.
    Tcp(Vec<SocketAddr>),
    /// To a Unix socket.
    Unix(PathBuf),
}

/// How a line behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// It works.
    Pass,
    /// Each piece takes this long.
    Delay(Duration),
    /// Nothing gets through; it arrives when the line works again.
    Hold,
    /// Nothing gets through, and it never arrives.
    Swallow,
    /// Connections break, and new ones do so at once.
    Refuse,
}

/// A line; it breaks for good when it is dropped.
#[derive(Debug)]
pub struct TcpProxy {
    address: SocketAddr,
    mode: watch::Sender<Mode>,
    refused: Arc<AtomicUsize>,
    _task: AbortOnDropHandle<()>,
}

impl TcpProxy {
    /// Starts a line from a free port of this machine.
    ///
    /// # Panics
    ///
    /// When there is no free port.
    pub async fn start(upstream: Upstream) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a loopback port is free");
        let address = listener.local_addr().expect("the listener has an address");
        let mode = watch::Sender::new(Mode::Pass);
        let refused = Arc::new(AtomicUsize::new(0));
        let task = tokio::spawn(serve(listener, upstream, mode.subscribe(), Arc::clone(&refused)));
        Self { address, mode, refused, _task: AbortOnDropHandle::new(task) }
    }

    /// Where it begins.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The same for clients of HTTP.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Behaves so from now on.
    pub fn set(&self, mode: Mode) {
        self.mode.send_replace(mode);
    }

    /// How many connections were refused so far: who tries again and again shows that time passes.
    #[must_use]
    pub fn refused(&self) -> usize {
        self.refused.load(Ordering::Relaxed)
    }

    /// How it behaves.
    #[must_use]
    pub fn mode(&self) -> Mode {
        *self.mode.borrow()
    }
}

async fn serve(
    listener: TcpListener,
    upstream: Upstream,
    mode: watch::Receiver<Mode>,
    refused: Arc<AtomicUsize>,
) {
    let mut connections = JoinSet::new();
    for number in 0_usize.. {
        let accepted = loop {
            tokio::select! {
                Some(_) = connections.join_next() => {}
                accepted = listener.accept() => break accepted,
            }
        };
        let Ok((client, _)) = accepted else { continue };
        if *mode.borrow() == Mode::Refuse {
            refused.fetch_add(1, Ordering::Relaxed);
        } else {
            connections.spawn(connect(client, upstream.clone(), number, mode.clone()));
        }
    }
}

async fn connect(client: TcpStream, upstream: Upstream, number: usize, mode: watch::Receiver<Mode>) {
    // Small messages go at once, as from a client without a proxy.
    let _ = client.set_nodelay(true);
    match upstream {
        Upstream::Unix(path) => {
            if let Ok(server) = UnixStream::connect(path).await {
                carry(client, server, mode).await;
            }
        }
        Upstream::Tcp(addresses) => {
            for offset in 0..addresses.len() {
                let address = addresses[(number + offset) % addresses.len()];
                if let Ok(server) = TcpStream::connect(address).await {
                    let _ = server.set_nodelay(true);
                    return carry(client, server, mode).await;
                }
            }
        }
    }
}

/// Carries both directions until one of them ends; then both ends see the connection end.
async fn carry<C, S>(client: C, server: S, mode: watch::Receiver<Mode>)
where
    C: AsyncRead + AsyncWrite,
    S: AsyncRead + AsyncWrite,
{
    let (from_client, to_client) = split(client);
    let (from_server, to_server) = split(server);
    tokio::select! {
        () = pump(from_client, to_server, mode.clone()) => {}
        () = pump(from_server, to_client, mode) => {}
    }
}

/// Carries one direction until it ends, breaks, or has lost something.
async fn pump(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    mut mode: watch::Receiver<Mode>,
) {
    let mut piece = vec![0; PIECE_BYTES];
    let mut has_lost = false;
    loop {
        let now = *mode.borrow_and_update();
        if now == Mode::Refuse || (has_lost && now != Mode::Swallow) {
            return;
        }
        if now == Mode::Hold {
            if mode.changed().await.is_err() {
                return;
            }
            continue;
        }
        let read = tokio::select! {
            biased;
            changed = mode.changed() => match changed {
                Ok(()) => continue,
                Err(_) => return,
            },
            read = from.read(&mut piece) => read.unwrap_or_default(),
        };
        match now {
            Mode::Swallow => {
                has_lost = true;
                // Its end is swallowed, too: the other side goes on waiting.
                if read == 0 && mode.changed().await.is_err() {
                    return;
                }
            }
            _ if read == 0 => return,
            _ => {
                let delay = if let Mode::Delay(delay) = now { delay } else { Duration::ZERO };
                let mut watched = mode.clone();
                let sent = tokio::select! {
                    () = refused(&mut watched) => return,
                    sent = send(&mut to, &piece[..read], delay) => sent,
                };
                if sent.is_err() {
                    return;
                }
            }
        }
    }
}

async fn send(to: &mut (impl AsyncWrite + Unpin), piece: &[u8], delay: Duration) -> std::io::Result<()> {
    if !delay.is_zero() {
        sleep(delay).await;
    }
    to.write_all(piece).await?;
    to.flush().await
}

/// Until connections are to break; the line's owner has gone, and so breaks them.
async fn refused(mode: &mut watch::Receiver<Mode>) {
    let _ = mode.wait_for(|mode| *mode == Mode::Refuse).await;
}

#[cfg(test)]
mod tests;

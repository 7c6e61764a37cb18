//! Stands between the connections and PostgreSQL, and can make those that are open silent.

use std::{
    future::pending,
    path::{Path, PathBuf},
    sync::Arc,
};

use sqlx::postgres::PgConnectOptions;
use tempfile::TempDir;
use tokio::{
    io::copy_bidirectional,
    net::{UnixListener, UnixStream},
    sync::watch,
    task::JoinSet,
};
use tokio_util::task::AbortOnDropHandle;

/// A socket whose connections lead to PostgreSQL.
pub(super) struct Proxy {
    directory: TempDir,
    /// How often there was silence: connections that are older than the last one are silent.
    silences: Arc<watch::Sender<u32>>,
    _accepting: AbortOnDropHandle<()>,
}

impl Proxy {
    /// Before the server that these options lead to.
    pub(super) fn before(options: &PgConnectOptions) -> Self {
        let name = format!(".s.PGSQL.{}", options.get_port());
        let server = options.get_socket().expect("the launcher gives a socket").join(&name);
        let directory = tempfile::tempdir().expect("a directory can be made");
        let listener = UnixListener::bind(directory.path().join(&name)).expect("the name is new");
        let silences = Arc::new(watch::Sender::new(0));
        let accepting = tokio::spawn(accept(listener, server, Arc::clone(&silences)));
        Self { directory, silences, _accepting: AbortOnDropHandle::new(accepting) }
    }

    pub(super) fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Nothing passes any more on what is open, and nothing is closed.
    pub(super) fn silence(&self) {
        self.silences.send_modify(|silences| *silences += 1);
    }
}

async fn accept(listener: UnixListener, server: PathBuf, silences: Arc<watch::Sender<u32>>) {
    let mut pumps = JoinSet::new();
    while let Ok((client, _)) = listener.accept().await {
        pumps.spawn(pump(client, server.clone(), silences.subscribe()));
    }
}

async fn pump(mut client: UnixStream, server: PathBuf, mut silences: watch::Receiver<u32>) {
    let mut server = UnixStream::connect(server).await.expect("PostgreSQL takes connections");
    tokio::select! {
        biased;
        _ = silences.changed() => pending().await,
        _ = copy_bidirectional(&mut client, &mut server) => {}
    }
}

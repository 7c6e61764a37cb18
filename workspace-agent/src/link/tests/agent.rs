//! An agent with the tools of the program and some that a test controls.

use std::{
    fs,
    net::SocketAddr,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures::future::BoxFuture;
use tempfile::TempDir;
use tokio::{sync::Semaphore, task::JoinHandle};
use tokio_util::sync::CancellationToken;

use super::{
    super::{Dial, Limits, Link},
    soon,
};
use crate::{
    Config, JournalError, RunError,
    files::{Files, Root},
    journal::{self, Journal},
    tools::{Call, Definition, Effect, Ended, Tool, Tools},
};

/// A tool whose calls end when the test lets them.
pub(super) struct Gate {
    pub(super) started: AtomicUsize,
    pub(super) open: Arc<Semaphore>,
}

impl Gate {
    fn new() -> Self {
        Self { started: AtomicUsize::new(0), open: Arc::new(Semaphore::new(0)) }
    }
}

impl Tool for Gate {
    fn definition(&self) -> Definition {
        Definition { name: "gate", description: "Waits.", input_schema_json: "{}" }
    }

    fn effect(&self) -> Effect {
        Effect::Reads
    }

    fn run(&self, call: Call) -> BoxFuture<'static, Ended> {
        let run_no = self.started.fetch_add(1, Ordering::Relaxed) + 1;
        let open = self.open.clone();
        Box::pin(async move {
            tokio::select! {
                () = call.cancel.cancelled() => Ended::failed("cancelled"),
                _ = open.acquire() => Ended::ok(format!("run {run_no}")),
            }
        })
    }
}

/// A tool whose calls change something, and write, and end when the test lets them.
pub(super) struct Change(pub(super) Arc<Gate>);

impl Tool for Change {
    fn definition(&self) -> Definition {
        Definition { name: "change", description: "Changes.", input_schema_json: "{}" }
    }

    fn effect(&self) -> Effect {
        Effect::Changes
    }

    fn run(&self, call: Call) -> BoxFuture<'static, Ended> {
        let run_no = self.0.started.fetch_add(1, Ordering::Relaxed) + 1;
        let open = self.0.open.clone();
        Box::pin(async move {
            call.output.write(Bytes::from("begun")).await;
            tokio::select! {
                () = call.cancel.cancelled() => Ended::failed("cancelled"),
                _ = open.acquire() => Ended::ok(format!("change {run_no}")),
            }
        })
    }
}

/// A tool that writes while it runs.
pub(super) struct Writer;

impl Tool for Writer {
    fn definition(&self) -> Definition {
        Definition { name: "writer", description: "Writes.", input_schema_json: "{}" }
    }

    fn effect(&self) -> Effect {
        Effect::Reads
    }

    fn run(&self, call: Call) -> BoxFuture<'static, Ended> {
        Box::pin(async move {
            call.output.write(Bytes::from(vec![b'x'; 600 * 1024])).await;
            Ended::ok("written")
        })
    }
}

/// A tool with a defect.
pub(super) struct Broken;

impl Tool for Broken {
    fn definition(&self) -> Definition {
        Definition { name: "broken", description: "Panics.", input_schema_json: "{}" }
    }

    fn effect(&self) -> Effect {
        Effect::Reads
    }

    fn run(&self, _call: Call) -> BoxFuture<'static, Ended> {
        Box::pin(async { panic!("a defect") })
    }
}

/// Where an agent serves and keeps its journal; it outlives agents.
pub(super) struct Place {
    pub(super) dir: TempDir,
    pub(super) state: TempDir,
    /// Calls of `change` end when the test lets them.
    pub(super) change: Arc<Gate>,
    /// Whether `change` is offered.
    pub(super) is_read_only: bool,
    pub(super) journal: journal::Limits,
}

impl Place {
    pub(super) fn new() -> Self {
        Self {
            dir: tempfile::tempdir().unwrap(),
            state: tempfile::tempdir().unwrap(),
            change: Arc::new(Gate::new()),
            is_read_only: false,
            journal: journal::Limits::default(),
        }
    }

    /// The files of the journal's calls.
    pub(super) fn calls(&self) -> PathBuf {
        let journals: Vec<_> = fs::read_dir(self.state.path()).unwrap().collect();
        assert_eq!(journals.len(), 1);
        journals[0].as_ref().unwrap().path().join("calls")
    }

    /// Waits for writes of an agent that has just died.
    async fn open_journal(&self) -> Journal {
        let open = async {
            loop {
                match Journal::open(Some(self.state.path()), self.dir.path(), self.journal.clone()) {
                    Ok(journal) => return journal,
                    Err(JournalError::InUse { .. }) => tokio::time::sleep(Duration::from_millis(1)).await,
                    Err(error) => panic!("{error}"),
                }
            }
        };
        soon("the end of the agent of before", open).await
    }
}

pub(super) struct Agent {
    pub(super) place: Arc<Place>,
    pub(super) gate: Arc<Gate>,
    pub(super) shutdown: CancellationToken,
    running: JoinHandle<Result<(), RunError>>,
}

impl Agent {
    pub(super) async fn start(address: SocketAddr) -> Self {
        Self::start_with(address, "right", limits()).await
    }

    pub(super) async fn start_with(address: SocketAddr, token: &str, limits: Limits) -> Self {
        Self::start_at(Arc::new(Place::new()), address, token, limits).await
    }

    pub(super) async fn start_in(place: &Arc<Place>, address: SocketAddr) -> Self {
        Self::start_at(place.clone(), address, "right", limits()).await
    }

    pub(super) async fn start_at(
        place: Arc<Place>,
        address: SocketAddr,
        token: &str,
        limits: Limits,
    ) -> Self {
        let config = Config {
            control_plane: format!("http://{address}"),
            token: Some(token.to_owned()),
            token_file: None,
            dir: place.dir.path().to_owned(),
            read_only: place.is_read_only,
            allow_outside: false,
            pass_env: Vec::new(),
            state_dir: Some(place.state.path().to_owned()),
            allow_plaintext: false,
            ca_cert: None,
        };
        let gate = Arc::new(Gate::new());
        let mut tools = Files::new(Arc::new(Root::new(place.dir.path()).unwrap())).tools();
        tools.extend([gate.clone() as Arc<dyn Tool>, Arc::new(Writer), Arc::new(Broken)]);
        if !place.is_read_only {
            tools.push(Arc::new(Change(place.change.clone())));
        }
        let journal = place.open_journal().await;
        let link = Link::new(Dial::new(&config, &limits).unwrap(), Tools::new(tools), journal, limits);
        let shutdown = CancellationToken::new();
        let running = tokio::spawn(link.run(shutdown.clone()));
        Self { place, gate, shutdown, running }
    }

    pub(super) async fn result(self) -> Result<(), RunError> {
        soon("the agent's end", self.running).await.unwrap()
    }

    /// Ends it at once: nothing more is begun. Unlike with a kill, a write that is under way goes to its end.
    pub(super) async fn die(self) {
        self.running.abort();
        assert!(soon("the agent's death", self.running).await.unwrap_err().is_cancelled());
    }
}

pub(super) fn limits() -> Limits {
    Limits {
        backoff_min: Duration::from_millis(5),
        backoff_max: Duration::from_millis(50),
        ..Limits::default()
    }
}

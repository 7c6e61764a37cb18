//! An agent with the tools of the program and some that a test controls.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures::future::BoxFuture;
use tokio::{sync::Semaphore, task::JoinHandle};
use tokio_util::sync::CancellationToken;

use super::{
    super::{Dial, Limits, Link},
    soon,
};
use crate::{
    Config, RunError,
    files::{Files, Root},
    tools::{Call, Definition, Ended, Tool, Tools},
};

/// A tool whose calls end when the test lets them.
pub(super) struct Gate {
    pub(super) started: AtomicUsize,
    pub(super) open: Arc<Semaphore>,
}

impl Tool for Gate {
    fn definition(&self) -> Definition {
        Definition { name: "gate", description: "Waits.", input_schema_json: "{}" }
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

/// A tool that writes while it runs.
pub(super) struct Writer;

impl Tool for Writer {
    fn definition(&self) -> Definition {
        Definition { name: "writer", description: "Writes.", input_schema_json: "{}" }
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

    fn run(&self, _call: Call) -> BoxFuture<'static, Ended> {
        Box::pin(async { panic!("a defect") })
    }
}

pub(super) struct Agent {
    pub(super) dir: tempfile::TempDir,
    pub(super) gate: Arc<Gate>,
    pub(super) shutdown: CancellationToken,
    running: JoinHandle<Result<(), RunError>>,
}

impl Agent {
    pub(super) fn start(address: SocketAddr) -> Self {
        Self::start_with(address, "right", limits())
    }

    pub(super) fn start_with(address: SocketAddr, token: &str, limits: Limits) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let config = Config {
            control_plane: format!("http://{address}"),
            token: Some(token.to_owned()),
            token_file: None,
            dir: dir.path().to_owned(),
            allow_plaintext: false,
            ca_cert: None,
        };
        let gate = Arc::new(Gate { started: AtomicUsize::new(0), open: Arc::new(Semaphore::new(0)) });
        let mut tools = Files::new(Arc::new(Root::new(dir.path()).unwrap())).tools();
        tools.extend([gate.clone() as Arc<dyn Tool>, Arc::new(Writer), Arc::new(Broken)]);
        let link = Link::new(Dial::new(&config, &limits).unwrap(), Tools::new(tools), limits);
        let shutdown = CancellationToken::new();
        let running = tokio::spawn(link.run(shutdown.clone()));
        Self { dir, gate, shutdown, running }
    }

    pub(super) async fn result(self) -> Result<(), RunError> {
        soon("the agent's end", self.running).await.unwrap()
    }
}

pub(super) fn limits() -> Limits {
    Limits {
        backoff_min: Duration::from_millis(5),
        backoff_max: Duration::from_millis(50),
        ..Limits::default()
    }
}

//! A workspace to run commands in.

use std::{
    env, fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use rustix::process::{Pid, test_kill_process};
use serde_json::{Value, json};
use tokio::{
    sync::mpsc,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use super::super::*;
use crate::{
    files::Root,
    tools::{Arguments, Call, Ended, OutputSink},
};

/// Nothing here takes as long; who waits so long has found a defect.
pub(super) const DEADLINE: Duration = Duration::from_secs(30);

const GUARD: &str = "processes::tests::support::the_guard";

/// Not a test: how this program is a guard when another test starts it as one.
#[test]
#[ignore = "what other tests start as a guard"]
fn the_guard() {
    if is_started_as(GUARD) {
        let ended = guard();
        std::process::exit(i32::from(ended.is_err()));
    }
}

/// Whether this program runs nothing but the "test" of that name: `--ignored` of a person does not count.
pub(super) fn is_started_as(name: &str) -> bool {
    env::args().skip(1).collect::<Vec<_>>() == arguments(name)
}

/// How this program is started as one of its "tests". The test harness writes to standard output alone.
pub(super) fn arguments(name: &str) -> Vec<String> {
    ["--ignored", "--exact", "--nocapture", name].map(str::to_owned).to_vec()
}

pub(super) fn guard_program() -> GuardProgram {
    GuardProgram {
        program: env::current_exe().unwrap(),
        arguments: arguments(GUARD).into_iter().map(Into::into).collect(),
    }
}

/// A workspace directory and its tool.
pub(super) struct Place {
    pub(super) dir: tempfile::TempDir,
    pub(super) execute: Arc<dyn Tool>,
}

impl Place {
    pub(super) fn new() -> Self {
        Self::with(tempfile::tempdir().unwrap(), Environment::cleaned(&[]).unwrap(), Orphans::LeftAlone)
    }

    pub(super) fn with(dir: tempfile::TempDir, environment: Environment, orphans: Orphans) -> Self {
        let files = Files::new(Arc::new(Root::new(dir.path()).unwrap()));
        let processes = Processes::new(guard_program(), orphans, environment, files).unwrap();
        Self { dir, execute: processes.tools().pop().unwrap() }
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(super) async fn run(&self, command: &str) -> Ended {
        self.call(json!({ "command": command })).await
    }

    pub(super) async fn call(&self, arguments: Value) -> Ended {
        let (output, _) = OutputSink::new();
        let call = Call { arguments: parsed(&arguments), output, cancel: CancellationToken::new() };
        soon("the end of a command", self.execute.run(call)).await
    }

    /// A call that can be cancelled, and whose preview can be read.
    pub(super) fn start(&self, arguments: &Value) -> Started {
        let (output, preview) = OutputSink::new();
        let cancel = CancellationToken::new();
        let call = Call { arguments: parsed(arguments), output, cancel: cancel.clone() };
        let task = tokio::spawn(self.execute.run(call));
        Started { preview, cancel, task }
    }

    /// The numbers of processes that a command writes into this file, once it holds `count`.
    pub(super) async fn pids(&self, name: &str, count: usize) -> Vec<Pid> {
        pids(&self.path(name), count).await
    }
}

pub(super) struct Started {
    pub(super) preview: mpsc::Receiver<Bytes>,
    pub(super) cancel: CancellationToken,
    pub(super) task: tokio::task::JoinHandle<Ended>,
}

impl Started {
    pub(super) async fn end(self) -> Ended {
        soon("the end of a command", self.task).await.unwrap()
    }
}

fn parsed(arguments: &Value) -> Arguments {
    Arguments::parse(&arguments.to_string()).unwrap()
}

pub(super) async fn pids(path: &Path, count: usize) -> Vec<Pid> {
    let mut pids = Vec::new();
    eventually("the processes have started", || {
        let text = fs::read_to_string(path).unwrap_or_default();
        pids = text.lines().filter_map(|line| Pid::from_raw(line.trim().parse().ok()?)).collect();
        pids.len() >= count && text.ends_with('\n')
    })
    .await;
    pids
}

/// A process that has ended may still be a name until its new parent looks.
pub(super) async fn all_gone(pids: &[Pid]) {
    eventually("every process is gone", || pids.iter().all(|pid| test_kill_process(*pid).is_err())).await;
}

pub(super) async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let wait = async {
        while !holds() {
            sleep(Duration::from_millis(5)).await;
        }
    };
    soon(what, wait).await;
}

pub(super) async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    timeout(DEADLINE, future).await.unwrap_or_else(|_| panic!("in vain: {what}"))
}

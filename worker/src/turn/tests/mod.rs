//! Whole turns: a worker against a control plane in memory and a scripted model.

mod control_plane;
mod interruptions;
mod model;
mod reads;
mod service;
mod steps;
mod stops;

use std::{sync::Arc, time::Duration};

use clap::Parser;
use tokio::{task::JoinHandle, time::timeout};
use tokio_util::sync::CancellationToken;

use crate::{
    backoff::Backoff,
    config::Config,
    limits::Limits,
    llm::Provider,
    run::{RunError, run_with},
};
use control_plane::{ATTEMPTS_MAX, ControlPlane, TOKEN};
use model::ScriptedModel;

#[derive(Parser)]
struct Command {
    #[command(flatten)]
    config: Config,
}

/// A worker at work; dropped, it is gone.
struct RunningWorker {
    shutdown: CancellationToken,
    task: JoinHandle<Result<(), RunError>>,
}

impl RunningWorker {
    fn start(control_plane: &ControlPlane, model: &Arc<ScriptedModel>) -> Self {
        Self::start_with(control_plane, model, &["--token", TOKEN])
    }

    fn start_with(control_plane: &ControlPlane, model: &Arc<ScriptedModel>, more: &[&str]) -> Self {
        let arguments = [&["worker", "--control-plane", &control_plane.address], more].concat();
        let config = Command::try_parse_from(arguments).unwrap().config;
        let shutdown = CancellationToken::new();
        let (model, stop) = (model.clone(), shutdown.clone());
        let provider = move |name: &str| {
            let model: Arc<dyn Provider> = model.clone();
            (name == "scripted").then_some(model)
        };
        let task =
            tokio::spawn(async move { run_with(&config, quick_limits(), Arc::new(provider), stop).await });
        RunningWorker { shutdown, task }
    }

    async fn stop(mut self) -> Result<(), RunError> {
        self.shutdown.cancel();
        self.ended().await
    }

    async fn ended(&mut self) -> Result<(), RunError> {
        timeout(Duration::from_secs(20), &mut self.task).await.expect("the worker ends").unwrap()
    }
}

impl Drop for RunningWorker {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// No test waits for a pause, and the fake control plane does not ping.
fn quick_limits() -> Limits {
    let quick = Backoff { first: Duration::from_millis(1), max: Duration::from_millis(10) };
    Limits {
        hop_after: Duration::from_secs(3600),
        pause_after: Duration::from_secs(3600),
        redial: quick,
        rewrite: quick,
        recall: quick,
        attempts_max: ATTEMPTS_MAX,
        timeouts_max: 2,
        ..Limits::default()
    }
}

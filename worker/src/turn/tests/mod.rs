//! Whole turns: a worker against a control plane in memory and a scripted model.

mod aside;
mod client_tools;
mod compaction;
mod control_plane;
mod files;
mod interruptions;
mod jobs;
mod model;
mod reads;
mod recordings;
mod rows;
mod service;
mod steering;
mod steps;
mod stops;
mod summary_ends;
mod usage;

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
        Self::start_within(quick_limits(), control_plane, model, more)
    }

    /// One that waits for what it waits for longer than a test does.
    fn start_patient(control_plane: &ControlPlane, model: &Arc<ScriptedModel>, more: &[&str]) -> Self {
        let patience = Duration::from_secs(3600);
        let limits = Limits { interrupt_grace: patience, summary_grace: patience, ..quick_limits() };
        Self::start_within(limits, control_plane, model, more)
    }

    fn start_within(
        limits: Limits,
        control_plane: &ControlPlane,
        model: &Arc<ScriptedModel>,
        more: &[&str],
    ) -> Self {
        let arguments = [&["worker", "--control-plane", &control_plane.address], more].concat();
        let config = Command::try_parse_from(arguments).unwrap().config;
        let shutdown = CancellationToken::new();
        let (model, stop) = (model.clone(), shutdown.clone());
        let provider = move |name: &str| {
            let model: Arc<dyn Provider> = model.clone();
            (name == "scripted").then_some(model)
        };
        let task = tokio::spawn(async move { run_with(&config, limits, Arc::new(provider), stop).await });
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
        model_calls_max: 6,
        wasted_max: 2,
        // Long enough for calls that end, and a wait for those that do not.
        interrupt_grace: Duration::from_millis(500),
        summary_grace: Duration::from_millis(10),
        ..Limits::default()
    }
}

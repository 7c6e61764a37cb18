//! A worker from its start to its end: one session, and a task for each lease.

use std::{collections::HashMap, future::Future, sync::Arc};

use thiserror::Error;
use tokio::{
    sync::watch,
    task::{Id, JoinError, JoinSet},
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use crate::{
    config::{Config, ConfigError},
    files::FileCache,
    jobs::Jobs,
    limits::Limits,
    link::{Client, Command, Dial, Holder, LeaseInput, LiveStreams, SessionStream, Timeouts, Worker},
    llm,
    session::{Control, LeaseKey, RunEnd, Session, Timing},
    turn::{self, Context, DebugSteps, Providers, UsageReports, VainSummaries},
};

/// Why a worker could not go on.
#[derive(Debug, Error)]
pub enum RunError {
    /// The settings cannot work.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The control plane does not accept the token.
    #[error(
        "the control plane refused the worker's token: check --token, CHATPLANE_WORKER_TOKEN or --token-file"
    )]
    TokenRefused,
    /// The control plane does not accept the worker.
    #[error("the control plane refused the worker: {0}")]
    WorkerRefused(String),
}

/// Runs a worker until `shutdown` is cancelled and its leases are given back.
///
/// # Errors
///
/// When the settings cannot work, or no replica will ever accept the worker.
pub async fn run(config: Config, shutdown: CancellationToken) -> Result<(), RunError> {
    run_with(&config, Limits::default(), providers(), shutdown).await
}

/// The same with limits and providers of a test.
pub(crate) async fn run_with(
    config: &Config,
    limits: Limits,
    providers: Providers,
    shutdown: CancellationToken,
) -> Result<(), RunError> {
    let limits = Arc::new(limits);
    let client = connect(config, &limits)?;
    let live = LiveStreams::default();
    let (usage, reports) = UsageReports::new();
    let (debug, steps) = DebugSteps::new();
    let mut reporting = JoinSet::new();
    reporting.spawn(turn::report_all(client.clone(), limits.clone(), reports));
    reporting.spawn(turn::record_all(client.clone(), steps));
    let name = config.worker_name();
    tracing::info!(name, slots = config.slots, "the worker starts");
    let core = Session::new(timing(config, &limits), config.slots as usize, client.addresses());
    let worker = Worker { name, slots_total: config.slots };
    let session = SessionStream::new(client.clone(), live.clone(), worker, core);
    let files = Arc::new(FileCache::default());
    let vain_summaries = VainSummaries::default();
    let context =
        Context { client, live, providers, limits: limits.clone(), usage, files, debug, vain_summaries };
    let ended = Box::pin(Runs::new(context, session).run(shutdown)).await;
    // All senders are gone: what is still queued gets a moment.
    let all_reported = async { while reporting.join_next().await.is_some() {} };
    if timeout(limits.release_grace, all_reported).await.is_err() {
        tracing::warn!("some usage or recordings could not be reported before the end");
    }
    ended
}

fn providers() -> Providers {
    let providers = llm::Providers::default();
    Arc::new(move |name: &str| providers.get(name))
}

fn connect(config: &Config, limits: &Limits) -> Result<Client, RunError> {
    let token = config.read_token()?;
    let ca_cert = config.read_ca_cert()?;
    let dial = Dial {
        addresses: &config.control_plane,
        ca_cert: ca_cert.as_deref(),
        allow_plaintext: config.allow_plaintext,
        timeout: limits.dial_timeout,
    };
    let timeouts = Timeouts { unary: limits.unary_timeout, piece: limits.piece_timeout };
    Ok(Client::new(dial.channels()?, &token, timeouts)?)
}

fn timing(config: &Config, limits: &Limits) -> Timing {
    Timing {
        open_timeout: limits.open_timeout,
        hop_after: limits.hop_after,
        pause_after: limits.pause_after,
        redial: limits.redial,
        drain_timeout: config.drain_timeout,
        release_grace: limits.release_grace,
    }
}

/// How a task ended.
enum TaskEnd {
    Run(LeaseKey, RunEnd),
    GivenBack { key: LeaseKey, done: bool },
}

/// A lease at work, as its owner holds it.
struct Run {
    control: watch::Sender<Control>,
    lost: CancellationToken,
}

/// All leases at work.
struct Runs {
    context: Context,
    session: SessionStream,
    jobs: Jobs,
    runs: HashMap<LeaseKey, Run>,
    tasks: JoinSet<TaskEnd>,
    /// Which lease a task works for, should it panic.
    keys: HashMap<Id, LeaseKey>,
}

impl Runs {
    fn new(context: Context, session: SessionStream) -> Self {
        let jobs = Jobs::new(context.client.clone(), context.providers.clone(), context.limits.clone());
        Runs { context, session, jobs, runs: HashMap::new(), tasks: JoinSet::new(), keys: HashMap::new() }
    }

    async fn run(mut self, shutdown: CancellationToken) -> Result<(), RunError> {
        let mut asked = false;
        loop {
            tokio::select! {
                () = shutdown.cancelled(), if !asked => {
                    asked = true;
                    tracing::info!(leases = self.runs.len(), "the worker stops when its steps have ended");
                    self.session.shut_down();
                }
                Some(ended) = self.tasks.join_next_with_id() => self.task_ended(ended),
                () = self.jobs.ended() => {}
                command = self.session.next() => match command {
                    Command::Start(holder, input) => self.start(holder, *input),
                    Command::GiveBack(holder, input) => self.give_back(holder, input),
                    Command::Control(key, control) => self.control(key, control),
                    Command::Abandon(key) => self.abandon(key),
                    Command::Job(job) => self.jobs.start(*job),
                    Command::Stop => {
                        self.jobs.end().await;
                        return Ok(());
                    }
                    Command::GiveUp(refusal) if refusal.token_refused => return Err(RunError::TokenRefused),
                    Command::GiveUp(refusal) => return Err(RunError::WorkerRefused(refusal.message)),
                },
            }
        }
    }

    fn start(&mut self, holder: Holder, input: LeaseInput) {
        let key = holder.key;
        tracing::debug!(chat_id = %key.chat_id, fence = key.fence, "a lease begins");
        let (control, watched) = watch::channel(Control::default());
        let lost = CancellationToken::new();
        let run = turn::run(self.context.clone(), holder, input, watched, lost.clone());
        self.runs.insert(key, Run { control, lost });
        self.spawn(key, async move { TaskEnd::Run(key, run.await) });
    }

    fn give_back(&mut self, holder: Holder, input: Box<LeaseInput>) {
        let key = holder.key;
        let context = self.context.clone();
        self.spawn(key, async move {
            let done = turn::give_back(&context, &holder, &input.header).await;
            TaskEnd::GivenBack { key, done }
        });
    }

    fn spawn(&mut self, key: LeaseKey, task: impl Future<Output = TaskEnd> + Send + 'static) {
        let id = self.tasks.spawn(task).id();
        self.keys.insert(id, key);
    }

    fn control(&self, key: LeaseKey, control: Control) {
        if let Some(run) = self.runs.get(&key) {
            run.control.send_replace(control);
        }
    }

    fn abandon(&mut self, key: LeaseKey) {
        tracing::info!(chat_id = %key.chat_id, fence = key.fence, "a lease is lost");
        self.context.live.forget(key);
        if let Some(run) = self.runs.remove(&key) {
            run.lost.cancel();
        }
    }

    fn task_ended(&mut self, ended: Result<(Id, TaskEnd), JoinError>) {
        let id = match &ended {
            Ok((id, _)) => *id,
            Err(error) => error.id(),
        };
        let key = self.keys.remove(&id);
        match ended {
            Ok((_, TaskEnd::Run(key, end))) => self.run_ended(key, end),
            Ok((_, TaskEnd::GivenBack { key, done })) => self.session.given_back(key, done),
            Err(error) => {
                tracing::error!(%error, "the work of a lease has panicked");
                if let Some(key) = key {
                    self.run_ended(key, RunEnd::Failed);
                    self.session.given_back(key, false);
                }
            }
        }
    }

    fn run_ended(&mut self, key: LeaseKey, end: RunEnd) {
        tracing::debug!(chat_id = %key.chat_id, fence = key.fence, ?end, "a lease ends");
        self.runs.remove(&key);
        self.session.run_ended(key, end);
    }
}

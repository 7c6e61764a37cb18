//! The event loop of one lease.
//!
//! # Theory of operation
//!
//! The loop looks at what it knows of the chat, does the one thing that comes next, and
//! looks again: end an interruption, read what has changed, give the lease back, run the
//! open calls, or call the model. Whatever goes wrong in between leads back to the top
//! with better knowledge, or out with the lease lost. So there is no state but the
//! history, the settings and three versions ([`Versions`]).
//!
//! Writes are numbered and one at a time; a write whose reply is lost is repeated under
//! its number until there is a reply ([`write`]). Its reply is the only thing that tells
//! this holder what it wrote.
//!
//! A task is one lease. Losing the lease drops the whole loop at whatever it waits for,
//! which closes the provider's connection and lets go of running tools.

mod compaction;
mod control;
mod files;
mod model;
mod normal_form;
mod recording;
mod retry;
#[cfg(test)]
mod tests;
mod tools;
mod usage;
mod vain;
mod versions;
mod write;

use std::{mem, sync::Arc, time::Duration};

use futures::{
    FutureExt,
    future::{BoxFuture, pending},
};
use tokio::{
    sync::watch,
    time::{Instant, sleep},
};
use tokio_util::sync::CancellationToken;

use crate::{
    files::FileCache,
    limits::Limits,
    link::{
        CallError, Client, Holder, LeaseInput, LeaseStreams, LiveStreams, NewStep, Settings, TurnHeader,
        TurnNews, Write,
    },
    llm::Provider,
    session::{Control, Drain, RunEnd},
    step::{self, After, Compaction, History, Instructions, Next, Situation},
};
use compaction::Summaries;
use control::Signal;
pub(crate) use recording::{DebugSteps, record_all};
use recording::{Recording, RunOrigin};
pub(crate) use usage::{UsageReports, report_all};
pub(crate) use vain::VainSummaries;
use versions::Versions;
pub(crate) use write::give_back;

/// How many writes in a row, or tries of one read, may find the chat changed: more means
/// that this worker and the control plane do not understand each other.
const STALE_MAX: u32 = 100;

/// A read of the turn that goes on beside other work.
type Reading = BoxFuture<'static, Result<TurnNews, Exit>>;

/// Finds the wire format of a provider by its name.
pub(crate) type Providers = Arc<dyn Fn(&str) -> Option<Arc<dyn Provider>> + Send + Sync>;

/// What every lease needs.
#[derive(Clone)]
pub(crate) struct Context {
    pub(crate) client: Client,
    pub(crate) live: LiveStreams,
    pub(crate) providers: Providers,
    pub(crate) limits: Arc<Limits>,
    pub(crate) usage: UsageReports,
    pub(crate) files: Arc<FileCache>,
    pub(crate) debug: DebugSteps,
    pub(crate) vain_summaries: VainSummaries,
}

impl Context {
    /// How long to wait before the same call is made again.
    fn pause_before_repeat(&self, failures: u32, asked: Option<Duration>) -> Duration {
        let pause = self.limits.rewrite.pause(failures, rand::random());
        // A longer wish than our longest pause is not worth the turn.
        pause.max(asked.unwrap_or_default().min(self.limits.rewrite.max))
    }
}

/// Why the loop ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Exit {
    /// By a write of this holder.
    Released,
    /// It is another's, or over: nothing more is sent for it.
    Lost,
    /// The control plane refuses what this worker writes.
    Refused,
}

/// One lease at work.
struct Turn {
    context: Context,
    holder: Holder,
    control: watch::Receiver<Control>,
    live: LeaseStreams,
    history: History,
    settings: Settings,
    /// The owner's own instructions as they were when the turn began.
    user_instructions: String,
    /// A turn has begun since the last read: the next one tells its instructions.
    turn_begins: bool,
    summaries: Summaries,
    /// Answers of this turn that a summary of this lease took the place of. A lease that
    /// takes over does not know them, and gives the turn as many more.
    answers_summarized: usize,
    versions: Versions,
    /// The history has rows above this revision that are not known here.
    unread_after: Option<i64>,
    /// The chat is known to be interrupting.
    interrupting: bool,
    /// Number of the last write that was applied.
    write_no: i64,
    /// Writes in a row that found the chat changed.
    stale_writes: u32,
    /// Tries of the current model call.
    attempt: i32,
    /// Model calls of this lease.
    model_calls: i64,
    tries: Tries,
    /// Where the turn began, for the recordings of its model calls.
    origin: Option<RunOrigin>,
    /// What is recorded of the current model call, between its tries.
    recording: Option<Recording>,
}

/// The tries of the current model call under this lease: all that is about one history.
#[derive(Clone, Copy, Debug, Default)]
struct Tries {
    /// When the first one began.
    since: Option<Instant>,
    failures: u32,
    /// The last ones that were paid for, or may have been, and came to nothing.
    wasted: u32,
    /// The next one waits until then.
    not_before: Option<Instant>,
    /// The provider has refused the history for its length.
    is_refused: bool,
    /// It has also refused to summarize it up to this row, for its length.
    summary_refused_through: Option<i64>,
}

/// Runs a lease to its end, or until it is lost.
pub(crate) async fn run(
    context: Context,
    holder: Holder,
    input: LeaseInput,
    control: watch::Receiver<Control>,
    lost: CancellationToken,
) -> RunEnd {
    let turn = Turn::new(context, holder, input, control);
    let exit = tokio::select! {
        biased;
        () = lost.cancelled() => Exit::Lost,
        exit = Box::pin(turn.run()) => exit,
    };
    match exit {
        Exit::Released | Exit::Lost => RunEnd::LeaseEnded,
        Exit::Refused => RunEnd::Failed,
    }
}

impl Turn {
    fn new(context: Context, holder: Holder, input: LeaseInput, control: watch::Receiver<Control>) -> Self {
        let TurnHeader { snapshot_version, history_version, .. } = input.header;
        let mut history = History::default();
        let unread_after = if input.messages.is_some() { None } else { Some(0) };
        for message in input.messages.into_iter().flatten() {
            history.put(message);
        }
        Turn {
            live: context.live.lease(holder.key, snapshot_version),
            context,
            holder,
            control,
            history,
            user_instructions: input.header.settings.user_instructions.clone(),
            settings: input.header.settings,
            turn_begins: false,
            summaries: Summaries::default(),
            answers_summarized: 0,
            versions: Versions::read(snapshot_version, history_version),
            unread_after,
            interrupting: input.header.interrupting,
            write_no: input.header.last_write_no,
            stale_writes: 0,
            attempt: input.header.attempt,
            model_calls: 0,
            tries: Tries::default(),
            origin: None,
            recording: None,
        }
    }

    async fn run(mut self) -> Exit {
        loop {
            if let Err(exit) = self.advance().await {
                if exit == Exit::Lost {
                    self.context.live.forget(self.holder.key);
                }
                return exit;
            }
        }
    }

    /// Does the one thing that comes next.
    async fn advance(&mut self) -> Result<(), Exit> {
        if self.unread_after.is_some() {
            return self.read().await;
        }
        match self.signal() {
            Some(Signal::Interrupt) => return self.finish_interruption(None, Vec::new()).await,
            Some(Signal::Reload) => return self.read().await,
            Some(Signal::GiveBack) => return self.release().await,
            None => {}
        }
        let next = step::next(&self.history, &self.situation());
        // Between two steps is where a draining worker stops; a chat that waits for its client
        // needs no other worker to say so.
        if self.control.borrow().drain != Drain::No && next != Ok(Next::Suspend) {
            return self.release().await;
        }
        match next {
            Ok(Next::CallModel { prompt, beside }) => self.call_model(prompt, beside).await,
            Ok(Next::RunTools(calls)) => self.run_tools(calls).await,
            Ok(Next::Summarize(plan)) => self.summarize(plan).await,
            Ok(Next::Suspend) => self.suspend().await,
            Err(error) => self.fail(error).await,
        }
    }

    /// All that the next step depends on beside the history.
    fn situation(&self) -> Situation<'_> {
        Situation {
            instructions: Instructions {
                workspace_notice: &self.settings.workspace_notice,
                user_instructions: &self.user_instructions,
            },
            model_calls_max: self.context.limits.model_calls_max,
            answers_summarized: self.answers_summarized,
            compaction: Compaction {
                is_requested: self.settings.compact_requested,
                threshold_percent: self.settings.compaction_threshold_percent,
                context_tokens_max: self.settings.model.context_tokens_max,
                may_begin: self.summaries.may_begin(),
                in_vain: self.context.vain_summaries.last_of(self.holder.key.chat_id),
                is_refused: self.tries.is_refused,
                refused_through: self.tries.summary_refused_through,
            },
        }
    }

    /// Leaves the open calls to whoever settles them. A lease may begin with that.
    async fn suspend(&mut self) -> Result<(), Exit> {
        let step = NewStep { answer: None, summary: None, after: After::Suspend };
        self.write(Write::CommitStep(Box::new(step))).await?.settled()
    }

    async fn release(&mut self) -> Result<(), Exit> {
        self.write(Write::Release).await?.settled()
    }

    /// Reads what is newer than what is known, and the settings.
    async fn read(&mut self) -> Result<(), Exit> {
        let news = self.reading().await?;
        self.learn(news);
        Ok(())
    }

    /// A read that goes on beside other work, repeated until there is a reply.
    fn reading(&self) -> Reading {
        let after_revision = self.unread_after.unwrap_or(self.versions.history);
        let (context, holder) = (self.context.clone(), self.holder.clone());
        let read = async move {
            let mut failures = 0;
            let mut stale = 0;
            loop {
                match context.client.get_turn(&holder, after_revision).await {
                    Ok(news) => return Ok(news),
                    Err(CallError::LeaseLost) => return Err(Exit::Lost),
                    Err(CallError::Unavailable { pause, .. }) => {
                        failures += 1;
                        sleep(context.pause_before_repeat(failures, pause)).await;
                    }
                    // Changed while it was read, and what has come of it is of two histories.
                    Err(CallError::Stale) if stale < STALE_MAX => {
                        stale += 1;
                        sleep(context.pause_before_repeat(stale, None)).await;
                    }
                    Err(error @ (CallError::Stale | CallError::Refused { .. })) => {
                        tracing::error!(chat_id = %holder.key.chat_id, %error, "the turn cannot be read");
                        return Err(Exit::Refused);
                    }
                }
            }
        };
        read.boxed()
    }

    fn learn(&mut self, news: TurnNews) {
        let TurnNews { header, deleted_from, messages } = news;
        if self.unread_after == Some(0) {
            self.history.clear();
        }
        if let Some(id) = deleted_from {
            self.history.truncate(id);
            // What it covers may be among what is gone.
            self.summaries.drop_all();
            // The holder's own boundaries also send everything again, but at a version that
            // their write has told: what it has not told is an edit, which begins a turn.
            if header.history_version != self.versions.history {
                self.begin_turn();
            }
        }
        for message in messages {
            self.history.put(message);
        }
        if header.history_version != self.versions.history {
            self.forget_tries();
        }
        self.unread_after = None;
        self.versions = Versions::read(header.snapshot_version, header.history_version);
        self.live.rebase(header.snapshot_version);
        self.interrupting = header.interrupting;
        self.attempt = header.attempt;
        self.settings = header.settings;
        if mem::take(&mut self.turn_begins) {
            self.user_instructions.clone_from(&self.settings.user_instructions);
        }
    }

    /// A turn has begun: what the one before it had tried and used up is its own affair.
    fn begin_turn(&mut self) {
        self.origin = None;
        self.summaries.begin_turn();
        self.answers_summarized = 0;
        self.turn_begins = true;
    }

    /// The next model call is about another history.
    fn forget_tries(&mut self) {
        self.tries = Tries::default();
        self.recording = None;
    }

    /// The history is to be read from this revision on; everything for 0.
    fn unread_from(&mut self, revision: i64) {
        self.unread_after = Some(self.unread_after.map_or(revision, |known| known.min(revision)));
    }
}

/// Waits for work that there may be.
async fn wait_for<T>(work: Option<&mut BoxFuture<'static, T>>) -> T {
    match work {
        Some(work) => work.await,
        None => pending().await,
    }
}

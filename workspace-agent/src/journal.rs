//! The journal: which calls that may change something this agent has run, and what came of them.
//!
//! A worker that dies, a stream that breaks and a control plane that restarts all end the same way: somebody
//! asks for the same call again. Reading again is harmless. What changes something must not run twice, so
//! before such a tool starts its call is on disk, and before its end is told the end is on disk. Whoever asks
//! again gets the recorded answer, or joins the tool where it runs. A call that had started when the agent
//! died has the outcome unknown, for good: the model must look.
//!
//! ```text
//! asked ─► start on disk ─► tool runs ─► end on disk ─► end told
//!          └ error: not run              └ error: told once, unknown from then on
//! ```
//!
//! - `ledger`: the rules, pure: what is known of a call, what may run, what may leave; `call` and `answer` are
//!   its words;
//! - `disk`, `format`: a file for each call;
//! - `home`: where they lie, the lock that keeps a second agent out, the journal's id;
//! - `run`: a running tool with the beginning of its output, for whoever joins.
//!
//! Runs belong to the journal and not to a stream: they go on while there is none. Only the index is in
//! memory; results stay on disk. Nothing here knows gRPC.

mod answer;
mod call;
mod disk;
mod format;
mod home;
mod ledger;
mod run;

use std::{
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tokio::task::{self, JoinSet};
use tokio_util::sync::{CancellationToken, DropGuard};
use uuid::Uuid;

pub use self::home::JournalError;
pub(crate) use self::{
    answer::{Answer, Refusal},
    call::{CallKey, Input},
    ledger::{Disposition, Known, Limits},
    run::{Next, Run},
};
use self::{
    disk::{Disk, Start},
    home::Home,
    ledger::{Consequence, Ledger},
};
use crate::tools::{Arguments, Ended, Tool};

/// What a call gets that is stopped while its start is being written.
const STOPPED_BEFORE_START: &str = "The call was stopped before it started: it did not run.";

/// The journal of one workspace directory, and the calls that run under it. Dropping it abandons them, as the
/// end of the process would: they are found again as started.
pub(crate) struct Journal {
    shared: Arc<Shared>,
    tasks: JoinSet<()>,
    /// Parent of every run's cancellation.
    all: CancellationToken,
    _cancel_on_drop: DropGuard,
}

struct Shared {
    id: Uuid,
    disk: Disk,
    ledger: Mutex<Ledger<Arc<Run>>>,
}

impl Journal {
    /// Opens the journal of a workspace directory, or makes it. It blocks.
    ///
    /// # Errors
    ///
    /// When its directory lies inside the workspace, cannot be used, or is held by another agent.
    pub(crate) fn open(
        state_dir: Option<&Path>,
        workspace: &Path,
        limits: Limits,
    ) -> Result<Self, JournalError> {
        let (home, id) = Home::open(state_dir, workspace)?;
        let (disk, found) = Disk::open(home)?;
        let ledger = Ledger::load(limits, found);
        tracing::info!(journal_id = %id, calls = ledger.len(), unknown = ledger.unknown(), "opened the journal");
        let all = CancellationToken::new();
        Ok(Self {
            shared: Arc::new(Shared { id, disk, ledger: Mutex::new(ledger) }),
            tasks: JoinSet::new(),
            _cancel_on_drop: all.clone().drop_guard(),
            all,
        })
    }

    /// The journal's own id. Another one means that what was recorded before is gone.
    pub(crate) fn id(&self) -> Uuid {
        self.shared.id
    }

    /// What is known of a call; none when it was never here.
    pub(crate) fn known(&self, key: CallKey, input: &Input) -> Option<Known<Arc<Run>>> {
        self.shared.ledger().known(key, input)
    }

    /// Starts a call of which nothing is known.
    pub(crate) fn start(
        &mut self,
        key: CallKey,
        input: Input,
        tool: Arc<dyn Tool>,
        arguments: Arguments,
    ) -> Result<Arc<Run>, Answer> {
        while self.tasks.try_join_next().is_some() {}
        let run = Arc::new(Run::new(self.all.child_token()));
        self.shared.ledger().begin(key, input.clone(), run.clone())?;
        let start = Start { key, input, tool_name: tool.definition().name };
        self.tasks.spawn(self.shared.clone().run(start, tool, arguments, run.clone()));
        Ok(run)
    }

    /// Notes that a call is not run, and for how it is refused.
    pub(crate) fn refuse(&self, key: CallKey, refusal: Refusal) -> Answer {
        self.shared.ledger().refuse(key, refusal)
    }

    /// The recorded answer of a call that has one.
    pub(crate) async fn recorded(&self, key: CallKey) -> Ended {
        let shared = self.shared.clone();
        match blocking(move || shared.disk.read_end(key)).await {
            Ok(ended) => ended,
            Err(error) => {
                tracing::error!(%error, call = %key, "a recorded answer cannot be read");
                self.shared.ledger().unreadable(key);
                Answer::OutcomeUnknown.into()
            }
        }
    }

    /// Asks a call to stop, if it runs.
    pub(crate) fn cancel(&self, key: CallKey) {
        let run = self.shared.ledger().run(key);
        if let Some(run) = run {
            run.cancel();
        }
    }

    /// How many calls run.
    pub(crate) fn running(&self) -> usize {
        self.shared.ledger().open_len()
    }

    /// The calls in it.
    pub(crate) fn keys(&self) -> Vec<CallKey> {
        self.shared.ledger().keys()
    }

    /// Does to the entries what the control plane says.
    pub(crate) fn apply(&mut self, verdicts: impl Iterator<Item = (CallKey, Disposition)>) {
        let now = Instant::now();
        let mut leaving = Vec::new();
        let mut stopping = Vec::new();
        {
            let mut ledger = self.shared.ledger();
            for (key, disposition) in verdicts {
                match ledger.apply(key, disposition, now) {
                    Consequence::Nothing => {}
                    Consequence::Stop(run) => stopping.push(run),
                    Consequence::Remove => leaving.push(key),
                }
            }
        }
        for run in stopping {
            run.cancel();
        }
        if !leaving.is_empty() {
            self.tasks.spawn(self.shared.clone().remove(leaving));
        }
    }

    /// Asks every call to stop.
    pub(crate) fn stop(&self) {
        self.all.cancel();
    }

    /// Waits until nothing runs and every end is on disk. May be dropped and asked again.
    pub(crate) async fn finished(&mut self) {
        while self.tasks.join_next().await.is_some() {}
    }
}

impl Shared {
    fn ledger(&self) -> MutexGuard<'_, Ledger<Arc<Run>>> {
        // A panic elsewhere leaves the ledger whole: nothing in here panics between two changes.
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The life of one call.
    async fn run(self: Arc<Self>, start: Start, tool: Arc<dyn Tool>, arguments: Arguments, run: Arc<Run>) {
        let key = start.key;
        let (shared, record) = (self.clone(), start.clone());
        if let Err(error) = blocking(move || shared.disk.write_start(&record)).await {
            tracing::error!(%error, "a tool call was not run, since the journal cannot be written");
            let refused = self.ledger().not_started(key);
            return run.end(refused.into());
        }
        let ended = match run.is_cancelled() {
            true => Ended::failed(STOPPED_BEFORE_START),
            false => run.perform(tool.as_ref(), arguments).await,
        };
        let (shared, recorded) = (self.clone(), ended.clone());
        match blocking(move || shared.disk.write_end(&start, &recorded)).await {
            Ok(bytes) => self.ledger().recorded(key, bytes),
            Err(error) => {
                tracing::error!(%error, call = %key, "the end of a tool call could not be recorded");
                self.ledger().unrecorded(key);
            }
        }
        run.end(ended);
    }

    async fn remove(self: Arc<Self>, keys: Vec<CallKey>) {
        let shared = self.clone();
        let removed = task::spawn_blocking(move || {
            for key in keys {
                match shared.disk.remove(key) {
                    Ok(()) => shared.ledger().removed(key),
                    Err(error) => {
                        tracing::warn!(%error, call = %key, "an entry of the journal cannot be removed");
                        shared.ledger().not_removed(key);
                    }
                }
            }
        });
        if removed.await.is_err() {
            tracing::error!("removing entries of the journal ended by a defect");
        }
    }
}

/// Disk work, on a thread that may wait for the disk.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> std::io::Result<T> + Send + 'static,
) -> std::io::Result<T> {
    task::spawn_blocking(work).await.unwrap_or_else(|error| Err(std::io::Error::other(error)))
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            entries_max: 10_000,
            bytes_max: 512 * 1024 * 1024,
            committed_for: Duration::from_secs(25),
            refusals_max: 1_000,
        }
    }
}

#[cfg(test)]
mod tests;

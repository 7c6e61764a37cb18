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
//! A disk that hangs is an error after some time; what was said then is not taken back.
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
    future::Future,
    io::{self, ErrorKind},
    path::Path,
    pin::pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant, SystemTime},
};

use tokio::{
    sync::Semaphore,
    task::{self, JoinSet},
    time::{sleep, timeout},
};
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

/// How long the end of a call waits for the disk to take its start, and its answer for the disk to take its end.
/// A disk takes milliseconds, a busy one some seconds; one that hangs must not make everybody wait.
const WRITE_TIME_MAX: Duration = Duration::from_secs(30);

/// How long an answer is read, all tries together.
const READ_TIME_MAX: Duration = Duration::from_secs(10);

/// How often reading an answer is tried. That no more files may be open at this moment, say, passes.
const READ_TRIES: u32 = 3;

/// Between two tries.
const READ_PAUSE: Duration = Duration::from_millis(200);

/// Answers that are read at the same time. A disk that hangs must not take all of the runtime's blocking threads.
const READS_MAX: usize = 8;

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
    reads: Arc<Semaphore>,
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
        let reads = Arc::new(Semaphore::new(READS_MAX));
        Ok(Self {
            shared: Arc::new(Shared { id, disk, ledger: Mutex::new(ledger), reads }),
            tasks: JoinSet::new(),
            _cancel_on_drop: all.clone().drop_guard(),
            all,
        })
    }

    /// The journal's own id. Another one means that what was recorded before is gone.
    pub(crate) fn id(&self) -> Uuid {
        self.shared.id
    }

    /// From now on it is this workspace that is served: its calls are listed, and its verdicts obeyed. It is
    /// said before any call is.
    pub(crate) fn serve(&mut self, workspace: Uuid) {
        let leaving = self.shared.ledger().serve(workspace, SystemTime::now());
        self.remove(leaving);
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
        let workspace = {
            let mut ledger = self.shared.ledger();
            ledger.begin(key, input.clone(), run.clone())?;
            ledger.workspace()
        };
        let start = Start { key, workspace, input, tool_name: tool.definition().name };
        self.tasks.spawn(self.shared.clone().run(start, tool, arguments, run.clone()));
        Ok(run)
    }

    /// Notes that a call is not run, and for how it is refused.
    pub(crate) fn refuse(&self, key: CallKey, refusal: Refusal) -> Answer {
        self.shared.ledger().refuse(key, refusal)
    }

    /// The recorded answer of a call that has one. It comes by a deadline.
    pub(crate) fn recorded(&self, key: CallKey) -> impl Future<Output = Ended> + Send + use<> {
        self.shared.clone().recorded(key)
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

    /// The calls in it, of the workspace that is served.
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
        self.remove(leaving);
    }

    fn remove(&mut self, leaving: Vec<CallKey>) {
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

    async fn recorded(self: Arc<Self>, key: CallKey) -> Ended {
        let read = timeout(READ_TIME_MAX, self.read_end(key)).await;
        let error = match read.unwrap_or_else(|_| Err(ErrorKind::TimedOut.into())) {
            Ok(ended) => return ended,
            Err(error) => error,
        };
        tracing::error!(%error, call = %key, "a recorded answer cannot be read");
        if !is_lost(&error) {
            return Answer::Unreadable.into();
        }
        self.ledger().unreadable(key);
        Answer::OutcomeUnknown.into()
    }

    /// Reads an answer, again after an error that may pass.
    async fn read_end(self: &Arc<Self>, key: CallKey) -> io::Result<Ended> {
        let mut tries = 0;
        loop {
            let slot = self.reads.clone().acquire_owned().await.expect("the semaphore is never closed");
            let shared = self.clone();
            let read = blocking(move || {
                // Held by the thread: it is what hangs.
                let _slot = slot;
                shared.disk.read_end(key)
            });
            tries += 1;
            match read.await {
                Err(error) if !is_lost(&error) && tries < READ_TRIES => sleep(READ_PAUSE).await,
                read => return read,
            }
        }
    }

    /// The life of one call.
    async fn run(self: Arc<Self>, start: Start, tool: Arc<dyn Tool>, arguments: Arguments, run: Arc<Run>) {
        if self.write_start(&start, &run).await == Written::No {
            return;
        }
        let ended = match run.is_cancelled() {
            true => Ended::failed(STOPPED_BEFORE_START),
            false => run.perform(tool.as_ref(), arguments).await,
        };
        self.write_end(start, ended, &run).await;
    }

    /// Where it is not written in time the call is told not to have run, and does not run whatever becomes of
    /// the write. The entry stays until that is known, so that nobody writes beside it.
    async fn write_start(self: &Arc<Self>, start: &Start, run: &Run) -> Written {
        let key = start.key;
        let (shared, record) = (self.clone(), start.clone());
        let mut writing = pin!(blocking(move || shared.disk.write_start(&record)));
        let written = match timeout(WRITE_TIME_MAX, &mut writing).await {
            Ok(Ok(())) => return Written::Yes,
            Ok(Err(error)) => Err(error),
            Err(_) => {
                tracing::error!("a tool call was not run, since the disk of the journal hangs");
                run.end(Answer::Refused(Refusal::NotWritten).into());
                writing.await
            }
        };
        if let Err(error) = &written {
            tracing::error!(%error, "a tool call was not run, since the journal cannot be written");
        } else {
            let shared = self.clone();
            // Should it fail, the call will be unknown after a restart.
            let _ = blocking(move || shared.disk.remove(key)).await;
        }
        let refused = self.ledger().not_started(key);
        run.end(refused.into());
        Written::No
    }

    /// Where it is not written in time the end is told before: should the agent die then, whoever asks again
    /// hears that the outcome is unknown.
    async fn write_end(self: &Arc<Self>, start: Start, ended: Ended, run: &Run) {
        let key = start.key;
        let (shared, recorded) = (self.clone(), ended.clone());
        let mut writing = pin!(blocking(move || shared.disk.write_end(&start, &recorded)));
        let written = match timeout(WRITE_TIME_MAX, &mut writing).await {
            Ok(written) => written,
            Err(_) => {
                tracing::error!(call = %key, "the end of a tool call is told before it is recorded: the disk hangs");
                run.end(ended.clone());
                writing.await
            }
        };
        match written {
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

/// Whether a start is on disk, and so the tool may run.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Written {
    Yes,
    No,
}

/// Whether an answer is gone for good. Any other error says that it cannot be read at this moment.
fn is_lost(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::InvalidData | ErrorKind::NotFound)
}

/// Disk work, on a thread that may wait for the disk.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    task::spawn_blocking(work).await.unwrap_or_else(|error| Err(io::Error::other(error)))
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            entries_max: 10_000,
            bytes_max: 512 * 1024 * 1024,
            committed_for: Duration::from_secs(25),
            foreign_for: Duration::from_secs(30 * 24 * 60 * 60),
            refusals_max: 1_000,
        }
    }
}

#[cfg(test)]
mod tests;

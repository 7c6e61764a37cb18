//! The file tools. Two only read, so that they may run at any time and again; two change files, one call at a
//! time.

mod beneath;
mod edit_files;
mod list_dir;
mod read_file;
mod replace;
mod write_file;

use std::{future::Future, io, os::fd::OwnedFd, sync::Arc, time::Duration};

use futures::future::BoxFuture;
use rustix::io::Errno;
use tokio::{
    sync::{Mutex, OwnedSemaphorePermit, Semaphore},
    task,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

pub(crate) use self::beneath::Root;
use self::beneath::Wanted;
use crate::tools::{ArgumentsError, Call, Definition, Effect, Ended, Tool, shorten};

/// File work at the same time. A disk gains nothing from more, and a hung network file system must not
/// take all of the runtime's blocking threads.
const BLOCKING_MAX: usize = 16;

/// A change under way is brought to its end when its call is cancelled, so that what is told is true. It takes
/// milliseconds; who waits longer waits for a disk that hangs.
const CHANGE_TIME_MAX: Duration = Duration::from_secs(5);

/// How long a call waits for its turn. The work of others takes milliseconds; where it takes so long, it hangs,
/// and waiting longer does not help.
const WAIT_TIME_MAX: Duration = Duration::from_secs(30);

/// What one call may show. Some thousand lines of code; more drowns a model.
const OUTPUT_BYTES_MAX: usize = 256 * 1024;

/// Why a file tool failed, in words for the model.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error(transparent)]
    Arguments(#[from] ArgumentsError),
    #[error("The argument `path` must be a path without NUL characters, and not empty.")]
    PathMalformed,
    #[error(
        "`{0}` is outside the workspace directory, or leads there by a symbolic link. \
         Give a path inside it, relative to it."
    )]
    Outside(String),
    #[error("`{0}` does not exist, or is a symbolic link to something that does not. Use list_dir to look.")]
    Missing(String),
    #[error("`{0}` cannot be opened: a part of the path before its last is a file, not a directory.")]
    ParentNotDirectory(String),
    #[error("`{0}` cannot be opened: permission denied.")]
    Forbidden(String),
    #[error("`{0}` cannot be opened: its symbolic links form a loop, or are too many.")]
    LinkLoop(String),
    #[error("`{0}` is a directory. Use list_dir to see what is in it.")]
    IsDirectory(String),
    #[error("`{0}` is not a directory. Use read_file to read a file.")]
    NotDirectory(String),
    #[error("`{0}` is not a regular file (it is a pipe, a socket or a device) and cannot be used.")]
    NotRegular(String),
    #[error("`{0}` is a binary file and cannot be shown as text.")]
    Binary(String),
    #[error("`offset` is past the end: `{path}` has {lines} lines.")]
    PastEnd { path: String, lines: u64 },
    #[error("`{0}` is the path of a directory. Give that of a file.")]
    NamesDirectory(String),
    #[error(
        "`{0}` lies too deep: for one file at most 64 directories are made, and a path may have 127. \
         Nothing was changed."
    )]
    TooDeep(String),
    #[error("`{0}` is write-protected. Nothing was changed.")]
    WriteProtected(String),
    #[error("The argument `content` is larger than 2 MiB. Nothing was changed.")]
    ContentTooLarge,
    #[error("The argument `edits` is empty.")]
    NoEdits,
    #[error("The argument `edits` has more than 100 edits. Nothing was changed. Make several calls.")]
    TooManyEdits,
    #[error("{place}: {reason} Nothing was changed.")]
    Edit { place: String, reason: String },
    #[error(transparent)]
    Problem(#[from] edit_files::Problem),
    #[error("`{0}` does not exist. To create a file, use write_file.")]
    NothingToEdit(String),
    #[error("`{0}` is larger than 4 MiB. Change it by a command.")]
    FileTooLarge(String),
    #[error("The files of this call have more than 16 MiB together. Make several calls.")]
    FilesTooLarge,
    #[error("`{0}` is not UTF-8 text. Change it by a command.")]
    NotText(String),
    #[error("`{0}` was changed by somebody else at the same time. Nothing was changed. Read it again.")]
    Changed(String),
    #[error("`{path}` cannot be written: {source}. Nothing was changed.")]
    Write { path: String, source: io::Error },
    #[error("{error} But that is not so for {changed}: bringing them back failed.")]
    HalfDone { error: Box<Error>, changed: String },
    #[error("`{path}` cannot be read: {source}.")]
    Io { path: String, source: io::Error },
    #[error(
        "The workspace is busy: file work of other calls has not ended for 30 seconds. Nothing was changed. \
         Try again later."
    )]
    Busy,
    #[error("The call was cancelled.")]
    Cancelled,
}

impl Error {
    /// What an errno of opening `path` means.
    fn open(path: &str, errno: Errno) -> Self {
        let path = shorten(path);
        match errno {
            Errno::NOENT => Self::Missing(path),
            Errno::NOTDIR => Self::ParentNotDirectory(path),
            Errno::ACCESS | Errno::PERM => Self::Forbidden(path),
            Errno::LOOP => Self::LinkLoop(path),
            Errno::XDEV => Self::Outside(path),
            Errno::NXIO | Errno::NODEV => Self::NotRegular(path),
            errno => Self::Io { path, source: errno.into() },
        }
    }

    fn io(path: &str, source: io::Error) -> Self {
        Self::Io { path: shorten(path), source }
    }
}

/// What the file tools share.
#[derive(Clone)]
pub(crate) struct Files {
    root: Arc<Root>,
    slots: Arc<Semaphore>,
    /// Held by the one call that changes files: what it has read is what it replaces.
    change: Arc<Mutex<()>>,
    /// How long a call waits for its turn. Tests shorten it.
    wait_max: Duration,
}

impl Files {
    /// The tools of one directory.
    pub(crate) fn new(root: Arc<Root>) -> Self {
        let slots = Arc::new(Semaphore::new(BLOCKING_MAX));
        Self { root, slots, change: Arc::default(), wait_max: WAIT_TIME_MAX }
    }

    /// Those that only read, as they are declared.
    pub(crate) fn tools(self) -> Vec<Arc<dyn Tool>> {
        let tool = |definition, work| -> Arc<dyn Tool> {
            Arc::new(ReadingTool { files: self.clone(), definition, work })
        };
        vec![tool(list_dir::DEFINITION, list_dir::run), tool(read_file::DEFINITION, read_file::run)]
    }

    /// Those that change files.
    pub(crate) fn changing_tools(self) -> Vec<Arc<dyn Tool>> {
        let tool = |definition, work| -> Arc<dyn Tool> {
            Arc::new(ChangingTool { files: self.clone(), definition, work })
        };
        vec![tool(write_file::DEFINITION, write_file::run), tool(edit_files::DEFINITION, edit_files::run)]
    }
}

impl Files {
    /// Opens a directory, for a command to run in.
    pub(crate) async fn directory(&self, path: &str, cancel: &CancellationToken) -> Result<OwnedFd, Ended> {
        let (root, path) = (Arc::clone(&self.root), path.to_owned());
        let slot = self.slot(cancel).await?;
        tokio::select! {
            () = cancel.cancelled() => Err(Error::Cancelled.into()),
            opened = slot.run(move || root.open(&path, Wanted::Directory)) => opened,
        }
    }

    /// Waits for a turn, no longer than it makes sense.
    async fn turn<T>(
        &self,
        waiting: impl Future<Output = T>,
        cancel: &CancellationToken,
    ) -> Result<T, Error> {
        tokio::select! {
            () = cancel.cancelled() => Err(Error::Cancelled),
            turn = timeout(self.wait_max, waiting) => turn.map_err(|_| Error::Busy),
        }
    }

    /// Waits until there may be one more piece of blocking work.
    async fn slot(&self, cancel: &CancellationToken) -> Result<Slot, Error> {
        let slot = self.turn(Arc::clone(&self.slots).acquire_owned(), cancel).await?;
        Ok(Slot(slot.expect("the semaphore is never closed")))
    }
}

/// The right to one piece of blocking work.
struct Slot(#[expect(dead_code, reason = "it is given back when it is dropped")] OwnedSemaphorePermit);

impl Slot {
    /// Runs it.
    async fn run<T: Send + 'static>(
        self,
        work: impl FnOnce() -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Ended> {
        let done = task::spawn_blocking(move || {
            let _slot = self;
            work()
        });
        match done.await {
            Ok(done) => done.map_err(Ended::from),
            Err(error) => {
                tracing::error!(error = %error, "a file tool ended by a defect");
                Err(Ended::failed("The tool failed by a defect of its own."))
            }
        }
    }
}

impl From<Error> for Ended {
    fn from(error: Error) -> Self {
        Self::failed(error.to_string())
    }
}

/// The blocking part of a tool.
type Work = fn(&Root, &Call) -> Result<String, Error>;

/// A tool that is one piece of blocking work, and changes nothing.
struct ReadingTool {
    files: Files,
    definition: Definition,
    work: Work,
}

impl Tool for ReadingTool {
    fn definition(&self) -> Definition {
        self.definition
    }

    fn effect(&self) -> Effect {
        Effect::Reads
    }

    fn run(&self, call: Call) -> BoxFuture<'static, Ended> {
        let (files, work) = (self.files.clone(), self.work);
        Box::pin(async move {
            let cancel = call.cancel.clone();
            let root = Arc::clone(&files.root);
            let slot = match files.slot(&cancel).await {
                Ok(slot) => slot,
                Err(error) => return error.into(),
            };
            tokio::select! {
                // A thread that hangs in the kernel cannot be stopped. It keeps its slot, and the call ends.
                () = cancel.cancelled() => Error::Cancelled.into(),
                done = slot.run(move || work(&root, &call)) => done.map_or_else(|ended| ended, Ended::ok),
            }
        })
    }
}

/// A tool that is one piece of blocking work, and changes files.
struct ChangingTool {
    files: Files,
    definition: Definition,
    work: Work,
}

impl Tool for ChangingTool {
    fn definition(&self) -> Definition {
        self.definition
    }

    fn effect(&self) -> Effect {
        Effect::Changes
    }

    fn run(&self, call: Call) -> BoxFuture<'static, Ended> {
        let (files, work) = (self.files.clone(), self.work);
        Box::pin(async move {
            let cancel = call.cancel.clone();
            let root = Arc::clone(&files.root);
            let waited = async {
                let turn = files.turn(Arc::clone(&files.change).lock_owned(), &cancel).await?;
                Ok((turn, files.slot(&cancel).await?))
            };
            let (turn, slot) = match waited.await {
                Ok(waited) => waited,
                Err(error) => return Error::into(error),
            };
            let done = slot.run(move || {
                // Held by the thread: when it hangs, nobody else may change what it is about to change.
                let _turn = turn;
                work(&root, &call)
            });
            tokio::select! {
                done = done => done.map_or_else(|ended| ended, Ended::ok),
                () = overdue(&cancel) => Ended::failed(HANGS),
            }
        })
    }
}

/// Whether a change that hangs is made in the end, nobody can know.
const HANGS: &str = "The call was cancelled while it wrote, and the writing hangs. Whether anything was changed \
                     is not known.";

/// Waits until a change that nobody waits for any more takes too long.
async fn overdue(cancel: &CancellationToken) {
    cancel.cancelled().await;
    sleep(CHANGE_TIME_MAX).await;
}

/// Gives an error once nobody waits for the work any more.
fn go_on(cancel: &CancellationToken) -> Result<(), Error> {
    if cancel.is_cancelled() { Err(Error::Cancelled) } else { Ok(()) }
}

#[cfg(test)]
mod tests;

//! The file tools. They read only, so nothing of them is journalled and each call may run again.

mod beneath;
mod list_dir;
mod read_file;

use std::{io, sync::Arc};

use futures::future::BoxFuture;
use rustix::io::Errno;
use tokio::{sync::Semaphore, task};
use tokio_util::sync::CancellationToken;

pub(crate) use self::beneath::Root;
use crate::tools::{ArgumentsError, Call, Definition, Ended, Tool, shorten};

/// File work at the same time. A disk gains nothing from more, and a hung network file system must not
/// take all of the runtime's blocking threads.
const BLOCKING_MAX: usize = 16;

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
    #[error("`{0}` is not a regular file (it is a pipe, a socket or a device) and cannot be read.")]
    NotRegular(String),
    #[error("`{0}` is a binary file and cannot be shown as text.")]
    Binary(String),
    #[error("`offset` is past the end: `{path}` has {lines} lines.")]
    PastEnd { path: String, lines: u64 },
    #[error("`{path}` cannot be read: {source}.")]
    Io { path: String, source: io::Error },
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
}

impl Files {
    /// The tools of one directory.
    pub(crate) fn new(root: Arc<Root>) -> Self {
        Self { root, slots: Arc::new(Semaphore::new(BLOCKING_MAX)) }
    }

    /// As they are declared.
    pub(crate) fn tools(self) -> Vec<Arc<dyn Tool>> {
        vec![
            Arc::new(FileTool { files: self.clone(), definition: list_dir::DEFINITION, work: list_dir::run }),
            Arc::new(FileTool { files: self, definition: read_file::DEFINITION, work: read_file::run }),
        ]
    }
}

/// The blocking part of a tool.
type Work = fn(&Root, &Call) -> Result<String, Error>;

/// A tool that is one piece of blocking work.
struct FileTool {
    files: Files,
    definition: Definition,
    work: Work,
}

impl Tool for FileTool {
    fn definition(&self) -> Definition {
        self.definition
    }

    fn run(&self, call: Call) -> BoxFuture<'static, Ended> {
        let (files, work) = (self.files.clone(), self.work);
        Box::pin(async move {
            let cancel = call.cancel.clone();
            tokio::select! {
                // A thread that hangs in the kernel cannot be stopped. It keeps its slot, and the call ends.
                () = cancel.cancelled() => Ended::failed(Error::Cancelled.to_string()),
                ended = in_a_slot(files, call, work) => ended,
            }
        })
    }
}

async fn in_a_slot(files: Files, call: Call, work: Work) -> Ended {
    let slot = files.slots.acquire_owned().await.expect("the semaphore is never closed");
    let done = task::spawn_blocking(move || {
        let _slot = slot;
        work(&files.root, &call)
    });
    match done.await {
        Ok(Ok(output)) => Ended::ok(output),
        Ok(Err(error)) => Ended::failed(error.to_string()),
        Err(error) => {
            tracing::error!(error = %error, "a file tool ended by a defect");
            Ended::failed("The tool failed by a defect of its own.")
        }
    }
}

/// Gives an error once nobody waits for the work any more.
fn go_on(cancel: &CancellationToken) -> Result<(), Error> {
    if cancel.is_cancelled() { Err(Error::Cancelled) } else { Ok(()) }
}

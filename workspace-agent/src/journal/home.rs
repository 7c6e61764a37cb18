//! Where the journal of a workspace directory lies, and whose it is.
//!
//! ```text
//! <state dir>/
//!   <hash of the workspace's path>/   0700
//!     lock        held by one agent at a time; names its process
//!     id          the journal's id; appears by a rename
//!     workspace   the path, for people
//!     calls/      a file for each call
//! ```
//!
//! It never lies in the workspace: a tool could change it there, and a copy of the directory would take it
//! along as if its calls had run there.

use std::{
    env,
    ffi::OsString,
    fs::{self, DirBuilder, File, OpenOptions, Permissions, TryLockError},
    io::{self, Read, Seek, Write},
    os::unix::{
        ffi::OsStrExt,
        fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt},
    },
    path::{Component, Path, PathBuf, absolute},
};

use rustix::fs::OFlags;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::disk::write_durably;

const FLAG: &str = "--state-dir (CHATPLANE_WORKSPACE_STATE_DIR)";

/// A process number, or an id.
const LINE_BYTES_MAX: u64 = 64;

/// Why there is no journal, in one sentence for the operator.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// Nothing says where to put it.
    #[error("there is no home directory for the journal of tool calls: give {FLAG}")]
    NoStateDir,
    /// Tools could change it.
    #[error(
        "the journal of tool calls would lie inside the workspace directory {}: \
         give a directory outside of it with {FLAG}", .0.display()
    )]
    InsideWorkspace(PathBuf),
    /// Two agents would run the same calls.
    #[error(
        "another workspace agent{} serves this directory and holds its journal in {}: stop it first, or give \
         this one another directory with {FLAG}", by_process(*.holder), .dir.display()
    )]
    InUse {
        /// The directory.
        dir: PathBuf,
        /// Its process, when it has said.
        holder: Option<u32>,
    },
    /// Somebody else could change it.
    #[error("the journal's directory {} belongs to another user: give another one with {FLAG}", .0.display())]
    NotOwned(PathBuf),
    /// The disk says no.
    #[error("cannot {doing} {} for the journal of tool calls; {FLAG} chooses another place", .path.display())]
    Io {
        /// What was tried.
        doing: &'static str,
        /// With which file.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
}

fn by_process(holder: Option<u32>) -> String {
    holder.map(|process| format!(" (process {process})")).unwrap_or_default()
}

/// Names what was tried.
pub(super) fn failed(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> JournalError {
    let path = path.to_owned();
    move |source| JournalError::Io { doing, path, source }
}

/// The journal's directory, locked.
#[derive(Debug)]
pub(super) struct Home {
    dir: PathBuf,
    lock: File,
}

impl Home {
    /// Makes or takes over the directory, and says the journal's id.
    pub(super) fn open(state_dir: Option<&Path>, workspace: &Path) -> Result<(Self, Uuid), JournalError> {
        let workspace = fs::canonicalize(workspace).map_err(failed("find", workspace))?;
        let state_dir = match state_dir.filter(|dir| !dir.as_os_str().is_empty()) {
            Some(dir) => dir.to_owned(),
            None => Surroundings::of_this_process().state_dir().ok_or(JournalError::NoStateDir)?,
        };
        // Before anything is made, and again when there is nothing left to guess.
        require_outside(&real_path(&state_dir), &workspace)?;
        make_directory(&state_dir)?;
        let state_dir = fs::canonicalize(&state_dir).map_err(failed("find", &state_dir))?;
        require_outside(&state_dir, &workspace)?;
        let dir = state_dir.join(name_of(&workspace));
        make_directory(&dir)?;
        take_over(&dir)?;
        let home = Self { lock: lock(&dir)?, dir };
        let id = home.id()?;
        let (calls, note) = (home.calls(), home.dir.join("workspace"));
        make_directory(&calls)?;
        fs::write(&note, workspace.as_os_str().as_bytes()).map_err(failed("write", &note))?;
        flush(&home.dir)?;
        Ok((home, id))
    }

    /// Where the calls are.
    pub(super) fn calls(&self) -> PathBuf {
        self.dir.join("calls")
    }

    /// Reads the id, or makes it. An id that cannot be read is made anew: calls that were meant for the
    /// journal with the old one are not run then.
    fn id(&self) -> Result<Uuid, JournalError> {
        let path = self.dir.join("id");
        let known = match File::open(&path) {
            Ok(file) => {
                let mut text = String::new();
                let read = file.take(LINE_BYTES_MAX).read_to_string(&mut text);
                read.ok().and_then(|_| Uuid::try_parse(text.trim()).ok())
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(failed("read", &path)(error)),
        };
        if let Some(id) = known {
            return Ok(id);
        }
        let id = Uuid::now_v7();
        let unfinished = self.dir.join("id.new");
        write_durably(&unfinished, format!("{id}\n").as_bytes()).map_err(failed("write", &unfinished))?;
        fs::rename(&unfinished, &path).map_err(failed("write", &path))?;
        flush(&self.dir)?;
        Ok(id)
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        // Closing the file is not enough: a child of ours between its fork and its exec still has it, and
        // would hold the lock for a moment longer.
        let _ = self.lock.unlock();
    }
}

/// What the default depends on.
struct Surroundings {
    is_root: bool,
    xdg_state_home: Option<OsString>,
    home: Option<OsString>,
}

impl Surroundings {
    fn of_this_process() -> Self {
        Self {
            is_root: rustix::process::geteuid().is_root(),
            xdg_state_home: env::var_os("XDG_STATE_HOME"),
            home: env::var_os("HOME"),
        }
    }

    fn state_dir(self) -> Option<PathBuf> {
        if self.is_root {
            // Not below `/var/lib/chatplane`: that is the directory of `dev`, which refuses what is not its own.
            return Some("/var/lib/chatplane-workspace-agent".into());
        }
        let absolute = |value: Option<OsString>| value.map(PathBuf::from).filter(|path| path.is_absolute());
        let states =
            absolute(self.xdg_state_home).or_else(|| Some(absolute(self.home)?.join(".local/state")))?;
        Some(states.join("chatplane"))
    }
}

/// The same for as long as the directory is at its place.
fn name_of(workspace: &Path) -> String {
    const HEX_DIGITS: usize = 32;
    let mut name = format!("{:x}", Sha256::digest(workspace.as_os_str().as_bytes()));
    name.truncate(HEX_DIGITS);
    name
}

/// The path without links, as far as it exists. What follows is no link yet.
fn real_path(path: &Path) -> PathBuf {
    let path = absolute(path).unwrap_or_else(|_| path.to_owned());
    for existing in path.ancestors() {
        if let (Ok(real), Ok(missing)) = (existing.canonicalize(), path.strip_prefix(existing)) {
            return missing.components().fold(real, |real, step| match step {
                Component::ParentDir => real.parent().unwrap_or(&real).to_owned(),
                step => real.join(step),
            });
        }
    }
    path
}

fn require_outside(state_dir: &Path, workspace: &Path) -> Result<(), JournalError> {
    match state_dir.starts_with(workspace) {
        true => Err(JournalError::InsideWorkspace(workspace.to_owned())),
        false => Ok(()),
    }
}

fn make_directory(path: &Path) -> Result<(), JournalError> {
    DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(failed("make", path))
}

/// The directory may be older than we are.
fn take_over(dir: &Path) -> Result<(), JournalError> {
    let owner = fs::metadata(dir).map_err(failed("look at", dir))?.uid();
    if owner != rustix::process::geteuid().as_raw() {
        return Err(JournalError::NotOwned(dir.to_owned()));
    }
    fs::set_permissions(dir, Permissions::from_mode(0o700)).map_err(failed("set the mode of", dir))
}

/// Waits until what became of the names in a directory is on disk.
fn flush(dir: &Path) -> Result<(), JournalError> {
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(failed("flush", dir))
}

fn lock(dir: &Path) -> Result<File, JournalError> {
    let path = dir.join("lock");
    let mut lock = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags(OFlags::NOFOLLOW.bits().cast_signed())
        .open(&path)
        .map_err(failed("open", &path))?;
    match lock.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut holder = String::new();
            // A holder that has not written its number yet is a holder all the same.
            let _ = (&lock).take(LINE_BYTES_MAX).read_to_string(&mut holder);
            return Err(JournalError::InUse { dir: dir.to_owned(), holder: holder.trim().parse().ok() });
        }
        Err(TryLockError::Error(error)) => return Err(failed("lock", &path)(error)),
    }
    let written = lock.set_len(0).and_then(|()| lock.rewind()).and_then(|()| {
        let process = std::process::id();
        writeln!(lock, "{process}")
    });
    written.map_err(failed("write", &path))?;
    Ok(lock)
}

#[cfg(test)]
mod tests;

//! The data directory: what is in it, and who has it.
//!
//! ```text
//! <data>/         0700; as root 0711, for the user who runs PostgreSQL passes through it
//!   version       what wrote this directory: no other directory is ever taken over
//!   lock          held by one `dev` at a time; names its process
//!   postgres/     the launcher's
//!   identity/     0700: the user, the workspaces and their tokens
//!   agents/       0700: a directory per workspace, its agent's journal
//!   logs/         0700: a file per role, begun anew at each start
//! ```

use std::{
    fs::{self, DirBuilder, File, TryLockError},
    io::{ErrorKind, Read as _, Write as _},
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _},
    path::{Path, PathBuf},
};

use chatplane_domain::WorkspaceId;

use crate::{
    dev::{DevError, error::failed},
    files::{make_private, private_file},
};

const VERSION: &str = "chatplane dev 1\n";
const VERSION_BYTES_MAX: u64 = 100;

/// The data directory, locked until this is dropped.
#[derive(Debug)]
pub(crate) struct DataDir {
    path: PathBuf,
    lock: File,
}

impl DataDir {
    /// Makes or takes over the directory itself.
    pub(crate) fn open(path: &Path) -> Result<Self, DevError> {
        make(path)?;
        require_ours(path)?;
        let lock = lock(path)?;
        Ok(Self { path: path.to_owned(), lock })
    }

    /// Makes what is missing in it.
    pub(crate) fn complete(self) -> Result<Self, DevError> {
        for dir in [self.identity(), self.agents(), self.logs()] {
            make_private(&dir)?;
        }
        Ok(self)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn postgres(&self) -> PathBuf {
        self.path.join("postgres")
    }

    pub(crate) fn identity(&self) -> PathBuf {
        self.path.join("identity")
    }

    pub(crate) fn agents(&self) -> PathBuf {
        self.path.join("agents")
    }

    /// Where the agent of a workspace keeps its journal.
    pub(crate) fn agent(&self, workspace: WorkspaceId) -> Result<PathBuf, DevError> {
        let dir = self.agents().join(workspace.to_string());
        make_private(&dir)?;
        Ok(dir)
    }

    /// The directories of all workspaces that an agent has served.
    pub(crate) fn agents_of_all(&self) -> Result<Vec<PathBuf>, DevError> {
        let dir = self.agents();
        let entries = match fs::read_dir(&dir) {
            Ok(entries) => entries,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(failed("list", &dir)(error)),
        };
        let paths: Result<_, _> = entries.map(|entry| entry.map(|entry| entry.path())).collect();
        paths.map_err(failed("list", &dir))
    }

    pub(crate) fn logs(&self) -> PathBuf {
        self.path.join("logs")
    }
}

impl Drop for DataDir {
    fn drop(&mut self) {
        // Closing the file is not enough: a child of ours between its fork and its exec still has it, and
        // would hold the lock for a moment longer.
        let _ = self.lock.unlock();
    }
}

fn make(path: &Path) -> Result<(), DevError> {
    let mode = if rustix::process::geteuid().is_root() { 0o711 } else { 0o700 };
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).map_err(failed("make", parent))?;
    }
    match DirBuilder::new().mode(mode).create(path) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(failed("make", path)(error)),
        _ => Ok(()),
    }
}

/// An existing directory is taken over only when it is empty or has been ours, and its mode is never changed:
/// somebody may have named a directory by mistake.
fn require_ours(path: &Path) -> Result<(), DevError> {
    let dir = || path.to_owned();
    let metadata = fs::metadata(path).map_err(failed("look at", path))?;
    if metadata.uid() != rustix::process::geteuid().as_raw() {
        return Err(DevError::DataDirNotOwned { dir: dir() });
    }
    let version_file = path.join("version");
    match File::open(&version_file) {
        Ok(file) => {
            let mut version = Vec::new();
            file.take(VERSION_BYTES_MAX).read_to_end(&mut version).map_err(failed("read", &version_file))?;
            // A start that was cut short may have left the file empty.
            match version.as_slice() {
                b"" => write_version(&version_file),
                found if found == VERSION.as_bytes() => Ok(()),
                _ => Err(DevError::DataDirVersion { dir: dir() }),
            }
        }
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let mut entries = fs::read_dir(path).map_err(failed("list", path))?;
            if entries.next().is_some() {
                return Err(DevError::DataDirForeign { dir: dir() });
            }
            write_version(&version_file)
        }
        Err(error) => Err(failed("open", &version_file)(error)),
    }
}

fn write_version(path: &Path) -> Result<(), DevError> {
    let mut file = private_file().truncate(true).open(path).map_err(failed("open", path))?;
    file.write_all(VERSION.as_bytes()).map_err(failed("write", path))
}

fn lock(dir: &Path) -> Result<File, DevError> {
    let path = dir.join("lock");
    let mut lock = private_file().read(true).truncate(false).open(&path).map_err(failed("open", &path))?;
    match lock.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut holder = String::new();
            // A holder that has not written its number yet is a holder all the same.
            let _ = lock.read_to_string(&mut holder);
            let holder = match holder.trim().parse::<u32>() {
                Ok(pid) => format!("`chatplane dev`, process {pid}"),
                Err(_) => "another `chatplane dev`".to_owned(),
            };
            return Err(DevError::InUse { dir: dir.to_owned(), holder });
        }
        Err(TryLockError::Error(error)) => return Err(failed("lock", &path)(error)),
    }
    lock.set_len(0)
        .and_then(|()| writeln!(lock, "{}", std::process::id()))
        .map_err(failed("write", &path))?;
    Ok(lock)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_second_dev_is_told_who_has_the_directory() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a/data");
        let first = DataDir::open(&path).unwrap();

        let refusal = DataDir::open(&path).unwrap_err().to_string();
        drop(first);

        assert!(refusal.contains(&format!("process {}", std::process::id())), "{refusal}");
        assert!(refusal.contains("--data-dir"), "{refusal}");
        DataDir::open(&path).unwrap();
    }

    #[test]
    fn a_directory_with_other_files_is_not_taken_over() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("thesis.txt"), "years of work").unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();

        let refusal = DataDir::open(dir.path()).unwrap_err();

        assert!(matches!(refusal, DevError::DataDirForeign { .. }), "{refusal}");
        assert_eq!(fs::metadata(dir.path()).unwrap().mode() & 0o777, 0o755);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_directory_of_another_version_is_refused_and_a_cut_start_is_repaired() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("version"), "chatplane dev 9\n").unwrap();

        let refusal = DataDir::open(dir.path()).unwrap_err();
        fs::write(dir.path().join("version"), "").unwrap();

        assert!(matches!(refusal, DevError::DataDirVersion { .. }), "{refusal}");
        DataDir::open(dir.path()).unwrap();
        assert_eq!(fs::read_to_string(dir.path().join("version")).unwrap(), VERSION);
    }

    #[test]
    fn what_holds_tokens_and_logs_is_closed_to_others() {
        let dir = tempfile::tempdir().unwrap();
        let data = DataDir::open(&dir.path().join("data")).unwrap().complete().unwrap();

        for path in [data.identity(), data.agents(), data.logs()] {
            assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o700, "{path:?}");
        }
    }
}

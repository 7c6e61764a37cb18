//! The launcher's own directory: what is in it, who holds it, who may enter it.
//!
//! ```text
//! <dir>/          0700; as root 0711, for the user who runs Postgres passes through it
//!   lock          held by one launcher at a time; names its process
//!   data/         the cluster, owned by the user who runs Postgres; appears by a rename, so it is whole
//!   data.new/     a cluster in the making; a left-over one is thrown away
//!   socket/       0700, the socket; under /tmp instead when the path would be too long for one
//!   log           what initdb and Postgres said since the last start
//! ```
//!
//! As root, nobody else may write into `<dir>` itself, so no other user can put a link where we write. What
//! we give away are things just made there by us.

use std::collections::hash_map::RandomState;
use std::env;
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions, TryLockError};
use std::hash::{BuildHasher as _, Hasher as _};
use std::io::{self, ErrorKind, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use crate::account::RunAs;
use crate::error::{StartError, failed};
use crate::{Storage, system};

/// The port is only a part of the socket's name.
pub(crate) const PORT: u16 = 5432;
/// The longest socket path that every system takes, without its final NUL (Linux has 107, macOS 103).
const SOCKET_PATH_BYTES_MAX: usize = 103;
const OURS: [&str; 5] = ["lock", "data", "data.new", "socket", "log"];
/// How much of the log's end goes into an error.
const LOG_TAIL_BYTES: u64 = 2 * 1024;

/// The launcher's directory, locked.
#[derive(Debug)]
pub(crate) struct Home {
    pub(crate) dir: PathBuf,
    pub(crate) socket_dir: PathBuf,
    /// What must go when this launcher goes, whichever way it goes.
    pub(crate) disposable: Vec<PathBuf>,
    lock: File,
}

impl Home {
    /// Makes or takes over the directory.
    pub(crate) fn open(storage: &Storage, run_as: RunAs) -> Result<Self, StartError> {
        let mut disposable = Vec::new();
        let dir = match storage {
            Storage::Temporary => {
                let dir = make_temporary(run_as)?;
                disposable.push(dir.clone());
                dir
            }
            Storage::Kept(dir) => {
                let dir = take_over(dir)?;
                require_reachable(run_as, &dir)?;
                dir
            }
        };
        let lock = lock(&dir)?;
        let inside = dir.join("socket");
        let socket_dir = if is_fit_for_socket(&inside) {
            remove_tree(&inside)?;
            make_directory(&inside, run_as)?;
            inside
        } else {
            let outside = make_temporary(run_as)?;
            run_as.give(&outside).map_err(failed("give away", &outside))?;
            set_mode(&outside, 0o700)?;
            disposable.push(outside.clone());
            outside
        };
        Ok(Self { dir, socket_dir, disposable, lock })
    }

    /// Takes over a directory that exists, only to erase it.
    pub(crate) fn reopen(dir: &Path) -> Result<Self, StartError> {
        let dir = take_over(dir)?;
        let lock = lock(&dir)?;
        Ok(Self { socket_dir: dir.join("socket"), dir, disposable: Vec::new(), lock })
    }

    /// Removes the directory with everything that launchers make in it, the lock last.
    ///
    /// The cluster first gets the name of one in the making: cut short, this leaves nothing that a start would
    /// take for a cluster.
    pub(crate) fn erase(self) -> Result<(), StartError> {
        let (cluster, unfinished) = (self.data(), self.dir.join("data.new"));
        if fs::symlink_metadata(&cluster).is_ok_and(|metadata| metadata.is_dir()) {
            remove_tree(&unfinished)?;
            fs::rename(&cluster, &unfinished).map_err(failed("rename", &cluster))?;
        }
        for name in OURS.into_iter().filter(|name| *name != "lock") {
            let path = self.dir.join(name);
            match fs::symlink_metadata(&path) {
                Ok(metadata) if metadata.is_dir() => remove_tree(&path)?,
                Ok(_) => fs::remove_file(&path).map_err(failed("remove", &path))?,
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => return Err(failed("look at", &path)(error)),
            }
        }
        let lock = self.dir.join("lock");
        fs::remove_file(&lock).map_err(failed("remove", &lock))?;
        fs::remove_dir(&self.dir).map_err(failed("remove", &self.dir))
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.dir.join("data")
    }

    /// Starts the log anew, so that it never holds more than one run.
    pub(crate) fn new_log(&self) -> Result<File, StartError> {
        let path = self.dir.join("log");
        OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .custom_flags(libc::O_NOFOLLOW)
            .open(&path)
            .map_err(failed("open the log", &path))
    }

    /// The end of the log, for an error.
    pub(crate) fn log_tail(&self) -> String {
        let read = || -> io::Result<Vec<u8>> {
            let mut log = File::open(self.dir.join("log"))?;
            let start = log.metadata()?.len().saturating_sub(LOG_TAIL_BYTES);
            log.seek(SeekFrom::Start(start))?;
            let mut tail = Vec::new();
            log.take(LOG_TAIL_BYTES).read_to_end(&mut tail)?;
            Ok(tail)
        };
        match read() {
            Ok(tail) => String::from_utf8_lossy(&tail).trim().to_owned(),
            Err(error) => format!("(the log cannot be read: {error})"),
        }
    }

    /// Removes what a killed Postgres left in the socket's directory. Postgres would do it, unless the
    /// process number in there has been given to another process since.
    pub(crate) fn clear_socket(&self) {
        for name in [format!(".s.PGSQL.{PORT}"), format!(".s.PGSQL.{PORT}.lock")] {
            let path = self.socket_dir.join(name);
            // Whatever is wrong with it, Postgres will say so better.
            let _ = fs::remove_file(path);
        }
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        // Closing the file is not enough: a child of ours between its fork and its exec still has it, and
        // would hold the lock for a moment longer.
        let _ = self.lock.unlock();
    }
}

/// The major version of the data in a launcher's directory, where there is data.
pub(crate) fn data_major(data: &Path) -> Result<Option<u32>, StartError> {
    if !data.try_exists().map_err(failed("look at", data))? {
        return Ok(None);
    }
    let version = match fs::read_to_string(data.join("PG_VERSION")) {
        Ok(version) => version,
        Err(error) if error.kind() == ErrorKind::PermissionDenied => return Err(failed("read", data)(error)),
        Err(_) => String::new(),
    };
    match version.trim().parse() {
        Ok(major) => Ok(Some(major)),
        Err(_) => Err(StartError::DataBroken { data: data.to_owned() }),
    }
}

/// Makes an empty directory that belongs to the user who runs Postgres.
pub(crate) fn make_directory(path: &Path, run_as: RunAs) -> Result<(), StartError> {
    DirBuilder::new().mode(0o700).create(path).map_err(failed("make", path))?;
    run_as.give(path).map_err(failed("give away", path))
}

/// Removes a directory with all that is in it, where it exists.
///
/// A server process that a killed `initdb` left may for a moment still write into it: then once more.
pub(crate) fn remove_tree(path: &Path) -> Result<(), StartError> {
    const TRIES: u32 = 50;
    const PAUSE: Duration = Duration::from_millis(20);
    let mut tries_left = TRIES;
    loop {
        match fs::remove_dir_all(path) {
            Ok(()) => return Ok(()),
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            Err(error) if error.kind() == ErrorKind::DirectoryNotEmpty && tries_left > 0 => tries_left -= 1,
            Err(error) => return Err(failed("remove", path)(error)),
        }
        thread::sleep(PAUSE);
    }
}

/// The typed error when the user who runs Postgres cannot get to `path`.
pub(crate) fn require_reachable(run_as: RunAs, path: &Path) -> Result<(), StartError> {
    match run_as.first_unreachable(path).map_err(failed("check the way to", path))? {
        Some(ancestor) => Err(StartError::Unreachable { ancestor, path: path.to_owned() }),
        None => Ok(()),
    }
}

fn take_over(dir: &Path) -> Result<PathBuf, StartError> {
    let dir = std::path::absolute(dir).map_err(failed("find", dir))?;
    if let Some(parent) = dir.parent() {
        fs::create_dir_all(parent).map_err(failed("make", parent))?;
    }
    match DirBuilder::new().mode(0o700).create(&dir) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(failed("make", &dir)(error)),
        _ => {}
    }
    let dir = fs::canonicalize(&dir).map_err(failed("find", &dir))?;
    let metadata = fs::metadata(&dir).map_err(failed("look at", &dir))?;
    if metadata.uid() != system::effective_user() {
        return Err(StartError::NotOwned { dir });
    }
    for entry in fs::read_dir(&dir).map_err(failed("list", &dir))? {
        let name = entry.map_err(failed("list", &dir))?.file_name();
        if !OURS.iter().any(|ours| name == *ours) {
            return Err(StartError::ForeignFiles { dir });
        }
    }
    set_mode(&dir, mode_of_home())?;
    Ok(dir)
}

/// Makes a directory with an unpredictable short name where the user who runs Postgres can get to it.
fn make_temporary(run_as: RunAs) -> Result<PathBuf, StartError> {
    let name = format!("chatplane-{:016x}", RandomState::new().build_hasher().finish());
    for base in [env::temp_dir(), "/tmp".into(), "/var/tmp".into()] {
        let Ok(dir) = fs::canonicalize(base).map(|base| base.join(&name)) else {
            continue;
        };
        if !is_fit_for_socket(&dir.join("socket")) || DirBuilder::new().mode(0o700).create(&dir).is_err() {
            continue;
        }
        set_mode(&dir, mode_of_home())?;
        if require_reachable(run_as, &dir).is_ok() {
            return Ok(dir);
        }
        remove_tree(&dir)?;
    }
    Err(StartError::NoTemporaryDirectory)
}

fn mode_of_home() -> u32 {
    const ROOT: u32 = 0;
    if system::effective_user() == ROOT { 0o711 } else { 0o700 }
}

fn set_mode(path: &Path, mode: u32) -> Result<(), StartError> {
    fs::set_permissions(path, Permissions::from_mode(mode)).map_err(failed("set the mode of", path))
}

fn lock(dir: &Path) -> Result<File, StartError> {
    let path = dir.join("lock");
    let mut lock = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags(libc::O_NOFOLLOW)
        .open(&path)
        .map_err(failed("open", &path))?;
    match lock.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut holder = String::new();
            // A holder that has not written its number yet is a holder all the same.
            let _ = lock.read_to_string(&mut holder);
            return Err(StartError::InUse { dir: dir.to_owned(), holder: holder.trim().parse().ok() });
        }
        Err(TryLockError::Error(error)) => return Err(failed("lock", &path)(error)),
    }
    lock.set_len(0)
        .and_then(|()| writeln!(lock, "{}", std::process::id()))
        .map_err(failed("write", &path))?;
    Ok(lock)
}

/// Short enough for a socket's path, and without a character that Postgres's setting (a list, with quotes)
/// would read as something else.
fn is_fit_for_socket(dir: &Path) -> bool {
    let bytes = dir.as_os_str().as_encoded_bytes();
    let file_bytes = format!("/.s.PGSQL.{PORT}").len();
    bytes.len() + file_bytes <= SOCKET_PATH_BYTES_MAX
        && bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || b"/-_.".contains(byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_short_and_plain_path_is_fit_for_a_socket() {
        assert!(is_fit_for_socket(Path::new("/var/lib/chatplane_1/post-gres.d/socket")));
        assert!(!is_fit_for_socket(Path::new("/var/lib/a,b/socket")));
        assert!(!is_fit_for_socket(Path::new("/var/lib/\"a\"/socket")));
        assert!(is_fit_for_socket(&Path::new("/tmp").join("a".repeat(82))));
        assert!(!is_fit_for_socket(&Path::new("/tmp").join("a".repeat(100))));
    }

    #[test]
    fn a_directory_with_other_files_is_not_taken_over() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("thesis.txt"), "years of work").unwrap();
        let mode_before = fs::metadata(dir.path()).unwrap().mode();

        let refusal = take_over(dir.path()).unwrap_err();

        assert!(matches!(refusal, StartError::ForeignFiles { .. }), "{refusal:?}");
        assert_eq!(fs::metadata(dir.path()).unwrap().mode(), mode_before);
    }

    #[test]
    fn a_data_directory_that_is_no_cluster_is_told_and_left_alone() {
        let dir = tempfile::tempdir().unwrap();

        let refusal = data_major(dir.path()).unwrap_err();

        assert!(matches!(refusal, StartError::DataBroken { .. }), "{refusal:?}");
        assert_eq!(data_major(&dir.path().join("missing")).unwrap(), None);
    }
}

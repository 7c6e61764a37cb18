//! One role as a process: started from our own program, ended in order or by force.
//!
//! Its life hangs on ours by two threads: a pipe on its standard input, whose other end only we hold
//! (see `lifeline`), and on Linux the kernel's death signal. It runs in a process group of its own, so that a
//! Ctrl-C in the terminal reaches us alone and everything ends in order.

use std::{
    env,
    fs::{self, File, OpenOptions},
    io::{self, Read as _, Seek as _, SeekFrom},
    os::{fd::RawFd, unix::fs::OpenOptionsExt as _},
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};
use tokio::{
    process::{Child, ChildStdin, Command},
    time::timeout,
};

use crate::{
    dev::{DevError, environment::Environment},
    system,
};

/// How long a role may take to end in order before it is killed.
const STOP_TIME_MAX: Duration = Duration::from_secs(5);
/// How large a role's log may grow; the one before it is kept beside it.
const LOG_BYTES_MAX: u64 = 8 * 1024 * 1024;
/// How much of a log's end goes into an error.
const LOG_TAIL_BYTES: u64 = 2 * 1024;

/// How to start a role.
pub(crate) struct Launch<'a> {
    /// The subcommand.
    pub(crate) role: &'static str,
    /// Its whole environment.
    pub(crate) environment: Environment,
    /// Where it runs.
    pub(crate) directory: &'a Path,
    /// Where its log goes.
    pub(crate) logs: &'a Path,
    /// The data directory of the run that it belongs to, which the process list shows.
    pub(crate) data: &'a Path,
    /// A descriptor that it shall have too, under the same number.
    pub(crate) inherited: Option<RawFd>,
}

/// A role that runs.
pub(crate) struct RoleProcess {
    role: &'static str,
    log: PathBuf,
    child: Child,
    /// Closed by our end, whatever it is.
    lifeline: Option<ChildStdin>,
}

impl RoleProcess {
    /// Starts the role. To be called from a thread that lives as long as this process.
    pub(crate) fn spawn(launch: Launch<'_>) -> Result<Self, DevError> {
        let role = launch.role;
        Self::try_spawn(launch).map_err(|source| DevError::Spawn { role, source })
    }

    fn try_spawn(launch: Launch<'_>) -> io::Result<Self> {
        let log = launch.logs.join(format!("{}.log", launch.role));
        let log_file = new_log(&log)?;
        let mut command = Command::new(own_program()?);
        command
            .arg0(format!("chatplane of {}", launch.data.display()))
            .arg(launch.role)
            .env_clear()
            .envs(launch.environment)
            .env("CHATPLANE_LIFELINE", "true")
            .current_dir(launch.directory)
            .stdin(Stdio::piped())
            .stdout(log_file.try_clone()?)
            .stderr(log_file)
            .process_group(0)
            .kill_on_drop(true);
        system::tie_to_this_thread(command.as_std_mut(), launch.inherited);
        let mut child = command.spawn()?;
        let lifeline = child.stdin.take();
        Ok(Self { role: launch.role, log, child, lifeline })
    }

    /// Waits until the role ends although nobody has asked it to. Dropping the wait loses nothing.
    pub(crate) async fn ended(&mut self) -> DevError {
        match self.child.wait().await {
            Ok(status) => self.ended_with(status),
            Err(source) => DevError::Spawn { role: self.role, source },
        }
    }

    fn ended_with(&self, status: ExitStatus) -> DevError {
        DevError::RoleEnded { role: self.role, status, log: self.log.clone(), tail: log_tail(&self.log) }
    }

    /// The error for a role that runs, and is not ready in time.
    pub(crate) fn not_ready(&self, time: Duration) -> DevError {
        DevError::NotReady {
            role: self.role,
            seconds: time.as_secs(),
            log: self.log.clone(),
            tail: log_tail(&self.log),
        }
    }

    /// Ends the role: asks, waits, kills. A role that has ended already is left in peace.
    pub(crate) async fn stop(mut self) {
        if let Some(pid) = self.child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?)) {
            // It may have ended just now; its number is ours until the wait below.
            let _ = kill_process(pid, Signal::TERM);
        }
        if timeout(STOP_TIME_MAX, self.child.wait()).await.is_err() {
            tracing::warn!(role = self.role, "killed, because it did not end in time");
            // Only a process that cannot be killed at all fails here.
            let _ = self.child.kill().await;
        }
        drop(self.lifeline.take());
    }

    /// Keeps the log within its bound. A copy is kept, and the file is cut: the role goes on writing at its
    /// end, which is then the beginning.
    pub(crate) fn bound_log(&self) {
        if let Err(error) = bound_log(&self.log, LOG_BYTES_MAX) {
            tracing::warn!(role = self.role, %error, "the log could not be cut");
        }
    }
}

/// Our own program. Its path may hold another one by now (a new build, an update), or none.
fn own_program() -> io::Result<PathBuf> {
    const LINK: &str = "/proc/self/exe";
    if Path::new(LINK).exists() { Ok(LINK.into()) } else { env::current_exe() }
}

fn new_log(path: &Path) -> io::Result<File> {
    let log =
        OpenOptions::new().append(true).create(true).mode(0o600).custom_flags(libc::O_NOFOLLOW).open(path)?;
    log.set_len(0)?;
    Ok(log)
}

fn bound_log(path: &Path, bytes_max: u64) -> io::Result<()> {
    if fs::metadata(path)?.len() <= bytes_max {
        return Ok(());
    }
    fs::copy(path, path.with_extension("log.old"))?;
    OpenOptions::new().write(true).open(path)?.set_len(0)
}

fn log_tail(path: &Path) -> String {
    let read = || -> io::Result<Vec<u8>> {
        let mut log = File::open(path)?;
        let start = log.metadata()?.len().saturating_sub(LOG_TAIL_BYTES);
        log.seek(SeekFrom::Start(start))?;
        let mut tail = Vec::new();
        log.take(LOG_TAIL_BYTES).read_to_end(&mut tail)?;
        Ok(tail)
    };
    match read() {
        Ok(tail) if tail.is_empty() => "(it is empty)".to_owned(),
        Ok(tail) => String::from_utf8_lossy(&tail).trim().to_owned(),
        Err(error) => format!("(the log cannot be read: {error})"),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn a_log_stays_within_its_bound_while_it_is_written_to() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("serve.log");
        let mut writer = new_log(&path).unwrap();

        writer.write_all(b"0123456789").unwrap();
        bound_log(&path, 10).unwrap();
        writer.write_all(b"a").unwrap();
        bound_log(&path, 10).unwrap();
        writer.write_all(b"b").unwrap();

        assert_eq!(fs::read(&path).unwrap(), b"b");
        assert_eq!(fs::read(path.with_extension("log.old")).unwrap(), b"0123456789a");
    }

    #[test]
    fn an_error_quotes_the_end_of_a_log() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("serve.log");
        fs::write(&path, format!("{}\nthe end\n", "x".repeat(10_000))).unwrap();

        let tail = log_tail(&path);

        assert!(tail.ends_with("the end") && tail.len() < 3000, "{tail}");
        assert!(log_tail(&dir.path().join("missing")).starts_with("(the log cannot be read"));
    }
}

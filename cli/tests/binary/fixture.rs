//! Directories to run in, and the binary as a process with a deadline.

use std::{
    fs::{self, Permissions},
    io::{BufRead as _, BufReader, Read},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, ExitStatus, Stdio},
    sync::mpsc::{self, Receiver},
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// Far above what anything here takes, also on a busy machine.
const DEADLINE: Duration = Duration::from_secs(90);
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// A workspace, and room for a data directory beside it.
pub(crate) struct Places {
    root: TempDir,
}

impl Places {
    pub(crate) fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        // As root, PostgreSQL runs as another user, who has to get to the data.
        fs::set_permissions(root.path(), Permissions::from_mode(0o711)).unwrap();
        fs::create_dir(root.path().join("workspace")).unwrap();
        Self { root }
    }

    pub(crate) fn workspace(&self) -> PathBuf {
        self.root.path().canonicalize().unwrap().join("workspace")
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.root.path().canonicalize().unwrap().join("data")
    }

    /// `chatplane dev` for these directories, in an otherwise empty environment.
    pub(crate) fn dev(&self) -> Command {
        let mut command = chatplane();
        // The one mark that every role inherits, so that `processes` finds all of them.
        command.env("LOGNAME", self.data());
        command
            .arg("dev")
            .arg("--data-dir")
            .arg(self.data())
            .args(["--port", "0"])
            .current_dir(self.workspace());
        command
    }

    /// The processes that have to do with the data directory: everything that `dev` starts.
    pub(crate) fn processes(&self) -> Vec<Process> {
        processes_naming(&self.data())
    }

    /// Waits until everything that `dev` has started is gone.
    pub(crate) fn wait_until_nothing_runs(&self) {
        wait_until(|| match self.processes() {
            left if left.is_empty() => Ok(()),
            left => Err(format!("{left:?} still run")),
        });
    }
}

/// The binary in an environment that holds nothing of ours.
pub(crate) fn chatplane() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_chatplane"));
    command.env_clear().env("PATH", "/usr/local/bin:/usr/bin:/bin");
    command
}

/// How a process ended, and what it said.
#[derive(Debug)]
pub(crate) struct Finished {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// Runs a command to its end.
pub(crate) fn finish(command: &mut Command) -> Finished {
    Running::start(command).finish()
}

/// A process that is killed when this is dropped.
pub(crate) struct Running {
    child: Child,
    stdout: Option<BufReader<ChildStdout>>,
    stderr: Receiver<String>,
}

impl Running {
    pub(crate) fn start(command: &mut Command) -> Self {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let stdout = child.stdout.take().map(BufReader::new);
        let stderr = read_to_end(child.stderr.take().unwrap());
        Self { child, stdout, stderr }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Reads standard output up to a line that holds `text`.
    pub(crate) fn wait_for_line(&mut self, text: &'static str) {
        let mut stdout = self.stdout.take().unwrap();
        let (sender, receiver) = mpsc::channel();
        thread::spawn(move || {
            let mut line = String::new();
            while stdout.read_line(&mut line).unwrap() > 0 && !line.contains(text) {
                line.clear();
            }
            let _ = sender.send((stdout, line));
        });
        let (stdout, line) = receiver.recv_timeout(DEADLINE).expect("no such line in time");
        self.stdout = Some(stdout);
        if !line.contains(text) {
            panic!("ended without a line of {text:?}: {:?}", self.stderr.recv_timeout(DEADLINE));
        }
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw).unwrap();
        kill_process(pid, signal).unwrap();
    }

    /// Waits for the end.
    pub(crate) fn finish(mut self) -> Finished {
        let stdout = read_to_end(self.stdout.take().unwrap());
        let stdout = stdout.recv_timeout(DEADLINE).expect("standard output did not end in time");
        let stderr = self.stderr.recv_timeout(DEADLINE).expect("standard error did not end in time");
        let status = self.wait();
        Finished { code: status.code(), stdout, stderr }
    }

    fn wait(&mut self) -> ExitStatus {
        let mut status = None;
        wait_until(|| {
            status = self.child.try_wait().unwrap();
            status.map(|_| ()).ok_or_else(|| "the process still runs".to_owned())
        });
        status.unwrap()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended long ago.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn read_to_end(mut pipe: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let mut bytes = Vec::new();
        pipe.read_to_end(&mut bytes).unwrap();
        let _ = sender.send(String::from_utf8(bytes).unwrap());
    });
    receiver
}

/// Looks until it is so, or the deadline has passed.
pub(crate) fn wait_until(mut is_so: impl FnMut() -> Result<(), String>) {
    let deadline = Instant::now() + DEADLINE;
    while let Err(not_yet) = is_so() {
        assert!(Instant::now() < deadline, "{not_yet}");
        thread::sleep(LOOK_EVERY);
    }
}

/// What `/proc` tells of a process.
#[derive(Debug)]
pub(crate) struct Process {
    pub(crate) pid: u32,
    pub(crate) command_line: String,
    pub(crate) environment: String,
}

impl Process {
    /// Whether it is this role of the binary.
    pub(crate) fn is_role(&self, role: &str) -> bool {
        self.command_line.split('\0').nth(1) == Some(role)
    }
}

fn processes_naming(path: &Path) -> Vec<Process> {
    let path = path.to_str().unwrap();
    // Elsewhere than on Linux nothing is found, and nothing checked.
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    let read = |pid: u32, file: &str| {
        let bytes = fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    };
    entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .map(|pid| Process { pid, command_line: read(pid, "cmdline"), environment: read(pid, "environ") })
        .filter(|process| process.command_line.contains(path) || process.environment.contains(path))
        .collect()
}

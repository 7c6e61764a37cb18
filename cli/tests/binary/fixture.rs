//! Directories to run in, and the binary as a process with a deadline.

use std::{
    fs::{self, Permissions},
    io::{Read, Write as _},
    os::unix::{
        fs::{PermissionsExt as _, chown},
        process::CommandExt as _,
    },
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tonic::Request;

const PROGRAM: &str = env!("CARGO_BIN_EXE_chatplane");
/// Far above what anything here takes, also on a busy machine.
const DEADLINE: Duration = Duration::from_secs(90);
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Any number but root's does, whether the system knows it or not.
const ORDINARY_USER: u32 = 65534;

/// A workspace, and room for a data directory beside it.
pub(crate) struct Places {
    root: TempDir,
    user: User,
}

/// Who runs `dev`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum User {
    OfTheTests,
    Ordinary,
}

impl Places {
    pub(crate) fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        // As root, PostgreSQL runs as another user, who has to get to the data.
        fs::set_permissions(root.path(), Permissions::from_mode(0o711)).unwrap();
        fs::create_dir(root.path().join("workspace")).unwrap();
        Self { root, user: User::OfTheTests }
    }

    /// For an ordinary user, also where the tests run as root.
    pub(crate) fn of_an_ordinary_user() -> Self {
        let places = Self::new();
        if !rustix::process::geteuid().is_root() {
            return places;
        }
        for path in [places.root.path().to_owned(), places.workspace()] {
            chown(path, Some(ORDINARY_USER), Some(ORDINARY_USER)).unwrap();
        }
        // The directory of the build may be closed to that user. A link, where one can be made, takes no space.
        if fs::hard_link(PROGRAM, places.program_copy()).is_err() {
            fs::copy(PROGRAM, places.program_copy()).unwrap();
        }
        Self { user: User::Ordinary, ..places }
    }

    /// For every kind of user that these tests can be: only root can be another.
    pub(crate) fn of_each_user() -> Vec<Self> {
        let mut places = vec![Self::new()];
        if rustix::process::geteuid().is_root() {
            places.push(Self::of_an_ordinary_user());
        }
        places
    }

    fn program_copy(&self) -> PathBuf {
        self.root.path().join("chatplane")
    }

    pub(crate) fn workspace(&self) -> PathBuf {
        self.root.path().canonicalize().unwrap().join("workspace")
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.root.path().canonicalize().unwrap().join("data")
    }

    /// `chatplane dev` for these directories, in an otherwise empty environment.
    pub(crate) fn dev(&self) -> Command {
        let mut command = self.dev_by_default();
        command.arg("--data-dir").arg(self.data());
        command
    }

    /// The same, with the data where it is by default.
    pub(crate) fn dev_by_default(&self) -> Command {
        let mut command = match self.user {
            User::OfTheTests => chatplane(),
            User::Ordinary => {
                let mut command = of_nothing(&self.program_copy());
                command.uid(ORDINARY_USER).gid(ORDINARY_USER);
                command
            }
        };
        // The one mark that every role inherits, so that `processes` finds all of them.
        command.env("LOGNAME", self.data());
        // A provider of a test counts its calls, and none of them shall be for a title.
        command.env("CHATPLANE_GENERATE_TITLES", "false");
        command.args(["dev", "--port", "0"]).current_dir(self.workspace());
        command
    }

    /// The processes that have to do with the data directory: everything that `dev` starts.
    pub(crate) fn processes(&self) -> Vec<Process> {
        processes_naming(&self.data())
    }

    /// The process of a role.
    pub(crate) fn role(&self, role: &str) -> Process {
        let role_of = |process: &Process| process.is_role(role);
        self.processes().into_iter().find(role_of).unwrap_or_else(|| panic!("no {role} runs"))
    }

    /// Waits until everything that `dev` has started is gone.
    pub(crate) fn wait_until_nothing_runs(&self) {
        self.wait_at_most_until_nothing_runs(DEADLINE);
    }

    /// The same, within a time that was promised.
    pub(crate) fn wait_at_most_until_nothing_runs(&self, time: Duration) {
        wait_at_most(time, || match self.processes() {
            left if left.is_empty() => Ok(()),
            left => Err(format!("{left:?} still run")),
        });
    }
}

/// The binary in an environment that holds nothing of ours.
pub(crate) fn chatplane() -> Command {
    of_nothing(program())
}

/// Where it is.
pub(crate) fn program() -> &'static Path {
    Path::new(PROGRAM)
}

fn of_nothing(program: &Path) -> Command {
    let mut command = Command::new(program);
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

/// Runs a command to its end, without anything on standard input.
pub(crate) fn finish(command: &mut Command) -> Finished {
    Running::start(command).finish()
}

/// Runs a command to its end, with these bytes on standard input.
pub(crate) fn finish_with_input(command: &mut Command, input: &[u8]) -> Finished {
    let mut running = Running::start_with(command, Stdio::piped());
    let mut stdin = running.child.stdin.take().unwrap();
    let input = input.to_vec();
    let writer = thread::spawn(move || {
        // A program that has read enough may close it.
        let _ = stdin.write_all(&input);
    });
    let finished = running.finish();
    writer.join().unwrap();
    finished
}

/// A process that is killed when this is dropped.
pub(crate) struct Running {
    child: Child,
    stdout: Captured,
    stderr: Captured,
}

impl Running {
    pub(crate) fn start(command: &mut Command) -> Self {
        Self::start_with(command, Stdio::null())
    }

    fn start_with(command: &mut Command, stdin: Stdio) -> Self {
        command.stdin(stdin).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let stdout = Captured::start(child.stdout.take().unwrap());
        let stderr = Captured::start(child.stderr.take().unwrap());
        Self { child, stdout, stderr }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it has written to standard output so far.
    pub(crate) fn said(&self) -> String {
        self.stdout.text()
    }

    /// What it has written to standard error so far.
    pub(crate) fn complained(&self) -> String {
        self.stderr.text()
    }

    /// Waits until standard output holds the text.
    pub(crate) fn wait_for_line(&mut self, text: &str) {
        self.wait_for(1, text, |running| &running.stdout);
    }

    /// Waits until standard error holds the text.
    pub(crate) fn wait_for_note(&mut self, text: &str) {
        self.wait_for_notes(1, text);
    }

    /// Waits until standard error holds the text so many times.
    pub(crate) fn wait_for_notes(&mut self, times: usize, text: &str) {
        self.wait_for(times, text, |running| &running.stderr);
    }

    fn wait_for(&mut self, times: usize, text: &str, stream: fn(&Self) -> &Captured) {
        wait_until(|| {
            let holds = |running: &Self| stream(running).text().matches(text).count() >= times;
            if holds(self) {
                return Ok(());
            }
            let state = format!("no {text:?} in {:?} and {:?}", self.stdout.text(), self.stderr.text());
            if let Some(status) = self.child.try_wait().unwrap() {
                assert!(stream(self).has_ended() && holds(self), "{status}: {state}");
            }
            Err(state)
        });
    }

    pub(crate) fn signal(&self, signal: Signal) {
        send(self.child.id(), signal);
    }

    /// Waits for the end.
    pub(crate) fn finish(mut self) -> Finished {
        let mut status = None;
        wait_until(|| {
            status = self.child.try_wait().unwrap();
            let has_ended = status.is_some() && self.stdout.has_ended() && self.stderr.has_ended();
            has_ended.then_some(()).ok_or_else(|| {
                format!("{status:?} after {:?} and {:?}", self.stdout.text(), self.stderr.text())
            })
        });
        Finished {
            code: status.and_then(|status| status.code()),
            stdout: self.stdout.text(),
            stderr: self.stderr.text(),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended long ago.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What a process has written to one of its streams so far.
struct Captured {
    bytes: Arc<Mutex<Vec<u8>>>,
    reader: thread::JoinHandle<()>,
}

impl Captured {
    fn start(mut pipe: impl Read + Send + 'static) -> Self {
        let bytes = Arc::new(Mutex::new(Vec::new()));
        let shared = Arc::clone(&bytes);
        let reader = thread::spawn(move || {
            let mut piece = [0; 4096];
            while let Ok(count @ 1..) = pipe.read(&mut piece) {
                shared.lock().unwrap().extend_from_slice(&piece[..count]);
            }
        });
        Self { bytes, reader }
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes.lock().unwrap()).into_owned()
    }

    fn has_ended(&self) -> bool {
        self.reader.is_finished()
    }
}

/// A request of whoever has the token.
pub(crate) fn with_token<T>(message: T, token: &str) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
    request
}

/// Sends a signal to a process of ours.
pub(crate) fn send(pid: u32, signal: Signal) {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).unwrap();
    kill_process(pid, signal).unwrap();
}

/// Looks until it is so, or the deadline has passed.
pub(crate) fn wait_until(is_so: impl FnMut() -> Result<(), String>) {
    wait_at_most(DEADLINE, is_so);
}

/// Looks until it is so, or the time is over.
pub(crate) fn wait_at_most(time: Duration, mut is_so: impl FnMut() -> Result<(), String>) {
    let deadline = Instant::now() + time;
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
    /// Unknown of a process that keeps it to itself.
    pub(crate) environment: Option<String>,
}

impl Process {
    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        send(self.pid, signal);
    }

    /// Whether it is this role of the binary.
    pub(crate) fn is_role(&self, role: &str) -> bool {
        self.command_line.split('\0').nth(1) == Some(role)
    }
}

/// Every process whose command line or environment holds the path.
pub(crate) fn processes_naming(path: &Path) -> Vec<Process> {
    let path = path.to_str().unwrap();
    // Elsewhere than on Linux nothing is found, and nothing checked.
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    let read = |pid: u32, file: &str| {
        let bytes = fs::read(format!("/proc/{pid}/{file}")).ok()?;
        Some(String::from_utf8_lossy(&bytes).into_owned())
    };
    entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .map(|pid| {
            let command_line = read(pid, "cmdline").unwrap_or_default();
            Process { pid, command_line, environment: read(pid, "environ") }
        })
        .filter(|process| {
            let environment = process.environment.as_deref().unwrap_or_default();
            process.command_line.contains(path) || environment.contains(path)
        })
        .collect()
}

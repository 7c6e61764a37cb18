//! The roles as child processes.

use std::{
    collections::BTreeMap,
    fs::File,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use rustix::process::{Pid, Signal, kill_process};

/// A running role. It is killed when it is dropped.
#[derive(Debug)]
pub struct Role {
    name: String,
    child: Child,
    log: PathBuf,
}

/// The binary that this build made.
fn binary() -> PathBuf {
    let test = std::env::current_exe().expect("a test knows its own path");
    let profile = test.ancestors().nth(2).expect("a test lies two levels below its profile");
    let binary = profile.join("chatplane");
    assert!(binary.exists(), "build the binary first: cargo test --workspace");
    binary
}

/// A port that nobody listens on just now.
///
/// # Panics
///
/// When there is none.
#[must_use]
pub fn free_port() -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a loopback port is free");
    listener.local_addr().expect("a listener has an address")
}

impl Role {
    /// Starts a role with nothing in its environment but these variables; it logs
    /// into `logs`.
    ///
    /// # Panics
    ///
    /// When the binary cannot be started.
    #[must_use]
    pub fn start(name: &str, arguments: &[&str], variables: &BTreeMap<&str, String>, logs: &Path) -> Self {
        let mut command = Command::new(binary());
        command.args(arguments);
        Self::start_command(command, name, variables, logs)
    }

    /// The same of another binary, such as that of the release before, with its arguments.
    ///
    /// # Panics
    ///
    /// When the binary cannot be started.
    #[must_use]
    pub fn start_command(
        mut command: Command,
        name: &str,
        variables: &BTreeMap<&str, String>,
        logs: &Path,
    ) -> Self {
        let log = logs.join(format!("{name}.log"));
        let output = File::options().create(true).append(true).open(&log).expect("the log can be written");
        let errors = output.try_clone().expect("a file handle can be copied");
        let child = command
            .env_clear()
            .envs(variables)
            .env("CHATPLANE_LOG", "info")
            .env("RUST_BACKTRACE", "1")
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(errors)
            .spawn()
            .expect("the binary starts");
        Self { name: name.to_owned(), child, log }
    }

    fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw).expect("a child has a pid");
        // A child that has just ended is no longer there to be told.
        let _ = kill_process(pid, signal);
    }

    /// `kill -9`, and waits until it is gone. One that is gone already has no pid any more:
    /// by now it may be somebody else's.
    pub fn kill(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            self.signal(Signal::KILL);
        }
        let _ = self.child.wait();
    }

    /// Stops it without ending it: a paused virtual machine, a partition.
    pub fn pause(&self) {
        self.signal(Signal::STOP);
    }

    /// Lets a paused process go on.
    pub fn resume(&self) {
        self.signal(Signal::CONT);
    }

    /// SIGTERM, as an orchestrator sends it.
    pub fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    /// Its exit code, once it has ended by itself.
    pub fn exit_code(&mut self) -> Option<i32> {
        self.child.try_wait().ok().flatten().and_then(|status| status.code())
    }

    /// Whether it has ended, by itself or by a signal.
    pub fn has_ended(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }

    /// What it has logged.
    #[must_use]
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Role {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            eprintln!("--- log of {} ---\n{}", self.name, self.log());
        }
    }
}

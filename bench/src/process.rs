//! The roles as child processes.
//!
//! Their lives hang on ours by a pipe on their standard input that only we hold: when the
//! benchmark ends, by kill -9 too, they end. They get an environment of their own, and
//! log into files.

use std::{
    env,
    fs::{self, File},
    path::{Path, PathBuf},
    process::Stdio,
};

use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use crate::{
    error::{Error, OrFailed as _, Result},
    wait::in_time,
};

/// What a program may need to find others and files.
const INHERITED: [&str; 4] = ["PATH", "HOME", "TMPDIR", "LANG"];
/// How much of a log goes into an error.
const LOG_TAIL_CHARS: usize = 2000;

/// How to start a process.
pub(crate) struct Launch<'a> {
    /// Names its log.
    pub(crate) name: &'a str,
    pub(crate) program: &'a Path,
    pub(crate) arguments: &'a [&'a str],
    pub(crate) variables: &'a [(String, String)],
    pub(crate) logs: &'a Path,
}

/// A running process. It is killed when this is dropped.
#[derive(Debug)]
pub(crate) struct Process {
    name: String,
    child: Child,
    log: PathBuf,
    lifeline: Option<ChildStdin>,
}

impl Process {
    /// Starts it. Its standard output goes into its log.
    pub(crate) fn start(launch: &Launch<'_>) -> Result<Self> {
        let mut command = prepare(launch)?;
        let log = launch.logs.join(format!("{}.log", launch.name));
        command.stdout(open_log(&log)?);
        Self::spawn(launch, command, log)
    }

    /// Starts it, and answers its standard output.
    pub(crate) fn start_and_read(launch: &Launch<'_>) -> Result<(Self, ChildStdout)> {
        let mut command = prepare(launch)?;
        command.stdout(Stdio::piped());
        let log = launch.logs.join(format!("{}.log", launch.name));
        let mut process = Self::spawn(launch, command, log)?;
        let output = process.child.stdout.take().ok_or_else(|| Error::wrong("a child without output"))?;
        Ok((process, output))
    }

    fn spawn(launch: &Launch<'_>, mut command: Command, log: PathBuf) -> Result<Self> {
        let mut child = command.spawn().or_failed(format!("start {}", launch.program.display()))?;
        let lifeline = child.stdin.take();
        Ok(Self { name: launch.name.to_owned(), child, log, lifeline })
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Its number; none once it has ended.
    pub(crate) fn pid(&self) -> Option<u32> {
        self.child.id()
    }

    /// An error when it has ended by itself.
    pub(crate) fn require_running(&mut self) -> Result<()> {
        match self.child.try_wait().or_failed("look after a child")? {
            None => Ok(()),
            Some(status) => {
                let (name, log) = (&self.name, self.log_tail());
                Err(Error::wrong(format!("{name} has ended ({status}). The end of its log:\n{log}")))
            }
        }
    }

    /// kill -9, without waiting for the end.
    pub(crate) fn kill(&mut self) -> Result<()> {
        self.child.start_kill().or_failed(format!("kill {}", self.name))
    }

    /// SIGSTOP: it is silent, and its connections stay.
    pub(crate) fn pause(&self) -> Result<()> {
        let pid = self.pid().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
        let pid = pid.ok_or_else(|| Error::wrong(format!("{} has ended", self.name)))?;
        kill_process(pid, Signal::STOP).or_failed(format!("stop {}", self.name))
    }

    /// Waits until it is gone.
    pub(crate) async fn ended(&mut self) -> Result<()> {
        in_time("the end of a process", self.child.wait()).await?.or_failed("wait for a child")?;
        Ok(())
    }

    /// Asks it to stop, and waits until it has.
    pub(crate) async fn stop(mut self) -> Result<()> {
        if let Some(pid) = self.pid().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?)) {
            // It may have ended by itself just now.
            let _ = kill_process(pid, Signal::TERM);
        }
        self.ended().await?;
        drop(self.lifeline.take());
        Ok(())
    }

    fn log_tail(&self) -> String {
        let log = fs::read(&self.log).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let start = log.char_indices().rev().nth(LOG_TAIL_CHARS).map_or(0, |(start, _)| start);
        log[start..].trim().to_owned()
    }
}

fn prepare(launch: &Launch<'_>) -> Result<Command> {
    let log = launch.logs.join(format!("{}.log", launch.name));
    let mut command = Command::new(launch.program);
    command
        .args(launch.arguments)
        .env_clear()
        .envs(INHERITED.iter().filter_map(|name| Some((name, env::var_os(name)?))))
        .env("CHATPLANE_LIFELINE", "true")
        .envs(launch.variables.iter().map(|(name, value)| (name, value)))
        .current_dir(launch.logs)
        .stdin(Stdio::piped())
        .stderr(open_log(&log)?)
        // A Ctrl-C in the terminal is for us, and we end them.
        .process_group(0)
        .kill_on_drop(true);
    Ok(command)
}

fn open_log(path: &Path) -> Result<File> {
    File::options().create(true).append(true).open(path).or_failed("open a log")
}

//! The guards of this agent, and what one leaves behind that was killed itself.

use std::{
    collections::HashSet,
    env,
    ffi::OsString,
    io,
    os::fd::{AsRawFd as _, OwnedFd},
    path::PathBuf,
    process::Stdio,
    sync::{Mutex, MutexGuard, PoisonError},
    thread::sleep,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, WaitOptions, kill_process, test_kill_process, waitpid};
use tokio::process::{self, Command};

use super::{
    Environment, KILL_TIME_MAX,
    children::{self, Child},
};

/// Between two looks at orphans. A kill takes effect in less than a millisecond.
const LOOK_INTERVAL: Duration = Duration::from_millis(2);

/// The program that guards one command: it calls `tool_guard`, and does nothing else.
#[derive(Clone, Debug)]
pub(crate) struct GuardProgram {
    pub(crate) program: PathBuf,
    pub(crate) arguments: Vec<OsString>,
}

impl GuardProgram {
    /// This very program, by its hidden subcommand. Its path may hold another one by now (an update), or none.
    pub(crate) fn own() -> io::Result<Self> {
        let link = PathBuf::from("/proc/self/exe");
        let program = if link.exists() { link } else { env::current_exe()? };
        Ok(Self { program, arguments: vec!["tool-guard".into()] })
    }
}

/// What a guard starts with.
pub(super) struct Streams {
    /// The socket whose other end is ours.
    pub(super) lifeline: OwnedFd,
    /// Where the command writes.
    pub(super) output: OwnedFd,
    /// Where the command runs.
    pub(super) directory: OwnedFd,
}

/// Whether orphans come to this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Orphans {
    /// This process is their subreaper. Whatever comes to be its child and is no guard, it may kill; not what
    /// was its child before (an entry point that starts others and then becomes the agent).
    Adopted,
    /// They do not. A test's process has children of other tests.
    #[cfg(test)]
    LeftAlone,
}

/// The guards that run.
pub(super) struct Guards {
    program: GuardProgram,
    orphans: Orphans,
    running: Mutex<HashSet<Pid>>,
    /// Children that were there before, by number and start time.
    strangers: HashSet<(Pid, u64)>,
}

impl Guards {
    /// None yet.
    pub(super) fn new(program: GuardProgram, orphans: Orphans) -> io::Result<Self> {
        // Where nobody can look, nobody is killed either.
        let before = children::children().unwrap_or_default();
        let strangers = before.iter().map(|child| (child.pid, child.start_time)).collect();
        if orphans == Orphans::Adopted {
            children::adopt_orphans()?;
        }
        Ok(Self { program, orphans, running: Mutex::default(), strangers })
    }

    /// Starts one. It outlives its handle for as long as it takes to kill what it guards.
    pub(super) fn start(
        &self,
        environment: &Environment,
        streams: Streams,
    ) -> io::Result<(Pid, process::Child)> {
        let mut command = Command::new(&self.program.program);
        command
            // As the agent is called, so that a guard is found in a list of processes by whose it is.
            .arg0(env::args_os().next().unwrap_or_else(|| "chatplane".into()))
            .args(&self.program.arguments)
            .env_clear()
            .envs(environment.variables())
            // The very directory that was checked, and not whatever has its path by then.
            .current_dir(format!("/dev/fd/{}", streams.directory.as_raw_fd()))
            .stdin(streams.lifeline)
            .stdout(Stdio::null())
            .stderr(streams.output)
            .kill_on_drop(false);
        // Under the lock, so that nobody takes a guard for an orphan before it is on the list.
        let mut running = self.running();
        // Those whose handle was dropped while they were at work.
        running.retain(|guard| test_kill_process(*guard).is_ok());
        let child = command.spawn()?;
        let pid = child.id().and_then(children::pid_of).ok_or_else(|| io::Error::other("no number"))?;
        running.insert(pid);
        Ok((pid, child))
    }

    /// Takes a guard that has ended from the list.
    pub(super) fn ended(&self, guard: Pid) {
        self.running().remove(&guard);
    }

    /// Kills what has come to this process from guards that did not do their work. It blocks for a moment.
    pub(super) fn end_orphans(&self) {
        if self.orphans != Orphans::Adopted {
            return;
        }
        let begin = Instant::now();
        while begin.elapsed() < KILL_TIME_MAX {
            if self.kill_orphans() == 0 {
                return;
            }
            sleep(LOOK_INTERVAL);
        }
        tracing::warn!("processes of a command whose guard was killed could not be killed");
    }

    /// Kills and collects, and says how many there were.
    fn kill_orphans(&self) -> usize {
        // No guard starts meanwhile.
        let running = self.running();
        let children = children::children().unwrap_or_default();
        let is_orphan = |child: &&Child| {
            !running.contains(&child.pid) && !self.strangers.contains(&(child.pid, child.start_time))
        };
        let orphans: Vec<_> = children.iter().filter(is_orphan).collect();
        for orphan in &orphans {
            let _ = kill_process(orphan.pid, Signal::KILL);
            // By its number: the ends of guards are for their handles.
            let _ = waitpid(Some(orphan.pid), WaitOptions::NOHANG);
        }
        orphans.len()
    }

    fn running(&self) -> MutexGuard<'_, HashSet<Pid>> {
        // The set is whole after every step.
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

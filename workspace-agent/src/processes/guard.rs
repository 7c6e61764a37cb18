//! The guard: the process that holds one command and ends with everything the command has started.
//!
//! It is a program of its own (a hidden subcommand), with one thread and no runtime, so that it works when the
//! agent hangs or is gone. Its standard input is a socket whose other end only the agent holds: the command
//! comes in by it, reports go out, and its end, by kill -9 of the agent too, means "stop". Its standard error
//! is where the command writes. Environment and directory are the command's already.
//!
//! It is the subreaper of the command: a process that double-forks or begins a session of its own still
//! becomes its child in the end, so "no children left" is the kernel's word that nothing is left. Should the
//! guard itself be killed, the kernel kills the shell, and the agent the rest.
//!
//! What goes on starting others while it is killed is first stopped, everything below the guard, until a look
//! finds nothing new; and whole process groups are killed at a stroke, which no fork escapes. What is left all
//! the same after some time, since it hangs in the kernel, runs with more rights, or has been faster each time,
//! is told, and the guard stays and goes on killing until nothing is left, whether or not the agent is there.
//!
//! Only Linux has subreapers and such looks. Elsewhere the guard kills the shell's process group, and what has
//! left that group is not found.

use std::{
    collections::HashSet,
    io::{self, Stdin},
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::process::CommandExt as _,
    },
    process::{Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::{Errno, read, write},
    process::{Pid, Signal, WaitOptions, WaitStatus, getpgrp, kill_process_group, setsid, wait},
};

use super::{
    COMMAND_BYTES_MAX, KILL_TIME_MAX, children,
    report::{Ended, Report, ShellEnd},
    system,
};

/// Between two looks whether everything has ended. A kill takes effect in less than a millisecond.
const LOOK_INTERVAL: Duration = Duration::from_millis(2);

/// The same, once it was told that somebody is left: what hangs in the kernel may do so for days.
const LATE_LOOK_INTERVAL: Duration = Duration::from_millis(500);

/// Looks in a row for processes that are not stopped yet. Mostly the second finds none.
const STOP_LOOKS_MAX: u32 = 20;

/// What the command left running may end by itself during so many looks, a fifth of a second, so that a helper
/// that is about to write its last line (`… > >(tee log)`) can. Looks and not time, since on a busy machine the
/// helper waits as we do.
const GRACE_LOOKS: u32 = 100;

/// Adopted processes that have ended are collected at least so often, lest they use up the system's numbers.
const COLLECT_INTERVAL: Timespec = Timespec { tv_sec: 1, tv_nsec: 0 };

/// Where the shell's end wakes nobody, it is looked for so often.
const LOOK_FOR_END_INTERVAL: Timespec = Timespec { tv_sec: 0, tv_nsec: 20_000_000 };

/// Runs the command that the agent sends, and ends with everything that it has started.
pub(crate) fn run() -> io::Result<()> {
    system::close_the_rest_on_exec()?;
    // A session of its own has no terminal: nothing that is run can ask a person for a password. It fails
    // for a process that leads one already, which is as good.
    let _ = setsid();
    children::adopt_orphans()?;
    let agent = Agent { socket: io::stdin() };
    let command = agent.command()?;
    let shell = match start(&command, &agent) {
        Ok(shell) => shell,
        Err(error) => return agent.report(&Report::Unstarted(error.to_string())),
    };
    let mut guard = Guard { agent, shell, shell_end: None };
    let stopped = guard.hold();
    let ended = guard.end_everything(stopped);
    let reported = guard.agent.report(&Report::Ended(ended));
    guard.end_what_is_left();
    reported
}

/// Starts the shell. Its process group is its own: `kill 0` in a script is common and must not end us. It reports
/// itself before it runs: a command that kills us at once leaves the agent its group to kill.
fn start(command: &str, agent: &Agent) -> io::Result<Pid> {
    let output = || Ok::<_, io::Error>(Stdio::from(io::stderr().as_fd().try_clone_to_owned()?));
    let mut shell = Command::new("/bin/sh");
    shell
        .args(["-c", "--", command])
        .stdin(Stdio::null())
        .stdout(output()?)
        .stderr(output()?)
        .process_group(0);
    let reports = agent.as_fd().try_clone_to_owned()?;
    system::announce_and_kill_with_this_thread(&mut shell, reports);
    // It is collected below with all the others, by its number.
    let shell = shell.spawn()?;
    children::pid_of(shell.id()).ok_or_else(|| io::Error::other("the shell has no number"))
}

/// The agent's end of the socket.
struct Agent {
    socket: Stdin,
}

impl Agent {
    /// The command, which ends with NUL.
    fn command(&self) -> io::Result<String> {
        let mut command = Vec::new();
        let mut piece = [0; 4096];
        loop {
            let length = read(&self.socket, &mut piece)?;
            if length == 0 || command.len() > COMMAND_BYTES_MAX {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            command.extend_from_slice(&piece[..length]);
            if command.last() == Some(&0) {
                command.pop();
                return String::from_utf8(command).map_err(io::Error::other);
            }
        }
    }

    fn report(&self, report: &Report) -> io::Result<()> {
        // It is far smaller than the socket's buffer, so it goes in one piece.
        write(&self.socket, report.to_string().as_bytes())?;
        Ok(())
    }

    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Who is still there.
#[derive(PartialEq, Eq)]
enum Left {
    Some,
    Nobody,
}

/// Why the holding ended.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stopped {
    /// The shell has ended.
    ByShell,
    /// The agent wants it so, or is gone.
    ByAgent,
}

struct Guard {
    agent: Agent,
    shell: Pid,
    shell_end: Option<ShellEnd>,
}

impl Guard {
    /// Waits for the shell's end, or the agent's word.
    fn hold(&mut self) -> Stopped {
        let shell = handle(self.shell);
        let interval = if shell.is_some() { COLLECT_INTERVAL } else { LOOK_FOR_END_INTERVAL };
        loop {
            self.collect();
            if self.shell_end.is_some() {
                return Stopped::ByShell;
            }
            let mut events = vec![PollFd::from_borrowed_fd(self.agent.as_fd(), PollFlags::IN)];
            events.extend(shell.as_ref().map(|shell| PollFd::new(shell, PollFlags::IN)));
            match poll(&mut events, Some(&interval)) {
                Ok(_) | Err(Errno::INTR) => {}
                // Whatever it is, it will not get better; and nothing may run unguarded.
                Err(_) => return Stopped::ByAgent,
            }
            if !events[0].revents().is_empty() {
                return Stopped::ByAgent;
            }
        }
    }

    /// Kills until nobody is left, or somebody cannot be killed.
    fn end_everything(&mut self, stopped: Stopped) -> Ended {
        let begin = Instant::now();
        let mut grace = match stopped {
            Stopped::ByShell => GRACE_LOOKS,
            Stopped::ByAgent => 0,
        };
        let mut killed = HashSet::new();
        while self.collect() == Left::Some {
            if begin.elapsed() > KILL_TIME_MAX {
                return self.ended(&killed, running().map_or(1, |left| left.len()));
            }
            if grace == 0 {
                self.kill_all(&mut killed);
            }
            grace = grace.saturating_sub(1);
            sleep(LOOK_INTERVAL);
        }
        self.ended(&killed, 0)
    }

    /// Goes on for as long as it takes.
    fn end_what_is_left(&mut self) {
        while self.collect() == Left::Some {
            self.kill_all(&mut HashSet::new());
            sleep(LATE_LOOK_INTERVAL);
        }
    }

    fn ended(&self, killed: &HashSet<Pid>, left: usize) -> Ended {
        let background = killed.iter().filter(|pid| **pid != self.shell).count();
        let killed_by_us = ShellEnd::Signalled(Signal::KILL.as_raw());
        Ended { shell: self.shell_end.unwrap_or(killed_by_us), background, left }
    }

    /// Kills everything that the command has started, and remembers whom.
    fn kill_all(&self, killed: &mut HashSet<Pid>) {
        let mut stopped = HashSet::new();
        for _ in 0..STOP_LOOKS_MAX {
            match children::signal_descendants(Signal::STOP, &mut stopped) {
                Ok(new) if new.is_empty() => break,
                Ok(_) => {}
                Err(_) => {
                    // Without a way to look for them there is the group, which most commands stay in.
                    let _ = kill_process_group(self.shell, Signal::KILL);
                    return;
                }
            }
        }
        killed.extend(stopped);
        kill_groups();
        // Only what could not be read a moment ago fails here, and the next look is near.
        let _ = children::signal_descendants(Signal::KILL, &mut HashSet::new());
    }

    /// Collects all children that have ended, and says whether there are others.
    fn collect(&mut self) -> Left {
        loop {
            match wait(WaitOptions::NOHANG) {
                Ok(Some((pid, status))) if pid == self.shell => self.shell_end = Some(shell_end(status)),
                Ok(Some(_)) | Err(Errno::INTR) => {}
                Ok(None) => return Left::Some,
                Err(_) => return Left::Nobody,
            }
        }
    }
}

/// Kills the process groups of all children, those that have ended included: they keep their group's number from
/// being given to another, and what they have started is mostly still in it.
fn kill_groups() {
    let children = children::children().unwrap_or_default();
    let groups: HashSet<_> = children.iter().filter_map(|child| child.group).collect();
    for group in groups.into_iter().filter(|group| *group != getpgrp()) {
        let _ = kill_process_group(group, Signal::KILL);
    }
}

/// The children that have not ended.
fn running() -> io::Result<Vec<Pid>> {
    let children = children::children()?;
    Ok(children.iter().filter(|child| !child.has_ended).map(|child| child.pid).collect())
}

fn shell_end(status: WaitStatus) -> ShellEnd {
    match status.exit_status() {
        Some(code) => ShellEnd::Exited(code),
        None => ShellEnd::Signalled(status.terminating_signal().unwrap_or_default()),
    }
}

/// A descriptor that becomes readable when the process ends.
#[cfg(target_os = "linux")]
fn handle(pid: Pid) -> Option<OwnedFd> {
    rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()).ok()
}

#[cfg(not(target_os = "linux"))]
fn handle(_pid: Pid) -> Option<OwnedFd> {
    None
}

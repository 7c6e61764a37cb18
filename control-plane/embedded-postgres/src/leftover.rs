//! Ends a Postgres that a dead launcher left behind in the same cluster.
//!
//! The caller holds the launcher's lock, so no living launcher owns what is found here. Process numbers are
//! reused, in containers quickly: a process counts as the postmaster of a cluster only when its command
//! line says so. And a number that now belongs to a stranger must not keep Postgres from starting, as it
//! would: Postgres refuses when its old `postmaster.pid` names any living process of the same user. Removing
//! that file is safe only when no process has the old shared memory any more; we ask what Postgres asks.

use std::fs;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use crate::system::{Pid, Signal};

/// How long a fast shutdown, an immediate one and a kill are waited for.
const PATIENCE: [(Signal, Duration); 3] = [
    (Signal::Interrupt, Duration::from_secs(10)),
    (Signal::Quit, Duration::from_secs(5)),
    (Signal::Kill, Duration::from_secs(5)),
];
/// Backends notice the death of their postmaster at once, unless they are deep in a query.
const BACKENDS_TIME_MAX: Duration = Duration::from_secs(10);
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// What a cluster's `postmaster.pid` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PidFile {
    pub(crate) pid: Pid,
    shared_memory: Option<u64>,
    pub(crate) is_ready: bool,
}

impl PidFile {
    pub(crate) fn read(data: &Path) -> Option<Self> {
        Self::parse(&fs::read_to_string(data.join("postmaster.pid")).ok()?)
    }

    /// The lines: process, data directory, start time, port, socket directory, listen address, shared
    /// memory's key and id, status. They appear one after the other while Postgres starts.
    fn parse(text: &str) -> Option<Self> {
        let lines: Vec<&str> = text.lines().map(str::trim).collect();
        let pid = Pid::new(lines.first()?.parse().ok()?)?;
        let shared_memory =
            lines.get(6).and_then(|line| line.split_whitespace().nth(1)).and_then(|id| id.parse().ok());
        Some(Self { pid, shared_memory, is_ready: lines.get(7) == Some(&"ready") })
    }

    /// Whether any process still has its shared memory, where that can be known. A file without the line
    /// was written by a Postgres that had not made any yet.
    fn is_memory_attached(self) -> Option<bool> {
        match self.shared_memory {
            Some(id) => processes::is_memory_attached(id),
            None => Some(false),
        }
    }
}

/// What has become of a Postgres that was left behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Leftover {
    /// It has ended, or there was none.
    Gone,
    /// Not even a kill has ended it, or a backend of it.
    Runs(Pid),
}

/// Ends what a dead launcher left, and clears the way for a new Postgres.
pub(crate) fn end(data: &Path) -> Leftover {
    let Some(left) = PidFile::read(data) else { return Leftover::Gone };
    for (signal, time_max) in PATIENCE {
        if !processes::is_postmaster_of(left.pid, data) {
            break;
        }
        left.pid.send(signal);
        wait_until(time_max, || !processes::is_postmaster_of(left.pid, data));
    }
    wait_until(BACKENDS_TIME_MAX, || left.is_memory_attached() != Some(true));
    let is_free = left.is_memory_attached() == Some(false);
    let is_strangers_number = left.pid.exists() && !processes::is_postmaster_of(left.pid, data);
    if is_free && is_strangers_number && PidFile::read(data) == Some(left) {
        // Should it fail, Postgres says what is in its way.
        let _ = fs::remove_file(data.join("postmaster.pid"));
    }
    // Where it cannot be known whether a backend still has the memory, the postmaster decides.
    match processes::is_postmaster_of(left.pid, data) || left.is_memory_attached() == Some(true) {
        true => Leftover::Runs(left.pid),
        false => Leftover::Gone,
    }
}

/// Kills a postmaster and everything below it, as a crash of the machine would.
pub(crate) fn kill_family(postmaster: Pid, data: &Path) {
    let left = PidFile::read(data).filter(|file| file.pid == postmaster);
    let children = processes::children_of(postmaster);
    postmaster.send(Signal::Kill);
    for child in children {
        child.send(Signal::Kill);
    }
    if let Some(left) = left {
        wait_until(BACKENDS_TIME_MAX, || left.is_memory_attached() != Some(true));
    }
}

fn wait_until(time_max: Duration, mut is_so: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + time_max;
    while !is_so() {
        if Instant::now() >= deadline {
            return false;
        }
        thread::sleep(LOOK_EVERY);
    }
    true
}

/// What `/proc` tells to everybody, also where a container's root may not look into others' processes.
#[cfg(target_os = "linux")]
mod processes {
    use std::fs;
    use std::path::Path;

    use crate::system::Pid;

    /// The command line is empty for a zombie, and a backend's is replaced by a title.
    pub(super) fn is_postmaster_of(pid: Pid, data: &Path) -> bool {
        let command_line = fs::read(format!("/proc/{}/cmdline", pid.number())).unwrap_or_default();
        let mut arguments = command_line.split(|byte| *byte == 0);
        let is_postgres = arguments.next().is_some_and(|program| program.ends_with(b"/postgres"));
        is_postgres && arguments.any(|argument| argument == data.as_os_str().as_encoded_bytes())
    }

    pub(super) fn children_of(parent: Pid) -> Vec<Pid> {
        let Ok(processes) = fs::read_dir("/proc") else {
            return Vec::new();
        };
        processes
            .filter_map(|entry| Pid::new(entry.ok()?.file_name().to_str()?.parse().ok()?))
            .filter(|pid| parent_of(*pid) == Some(parent))
            .collect()
    }

    fn parent_of(pid: Pid) -> Option<Pid> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", pid.number())).ok()?;
        // The name, in parentheses, may itself hold blanks and parentheses.
        let (_, after_name) = stat.rsplit_once(')')?;
        Pid::new(after_name.split_whitespace().nth(1)?.parse().ok()?)
    }

    /// Whether any process has the segment: columns are key, id, mode, size, two processes, attachments.
    pub(super) fn is_memory_attached(id: u64) -> Option<bool> {
        let table = fs::read_to_string("/proc/sysvipc/shm").ok()?;
        let is_attached = table.lines().skip(1).any(|line| {
            let mut columns = line.split_whitespace().skip(1);
            let is_it = columns.next().and_then(|column| column.parse().ok()) == Some(id);
            is_it && columns.nth(4).is_some_and(|attached| attached != "0")
        });
        Some(is_attached)
    }
}

/// Elsewhere `ps` knows the command line, and of the memory nothing is known: then `postmaster.pid` is left
/// to Postgres's own judgement.
#[cfg(not(target_os = "linux"))]
mod processes {
    use std::path::Path;

    use crate::command;
    use crate::system::Pid;

    pub(super) fn is_postmaster_of(pid: Pid, data: &Path) -> bool {
        let mut ps = command::clean(Path::new("/bin/ps"));
        ps.args(["-ww", "-o", "command=", "-p", &pid.number().to_string()]);
        let Ok((_, output)) = command::output(&mut ps) else {
            return false;
        };
        String::from_utf8_lossy(&output).contains(&format!("/postgres -D {} ", data.display()))
    }

    pub(super) fn children_of(_parent: Pid) -> Vec<Pid> {
        Vec::new()
    }

    pub(super) fn is_memory_attached(_id: u64) -> Option<bool> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_complete_pid_file_names_process_memory_and_state() {
        let text = "4711\n/x/data\n1763702000\n5432\n/x/socket\n\n  5243002     98304\nready   \n";

        let expected = PidFile { pid: Pid::new(4711).unwrap(), shared_memory: Some(98304), is_ready: true };
        assert_eq!(PidFile::parse(text), Some(expected));
    }

    #[test]
    fn a_pid_file_in_the_writing_or_damaged_is_never_taken_for_ready() {
        let half = PidFile::parse("4711\n/x/data\n1763702000\n").unwrap();

        assert!(!half.is_ready);
        for damaged in ["", "x", "-5\n", "0\n", "1\n"] {
            assert_eq!(PidFile::parse(damaged), None, "{damaged:?}");
        }
    }

    #[test]
    fn a_strangers_process_is_not_taken_for_a_postmaster() {
        let dir = tempfile::tempdir().unwrap();
        let mut stranger = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let pid_file = dir.path().join("postmaster.pid");
        fs::write(&pid_file, format!("{}\n{}\n1\n5432\n", stranger.id(), dir.path().display())).unwrap();

        end(dir.path());

        let is_alive = stranger.try_wait().unwrap().is_none();
        stranger.kill().unwrap();
        stranger.wait().unwrap();
        assert!(is_alive, "the stranger was ended");
        assert!(!pid_file.exists(), "its number keeps Postgres from starting");
    }
}

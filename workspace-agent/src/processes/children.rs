//! The children of this process, those it has adopted included.
//!
//! By their numbers only *direct* children are killed. Their numbers stay theirs until this very process
//! collects them, so a kill never meets a stranger that was given the number since; and so does the number of a
//! process group that one of them is in, ended or not. What is further down is signalled by a handle that is
//! opened before it is looked at again, for the same reason. What a killed child leaves behind becomes a direct
//! child of the subreaper above it in the end.

use rustix::process::Pid;

/// A child of this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Child {
    pub(super) pid: Pid,
    /// It only waits to be collected.
    pub(super) has_ended: bool,
    /// Its process group.
    pub(super) group: Option<Pid>,
    /// In the system's own unit: together with the number it means one process for ever.
    pub(super) start_time: u64,
}

#[cfg(target_os = "linux")]
mod linux {
    use std::{collections::HashSet, fs, io};

    use rustix::process::{
        Pid, PidfdFlags, Signal, getpid, kill_process, pidfd_open, pidfd_send_signal, set_child_subreaper,
    };

    use super::Child;

    /// From here on, descendants that lose their parent become children of this process.
    pub(in crate::processes) fn adopt_orphans() -> io::Result<()> {
        Ok(set_child_subreaper(Some(getpid()))?)
    }

    /// The children of this process. An error: there is no `/proc`.
    ///
    /// (`/proc/self/task/*/children` would be one read, but it may leave some out while others end.)
    pub(in crate::processes) fn children() -> io::Result<Vec<Child>> {
        let parent = getpid();
        let mut children = Vec::new();
        for pid in all()? {
            if let Some(stat) = Stat::of(pid?)
                && stat.parent == Some(parent)
            {
                children.push(stat.child);
            }
        }
        Ok(children)
    }

    /// Sends a signal to everything below this process, each as soon as it is seen, but for those that have had
    /// it already. Says who are new. One look does not find all while they go on starting others.
    pub(in crate::processes) fn signal_descendants(
        signal: Signal,
        signalled: &mut HashSet<Pid>,
    ) -> io::Result<Vec<Pid>> {
        let me = getpid();
        let mut above = HashSet::from([me]);
        let mut new = Vec::new();
        for pid in all()? {
            let Some(stat) = Stat::of(pid?) else { continue };
            let Some(parent) = stat.parent.filter(|parent| above.contains(parent)) else { continue };
            let pid = stat.child.pid;
            above.insert(pid);
            if stat.child.has_ended || !signalled.insert(pid) {
                continue;
            }
            // It fails for one that runs with more rights than we have.
            let _ = if parent == me { kill_process(pid, signal) } else { signal_that_one(&stat, signal) };
            new.push(pid);
        }
        Ok(new)
    }

    /// Its number may be another process's by now. What the handle is of is looked at once it is open.
    fn signal_that_one(stat: &Stat, signal: Signal) -> rustix::io::Result<()> {
        let handle = pidfd_open(stat.child.pid, PidfdFlags::empty())?;
        match Stat::of(stat.child.pid) {
            Some(now) if now.child.start_time == stat.child.start_time => pidfd_send_signal(&handle, signal),
            _ => Ok(()),
        }
    }

    /// The numbers of all processes, the lowest first.
    fn all() -> io::Result<impl Iterator<Item = io::Result<Pid>>> {
        let number = |entry: fs::DirEntry| Pid::from_raw(entry.file_name().to_str()?.parse().ok()?);
        Ok(fs::read_dir("/proc")?.filter_map(move |entry| entry.map(number).transpose()))
    }

    /// What the system says of a process.
    #[derive(Debug, PartialEq, Eq)]
    struct Stat {
        child: Child,
        parent: Option<Pid>,
    }

    impl Stat {
        /// None when it has gone: then it is no child of anybody.
        fn of(pid: Pid) -> Option<Self> {
            Self::parse(pid, &fs::read(format!("/proc/{pid}/stat")).ok()?)
        }

        /// `4711 (name) S 4710 …`: the name may hold anything, brackets and spaces included.
        fn parse(pid: Pid, stat: &[u8]) -> Option<Self> {
            /// The 22nd word of all, the 20th after the name; the group was the third.
            const BETWEEN_GROUP_AND_START_TIME: usize = 16;
            let end_of_name = stat.iter().rposition(|byte| *byte == b')')?;
            let mut rest = str::from_utf8(&stat[end_of_name + 1..]).ok()?.split_ascii_whitespace();
            let has_ended = rest.next()? == "Z";
            let mut number = || Some(Pid::from_raw(rest.next()?.parse().ok()?));
            let (parent, group) = (number()?, number()?);
            let start_time = rest.nth(BETWEEN_GROUP_AND_START_TIME)?.parse().ok()?;
            Some(Self { child: Child { pid, has_ended, group, start_time }, parent })
        }
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        /// What follows the group, up to the start time.
        const REST: &str = "7 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 4711 1000 2000";

        #[test]
        fn a_name_cannot_hide_its_parent() {
            let [pid, parent, group] = [7, 5, 6].map(Pid::from_raw);
            for (name, state) in [("sh", "S"), ("a) S 9 (b", "R"), ("", "Z")] {
                let stat = format!("7 ({name}) {state} 5 6 {REST}");

                let stat = Stat::parse(pid.unwrap(), stat.as_bytes());

                let child = Child { pid: pid.unwrap(), has_ended: state == "Z", group, start_time: 4_711 };
                assert_eq!(stat, Some(Stat { child, parent }));
            }
            let odd = [b"7 (\xff) Z 5 6 ", REST.as_bytes()].concat();
            assert_eq!(Stat::parse(pid.unwrap(), &odd).unwrap().parent, parent);
            assert_eq!(Stat::parse(pid.unwrap(), b""), None);
        }

        #[test]
        fn a_process_has_one_start_time() {
            let [one, again] = [Stat::of(getpid()).unwrap(), Stat::of(getpid()).unwrap()];

            assert_eq!(one.child.start_time, again.child.start_time);
            assert!(one.child.start_time > 0 && !one.child.has_ended);
        }
    }
}

#[cfg(target_os = "linux")]
pub(super) use self::linux::{adopt_orphans, children, signal_descendants};

/// Orphans go to the first process of the system.
#[cfg(not(target_os = "linux"))]
pub(super) fn adopt_orphans() -> std::io::Result<()> {
    Ok(())
}

/// There is no common way to look.
#[cfg(not(target_os = "linux"))]
pub(super) fn children() -> std::io::Result<Vec<Child>> {
    Err(std::io::ErrorKind::Unsupported.into())
}

/// There is no common way to look.
#[cfg(not(target_os = "linux"))]
pub(super) fn signal_descendants(
    _signal: rustix::process::Signal,
    _signalled: &mut std::collections::HashSet<Pid>,
) -> std::io::Result<Vec<Pid>> {
    Err(std::io::ErrorKind::Unsupported.into())
}

/// The process number that a child was started under.
pub(super) fn pid_of(id: u32) -> Option<Pid> {
    Pid::from_raw(i32::try_from(id).ok()?)
}

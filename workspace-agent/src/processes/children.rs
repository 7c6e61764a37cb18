//! The children of this process, those it has adopted included.
//!
//! Only *direct* children are ever looked for and killed. Their numbers stay theirs until this very process
//! collects them, so a kill never meets a stranger that was given the number since. What a killed child
//! leaves behind becomes a direct child of the subreaper above it, and its turn comes with the next look.

use rustix::process::Pid;

/// A child of this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Child {
    pub(super) pid: Pid,
    /// It only waits to be collected.
    pub(super) has_ended: bool,
}

#[cfg(target_os = "linux")]
mod linux {
    use std::{fs, io};

    use rustix::process::{Pid, getpid, set_child_subreaper};

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
        for entry in fs::read_dir("/proc")? {
            let name = entry?.file_name();
            let Some(pid) = name.to_str().and_then(|name| Pid::from_raw(name.parse().ok()?)) else {
                continue;
            };
            // One that has gone since the directory was read is no child of anybody.
            let stat = fs::read(format!("/proc/{pid}/stat")).unwrap_or_default();
            if let Some((state, its_parent)) = state_and_parent(&stat)
                && its_parent == parent
            {
                children.push(Child { pid, has_ended: state == "Z" });
            }
        }
        Ok(children)
    }

    /// `4711 (name) S 4710 …`: the name may hold anything, brackets and spaces included.
    fn state_and_parent(stat: &[u8]) -> Option<(&str, Pid)> {
        let end_of_name = stat.iter().rposition(|byte| *byte == b')')?;
        let mut rest = str::from_utf8(&stat[end_of_name + 1..]).ok()?.split_ascii_whitespace();
        let state = rest.next()?;
        Some((state, Pid::from_raw(rest.next()?.parse().ok()?)?))
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn a_name_cannot_hide_its_parent() {
            let parent = Pid::from_raw(5).unwrap();
            assert_eq!(state_and_parent(b"7 (sh) S 5 7 7 0"), Some(("S", parent)));
            assert_eq!(state_and_parent(b"7 (a) S 9 (b) R 5 7 7 0"), Some(("R", parent)));
            assert_eq!(state_and_parent(b"7 (\xff) Z 5 7 7 0"), Some(("Z", parent)));
            assert_eq!(state_and_parent(b""), None);
        }
    }
}

#[cfg(target_os = "linux")]
pub(super) use self::linux::{adopt_orphans, children};

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

/// The process number that a child was started under.
pub(super) fn pid_of(id: u32) -> Option<Pid> {
    Pid::from_raw(i32::try_from(id).ok()?)
}

//! What Linux tells about a process: memory and processor time.

use std::{fs, time::Duration};

use crate::error::{Error, OrFailed as _, Result};

/// Memory of a process in megabytes (10⁶ bytes).
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Memory {
    /// Pages that are in memory.
    pub(crate) resident: f64,
    /// The same, with shared pages divided among those who share them. Roles close their memory to others of
    /// the same user, so that only root can read it.
    pub(crate) proportional: Option<f64>,
}

pub(crate) fn memory(pid: u32) -> Result<Memory> {
    let resident = kilobytes(&read(pid, "status")?, "VmRSS:");
    let proportional = read(pid, "smaps_rollup").ok().and_then(|rollup| kilobytes(&rollup, "Pss:"));
    let missing = || Error::wrong("the memory of a process cannot be read here: it takes Linux's /proc");
    Ok(Memory { resident: resident.ok_or_else(missing)?, proportional })
}

/// Processor time that a process has had, as user and in the kernel.
pub(crate) fn processor_time(pid: u32) -> Result<Duration> {
    ticks(&read(pid, "stat")?).ok_or_else(|| Error::wrong("the processor time of a process cannot be read"))
}

/// The children of a process.
pub(crate) fn children(pid: u32) -> Vec<u32> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let numbers = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    // Whoever ends meanwhile is none any more.
    numbers.filter(|child| read(*child, "stat").is_ok_and(|stat| parent(&stat) == Some(pid))).collect()
}

fn read(pid: u32, file: &str) -> Result<String> {
    fs::read_to_string(format!("/proc/{pid}/{file}")).or_failed(format!("read /proc/{pid}/{file}"))
}

/// The value of a line like `VmRSS:     12345 kB`, in megabytes.
fn kilobytes(text: &str, name: &str) -> Option<f64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    let kibibytes: f64 = line.trim().strip_suffix(" kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024.0 / 1e6)
}

/// The fields of `stat` after the program's name, which may hold anything.
fn fields(stat: &str) -> Option<Vec<&str>> {
    Some(stat.rsplit_once(')')?.1.split_ascii_whitespace().collect())
}

fn parent(stat: &str) -> Option<u32> {
    fields(stat)?.get(1)?.parse().ok()
}

fn ticks(stat: &str) -> Option<Duration> {
    let fields = fields(stat)?;
    let ticks = fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?;
    let per_second = rustix::param::clock_ticks_per_second();
    Some(Duration::from_millis(ticks * 1000 / per_second))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_read_in_megabytes() {
        let status = "Name:\tx\nVmHWM:\t  900 kB\nVmRSS:\t   1000 kB\n";

        assert_eq!(kilobytes(status, "VmRSS:"), Some(1.024));
        assert_eq!(kilobytes(status, "Pss:"), None);
    }

    #[test]
    fn a_program_may_have_any_name() {
        let stat = "17 (a) b (c) S 16 17 17 0 -1 4194560 1 2 3 4 250 50 0 0 20 0 1 0 5";

        assert_eq!(parent(stat), Some(16));
        let ticks_per_second = rustix::param::clock_ticks_per_second();
        assert_eq!(ticks(stat), Some(Duration::from_millis(300_000 / ticks_per_second)));
    }

    #[test]
    fn our_own_process_has_memory_and_a_parent() {
        let own = std::process::id();

        let memory = memory(own).unwrap();

        let proportional = memory.proportional.expect("it is our own memory");
        assert!(memory.resident >= proportional && proportional > 0.1, "{memory:?}");
        assert!(children(std::os::unix::process::parent_id()).contains(&own));
    }
}

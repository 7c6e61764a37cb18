//! How much memory Postgres may keep pages in.

use std::fs;

const MIB: u64 = 1024 * 1024;
/// Postgres's own default, for machines that are small or do not tell.
const BUFFERS_MIB_MIN: u64 = 128;
/// Enough that a hundred thousand chats are listed and searched from memory. It is taken page by page as
/// it is used.
const BUFFERS_MIB_MAX: u64 = 1024;

/// What Postgres's manual advises: a quarter of the memory.
pub(crate) fn buffers_mib(memory_bytes: Option<u64>) -> u64 {
    let quarter = memory_bytes.unwrap_or(0) / 4 / MIB;
    quarter.clamp(BUFFERS_MIB_MIN, BUFFERS_MIB_MAX)
}

/// The memory of this machine, or of the container that it is; unknown elsewhere than on Linux.
pub(crate) fn memory_bytes() -> Option<u64> {
    let machine = machine_bytes(&fs::read_to_string("/proc/meminfo").ok()?)?;
    // A file without a number says that there is no bound.
    let bound = fs::read_to_string("/sys/fs/cgroup/memory.max").ok().and_then(|max| max.trim().parse().ok());
    Some(bound.map_or(machine, |bound: u64| bound.min(machine)))
}

fn machine_bytes(meminfo: &str) -> Option<u64> {
    let total = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = total.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_take_a_quarter_of_the_memory_within_bounds() {
        assert_eq!(buffers_mib(None), 128);
        assert_eq!(buffers_mib(Some(256 * MIB)), 128);
        assert_eq!(buffers_mib(Some(2048 * MIB)), 512);
        assert_eq!(buffers_mib(Some(1 << 40)), 1024);
    }

    #[test]
    fn a_machine_tells_its_memory_in_kibibytes() {
        assert_eq!(machine_bytes("MemTotal:       2048 kB\nMemFree: 1 kB\n"), Some(2 * MIB));
        assert_eq!(machine_bytes("MemFree: 1 kB\n"), None);
        assert_eq!(machine_bytes("MemTotal: much\n"), None);
    }
}

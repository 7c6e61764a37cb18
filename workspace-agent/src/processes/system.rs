//! The few calls to the operating system for which the standard library has no safe form.
//!
//! This is the one module of the crate with `unsafe` in it. Each function is a thin wrapper that cannot be
//! misused from safe code.

use std::{
    fs,
    io::{self, Write as _},
    os::{
        fd::{AsFd as _, BorrowedFd, OwnedFd},
        unix::process::CommandExt as _,
    },
    process::Command,
};

use rustix::{
    io::{Errno, FdFlags, fcntl_setfd, write},
    process::getpid,
};

use super::report::Report;

/// Standard input, output and error.
const STANDARD_STREAMS: i32 = 3;

/// A word and a number take half of it.
const ANNOUNCEMENT_BYTES_MAX: usize = 32;

/// Has everything but the standard streams closed by the start of the next program. What we open ourselves
/// is so marked anyway; this is for what whoever started us left open.
pub(super) fn close_the_rest_on_exec() -> io::Result<()> {
    // The list holds the descriptor it is read by, which is closed by then.
    let numbers: Vec<i32> = fs::read_dir("/dev/fd")?
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|number| *number >= STANDARD_STREAMS)
        .collect();
    for number in numbers {
        // SAFETY: the borrow lasts for one call, which only looks the number up: it fails when nothing is
        // open under it, and marking a descriptor takes it from nobody.
        let descriptor = unsafe { BorrowedFd::borrow_raw(number) };
        match fcntl_setfd(descriptor, FdFlags::CLOEXEC) {
            Ok(()) | Err(Errno::BADF) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(())
}

/// Has a command's process report its number before its program begins, and the kernel kill it when the thread
/// that started it ends. Only Linux can do the latter.
pub(super) fn announce_and_kill_with_this_thread(command: &mut Command, reports: OwnedFd) {
    let parent = getpid();
    // SAFETY: the closure runs between fork and exec. It makes system calls only, and allocates nothing:
    // the report is a number in a buffer of its own, and errors made from the system's numbers hold no memory.
    unsafe { command.pre_exec(move || end_with_parent(parent).and_then(|()| announce(reports.as_fd()))) };
}

fn announce(reports: BorrowedFd<'_>) -> io::Result<()> {
    let mut line = [0; ANNOUNCEMENT_BYTES_MAX];
    let mut rest = &mut line[..];
    write!(rest, "{}", Report::Shell(getpid().as_raw_nonzero().get()))?;
    let length = ANNOUNCEMENT_BYTES_MAX - rest.len();
    write(reports, &line[..length])?;
    Ok(())
}

#[cfg(target_os = "linux")]
fn end_with_parent(parent: rustix::process::Pid) -> io::Result<()> {
    use rustix::process::{Signal, getppid, set_parent_process_death_signal};

    set_parent_process_death_signal(Some(Signal::KILL))?;
    // A parent that died before the call above sends no signal any more.
    if getppid() == Some(parent) { Ok(()) } else { Err(Errno::SRCH.into()) }
}

#[cfg(not(target_os = "linux"))]
fn end_with_parent(_parent: rustix::process::Pid) -> io::Result<()> {
    Ok(())
}

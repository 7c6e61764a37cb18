//! The few calls to the operating system for which the standard library has no safe form.
//!
//! This is the one module of the crate with `unsafe` in it. Each function is a thin wrapper that cannot be
//! misused from safe code.

use std::ffi::CStr;
use std::io;
use std::mem::MaybeUninit;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use crate::account::Account;

/// The user whose rights this process has.
pub(crate) fn effective_user() -> u32 {
    // SAFETY: geteuid has no arguments, touches no memory of ours and cannot fail.
    unsafe { libc::geteuid() }
}

/// The number of a process that may be signalled: never 0, 1 or negative, which mean groups, init or
/// everybody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pid(libc::pid_t);

impl Pid {
    pub(crate) fn new(number: u32) -> Option<Self> {
        libc::pid_t::try_from(number).ok().filter(|number| *number > 1).map(Self)
    }

    pub(crate) fn number(self) -> u32 {
        self.0.unsigned_abs()
    }

    /// Whether a process, or a zombie, has this number now.
    pub(crate) fn exists(self) -> bool {
        // SAFETY: signal 0 only asks; no memory is passed.
        let answer = unsafe { libc::kill(self.0, 0) };
        answer == 0 || io::Error::last_os_error().raw_os_error() == Some(libc::EPERM)
    }

    /// Sends a signal. That the process is gone already is what the callers want, so it is no error.
    pub(crate) fn send(self, signal: Signal) {
        // SAFETY: `Pid` holds a single process's number; no memory is passed.
        unsafe { libc::kill(self.0, signal.number()) };
    }

    /// Waits until this child of ours has exited, and leaves it a zombie: its number cannot be given to
    /// another process before the caller reaps it.
    pub(crate) fn wait_until_exited(self) {
        loop {
            let mut status = MaybeUninit::<libc::siginfo_t>::zeroed();
            let id = self.0.unsigned_abs();
            // SAFETY: `status` is a valid place for the one siginfo_t that waitid writes.
            let answer =
                unsafe { libc::waitid(libc::P_PID, id, status.as_mut_ptr(), libc::WEXITED | libc::WNOWAIT) };
            // Anything but an interruption means that there is no such child any more.
            if answer == 0 || io::Error::last_os_error().kind() != io::ErrorKind::Interrupted {
                return;
            }
        }
    }
}

/// What Postgres understands: `Interrupt` is its fast shutdown, `Quit` its immediate one.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Signal {
    Interrupt,
    Quit,
    Kill,
}

impl Signal {
    fn number(self) -> libc::c_int {
        match self {
            Signal::Interrupt => libc::SIGINT,
            Signal::Quit => libc::SIGQUIT,
            Signal::Kill => libc::SIGKILL,
        }
    }
}

/// Looks up a user by name, wherever the system keeps its users.
pub(crate) fn account_named(name: &CStr) -> Option<Account> {
    const RECORD_BYTES: usize = 16 * 1024;
    let mut record = MaybeUninit::<libc::passwd>::zeroed();
    let mut strings = vec![0; RECORD_BYTES];
    let mut found = std::ptr::null_mut();
    // SAFETY: every pointer is valid for the call, and the length is that of `strings`.
    let answer = unsafe {
        libc::getpwnam_r(
            name.as_ptr(),
            record.as_mut_ptr(),
            strings.as_mut_ptr(),
            strings.len(),
            &raw mut found,
        )
    };
    if answer != 0 || found.is_null() {
        return None;
    }
    // SAFETY: the call succeeded and found somebody, so `record` is filled in.
    let record = unsafe { record.assume_init() };
    Some(Account { user: record.pw_uid, group: record.pw_gid })
}

/// Makes the kernel send `signal` to the command's process when the thread that spawns it ends, be it by
/// kill -9 of the whole process. It must be the last word on the command: changing the user clears it, so
/// it runs after `Command::uid` has been applied. Elsewhere than on Linux the guard alone does this.
#[cfg(target_os = "linux")]
pub(crate) fn end_with_this_thread(command: &mut Command, signal: Signal) {
    let parent = std::process::id();
    let bind = move || {
        // SAFETY: prctl with these arguments and getppid touch no memory and are async-signal-safe.
        let (answer, parent_now) =
            unsafe { (libc::prctl(libc::PR_SET_PDEATHSIG, signal.number()), libc::getppid()) };
        if answer != 0 {
            return Err(io::Error::last_os_error());
        }
        // A parent that died before the call above sends no signal any more.
        if parent_now.unsigned_abs() != parent {
            return Err(io::Error::from_raw_os_error(libc::ESRCH));
        }
        Ok(())
    };
    // SAFETY: the closure runs between fork and exec; it makes two async-signal-safe calls and allocates
    // nothing (errors from the operating system's numbers hold no memory).
    unsafe { command.pre_exec(bind) };
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn end_with_this_thread(_command: &mut Command, _signal: Signal) {}

//! The few calls to the operating system that the standard library does not have, or has in no safe form.
//!
//! This is the one module of the crate with `unsafe` in it. Each function is a thin wrapper that cannot be
//! misused from safe code.

use std::{
    ffi::{CStr, OsString},
    io,
    mem::MaybeUninit,
    net::TcpListener,
    os::{
        fd::{BorrowedFd, FromRawFd as _, IntoRawFd as _, OwnedFd, RawFd},
        unix::{ffi::OsStringExt as _, process::CommandExt as _},
    },
    path::PathBuf,
    process::Command,
};

use rustix::io::FdFlags;

/// Closes this process's memory and first environment, which may hold keys and tokens, to every process but
/// root's: on Linux a command that an agent runs as the same user could read `/proc/<pid>/environ` otherwise.
/// A crash leaves no image of the memory either.
pub(crate) fn keep_memory_to_ourselves() {
    #[cfg(target_os = "linux")]
    {
        use rustix::process::{DumpableBehavior, set_dumpable_behavior};

        // It fails for values that do not exist only.
        let _ = set_dumpable_behavior(DumpableBehavior::NotDumpable);
    }
}

/// The home directory of the user that this process runs as, from the user database: it is known in an empty
/// environment too.
pub(crate) fn home_from_user_database() -> Option<PathBuf> {
    const RECORD_BYTES: usize = 16 * 1024;
    let user = rustix::process::geteuid().as_raw();
    let mut record = MaybeUninit::<libc::passwd>::zeroed();
    let mut strings = vec![0; RECORD_BYTES];
    let mut found = std::ptr::null_mut();
    // SAFETY: every pointer is valid for the call, and the length is that of `strings`.
    let answer = unsafe {
        libc::getpwuid_r(user, record.as_mut_ptr(), strings.as_mut_ptr(), strings.len(), &raw mut found)
    };
    if answer != 0 || found.is_null() {
        return None;
    }
    // SAFETY: the call found somebody, so `record` is filled in and its strings end with NUL inside `strings`.
    let home = unsafe { CStr::from_ptr(record.assume_init().pw_dir) };
    Some(PathBuf::from(OsString::from_vec(home.to_bytes().to_vec()))).filter(|home| home.is_absolute())
}

/// Ties a command's process to this one, and hands it `inherited` under the number it has here.
///
/// On Linux the kernel asks the process to stop when the *thread* that started it ends: start it from one
/// that lives as long as the process. Every other descriptor of ours is closed by the start of the program.
pub(crate) fn tie_to_this_thread(command: &mut Command, inherited: Option<RawFd>) {
    let parent = rustix::process::getpid();
    let tie = move || {
        if let Some(number) = inherited {
            // SAFETY: the caller keeps the descriptor open until the command has been started, and this copy
            // of the process was made with it.
            let descriptor = unsafe { BorrowedFd::borrow_raw(number) };
            rustix::io::fcntl_setfd(descriptor, FdFlags::empty())?;
        }
        end_with_parent(parent)
    };
    // SAFETY: the closure runs between fork and exec. It makes system calls only, and allocates nothing:
    // errors made from the system's numbers hold no memory.
    unsafe { command.pre_exec(tie) };
}

#[cfg(target_os = "linux")]
fn end_with_parent(parent: rustix::process::Pid) -> io::Result<()> {
    use rustix::process::{Signal, getppid, set_parent_process_death_signal};

    set_parent_process_death_signal(Some(Signal::TERM))?;
    // A parent that died before the call above sends no signal any more.
    if getppid() == Some(parent) { Ok(()) } else { Err(io::Error::from_raw_os_error(libc::ESRCH)) }
}

#[cfg(not(target_os = "linux"))]
fn end_with_parent(_parent: rustix::process::Pid) -> io::Result<()> {
    Ok(())
}

/// The socket that the parent process handed down under this number. To be called once.
pub(crate) fn inherited_listener(number: RawFd) -> io::Result<TcpListener> {
    const STANDARD_STREAMS: RawFd = 3;
    if number < STANDARD_STREAMS {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    // SAFETY: it is looked at only; if nothing is open under the number, the call fails.
    let descriptor = unsafe { BorrowedFd::borrow_raw(number) };
    rustix::io::fcntl_setfd(descriptor, FdFlags::CLOEXEC)?;
    // SAFETY: it is open, and this process was started for the purpose of owning it: nothing else in it knows
    // the number.
    let listener = TcpListener::from(unsafe { OwnedFd::from_raw_fd(number) });
    match listener.local_addr() {
        Ok(_) => Ok(listener),
        Err(error) => {
            // It is something else, which is not ours to close.
            let _ = listener.into_raw_fd();
            Err(error)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsRawFd as _;

    use super::*;

    #[test]
    fn the_user_database_knows_our_home() {
        assert!(home_from_user_database().is_some_and(|home| home.is_absolute()));
    }

    #[test]
    fn only_a_socket_can_be_inherited_as_a_listener() {
        let file = tempfile::tempfile().unwrap();

        assert!(inherited_listener(file.as_raw_fd()).is_err());
        assert!(inherited_listener(0).is_err());
        assert!(file.metadata().is_ok(), "it was closed");
    }
}

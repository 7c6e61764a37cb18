//! The lifeline of a role that `dev` started: standard input is a pipe whose other end only `dev` holds.
//!
//! It closes when `dev` ends, by kill -9 too. Then the role stops in order, and by force if that takes too
//! long: nothing of `dev` may be left running.

use std::{
    io::{self, Read as _},
    process, thread,
    time::Duration,
};

use tokio_util::sync::CancellationToken;

use crate::exit::Exit;

/// How long a role may take to stop in order. `dev` killed with -9 promises that 5 s later nothing runs.
const STOP_TIME_MAX: Duration = Duration::from_secs(3);

/// Watches the pipe from a thread of its own, so that even a stuck runtime comes to its end.
pub(crate) fn hold(shutdown: CancellationToken) {
    thread::spawn(move || {
        wait_for_end();
        shutdown.cancel();
        thread::sleep(STOP_TIME_MAX);
        process::exit(Exit::Failed.code().into());
    });
}

fn wait_for_end() {
    let mut ignored = [0; 64];
    loop {
        match io::stdin().read(&mut ignored) {
            Ok(1..) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Ok(0) | Err(_) => return,
        }
    }
}

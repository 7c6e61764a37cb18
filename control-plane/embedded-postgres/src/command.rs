//! Short commands, run with a deadline and in a clean environment.

use std::io::{self, Read as _};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// The longest that a command which only prints something may take.
const OUTPUT_TIME_MAX: Duration = Duration::from_secs(10);
/// How much of its output is read; more than a version or a path is of no use to us.
const OUTPUT_BYTES_MAX: u64 = 64 * 1024;
/// How often a running command is looked at: short against the fastest of them.
const LOOK_EVERY: Duration = Duration::from_millis(2);

/// A command whose behaviour depends on nothing in our environment: no locale, no `PG*` variable, no home.
pub(crate) fn clean(program: &Path) -> Command {
    let mut command = Command::new(program);
    command
        .env_clear()
        .env("PATH", "/usr/local/bin:/usr/bin:/bin")
        .env("LC_ALL", "C")
        // Without it `initdb` compares the system's clock with every time zone it knows.
        .env("TZ", "UTC")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command
}

/// Runs a command to its end and returns what it printed.
pub(crate) fn output(command: &mut Command) -> io::Result<(ExitStatus, Vec<u8>)> {
    let mut child = command.stdout(Stdio::piped()).spawn()?;
    let status = finish(&mut child, OUTPUT_TIME_MAX)?;
    let mut output = Vec::new();
    if let Some(pipe) = child.stdout.take() {
        pipe.take(OUTPUT_BYTES_MAX).read_to_end(&mut output)?;
    }
    Ok((status, output))
}

/// Waits for a child until the deadline; then it is killed, and the answer is `TimedOut`.
pub(crate) fn finish(child: &mut Child, time_max: Duration) -> io::Result<ExitStatus> {
    let deadline = Instant::now() + time_max;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        if Instant::now() >= deadline {
            child.kill()?;
            child.wait()?;
            return Err(io::ErrorKind::TimedOut.into());
        }
        thread::sleep(LOOK_EVERY);
    }
}

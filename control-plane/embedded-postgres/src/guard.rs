//! The guard: a tiny shell that outlives its owner for as long as it takes to clean up.
//!
//! It waits at the end of a pipe that only the owner holds. When the pipe closes, be it by an ordinary drop
//! or by kill -9 of the owner, it ends the postmaster it was last told of (there is none after an ordinary
//! stop) and removes the temporary directories. The kernel's death signal, set on Postgres itself, is the
//! second net: it works when the guard has been killed too.

use std::io::{self, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Stdio};
use std::time::Duration;

use crate::command;
use crate::system::Pid;

/// The arguments are the cluster's `postmaster.pid` and the directories to remove. The number it was told
/// counts only as long as that file, which Postgres removes at its end, names it too. It gives Postgres 5 s
/// for a fast shutdown, 2 s for an immediate one, and then kills it.
const SCRIPT: &str = r#"
trap '' HUP INT TERM
pid_file=$1
shift
pid=
while read -r line; do pid=$line; done
runs() {
    [ -n "$pid" ] && read -r named < "$pid_file" && [ "$named" = "$pid" ] && kill -0 "$pid"
}
end_with() {
    looks=$2
    runs && kill -s "$1" "$pid"
    while [ "$looks" -gt 0 ] && runs; do
        sleep 0.1
        looks=$((looks - 1))
    done
}
end_with INT 50
end_with QUIT 20
end_with KILL 1
for directory do
    rm -rf -- "$directory" || { sleep 1; rm -rf -- "$directory"; }
done
"#;
/// Removing the directories is all it has left to do when it is dismissed.
const DISMISSAL_TIME_MAX: Duration = Duration::from_secs(10);

#[derive(Debug)]
pub(crate) struct Guard {
    child: Child,
    lifeline: Option<ChildStdin>,
}

impl Guard {
    /// Starts the guard, with our rights: it may end Postgres and remove what we made.
    pub(crate) fn start(pid_file: &Path, disposable: &[PathBuf]) -> io::Result<Self> {
        let mut command = command::clean(Path::new("/bin/sh"));
        command
            .args(["-c", SCRIPT, "chatplane-postgres-guard"])
            .arg(pid_file)
            .args(disposable)
            .current_dir("/")
            // A Ctrl-C in the terminal is for the owner, who then ends us in order.
            .process_group(0)
            .stdin(Stdio::piped());
        let mut child = command.spawn()?;
        let lifeline = child.stdin.take();
        Ok(Self { child, lifeline })
    }

    /// Tells which postmaster runs now.
    pub(crate) fn watch(&mut self, postmaster: Option<Pid>) {
        if let Some(lifeline) = &mut self.lifeline {
            let number = postmaster.map_or_else(String::new, |pid| pid.number().to_string());
            // A guard that was killed cannot be told; the death signal remains.
            let _ = writeln!(lifeline, "{number}");
        }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        drop(self.lifeline.take());
        let _ = command::finish(&mut self.child, DISMISSAL_TIME_MAX);
    }
}

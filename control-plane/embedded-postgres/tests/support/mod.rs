//! What the tests of the launcher share: owners that can be killed, SQL, and the look at processes.

use std::fs::{self, Permissions};
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use chatplane_embedded_postgres::{Durability, Postgres, Settings};
use tempfile::TempDir;

const DEADLINE: Duration = Duration::from_secs(30);
/// Says to a copy of this test binary that it is the owner of a Postgres, and of which: a directory, or
/// nothing for a temporary one.
pub(crate) const OWNER_OF: &str = "LAUNCHER_TEST_OWNER_OF";

/// Another process, with an empty environment, that owns a Postgres.
pub(crate) struct Owner {
    process: Child,
    _output: BufReader<ChildStdout>,
    pub(crate) postgres: u32,
    pub(crate) url: String,
    pub(crate) socket_dir: PathBuf,
    pub(crate) bin_dir: PathBuf,
}

impl Owner {
    pub(crate) fn start(dir: Option<&Path>) -> Self {
        Self::start_with(Command::new(std::env::current_exe().unwrap()), dir)
    }

    pub(crate) fn start_with(mut program: Command, dir: Option<&Path>) -> Self {
        let mut process = program
            .args(["owner_process", "--exact", "--ignored", "--nocapture"])
            .current_dir("/")
            .env_clear()
            .env(OWNER_OF, dir.unwrap_or(Path::new("")))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut output = BufReader::new(process.stdout.take().unwrap());
        let mut line = String::new();
        while !line.starts_with("report ") {
            line.clear();
            assert_ne!(output.read_line(&mut line).unwrap(), 0, "the owner ended without a report");
        }
        let fields: Vec<&str> = line.split_whitespace().collect();
        Self {
            process,
            _output: output,
            postgres: fields[1].parse().unwrap(),
            url: fields[2].to_owned(),
            socket_dir: fields[3].into(),
            bin_dir: fields[4].into(),
        }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.id()
    }

    pub(crate) fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    pub(crate) fn end(&mut self) {
        drop(self.process.stdin.take());
        assert!(self.process.wait().unwrap().success());
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        // A failed test leaves no process behind.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A path, not made yet, in a directory through which everybody may pass.
pub(crate) fn directory_for(name: &str) -> (TempDir, PathBuf) {
    let outer = tempfile::Builder::new().permissions(Permissions::from_mode(0o755)).tempdir().unwrap();
    let path = outer.path().join(name);
    (outer, path)
}

/// Kept data without waiting for the disk, which proves nothing here and takes most of the time.
pub(crate) fn kept_unsynced(dir: impl Into<PathBuf>) -> Settings {
    Settings { durability: Durability::Throwaway, ..Settings::kept_in(dir) }
}

pub(crate) fn query(postgres: &Postgres, sql: &str) -> String {
    query_at(postgres.bin_dir(), &postgres.url("postgres"), sql)
}

pub(crate) fn query_at(bin_dir: &Path, url: &str, sql: &str) -> String {
    let output = Command::new(bin_dir.join("psql"))
        .args(["--no-psqlrc", "--quiet", "--tuples-only", "--no-align", "-v", "ON_ERROR_STOP=1"])
        .args(["-c", sql, url])
        .env("PGCLIENTENCODING", "UTF8")
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

pub(crate) fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0)
}

/// Whether a process runs; a zombie does not.
pub(crate) fn runs(pid: u32) -> bool {
    fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|command_line| !command_line.is_empty())
}

pub(crate) fn children_of(parent: u32) -> Vec<u32> {
    let processes = fs::read_dir("/proc").unwrap();
    processes
        .filter_map(|entry| entry.unwrap().file_name().to_str()?.parse().ok())
        .filter(|pid| parent_of(*pid) == Some(parent))
        .collect()
}

fn parent_of(pid: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, after_name) = stat.rsplit_once(')')?;
    after_name.split_whitespace().nth(1)?.parse().ok()
}

pub(crate) fn kill(pid: u32) {
    signal(pid, "KILL");
}

/// It may be gone already. The shell's own `kill` is everywhere, the program is not.
pub(crate) fn signal(pid: u32, name: &str) {
    let script = format!("kill -s {name} {pid}");
    Command::new("/bin/sh").args(["-c", &script]).stderr(Stdio::null()).status().unwrap();
}

pub(crate) fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !is_so() {
        assert!(Instant::now() < deadline, "not in time: {what}");
        thread::sleep(Duration::from_millis(10));
    }
}

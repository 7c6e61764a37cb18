//! Finds the processes of one command among all of the machine.

use std::fs;

use chatplane_tests::eventually;
use uuid::Uuid;

/// A word that only the command lines of one test hold. It is also the name of a file in the workspace.
pub(crate) struct Marker(String);

impl Marker {
    pub(crate) fn new() -> Self {
        Self(format!("marker-{}", Uuid::now_v7().simple()))
    }

    pub(crate) fn word(&self) -> &str {
        &self.0
    }

    /// A command that starts a process in the background, one in a session of its own, one whose parent is
    /// gone, and one that it waits for. They end when they are killed.
    pub(crate) fn tree(&self) -> String {
        let marker = &self.0;
        format!(
            ": > {marker}; tail -f {marker} & setsid tail -f {marker} & (setsid tail -f {marker} &); \
             tail -f {marker}"
        )
    }

    /// How many processes there are, those aside that have ended and wait for their parents.
    pub(crate) fn processes(&self) -> usize {
        let entries = fs::read_dir("/proc").expect("the system lists its processes");
        let lines = entries.flatten().filter_map(|entry| fs::read(entry.path().join("cmdline")).ok());
        lines.filter(|line| String::from_utf8_lossy(line).contains(&self.0)).count()
    }

    /// Waits until all of [`Self::tree`] runs.
    pub(crate) async fn grown(&self) {
        eventually("the whole process tree runs", async || (self.processes() >= 4).then_some(())).await;
    }

    /// Waits until nothing of it runs.
    pub(crate) async fn gone(&self) {
        eventually("the whole process tree is gone", async || (self.processes() == 0).then_some(())).await;
    }
}

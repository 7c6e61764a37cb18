//! Lets a test decide when a script goes on.

use std::sync::Arc;

use tokio::sync::watch;

use super::Action;
use crate::wait::DEADLINE;

/// A gate in a script: closed until the test opens it, then open for good. Clones
/// are the same gate.
#[derive(Clone, Debug)]
pub struct Gate {
    state: Arc<watch::Sender<State>>,
}

#[derive(Clone, Copy, Debug, Default)]
struct State {
    is_open: bool,
    /// How often a script has come to the gate.
    arrivals: usize,
}

impl Default for Gate {
    fn default() -> Self {
        Self::new()
    }
}

impl Gate {
    /// A closed gate.
    #[must_use]
    pub fn new() -> Self {
        Self { state: Arc::new(watch::Sender::new(State::default())) }
    }

    /// Lets everybody through, now and later.
    pub fn open(&self) {
        self.state.send_modify(|state| state.is_open = true);
    }

    /// The action that waits here.
    #[must_use]
    pub fn wait(&self) -> Action {
        Action::Wait(self.clone())
    }

    /// Waits until a script has come to the gate: everything before it was sent.
    ///
    /// # Panics
    ///
    /// When none comes within the deadline.
    pub async fn reached(&self) {
        self.reached_times(1).await;
    }

    /// Waits until scripts have come to the gate so many times in all.
    ///
    /// # Panics
    ///
    /// When they do not come within the deadline.
    pub async fn reached_times(&self, times: usize) {
        let mut state = self.state.subscribe();
        let reached = state.wait_for(|state| state.arrivals >= times);
        let reached = tokio::time::timeout(DEADLINE, reached).await;
        assert!(reached.is_ok(), "no script came to the gate {times} times");
    }

    pub(super) async fn pass(&self) {
        self.state.send_modify(|state| state.arrivals += 1);
        let mut state = self.state.subscribe();
        // The sender lives as long as this gate.
        let _ = state.wait_for(|state| state.is_open).await;
    }
}

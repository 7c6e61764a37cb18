//! When a watcher reads: one read at a time, and less often while they fail.

use std::time::Duration;

use crate::watch::{GivenUp, Timing};

/// The reads of one watcher.
#[derive(Debug)]
pub(super) struct Reads {
    /// There may be something new.
    pub(super) is_wanted: bool,
    is_running: bool,
    not_before: Duration,
    delay: Duration,
    failing_since: Option<Duration>,
}

impl Reads {
    /// The first one is due.
    pub(super) fn wanted() -> Self {
        Self {
            is_wanted: true,
            is_running: false,
            not_before: Duration::ZERO,
            delay: Duration::ZERO,
            failing_since: None,
        }
    }

    pub(super) fn is_running(&self) -> bool {
        self.is_running
    }

    /// When the next one may begin; none while one runs.
    pub(super) fn next_time(&self) -> Option<Duration> {
        (!self.is_running).then_some(self.not_before)
    }

    /// Begins one, if it may.
    pub(super) fn begin(&mut self, now: Duration) -> bool {
        let may = self.next_time().is_some_and(|time| time <= now);
        self.is_running |= may;
        may
    }

    pub(super) fn succeed(&mut self) {
        self.is_running = false;
        self.failing_since = None;
        self.delay = Duration::ZERO;
    }

    /// It is tried again after a while.
    pub(super) fn fail(&mut self, timing: &Timing, now: Duration) -> Result<(), GivenUp> {
        self.is_running = false;
        self.is_wanted = true;
        self.delay = (self.delay * 2).clamp(timing.sync_delay_min, timing.sync_delay_max);
        self.not_before = now + self.delay;
        let since = *self.failing_since.get_or_insert(now);
        if now.saturating_sub(since) < timing.sync_failure_max { Ok(()) } else { Err(GivenUp) }
    }
}

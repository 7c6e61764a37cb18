//! When a replica may end sessions by the clock.

use std::time::Duration;

/// Whether sessions may be closed by the clock: only after one TTL of unbroken successful
/// sweeps ⚠. An outage of the database keeps everybody from renewing, and a replica that
/// was paused has renewed nobody; neither must end every turn at once.
///
/// A sweep succeeds at some time between its question and its answer, which may be far apart
/// where the replica was paused in between: for the time that has gone by the answer counts,
/// and for whether anything came in between the question.
///
/// Time is an argument, a duration since any fixed point.
#[derive(Debug)]
pub(super) struct SweepClock {
    ttl: Duration,
    /// Since when sweeps have succeeded one after the other, and when the last one was asked.
    unbroken: Option<(Duration, Duration)>,
}

impl SweepClock {
    pub(super) fn new(ttl: Duration) -> Self {
        Self { ttl, unbroken: None }
    }

    pub(super) fn may_close(&self, now: Duration) -> bool {
        self.unbroken.is_some_and(|(since, last)| {
            now.saturating_sub(since) >= self.ttl && now.saturating_sub(last) < self.ttl / 2
        })
    }

    pub(super) fn succeeded(&mut self, asked_at: Duration, now: Duration) {
        let since = match self.unbroken {
            Some((since, last)) if asked_at.saturating_sub(last) < self.ttl / 2 => since,
            Some(_) | None => now,
        };
        self.unbroken = Some((since, asked_at));
    }

    pub(super) fn failed(&mut self) {
        self.unbroken = None;
    }
}

#[cfg(test)]
mod tests {
    use super::{Duration, SweepClock};

    const TTL: Duration = Duration::from_secs(8);

    fn at(second: u64) -> Duration {
        Duration::from_secs(100 + second)
    }

    fn clock_after(successes: std::ops::RangeInclusive<u64>) -> SweepClock {
        let mut clock = SweepClock::new(TTL);
        for second in successes {
            clock.succeeded(at(second), at(second));
        }
        clock
    }

    #[test]
    fn sessions_are_closed_by_clock_only_after_a_ttl_of_unbroken_sweeps() {
        assert!(!clock_after(0..=7).may_close(at(8) - Duration::from_millis(1)));
        assert!(clock_after(0..=7).may_close(at(8)));
    }

    #[test]
    fn an_outage_of_the_database_starts_the_count_anew() {
        let mut clock = clock_after(0..=20);

        clock.failed();
        clock.succeeded(at(21), at(21));

        assert!(!clock.may_close(at(22)));
    }

    #[test]
    fn a_replica_that_was_paused_closes_nobody_when_it_wakes() {
        let mut clock = clock_after(0..=20);

        assert!(!clock.may_close(at(60)));

        clock.succeeded(at(60), at(60));
        assert!(!clock.may_close(at(61)));
    }

    #[test]
    fn an_answer_that_was_read_after_a_pause_says_nothing_of_the_outage_before_it() {
        let mut clock = clock_after(0..=20);

        clock.succeeded(at(21), at(40));
        clock.succeeded(at(41), at(41));

        assert!(!clock.may_close(at(48)));
        assert!(!clock.may_close(at(42)));
    }
}

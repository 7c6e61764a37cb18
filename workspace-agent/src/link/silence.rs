//! How long the control plane has been silent.
//!
//! The control plane gives a stream up whose agent does not answer, and may then have its calls made elsewhere
//! or told as lost. An agent that was stopped meanwhile (a debugger, a frozen container, a suspended machine)
//! finds its messages of before still in the socket's buffer. So before any of them counts, the age of the last
//! ping is looked at, by a clock that goes on while the machine is suspended.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use tokio::time::Instant;

/// The time since the last ping.
pub(super) struct Silence {
    max: Duration,
    /// By the clock of the runtime's timers, which may stand still while the machine is suspended.
    since: Instant,
    /// By the one that does not.
    since_boot: Duration,
}

impl Silence {
    /// A silence that begins now, and may last so long.
    pub(super) fn begin(max: Duration) -> Self {
        Self { max, since: Instant::now(), since_boot: since_boot() }
    }

    /// A ping has come.
    pub(super) fn end(&mut self) {
        *self = Self::begin(self.max);
    }

    /// When it will have lasted too long.
    pub(super) fn deadline(&self) -> Instant {
        self.since + self.max
    }

    /// Whether it has lasted too long.
    pub(super) fn is_too_long(&self) -> bool {
        self.is_too_long_at(since_boot())
    }

    fn is_too_long_at(&self, now: Duration) -> bool {
        now.saturating_sub(self.since_boot) > self.max
    }
}

/// Where no such clock is, the time of a suspension does not count.
fn since_boot() -> Duration {
    #[cfg(target_os = "linux")]
    const CLOCK: ClockId = ClockId::Boottime;
    #[cfg(not(target_os = "linux"))]
    const CLOCK: ClockId = ClockId::Monotonic;
    Duration::try_from(clock_gettime(CLOCK)).expect("these clocks begin with 0")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_silence_is_too_long_once_it_is_longer_than_it_may_be() {
        let max = Duration::from_secs(10);
        let silence = Silence::begin(max);
        let begin = silence.since_boot;

        assert!(!silence.is_too_long());
        assert!(!silence.is_too_long_at(begin + max));
        assert!(silence.is_too_long_at(begin + max + Duration::from_millis(1)));
    }
}

//! Growing pauses between tries.

use std::time::Duration;

/// Pauses that double from `first` to `max`, with full jitter: many workers that
/// lose the same peer at once must not come back at once.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Backoff {
    /// Longest pause before the first repeat.
    pub(crate) first: Duration,
    /// Longest pause before any repeat.
    pub(crate) max: Duration,
}

impl Backoff {
    /// The pause after so many failures in a row, from 1; `chance` is a random number from 0 to 1.
    pub(crate) fn pause(self, failures: u32, chance: f64) -> Duration {
        let doublings = failures.saturating_sub(1).min(31);
        let longest = self.first.saturating_mul(1 << doublings).min(self.max);
        longest.mul_f64(chance.clamp(0.0, 1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BACKOFF: Backoff = Backoff { first: Duration::from_secs(1), max: Duration::from_secs(60) };

    #[test]
    fn the_longest_pause_doubles_up_to_its_maximum() {
        let longest: Vec<u64> = (1..=8).map(|failures| BACKOFF.pause(failures, 1.0).as_secs()).collect();

        assert_eq!(longest, [1, 2, 4, 8, 16, 32, 60, 60]);
        assert_eq!(BACKOFF.pause(u32::MAX, 1.0), Duration::from_secs(60));
    }

    #[test]
    fn chance_spreads_the_pause_from_nothing_to_its_longest() {
        assert_eq!(BACKOFF.pause(2, 0.0), Duration::ZERO);
        assert_eq!(BACKOFF.pause(2, 0.5), Duration::from_secs(1));
    }
}

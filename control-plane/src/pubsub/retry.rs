//! When a connection for hints is tried again. Pure.

use std::time::Duration;

/// After the first failure; a server that is restarted is back soon.
const DELAY_MIN: Duration = Duration::from_millis(50);
/// After many: seldom enough for a server in trouble, soon enough for who waits.
const DELAY_MAX: Duration = Duration::from_secs(2);

/// How long to wait after so many failures in a row. `jitter`, from 0 to 1, keeps replicas
/// that lost their server at the same moment from coming back at the same moment.
pub(super) fn delay(failures: u32, jitter: f64) -> Duration {
    let doubled = DELAY_MIN.saturating_mul(1 << failures.saturating_sub(1).min(16));
    doubled.min(DELAY_MAX).mul_f64(0.5 + jitter.clamp(0.0, 1.0) / 2.0)
}

#[cfg(test)]
mod tests {
    use super::{DELAY_MAX, DELAY_MIN, delay};

    #[test]
    fn the_delay_doubles_up_to_a_bound_and_has_jitter() {
        assert_eq!(delay(1, 1.0), DELAY_MIN);
        assert_eq!(delay(2, 1.0), DELAY_MIN * 2);
        assert_eq!(delay(1, 0.0), DELAY_MIN / 2);
        for failures in [7, 100, u32::MAX] {
            assert_eq!(delay(failures, 1.0), DELAY_MAX);
        }
    }
}

//! The link, end to end, over real gRPC.

mod agent;
mod calls;
mod control_plane;
mod journal;
mod streams;

use tokio::time::timeout;

use super::*;

/// Nothing here takes as long; who waits so long has found a defect.
const DEADLINE: Duration = Duration::from_secs(30);

async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    timeout(DEADLINE, future).await.unwrap_or_else(|_| panic!("{what} did not happen in time"))
}

#[test]
fn waits_double_with_jitter_up_to_a_limit_and_start_again() {
    let mut backoff = Backoff::new(&Limits::default());

    for step_ms in [100, 200, 400, 800, 1_600, 3_200, 5_000, 5_000] {
        let wait = backoff.next_wait();
        assert!(
            wait >= Duration::from_millis(step_ms / 2) && wait <= Duration::from_millis(step_ms),
            "{wait:?}"
        );
    }
    backoff.reset();
    assert!(backoff.next_wait() <= Duration::from_millis(100));
}

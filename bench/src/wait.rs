//! Waiting, always with a deadline.

use std::{future::Future, time::Duration};

use tokio::time::{Instant, sleep, timeout};

use crate::error::{Error, Result};

/// Longer than anything takes here, on a busy machine too.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);
/// Between two looks. Nothing that is timed waits like this.
const LOOK_EVERY: Duration = Duration::from_millis(2);

/// Looks until there is something to find.
pub(crate) async fn eventually<T>(what: &str, mut look: impl AsyncFnMut() -> Result<Option<T>>) -> Result<T> {
    let deadline = Instant::now() + DEADLINE;
    loop {
        if let Some(found) = look().await? {
            return Ok(found);
        }
        if Instant::now() >= deadline {
            return Err(Error::TimedOut { what: what.to_owned(), after: DEADLINE });
        }
        sleep(LOOK_EVERY).await;
    }
}

/// Waits for something that comes by itself.
pub(crate) async fn in_time<T>(what: &str, coming: impl Future<Output = T>) -> Result<T> {
    let late = |_| Error::TimedOut { what: what.to_owned(), after: DEADLINE };
    timeout(DEADLINE, coming).await.map_err(late)
}

/// Milliseconds of a duration.
pub(crate) fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

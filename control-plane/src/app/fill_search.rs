//! Makes texts of the release before findable, beside everything else.

use std::time::Duration;

use tokio::time::{self, Instant};
use tokio_util::sync::CancellationToken;

use super::{App, chain};

/// While there is nothing to do a replica looks so often: one read of an empty table.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// It rests so many times as long as it has worked: the turns have the database.
const REST: u32 = 2;

impl App {
    /// Gives texts their words that were stored without, until `stop`.
    pub(crate) async fn fill_search(self, stop: CancellationToken) {
        let mut rest = LOOK_INTERVAL;
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = time::sleep(rest) => {}
            }
            let begun = Instant::now();
            let filled = tokio::select! {
                () = stop.cancelled() => return,
                filled = self.inner.store.fill_search() => filled,
            };
            rest = match filled {
                Ok(true) => begun.elapsed().saturating_mul(REST),
                Ok(false) => LOOK_INTERVAL,
                Err(error) => {
                    let cause = chain(&error);
                    tracing::warn!(%cause, "a chat could not be made findable; it is tried again later");
                    LOOK_INTERVAL
                }
            };
        }
    }
}

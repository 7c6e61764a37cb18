//! Keeps the index of the search tidy, beside the writes that fill it.

use std::time::Duration;

use tokio::time;
use tokio_util::sync::CancellationToken;

use super::{App, chain};

/// What was stored since the last time is read by every search, all of it; a second's worth
/// takes it some milliseconds.
const TEND_INTERVAL: Duration = Duration::from_secs(1);

impl App {
    /// Tends the index after writes of this replica, until `stop`.
    pub(crate) async fn tend_search(self, stop: CancellationToken) {
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = time::sleep(TEND_INTERVAL) => {}
            }
            let tended = tokio::select! {
                () = stop.cancelled() => return,
                tended = self.inner.store.tend_search() => tended,
            };
            if let Err(error) = tended {
                let cause = chain(&error);
                tracing::warn!(%cause, "the index of the search could not be tended; the next second tries again");
            }
        }
    }
}

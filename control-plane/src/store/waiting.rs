//! What waits for a worker, counted.

use std::time::Duration;

use super::{Error, Store};
use crate::caps::Caps;

/// More are not looked at: beyond, a deployment has another problem than its number of workers.
const COUNTED_MAX: i64 = 100_000;

/// Chats that wait for a worker, and for nothing else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Waiting {
    /// How many, at most 100,000.
    pub(crate) chats: usize,
    /// How long the one that waits longest has waited.
    pub(crate) oldest_wait: Duration,
}

impl Store {
    /// What waits now and may run, of all owners: of those at a cap, or near it, only as many as it leaves room for.
    ///
    /// # Errors
    ///
    /// What the database says.
    pub(crate) async fn waiting(&self, caps: Caps) -> Result<Waiting, Error> {
        let row = sqlx::query_file!(
            "src/store/waiting.sql",
            COUNTED_MAX,
            caps.owner_running_max,
            caps.organization_running_max
        )
        .fetch_one(&self.connections)
        .await?;
        Ok(Waiting {
            chats: usize::try_from(row.chats).unwrap_or(usize::MAX),
            // A clock that was set back makes it negative.
            oldest_wait: Duration::try_from_secs_f64(row.oldest_wait_s).unwrap_or_default(),
        })
    }
}

//! What waits for a worker, counted.

use std::time::Duration;

use super::{Error, Store};

/// More are not counted: beyond, a deployment has another problem than its number of workers.
const COUNTED_MAX: i64 = 100_000;

/// Chats that wait for a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Waiting {
    /// How many, at most 100,000.
    pub(crate) chats: usize,
    /// How long the one that waits longest has waited.
    pub(crate) oldest_wait: Duration,
}

impl Store {
    /// What waits now, of all owners: a look into an index.
    ///
    /// # Errors
    ///
    /// What the database says.
    pub(crate) async fn waiting(&self) -> Result<Waiting, Error> {
        let row = sqlx::query!(
            r#"select
                   count(*) as "chats!",
                   coalesce(extract(epoch from clock_timestamp() - min(w.runnable_since)), 0)::float8
                       as "oldest_wait_s!"
               from (
                   select c.runnable_since
                   from chats c
                   where c.runnable_since is not null
                   order by c.runnable_since, c.chat_id
                   limit $1
               ) w"#,
            COUNTED_MAX,
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

//! How sessions end, and how long their rows stay.

use std::time::Duration;

use chatplane_domain::{ReplicaId, SessionId};

use super::{SWEEP_ROWS_MAX, Store};
use crate::store::Error;

impl Store {
    /// Closes a session whose worker is gone, where its row still names the replica and
    /// the connection: the worker may have resumed elsewhere. Answers whether it did.
    ///
    /// # Errors
    ///
    /// What the database says.
    pub(crate) async fn close_session(
        &self,
        session: SessionId,
        replica: ReplicaId,
        connection: i64,
    ) -> Result<bool, Error> {
        let closed = sqlx::query!(
            "update sessions \
             set close_time = now() \
             where session_id = $1 \
             and replica_id = $2 \
             and connection = $3 \
             and close_time is null",
            session.0,
            replica.0,
            connection,
        )
        .execute(&self.connections)
        .await?;
        Ok(closed.rows_affected() == 1)
    }

    /// Closes sessions past their time. Answers how many. One that is being renewed or
    /// resumed right now is left alone.
    ///
    /// # Errors
    ///
    /// What the database says.
    pub(crate) async fn close_expired_sessions(&self) -> Result<u64, Error> {
        let closed = sqlx::query!(
            "update sessions \
             set close_time = now() \
             where session_id in ( \
                 select s.session_id \
                 from sessions s \
                 where s.close_time is null \
                 and s.expire_time <= now() \
                 limit $1 \
                 for update skip locked \
             )",
            SWEEP_ROWS_MAX,
        )
        .execute(&self.connections)
        .await?;
        Ok(closed.rows_affected())
    }

    /// Forgets sessions that were closed longer ago than this, at most `limit`. Answers how many.
    ///
    /// # Errors
    ///
    /// What the database says.
    pub(crate) async fn forget_sessions(&self, kept: Duration, limit: i64) -> Result<u64, Error> {
        let forgotten = sqlx::query!(
            "delete from sessions \
             where session_id in ( \
                 select s.session_id \
                 from sessions s \
                 where s.close_time < now() - make_interval(secs => $1) \
                 limit $2 \
                 for update skip locked \
             )",
            kept.as_secs_f64(),
            limit,
        )
        .execute(&self.connections)
        .await?;
        Ok(forgotten.rows_affected())
    }
}

//! Sessions of workers, and what sweeps look for.
//!
//! A session's row says which replica has its stream and how often it was opened. It is
//! closed once and for good: by the replica that had it, where the row still names that
//! connection, or by anybody once its time has passed. Ending its leases is another act,
//! whose one criterion is that the session is missing or closed.

mod ending;

use std::time::Duration;

use chatplane_domain::{
    ChatId, Effort, Fence, INTERRUPTION_MAX, LastWrite, ReplicaId, SessionId, Settings, State, WorkspaceId,
};
use sqlx::types::Json;
use uuid::Uuid;

use super::{
    Error, Store,
    rows::{action_timeout, word},
};

/// One sweep closes or finds this many; the next goes on.
const SWEEP_ROWS_MAX: i64 = 500;

/// A session that is opened or resumed by a replica.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SessionOpening<'a> {
    /// The session.
    pub(crate) session: SessionId,
    /// The replica that has its stream from now on.
    pub(crate) replica: ReplicaId,
    /// Name of the worker for operators.
    pub(crate) worker_name: &'a str,
    /// How many chats the worker runs at a time.
    pub(crate) slots_total: usize,
    /// How long it lives without a renewal.
    pub(crate) ttl: Duration,
}

/// What came of resuming a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Resumed {
    /// It goes on.
    Open {
        /// Counts its openings.
        connection: i64,
        /// Its leases.
        leases: Vec<SessionLease>,
    },
    /// It was closed within its time: its worker came back after the grace.
    TooLate {
        /// The replica that had it last, and closed it.
        closed_by: ReplicaId,
    },
    /// It was closed by the clock, or there was none.
    Lost,
}

/// A session that shall be renewed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SessionRenewal {
    /// The session.
    pub(crate) session: SessionId,
    /// Which opening of it is meant.
    pub(crate) connection: i64,
    /// How long ago its worker was certainly alive.
    pub(crate) pong_age: Duration,
}

/// A session that was renewed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RenewedSession {
    /// The session.
    pub(crate) session: SessionId,
    /// Its leases.
    pub(crate) leases: Vec<SessionLease>,
}

/// A lease as its chat's row has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SessionLease {
    /// The chat.
    pub(crate) chat: ChatId,
    /// The lease's fence.
    pub(crate) fence: Fence,
    /// What the chat is doing.
    pub(crate) state: State,
    /// Version of the chat.
    pub(crate) snapshot_version: i64,
    /// Version of its history.
    pub(crate) history_version: i64,
    /// The last write applied under the lease.
    pub(crate) last_write: Option<LastWrite>,
    /// The chat's settings.
    pub(crate) settings: Settings,
}

/// Something that a sweep may end. Whoever acts on it compares again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Overdue {
    /// A leased chat whose session is missing or closed.
    Lease(ChatId, Fence),
    /// An interruption that its holder did not finish in time.
    Interruption(ChatId, Fence),
    /// A suspension past its deadline.
    Calls(ChatId),
}

impl Overdue {
    /// Whose it is.
    pub(crate) fn chat(&self) -> ChatId {
        match self {
            Self::Lease(chat, _) | Self::Interruption(chat, _) | Self::Calls(chat) => *chat,
        }
    }
}

impl Store {
    /// Opens a new session.
    ///
    /// # Errors
    ///
    /// What the database says.
    pub(crate) async fn open_session(&self, opening: SessionOpening<'_>) -> Result<(), Error> {
        sqlx::query!(
            "insert into sessions ( \
                 session_id, replica_id, connection, worker_name, slots_total, expire_time \
             ) \
             values ($1, $2, 1, $3, $4, now() + $5::bigint * interval '1 millisecond')",
            opening.session.0,
            opening.replica.0,
            opening.worker_name,
            slots(opening.slots_total),
            millis(opening.ttl),
        )
        .execute(&self.connections)
        .await?;
        Ok(())
    }

    /// Takes a session over, wherever it was. One past its time can be, a closed one not.
    ///
    /// # Errors
    ///
    /// What the database says.
    pub(crate) async fn resume_session(&self, opening: SessionOpening<'_>) -> Result<Resumed, Error> {
        let connection = sqlx::query_scalar!(
            "update sessions \
             set replica_id = $2, \
                 connection = connection + 1, \
                 worker_name = $3, \
                 slots_total = $4, \
                 expire_time = now() + $5::bigint * interval '1 millisecond' \
             where session_id = $1 \
             and close_time is null \
             returning connection",
            opening.session.0,
            opening.replica.0,
            opening.worker_name,
            slots(opening.slots_total),
            millis(opening.ttl),
        )
        .fetch_optional(&self.connections)
        .await?;
        let Some(connection) = connection else {
            return self.why_closed(opening.session).await;
        };
        // The update may have waited: what it did not lock is read by a later statement.
        let leases = self.session_leases(opening.session).await?;
        Ok(Resumed::Open { connection, leases })
    }

    /// Only a replica that waited out the grace closes a session within its time; the
    /// clock closes it after.
    async fn why_closed(&self, session: SessionId) -> Result<Resumed, Error> {
        let closed_by = sqlx::query_scalar!(
            "select s.replica_id \
             from sessions s \
             where s.session_id = $1 \
             and s.close_time < s.expire_time",
            session.0,
        )
        .fetch_optional(&self.connections)
        .await?;
        Ok(closed_by.map_or(Resumed::Lost, |replica| Resumed::TooLate { closed_by: ReplicaId(replica) }))
    }

    /// The leases of a session.
    ///
    /// # Errors
    ///
    /// What the database says.
    pub(crate) async fn session_leases(&self, session: SessionId) -> Result<Vec<SessionLease>, Error> {
        let rows = sqlx::query_as!(
            LeaseRow,
            r#"select
                   c.session_id as "session_id!",
                   c.chat_id as "chat_id?",
                   c.fence as "fence?",
                   c.state as "state?",
                   c.snapshot_version as "snapshot_version?",
                   c.history_version as "history_version?",
                   c.last_write as "last_write: Json<LastWrite>",
                   c.model as "model?",
                   c.effort as "effort?",
                   c.workspace_id as "workspace_id?",
                   c.client_tools as "client_tools?: Json<Vec<String>>",
                   c.client_tools_version as "client_tools_version?",
                   c.action_timeout_ms as "action_timeout_ms?"
               from chats c
               where c.session_id = $1
               and c.leased"#,
            session.0,
        )
        .fetch_all(&self.connections)
        .await?;
        rows.into_iter().filter_map(|row| row.lease().transpose()).collect()
    }

    /// The leases of some chats, whoever has them.
    ///
    /// # Errors
    ///
    /// What the database says.
    pub(crate) async fn leases_of(&self, chats: &[ChatId]) -> Result<Vec<(SessionId, SessionLease)>, Error> {
        let chats: Vec<Uuid> = chats.iter().map(|chat| chat.0).collect();
        let rows = sqlx::query_as!(
            LeaseRow,
            r#"select
                   c.session_id as "session_id!",
                   c.chat_id as "chat_id?",
                   c.fence as "fence?",
                   c.state as "state?",
                   c.snapshot_version as "snapshot_version?",
                   c.history_version as "history_version?",
                   c.last_write as "last_write: Json<LastWrite>",
                   c.model as "model?",
                   c.effort as "effort?",
                   c.workspace_id as "workspace_id?",
                   c.client_tools as "client_tools?: Json<Vec<String>>",
                   c.client_tools_version as "client_tools_version?",
                   c.action_timeout_ms as "action_timeout_ms?"
               from chats c
               where c.chat_id = any($1)
               and c.leased"#,
            &chats,
        )
        .fetch_all(&self.connections)
        .await?;
        let lease = |row: LeaseRow| Ok((SessionId(row.session_id), row.lease()?.ok_or(Error::RowInvalid)?));
        rows.into_iter().map(lease).collect()
    }

    /// Renews all these sessions of a replica at once, where their rows still name it and
    /// the connection. What is missing in the answer is closed, or is elsewhere.
    ///
    /// The leases are of the statement's snapshot, which may be older than the renewal
    /// but not than the question.
    ///
    /// # Errors
    ///
    /// What the database says.
    pub(crate) async fn renew_sessions(
        &self,
        replica: ReplicaId,
        ttl: Duration,
        renewals: &[SessionRenewal],
    ) -> Result<Vec<RenewedSession>, Error> {
        let sessions: Vec<Uuid> = renewals.iter().map(|renewal| renewal.session.0).collect();
        let connections: Vec<i64> = renewals.iter().map(|renewal| renewal.connection).collect();
        let lives: Vec<i64> =
            renewals.iter().map(|renewal| millis(ttl.saturating_sub(renewal.pong_age))).collect();
        let rows = sqlx::query_as!(
            LeaseRow,
            r#"with renewed as (
                   update sessions s
                   set expire_time = now() + asked.life_ms * interval '1 millisecond'
                   from unnest($2::uuid[], $3::bigint[], $4::bigint[])
                       as asked (session_id, connection, life_ms)
                   where s.session_id = asked.session_id
                   and s.connection = asked.connection
                   and s.replica_id = $1
                   and s.close_time is null
                   returning s.session_id
               )
               select
                   renewed.session_id as "session_id!",
                   c.chat_id as "chat_id?",
                   c.fence as "fence?",
                   c.state as "state?",
                   c.snapshot_version as "snapshot_version?",
                   c.history_version as "history_version?",
                   c.last_write as "last_write?: Json<LastWrite>",
                   c.model as "model?",
                   c.effort as "effort?",
                   c.workspace_id as "workspace_id?",
                   c.client_tools as "client_tools?: Json<Vec<String>>",
                   c.client_tools_version as "client_tools_version?",
                   c.action_timeout_ms as "action_timeout_ms?"
               from renewed
               left join chats c on c.session_id = renewed.session_id and c.leased
               order by renewed.session_id"#,
            replica.0,
            &sessions,
            &connections,
            &lives,
        )
        .fetch_all(&self.connections)
        .await?;
        let mut renewed: Vec<RenewedSession> = Vec::new();
        for row in rows {
            let session = SessionId(row.session_id);
            if renewed.last().is_none_or(|last| last.session != session) {
                renewed.push(RenewedSession { session, leases: Vec::new() });
            }
            let last = renewed.last_mut().expect("one was just pushed, if there was none");
            last.leases.extend(row.lease()?);
        }
        Ok(renewed)
    }

    /// What is overdue, of each kind at most some hundreds.
    ///
    /// # Errors
    ///
    /// What the database says.
    pub(crate) async fn overdue(&self) -> Result<Vec<Overdue>, Error> {
        let rows = sqlx::query!(
            r#"(
                   select 'lease' as "kind!", c.chat_id as "chat_id!", c.fence as "fence!"
                   from chats c
                   where c.leased
                   and not exists (
                       select
                       from sessions s
                       where s.session_id = c.session_id
                       and s.close_time is null
                   )
                   limit $1
               )
               union all (
                   select 'interruption', c.chat_id, c.fence
                   from chats c
                   where c.interrupt_time <= now() - $2::bigint * interval '1 millisecond'
                   order by c.interrupt_time
                   limit $1
               )
               union all (
                   select 'calls', c.chat_id, c.fence
                   from chats c
                   where c.action_deadline <= now()
                   order by c.action_deadline
                   limit $1
               )"#,
            SWEEP_ROWS_MAX,
            INTERRUPTION_MAX.num_milliseconds(),
        )
        .fetch_all(&self.connections)
        .await?;
        rows.into_iter()
            .map(|row| {
                let (chat, fence) = (ChatId(row.chat_id), Fence(row.fence));
                match row.kind.as_str() {
                    "lease" => Ok(Overdue::Lease(chat, fence)),
                    "interruption" => Ok(Overdue::Interruption(chat, fence)),
                    "calls" => Ok(Overdue::Calls(chat)),
                    _ => Err(Error::RowInvalid),
                }
            })
            .collect()
    }

    /// Leases of one session that has just been closed.
    ///
    /// # Errors
    ///
    /// What the database says.
    pub(crate) async fn leases_of_closed(&self, session: SessionId) -> Result<Vec<Overdue>, Error> {
        let rows = sqlx::query!(
            "select c.chat_id, c.fence \
             from chats c \
             where c.session_id = $1 \
             and c.leased \
             and not exists ( \
                 select \
                 from sessions s \
                 where s.session_id = c.session_id \
                 and s.close_time is null \
             )",
            session.0,
        )
        .fetch_all(&self.connections)
        .await?;
        Ok(rows.into_iter().map(|row| Overdue::Lease(ChatId(row.chat_id), Fence(row.fence))).collect())
    }
}

/// A lease beside its session; its columns are null for a session without any.
struct LeaseRow {
    session_id: Uuid,
    chat_id: Option<Uuid>,
    fence: Option<i64>,
    state: Option<String>,
    snapshot_version: Option<i64>,
    history_version: Option<i64>,
    last_write: Option<Json<LastWrite>>,
    model: Option<String>,
    effort: Option<String>,
    workspace_id: Option<Uuid>,
    client_tools: Option<Json<Vec<String>>>,
    client_tools_version: Option<i64>,
    action_timeout_ms: Option<i64>,
}

impl LeaseRow {
    fn lease(self) -> Result<Option<SessionLease>, Error> {
        let Some(chat) = self.chat_id else { return Ok(None) };
        let missing = || Error::RowInvalid;
        Ok(Some(SessionLease {
            chat: ChatId(chat),
            fence: Fence(self.fence.ok_or_else(missing)?),
            state: word(&self.state.ok_or_else(missing)?)?,
            snapshot_version: self.snapshot_version.ok_or_else(missing)?,
            history_version: self.history_version.ok_or_else(missing)?,
            last_write: self.last_write.map(|write| write.0),
            settings: Settings {
                model: self.model.ok_or_else(missing)?,
                effort: word::<Effort>(&self.effort.ok_or_else(missing)?)?,
                workspace: self.workspace_id.map(WorkspaceId),
                client_tools: self.client_tools.ok_or_else(missing)?.0,
                client_tools_version: self.client_tools_version.ok_or_else(missing)?,
                action_timeout: action_timeout(self.action_timeout_ms.ok_or_else(missing)?)?,
            },
        }))
    }
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

fn slots(slots_total: usize) -> i32 {
    i32::try_from(slots_total).unwrap_or(i32::MAX)
}

#[cfg(test)]
mod tests;

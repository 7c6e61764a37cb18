//! The one way a chat changes: read, decide, one compare-and-set statement.
//!
//! The read is one statement; the decision is pure and may run again; the write is
//! one statement in which everything hangs on `snapshot_version` being what was
//! read. No lock is held between the two. A lost race is read and decided again;
//! after three losses the row is locked first, so that nobody starves.

use chatplane_domain::{
    Body, Chat, ChatError, ChatId, Decision, Inserted, LastWrite, MessageId, Outcome, RequestId, Retry, Usage,
};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use sqlx::{Connection as _, PgConnection, types::Json};
use std::collections::BTreeMap;
use uuid::Uuid;

use super::{
    ChatView, Error, MessageView, MetadataView, QueuedView, Store, WorkspaceRow,
    apply::{self, Write},
    rows::{CallRow, ChatRow, MessageRow, QueueRow, StoredRequest},
    turn::TURN_ROWS_MAX,
};

/// Compares lost before the row is locked.
const LOSSES_BEFORE_LOCK: u32 = 3;
/// Compares lost before the caller hears UNAVAILABLE: with the row locked none is lost
/// but to a deadlock.
const LOSSES_MAX: u32 = 8;

/// What is asked of the database beside the chat.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ask {
    /// The client's request, should it be repeatable.
    pub request: Option<Request>,
    /// Hand out the turn's input with a lease, if it has at most this many bytes.
    pub turn_bytes_max: Option<i64>,
    /// The input is for the holder of a lease, and not for a write that may give one.
    pub for_holder: bool,
    /// A model call that the write accounts for.
    pub model_call: Option<ModelCall>,
}

/// A request that has the effect of one when it is repeated.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    /// Who asks.
    pub actor: Uuid,
    /// The client's id of the request.
    pub id: RequestId,
    /// The method.
    pub method: &'static str,
    /// SHA-256 of the request's body.
    pub body_sha256: [u8; 32],
}

/// A model call that was paid for.
#[derive(Clone, Debug)]
pub(crate) struct ModelCall {
    /// Fence of the lease under which the model was called.
    pub fence: chatplane_domain::Fence,
    /// Counts the lease's model calls from 1.
    pub number: i64,
    /// The model.
    pub model: String,
    /// Its tokens.
    pub usage: Usage,
}

/// What a client's request is answered with, kept for its repeats.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Reply {
    /// The chat right after the write.
    pub chat: ChatView,
    /// User messages that entered the history.
    pub entered: Vec<MessageId>,
    /// The message, if it was queued.
    pub queued: Option<QueuedView>,
}

/// What a decision is made from.
#[derive(Clone, Debug)]
pub(crate) struct Snapshot {
    /// The chat.
    pub chat: Chat,
    /// The database's clock.
    pub now: DateTime<Utc>,
    /// When the chat was created.
    pub create_time: DateTime<Utc>,
    /// When its execution last changed.
    pub update_time: DateTime<Utc>,
    /// Title and labels.
    pub metadata: MetadataView,
    /// The turn's input, if it was asked for and is small.
    pub turn_input: Option<Vec<MessageView>>,
    /// The chat's workspace.
    pub workspace: Option<WorkspaceRow>,
}

/// What became of a command that was not refused.
#[derive(Clone, Debug)]
pub(crate) enum Transacted {
    /// It was applied now.
    Applied(Box<Applied>),
    /// It had been applied before: the reply of then.
    Replayed(Box<Reply>),
}

/// A command that was applied.
#[derive(Clone, Debug)]
pub(crate) struct Applied {
    /// What it was decided from.
    pub snapshot: Snapshot,
    /// What was decided.
    pub decision: Decision,
    /// What a client is answered.
    pub reply: Reply,
}

impl Applied {
    /// The rows that the write added, as far as their content is at hand: all but
    /// messages that came from the queue.
    #[must_use]
    pub(crate) fn new_messages(&self) -> Vec<MessageView> {
        let chat = &self.decision.chat;
        let inserted = self.decision.change.iter().flat_map(|change| &change.inserted);
        inserted
            .filter_map(|inserted| match inserted {
                Inserted::New(message) => Some(message),
                Inserted::Queued { .. } => None,
            })
            .map(|message| {
                let mut body = message.body.clone();
                if let Body::User(user) = &mut body {
                    user.model.get_or_insert_with(|| chat.settings.model.clone());
                }
                MessageView {
                    id: message.id,
                    visibility: message.visibility,
                    content_bytes: i64::try_from(body.content_bytes()).unwrap_or(i64::MAX),
                    body,
                    revision: chat.versions.snapshot,
                    create_time: self.snapshot.now,
                }
            })
            .collect()
    }
}

/// Why a command was not applied. Nothing is stored then.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TransactError<E> {
    /// There is no such chat.
    #[error("there is no such chat")]
    ChatNotFound,
    /// The caller's own rules refuse.
    #[error("refused")]
    Refused(E),
    /// The request id was used with another body.
    #[error("the request id was used with another body")]
    RequestIdReused,
    /// The database did not do it.
    #[error(transparent)]
    Store(#[from] Error),
}

/// What became of a compare-and-set.
pub(super) enum Attempt {
    Applied,
    Lost,
}

impl Store {
    /// Changes a chat. `authorize` is asked before a repeat is answered, `decide` after;
    /// both are pure and may be asked again.
    ///
    /// # Errors
    ///
    /// `ChatNotFound`, what the closures refuse, or what the database says.
    pub(crate) async fn transact<E>(
        &self,
        chat: ChatId,
        ask: &Ask,
        authorize: impl Fn(&Snapshot) -> Result<(), E>,
        decide: impl Fn(&Snapshot) -> Result<Decision, E>,
    ) -> Result<Transacted, TransactError<E>> {
        for losses in 0..LOSSES_MAX {
            let mut connection = self.connections.acquire().await.map_err(Error::from)?;
            let transacted = if losses < LOSSES_BEFORE_LOCK {
                try_once(&mut connection, chat, ask, &authorize, &decide).await
            } else {
                try_locked(&mut connection, chat, ask, &authorize, &decide).await
            };
            if !matches!(transacted, Err(TransactError::Store(_))) {
                connection.keep();
            }
            if let Some(transacted) = transacted? {
                return Ok(transacted);
            }
        }
        Err(Error::Unavailable(sqlx::Error::PoolTimedOut).into())
    }

    /// Stores a chat that was just decided. A repeat gets the reply of then.
    ///
    /// # Errors
    ///
    /// `RequestIdReused`, or what the database says.
    pub(crate) async fn create<E>(
        &self,
        decision: &Decision,
        ask: &Ask,
        metadata: MetadataView,
        workspace: Option<WorkspaceRow>,
        now: DateTime<Utc>,
    ) -> Result<Transacted, TransactError<E>> {
        let snapshot = Snapshot {
            chat: decision.chat.clone(),
            now,
            create_time: now,
            update_time: now,
            metadata,
            turn_input: Some(Vec::new()),
            workspace,
        };
        let reply = reply_of(&snapshot, decision);
        let write = Write { snapshot: &snapshot, decision, ask, reply: &reply };
        match apply::create(&self.connections, &write).await {
            Ok(()) => {
                Ok(Transacted::Applied(Box::new(Applied { snapshot, decision: decision.clone(), reply })))
            }
            Err(error) => match &ask.request {
                Some(request) if violates(&error, "requests_pkey") => {
                    let stored = self.stored_request(request).await?;
                    replay(stored.ok_or(Error::RowInvalid)?, request)
                }
                Some(_) | None => Err(Error::from(error).into()),
            },
        }
    }

    /// The database's clock, and the reply of a request that was accepted before.
    ///
    /// # Errors
    ///
    /// `RequestIdReused`, or what the database says.
    pub(crate) async fn now_and_replay<E>(
        &self,
        request: Option<&Request>,
    ) -> Result<(DateTime<Utc>, Option<Reply>), TransactError<E>> {
        let row = sqlx::query!(
            r#"select
                   clock_timestamp() as "now!",
                   r.method as "method?",
                   encode(r.body_sha256, 'hex') as "body_sha256?",
                   r.result as "reply?: Json<Reply>"
               from (select 1) as one
               left join requests r on r.actor_id = $1 and r.request_id = $2"#,
            request.map(|request| request.actor),
            request.map(|request| request.id.0),
        )
        .fetch_one(&self.connections)
        .await
        .map_err(Error::from)?;
        let (Some(request), Some(method), Some(body_sha256), Some(reply)) =
            (request, row.method, row.body_sha256, row.reply)
        else {
            return Ok((row.now, None));
        };
        match replay(StoredRequest { method, body_sha256, reply: reply.0 }, request)? {
            Transacted::Replayed(reply) => Ok((row.now, Some(*reply))),
            Transacted::Applied(_) => Ok((row.now, None)),
        }
    }

    /// The write alone, so that tests can put something between it and its read.
    #[cfg(test)]
    pub(crate) async fn write(
        &self,
        snapshot: &Snapshot,
        decision: &Decision,
        ask: &Ask,
    ) -> Result<bool, Error> {
        let mut connection = self.connections.acquire().await?;
        let reply = reply_of(snapshot, decision);
        let write = Write { snapshot, decision, ask, reply: &reply };
        Ok(matches!(attempt(&mut connection, &write).await?, Attempt::Applied))
    }

    async fn stored_request(&self, request: &Request) -> Result<Option<StoredRequest>, Error> {
        let row = sqlx::query!(
            r#"select method, encode(body_sha256, 'hex') as "body_sha256!", result as "reply: Json<Reply>"
               from requests
               where actor_id = $1
               and request_id = $2"#,
            request.actor,
            request.id.0,
        )
        .fetch_optional(&self.connections)
        .await?;
        Ok(row.map(|row| StoredRequest {
            method: row.method,
            body_sha256: row.body_sha256,
            reply: row.reply.0,
        }))
    }

    /// Reads a chat as a decision would, without changing it.
    ///
    /// # Errors
    ///
    /// What the database says.
    pub(crate) async fn read(&self, chat: ChatId, ask: &Ask) -> Result<Option<Snapshot>, Error> {
        let mut connection = self.connections.acquire().await?;
        let read = read(&mut connection, chat, ask).await?;
        connection.keep();
        Ok(read.map(|(snapshot, _)| snapshot))
    }
}

/// Reads, decides and writes. None: another write came in between.
async fn try_once<E>(
    connection: &mut PgConnection,
    chat: ChatId,
    ask: &Ask,
    authorize: &impl Fn(&Snapshot) -> Result<(), E>,
    decide: &impl Fn(&Snapshot) -> Result<Decision, E>,
) -> Result<Option<Transacted>, TransactError<E>> {
    let read = read(connection, chat, ask).await?;
    let (snapshot, request) = read.ok_or(TransactError::ChatNotFound)?;
    authorize(&snapshot).map_err(TransactError::Refused)?;
    if let (Some(stored), Some(request)) = (request, &ask.request) {
        return replay(stored, request).map(Some);
    }
    let decision = decide(&snapshot).map_err(TransactError::Refused)?;
    let reply = reply_of(&snapshot, &decision);
    let write = Write { snapshot: &snapshot, decision: &decision, ask, reply: &reply };
    Ok(match attempt(connection, &write).await? {
        Attempt::Lost => None,
        Attempt::Applied => Some(Transacted::Applied(Box::new(Applied { snapshot, decision, reply }))),
    })
}

/// The same with the row locked first: later statements of the transaction see it as it
/// is then, and no other write comes in between.
async fn try_locked<E>(
    connection: &mut PgConnection,
    chat: ChatId,
    ask: &Ask,
    authorize: &impl Fn(&Snapshot) -> Result<(), E>,
    decide: &impl Fn(&Snapshot) -> Result<Decision, E>,
) -> Result<Option<Transacted>, TransactError<E>> {
    let mut transaction = connection.begin().await.map_err(Error::from)?;
    sqlx::query_scalar!("select c.chat_id from chats c where c.chat_id = $1 for update", chat.0)
        .fetch_optional(&mut *transaction)
        .await
        .map_err(Error::from)?;
    let transacted = try_once(&mut transaction, chat, ask, authorize, decide).await;
    let ended = match &transacted {
        Ok(Some(Transacted::Applied(_))) => transaction.commit().await,
        // The lock must not outlast the look.
        Ok(_) | Err(_) => transaction.rollback().await,
    };
    ended.map_err(Error::from)?;
    transacted
}

pub(super) async fn read(
    connection: &mut PgConnection,
    chat: ChatId,
    ask: &Ask,
) -> Result<Option<(Snapshot, Option<StoredRequest>)>, Error> {
    let row = sqlx::query_file_as!(
        ChatRow,
        "src/store/read_chat.sql",
        chat.0,
        ask.request.as_ref().map(|request| request.actor),
        ask.request.as_ref().map(|request| request.id.0),
        ask.turn_bytes_max,
        TURN_ROWS_MAX,
        ask.for_holder,
    )
    .fetch_optional(connection)
    .await
    .map_err(read_error)?;
    let Some(mut row) = row else { return Ok(None) };
    let turn_input = row.turn_input.take().map(|rows| rows.0.into_iter().map(MessageRow::view).collect());
    let snapshot = Snapshot {
        chat: row.chat()?,
        now: row.now,
        create_time: row.create_time,
        update_time: row.update_time,
        metadata: row.metadata(),
        turn_input: turn_input.transpose()?,
        workspace: row.workspace.map(|workspace| workspace.0),
    };
    Ok(Some((snapshot, row.request.map(|request| request.0))))
}

/// A column that is not what it says makes its row invalid. What the decoder says of it
/// quotes the value, and goes nowhere.
pub(super) fn read_error(error: sqlx::Error) -> Error {
    match error {
        sqlx::Error::ColumnDecode { index, .. } => {
            tracing::error!(column = %index, "a column cannot be decoded");
            Error::RowInvalid
        }
        error => error.into(),
    }
}

pub(super) async fn attempt(connection: &mut PgConnection, write: &Write<'_>) -> Result<Attempt, Error> {
    match apply::update(connection, write).await {
        Ok(true) => Ok(Attempt::Applied),
        Ok(false) => Ok(Attempt::Lost),
        Err(error) if is_race(&error) => Ok(Attempt::Lost),
        Err(error) => Err(error.into()),
    }
}

/// Whether reading and deciding again will find out what happened.
fn is_race(error: &sqlx::Error) -> bool {
    let deadlock = error
        .as_database_error()
        .and_then(sqlx::error::DatabaseError::code)
        .is_some_and(|code| code == "40P01" || code == "40001");
    deadlock || violates(error, "requests_pkey")
}

fn violates(error: &sqlx::Error, constraint: &str) -> bool {
    error.as_database_error().and_then(sqlx::error::DatabaseError::constraint) == Some(constraint)
}

fn replay<E>(stored: StoredRequest, request: &Request) -> Result<Transacted, TransactError<E>> {
    if stored.method != request.method || stored.body_sha256 != apply::hex(&request.body_sha256) {
        return Err(TransactError::RequestIdReused);
    }
    Ok(Transacted::Replayed(Box::new(stored.reply)))
}

pub(super) fn reply_of(snapshot: &Snapshot, decision: &Decision) -> Reply {
    let update_time = if decision.change.is_some() { snapshot.now } else { snapshot.update_time };
    let chat = ChatView::of(&decision.chat, snapshot.metadata.clone(), snapshot.create_time, update_time);
    let (entered, queued) = match &decision.outcome {
        Outcome::Client { entered, queued } => (entered.clone(), queued.as_ref()),
        Outcome::Written(_) | Outcome::Replayed(_) | Outcome::Applied => (Vec::new(), None),
    };
    let queued = queued.map(|queued| {
        let content = decision.change.as_ref().and_then(|change| change.queue_content.as_ref());
        apply::queued_view(queued, content, snapshot.now)
    });
    Reply { chat, entered, queued }
}

//! The one way a chat changes: read, decide, one compare-and-set statement.
//!
//! The read is one statement; the decision is pure and may run again; the write is
//! one statement in which everything hangs on `snapshot_version` being what was
//! read. No lock is held between the two. A lost race is read and decided again;
//! after three losses the row is locked first, so that nobody starves. A few commands ask
//! for more, by a second read that finds the chat as the first one did, or has lost.

use chatplane_domain::{
    Body, Chat, ChatError, ChatId, Covered, Decision, HistoryEnds, Inserted, LastWrite, MessageId, Retry,
};
use chrono::{DateTime, Utc};
use sqlx::{Connection as _, PgConnection, PgExecutor, types::Json};
use std::collections::BTreeMap;

use super::{
    Beside, Buckets, Error, FileFacts, FileView, ForkFacts, MessageView, Reply, Request, ShownEntry, Store,
    Target, TurnSettings, WorkspaceRow,
    apply::{self, Write, hex},
    asking::{Ask, read_facts},
    reply::{reply_of, reply_of_copy},
    rows::{CallRow, ChatRow, MessageRow, QueueRow, StoredRequest, UsableModel},
    turn::TURN_ROWS_MAX,
};
use crate::caps::Running;

/// Compares lost before the row is locked.
const LOSSES_BEFORE_LOCK: u32 = 3;
/// Compares lost before the caller hears UNAVAILABLE: with the row locked none is lost
/// but to a deadlock.
const LOSSES_MAX: u32 = 8;

/// What a decision is made from.
#[derive(Clone, Debug)]
pub(crate) struct Snapshot {
    /// The chat.
    pub chat: Chat,
    /// The database's clock.
    pub now: DateTime<Utc>,
    /// What its viewer sees beside its execution.
    pub beside: Beside,
    /// The newest live answer that users see.
    pub last_answer: Option<MessageId>,
    /// Whether any file was ever linked to it.
    pub has_files: bool,
    /// Files around the write, if it adds or removes what refers to some.
    pub file_facts: Option<FileFacts>,
    /// The turn's input, if it was asked for and is small.
    pub turn_input: Option<Vec<MessageView>>,
    /// What a turn is run with beside its messages, if its input was asked for.
    pub turn_settings: Option<TurnSettings>,
    /// The chat's workspace.
    pub workspace: Option<WorkspaceRow>,
    /// What runs, if that was to be counted.
    pub running: Option<Running>,
    /// The entry of the queue that was asked for, if there is one.
    pub queued: Option<ShownEntry>,
    /// Where the history ends, if that was asked for.
    pub history_ends: Option<HistoryEnds>,
    /// The message to replace, if one was asked for and is live.
    pub target: Option<Target>,
    /// What a summary covers, if that was asked for.
    pub covered: Option<Covered>,
    /// What there is to copy, if that was asked for and the message is live and seen by users.
    pub fork: Option<ForkFacts>,
    /// Whether nobody has pinned it and nothing has happened in it and its children, if that was asked for.
    pub left_alone: Option<bool>,
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
    /// What a turn is run with that the write has leased, if it was asked for.
    #[must_use]
    pub(crate) fn turn_settings(&self) -> Option<TurnSettings> {
        let defined = self.decision.change.as_ref().and_then(|change| change.client_tools.clone());
        let settings = self.snapshot.turn_settings.clone()?;
        Some(TurnSettings { client_tools: defined.unwrap_or(settings.client_tools), ..settings })
    }

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
                    covers_through: message.covers_through,
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

/// What a decision is about.
#[derive(Clone, Copy, Debug)]
pub(super) enum Subject {
    /// The chat that was read.
    Chat,
    /// A copy of it.
    Copy,
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
        self.decided(chat, ask, Subject::Chat, authorize, decide).await
    }

    /// Copies a chat up to the message that `ask` names; what is decided is the copy. The
    /// history is copied as it was read, and the chat itself stays as it is.
    ///
    /// # Errors
    ///
    /// `ChatNotFound`, what the closures refuse, or what the database says.
    pub(crate) async fn fork<E>(
        &self,
        chat: ChatId,
        ask: &Ask,
        authorize: impl Fn(&Snapshot) -> Result<(), E>,
        decide: impl Fn(&Snapshot) -> Result<Decision, E>,
    ) -> Result<Transacted, TransactError<E>> {
        self.decided(chat, ask, Subject::Copy, authorize, decide).await
    }

    async fn decided<E>(
        &self,
        chat: ChatId,
        ask: &Ask,
        subject: Subject,
        authorize: impl Fn(&Snapshot) -> Result<(), E>,
        decide: impl Fn(&Snapshot) -> Result<Decision, E>,
    ) -> Result<Transacted, TransactError<E>> {
        let deciding = Deciding { chat, ask, subject, buckets: &self.buckets, authorize, decide };
        for losses in 0..LOSSES_MAX {
            let tried = self.connections.with(async |connection| {
                let tried = if losses < LOSSES_BEFORE_LOCK {
                    deciding.try_once(connection).await
                } else {
                    deciding.try_locked(connection).await
                };
                unless_broken(tried)
            });
            if let Some(transacted) = tried.await?? {
                return Ok(transacted);
            }
        }
        Err(Error::Unavailable(sqlx::Error::PoolTimedOut).into())
    }

    /// The write alone, so that tests can put something between it and its read.
    #[cfg(test)]
    pub(crate) async fn write(
        &self,
        snapshot: &Snapshot,
        decision: &Decision,
        ask: &Ask,
    ) -> Result<bool, Error> {
        let reply = reply_of(snapshot, decision, ask);
        let write = Write { snapshot, decision, ask, reply: &reply, buckets: &self.buckets };
        let attempted =
            self.connections.with(async |connection| attempt(connection, Subject::Chat, &write).await);
        Ok(matches!(attempted.await?, Attempt::Applied))
    }

    /// The same of a copy.
    #[cfg(test)]
    pub(crate) async fn write_copy(
        &self,
        snapshot: &Snapshot,
        decision: &Decision,
        ask: &Ask,
    ) -> Result<bool, Error> {
        let reply = reply_of_copy(snapshot, decision);
        let write = Write { snapshot, decision, ask, reply: &reply, buckets: &self.buckets };
        let attempted =
            self.connections.with(async |connection| attempt(connection, Subject::Copy, &write).await);
        Ok(matches!(attempted.await?, Attempt::Applied))
    }

    /// Reads a chat as a decision would, without changing it. What is asked for beside it is
    /// missing when the chat has changed meanwhile.
    ///
    /// # Errors
    ///
    /// What the database says.
    pub(crate) async fn read(&self, chat: ChatId, ask: &Ask) -> Result<Option<Snapshot>, Error> {
        let both = self.connections.with(async |connection| {
            let mut read = read(connection, chat, ask).await?;
            if let Some((snapshot, _)) = &mut read {
                read_facts(connection, ask, snapshot).await?;
            }
            Ok(read.map(|(snapshot, _)| snapshot))
        });
        both.await
    }
}

/// Tells what the database says from what is said of the command, which leaves the
/// connection as good as it was.
pub(super) fn unless_broken<T, E>(
    done: Result<T, TransactError<E>>,
) -> Result<Result<T, TransactError<E>>, Error> {
    match done {
        Err(TransactError::Store(error)) => Err(error),
        done => Ok(done),
    }
}

/// A chat that is to be changed or copied, with who says so and how.
struct Deciding<'a, A, D> {
    chat: ChatId,
    ask: &'a Ask,
    subject: Subject,
    buckets: &'a Buckets,
    authorize: A,
    decide: D,
}

impl<E, A, D> Deciding<'_, A, D>
where
    A: Fn(&Snapshot) -> Result<(), E>,
    D: Fn(&Snapshot) -> Result<Decision, E>,
{
    /// Reads, decides and writes. None: another write came in between.
    async fn try_once(&self, connection: &mut PgConnection) -> Result<Option<Transacted>, TransactError<E>> {
        let Self { chat, ask, subject, buckets, .. } = *self;
        let read = read(connection, chat, ask).await?;
        let (mut snapshot, request) = read.ok_or(TransactError::ChatNotFound)?;
        (self.authorize)(&snapshot).map_err(TransactError::Refused)?;
        if let (Some(stored), Some(request)) = (request, &ask.request) {
            let reply = replay(connection, stored, request).await?;
            return Ok(Some(Transacted::Replayed(Box::new(reply))));
        }
        if !read_facts(connection, ask, &mut snapshot).await? {
            return Ok(None);
        }
        let decision = (self.decide)(&snapshot).map_err(TransactError::Refused)?;
        let reply = match subject {
            Subject::Chat => reply_of(&snapshot, &decision, ask),
            Subject::Copy => reply_of_copy(&snapshot, &decision),
        };
        let write = Write { snapshot: &snapshot, decision: &decision, ask, reply: &reply, buckets };
        Ok(match attempt(connection, subject, &write).await? {
            Attempt::Lost => None,
            Attempt::Applied => Some(Transacted::Applied(Box::new(Applied { snapshot, decision, reply }))),
        })
    }

    /// The same with the row locked first: later statements of the transaction see it as it
    /// is then, and no other write comes in between.
    async fn try_locked(
        &self,
        connection: &mut PgConnection,
    ) -> Result<Option<Transacted>, TransactError<E>> {
        let mut transaction = connection.begin().await.map_err(Error::from)?;
        sqlx::query_scalar!("select c.chat_id from chats c where c.chat_id = $1 for update", self.chat.0)
            .fetch_optional(&mut *transaction)
            .await
            .map_err(Error::from)?;
        let transacted = self.try_once(&mut transaction).await;
        let ended = match &transacted {
            Ok(Some(Transacted::Applied(_))) => transaction.commit().await,
            // The lock must not outlast the look.
            Ok(_) | Err(_) => transaction.rollback().await,
        };
        ended.map_err(Error::from)?;
        transacted
    }
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
        ask.queued.map(|id| id.0),
        ask.viewer.map(|id| id.0),
        ask.count_running,
    )
    .fetch_optional(connection)
    .await
    .map_err(read_error)?;
    let Some(mut row) = row else { return Ok(None) };
    let turn_input = row.turn_input.take().map(|rows| rows.0.into_iter().map(MessageRow::view).collect());
    let queued = row.shown_entry();
    let snapshot = Snapshot {
        chat: row.chat()?,
        now: row.now,
        beside: row.beside(),
        last_answer: row.last_answer_id.map(MessageId),
        has_files: row.has_files,
        file_facts: None,
        turn_input: turn_input.transpose()?,
        turn_settings: row.turn_settings.map(|settings| settings.0),
        workspace: row.workspace.map(|workspace| workspace.0),
        running: row.running.map(|running| running.0),
        queued,
        history_ends: None,
        target: None,
        covered: None,
        fork: None,
        left_alone: None,
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

pub(super) async fn attempt(
    connection: &mut PgConnection,
    subject: Subject,
    write: &Write<'_>,
) -> Result<Attempt, Error> {
    let applied = match subject {
        Subject::Chat => apply::update(connection, write).await,
        Subject::Copy => apply::fork(connection, write).await,
    };
    match applied {
        Ok(true) => Ok(Attempt::Applied),
        Ok(false) => Ok(Attempt::Lost),
        Err(error) if is_race(&error) => Ok(Attempt::Lost),
        Err(error) => Err(error.into()),
    }
}

/// Whether reading and deciding again will find out what happened: a file may be deleted
/// while a message refers to it, and the other way round.
fn is_race(error: &sqlx::Error) -> bool {
    is_deadlock(error) || violates(error, "requests_pkey") || violates(error, "chat_files_file_fkey")
}

/// Whether the database has ended a statement for another's sake.
pub(super) fn is_deadlock(error: &sqlx::Error) -> bool {
    error
        .as_database_error()
        .and_then(sqlx::error::DatabaseError::code)
        .is_some_and(|code| code == "40P01" || code == "40001")
}

pub(super) fn violates(error: &sqlx::Error, constraint: &str) -> bool {
    error.as_database_error().and_then(sqlx::error::DatabaseError::constraint) == Some(constraint)
}

/// What a repeat is answered: the reply of then.
pub(super) async fn replay<E>(
    executor: impl PgExecutor<'_>,
    stored: StoredRequest,
    request: &Request,
) -> Result<Reply, TransactError<E>> {
    if stored.method != request.method || stored.body_sha256 != hex(&request.body_sha256) {
        return Err(TransactError::RequestIdReused);
    }
    Ok(stored.reply.with_files(executor).await?)
}

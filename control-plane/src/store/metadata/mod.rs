//! What is no execution: title and labels of a chat, and what each user keeps of it.
//!
//! # Theory of operation
//!
//! These are plain updates under locks, and not compare-and-set: they are rare, and a pin
//! moves the pins of other chats. Everybody takes the locks in one order, so that nobody
//! waits for who waits for them:
//!
//! 1. the user's row, for their pins: `for no key update`, which does not stand in the way
//!    of rows that refer to it;
//! 2. the chat's title and labels, as whoever writes a title takes them first, too;
//! 3. what users keep of chats. A write of a chat's execution takes one of these after the
//!    chat itself: to tell that there is an answer, and to unpin what is archived. It
//!    writes them whatever they say, so that it waits for who has one, and then goes by
//!    what it finds. Nobody who has one waits for a chat.
//!
//! What is decided on is read after the locks, by a statement of its own: so it sees what
//! was written by whoever was waited for.

mod pins;
mod read_cursor;
mod reads;

use std::{collections::BTreeMap, iter};

use chatplane_domain::{ChatId, UserId};
use serde_json::json;
use sqlx::{Connection as _, PgConnection};

pub(crate) use read_cursor::ReadTo;

use super::{
    ChatView, Error, MetadataView, Reply, Request, Store, TransactError, Transacted,
    apply::storable,
    content,
    transact::{is_deadlock, replay, violates},
};

/// So many times a change is tried that others are in the way of.
const LOSSES_MAX: usize = 8;
/// No metadata have this version: they count from 1.
const NO_VERSION: i64 = 0;

/// A change of metadata that is asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MetadataUpdate<'a> {
    /// The chat.
    pub chat: ChatId,
    /// Who asks, and whose pins are meant.
    pub viewer: UserId,
    /// What it may touch.
    pub locks: MetadataLocks,
    /// The client's request, should it be repeatable.
    pub request: Option<&'a Request>,
}

/// What nobody else changes while a change is decided and written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MetadataLocks {
    /// The chat's title and labels.
    Chat,
    /// The user's pins, too.
    Pins,
}

/// What a change of metadata is decided from.
#[derive(Clone, Debug)]
pub(crate) struct MetadataSnapshot {
    /// The chat.
    pub chat: ChatView,
    /// The user's pinned chats in order, if they are locked.
    pub pins: Vec<ChatId>,
}

/// What is to be written; what is none stays.
#[derive(Clone, Debug, Default)]
pub(crate) struct MetadataWrite {
    /// The title.
    pub title: Option<String>,
    /// All labels.
    pub labels: Option<BTreeMap<String, String>>,
    /// All pinned chats in order.
    pub pins: Option<Vec<ChatId>>,
}

/// What became of a change of metadata.
#[derive(Clone, Debug)]
pub(crate) struct MetadataUpdated {
    /// The chat right after it.
    pub chat: ChatView,
    /// Whether anything is other than it was.
    pub has_changed: bool,
}

/// Why one try did not do it.
enum Failure<E> {
    /// It is not to be done.
    Refused(TransactError<E>),
    /// The database says so; another try may go better.
    Sql(sqlx::Error),
}

impl<E> From<sqlx::Error> for Failure<E> {
    fn from(error: sqlx::Error) -> Self {
        Self::Sql(error)
    }
}

impl<E> From<Error> for Failure<E> {
    fn from(error: Error) -> Self {
        Self::Refused(TransactError::Store(error))
    }
}

impl Store {
    /// Changes title, labels or a user's pins. `authorize` is asked before a repeat is
    /// answered, `decide` after; both are pure and may be asked again.
    ///
    /// # Errors
    ///
    /// `ChatNotFound`, what the closures refuse, `RequestIdReused`, or what the database says.
    pub(crate) async fn update_metadata<E>(
        &self,
        update: MetadataUpdate<'_>,
        authorize: impl Fn(&ChatView) -> Result<(), E>,
        decide: impl Fn(&MetadataSnapshot) -> Result<MetadataWrite, E>,
    ) -> Result<MetadataUpdated, TransactError<E>> {
        for _ in 0..LOSSES_MAX {
            let tried = self.connections.with(async |connection| {
                let mut transaction = connection.begin().await?;
                let updated = self.try_to_update(&mut transaction, update, &authorize, &decide).await;
                // The locks must not outlast the look.
                let ended = match &updated {
                    Ok(_) => transaction.commit().await,
                    Err(_) => transaction.rollback().await,
                };
                match updated {
                    Ok(updated) => ended.map(|()| Ok(updated)).map_err(Failure::Sql),
                    Err(Failure::Refused(refused @ TransactError::Store(_))) => {
                        Err(Failure::Refused(refused))
                    }
                    Err(Failure::Refused(refused)) => Ok(Err(refused)),
                    Err(error) => Err(error),
                }
            });
            match tried.await {
                Ok(updated) => return updated,
                Err(Failure::Refused(refused)) => return Err(refused),
                // The same request was stored in between: its reply is there now.
                Err(Failure::Sql(error)) if violates(&error, "requests_pkey") || is_deadlock(&error) => {}
                Err(Failure::Sql(error)) => return Err(Error::from(error).into()),
            }
        }
        Err(Error::Unavailable(sqlx::Error::PoolTimedOut).into())
    }

    async fn try_to_update<E>(
        &self,
        connection: &mut PgConnection,
        update: MetadataUpdate<'_>,
        authorize: impl Fn(&ChatView) -> Result<(), E>,
        decide: impl Fn(&MetadataSnapshot) -> Result<MetadataWrite, E>,
    ) -> Result<MetadataUpdated, Failure<E>> {
        let MetadataUpdate { chat, viewer, locks, request } = update;
        if locks == MetadataLocks::Pins {
            pins::lock_user(connection, viewer).await?;
        }
        lock_metadata(connection, chat).await?;
        let pins = match locks {
            MetadataLocks::Chat => Vec::new(),
            MetadataLocks::Pins => pins::lock(connection, chat, viewer).await?,
        };
        let refused = |refused| Failure::Refused(TransactError::Refused(refused));
        let view = reads::chat(connection, chat, viewer).await?;
        let view = view.ok_or(Failure::Refused(TransactError::ChatNotFound))?;
        authorize(&view).map_err(refused)?;
        if let Some(request) = request
            && let Some(stored) = reads::request(connection, request).await?
            && let Transacted::Replayed(reply) = replay(stored, request).map_err(Failure::Refused)?
        {
            return Ok(MetadataUpdated { chat: reply.chat, has_changed: false });
        }
        let before = MetadataSnapshot { chat: view, pins };
        let write = decide(&before).map_err(refused)?;
        let after = write.applied_to(&before.chat);
        let mut has_changed = after != before.chat;
        if write.title.is_some() || after.metadata != before.chat.metadata {
            self.describe(connection, &before.chat, &write, &after.metadata).await?;
        }
        if let Some(pins) = &write.pins {
            has_changed |= pins::store(connection, viewer, &before.pins, pins).await?;
        }
        if let Some(request) = request {
            let reply = Reply { chat: after.clone(), entered: Vec::new(), queued: None };
            store_request(connection, chat, request, &reply).await?;
        }
        Ok(MetadataUpdated { chat: after, has_changed })
    }

    /// Writes title and labels. A title that a worker is about to write comes too late where a
    /// user has given one, be it the one that is there; other labels do not make it so.
    async fn describe(
        &self,
        connection: &mut PgConnection,
        before: &ChatView,
        write: &MetadataWrite,
        after: &MetadataView,
    ) -> Result<(), sqlx::Error> {
        let search = self.buckets.document(before.owner_id, iter::once(after.title.as_str()));
        let jobs_version = if write.title.is_some() { NO_VERSION } else { after.metadata_version };
        sqlx::query!(
            "with described as ( \
                 update chat_metadata d \
                 set title = $2, \
                     labels = $3, \
                     search = case when d.title = $2 then d.search else $4::text::tsvector end, \
                     metadata_version = $5 \
                 where d.chat_id = $1 \
                 and d.metadata_version <> $5 \
                 returning d.chat_id \
             ), \
             told as ( \
                 update chat_user_metadata u \
                 set metadata_xid = pg_current_xact_id(), \
                     change_xid = pg_current_xact_id() \
                 from described \
                 where u.chat_id = described.chat_id \
             ) \
             update jobs j \
             set metadata_version = $6 \
             where j.chat_id = $1 \
             and j.kind = 'title' \
             and j.metadata_version = $7",
            before.chat_id.0,
            content::escape(&after.title),
            json!(after.labels),
            search,
            after.metadata_version,
            jobs_version,
            before.metadata.metadata_version,
        )
        .execute(connection)
        .await?;
        Ok(())
    }
}

impl MetadataWrite {
    /// The chat as its reader sees it after the write. Its version grows with title and labels
    /// alone, since these are what everybody sees.
    fn applied_to(&self, chat: &ChatView) -> ChatView {
        let mut after = chat.clone();
        if let Some(title) = &self.title {
            after.metadata.title.clone_from(title);
        }
        if let Some(labels) = &self.labels {
            after.metadata.labels.clone_from(labels);
        }
        if after.metadata != chat.metadata {
            after.metadata.metadata_version += 1;
        }
        if let Some(pins) = &self.pins {
            let index = pins.iter().position(|&pinned| pinned == chat.chat_id);
            after.pin_order = index.and_then(|index| i32::try_from(index + 1).ok());
        }
        after
    }
}

async fn lock_metadata(connection: &mut PgConnection, chat: ChatId) -> Result<(), sqlx::Error> {
    sqlx::query_scalar!(
        "select d.chat_id from chat_metadata d where d.chat_id = $1 for no key update",
        chat.0
    )
    .fetch_optional(connection)
    .await?;
    Ok(())
}

/// Locks what a user keeps of a chat. A chat that the release before has created may have
/// nothing yet.
async fn lock_own(connection: &mut PgConnection, chat: ChatId, viewer: UserId) -> Result<(), sqlx::Error> {
    let locked = sqlx::query_scalar!(
        "select u.chat_id \
         from chat_user_metadata u \
         where u.chat_id = $1 \
         and u.user_id = $2 \
         for no key update",
        chat.0,
        viewer.0,
    )
    .fetch_optional(&mut *connection)
    .await?;
    if locked.is_none() {
        // Whoever inserts it at the same time is waited for, and then has it.
        sqlx::query!(
            "insert into chat_user_metadata (chat_id, user_id) \
             select c.chat_id, $2 \
             from chats c \
             where c.chat_id = $1 \
             on conflict (chat_id, user_id) do update \
             set user_id = excluded.user_id",
            chat.0,
            viewer.0,
        )
        .execute(connection)
        .await?;
    }
    Ok(())
}

async fn store_request(
    connection: &mut PgConnection,
    chat: ChatId,
    request: &Request,
    reply: &Reply,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "insert into requests (actor_id, request_id, method, body_sha256, chat_id, result) \
         values ($1, $2, $3, $4, $5, $6)",
        request.actor,
        request.id.0,
        request.method,
        &request.body_sha256[..],
        chat.0,
        storable(json!(reply)),
    )
    .execute(connection)
    .await?;
    Ok(())
}

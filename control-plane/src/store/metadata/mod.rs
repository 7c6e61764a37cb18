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

mod describe;
mod locks;
mod pins;
mod read_cursor;
mod reads;

use std::collections::BTreeMap;

use chatplane_domain::{ChatId, UserId};
use sqlx::{Connection as _, PgConnection};

pub(crate) use read_cursor::ReadTo;

use super::{
    ChatView, Error, Reply, Request, Store, TransactError,
    transact::{is_deadlock, replay, violates},
};

/// So many times a change is tried that others are in the way of.
const LOSSES_MAX: usize = 8;

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
        locks::chat(connection, chat).await?;
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
        {
            let reply = replay(connection, stored, request).await.map_err(Failure::Refused)?;
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
            describe::store_request(connection, chat, request, &reply).await?;
        }
        Ok(MetadataUpdated { chat: after, has_changed })
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

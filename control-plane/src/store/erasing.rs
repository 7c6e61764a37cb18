//! Erasing what a large chat that was deleted has of rows, in batches.
//!
//! The write that deletes a chat erases one of the usual size as a whole. Of a larger one it takes
//! what names it and what finds it, and leaves it marked; nobody reads it any more, and each batch
//! here takes rows that are left, until there are none. Replicas take turns by the chat's row.

use chatplane_domain::ChatId;
use sqlx::{Connection as _, PgConnection};

use super::{Error, Store};

/// Messages that one statement erases, which takes 40 ms: 200,000 of a kilobyte took 5 s, and a
/// statement has 3.
pub(super) const MESSAGES_MAX: i64 = 2000;
/// Runs that one statement deletes: each may have some hundred steps of up to 2 MiB.
pub(crate) const ERASED_RUNS_MAX: i64 = 10;
/// Bytes of files that one statement deletes: 1 GB took 2 s. Of a chat with more, the sweep of
/// files that no chat is linked to takes them.
pub(crate) const ERASED_FILE_BYTES_MAX: i64 = 200 * 1024 * 1024;

/// What a batch has come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Erased {
    /// There may be more behind this message.
    Through(i64),
    /// There is nothing left.
    All,
    /// Somebody else is at it, or has done it.
    Elsewhere,
}

impl Store {
    /// Deleted chats of which something is left, those behind this one; the nil id is before all.
    ///
    /// # Errors
    ///
    /// What the database says.
    pub(crate) async fn erasing_chats(&self, after: ChatId, limit: i64) -> Result<Vec<ChatId>, Error> {
        let chats = sqlx::query_scalar!(
            "select c.chat_id \
             from chats c \
             where c.erasing \
             and c.chat_id > $1 \
             order by c.chat_id \
             limit $2",
            after.0,
            limit,
        )
        .fetch_all(&self.connections)
        .await?;
        Ok(chats.into_iter().map(ChatId).collect())
    }

    /// Erases some of what is left of a chat behind this message; 0 is before all. What was
    /// erased before is not written again.
    ///
    /// # Errors
    ///
    /// What the database says.
    pub(crate) async fn erase_some(&self, chat: ChatId, after: i64) -> Result<Erased, Error> {
        let erased = self.connections.with(async |connection| {
            let mut transaction = connection.begin().await?;
            let erased = erase_locked(&mut transaction, chat, after).await?;
            transaction.commit().await?;
            Ok(erased)
        });
        let erased: Result<Erased, sqlx::Error> = erased.await;
        Ok(erased?)
    }
}

async fn erase_locked(
    connection: &mut PgConnection,
    chat: ChatId,
    after: i64,
) -> Result<Erased, sqlx::Error> {
    let next = sqlx::query_scalar!(
        "select c.next_message_id \
         from chats c \
         where c.chat_id = $1 \
         and c.erasing \
         for no key update skip locked",
        chat.0,
    )
    .fetch_optional(&mut *connection)
    .await?;
    let Some(next) = next else { return Ok(Erased::Elsewhere) };
    let through = after.saturating_add(MESSAGES_MAX);
    let deleted = sqlx::query_file_scalar!(
        "src/store/erase_some.sql",
        chat.0,
        after,
        through,
        MESSAGES_MAX,
        ERASED_RUNS_MAX,
    )
    .fetch_one(&mut *connection)
    .await?;
    if through + 1 < next || deleted > 0 {
        return Ok(Erased::Through(through));
    }
    sqlx::query!("update chats set erasing = false where chat_id = $1", chat.0).execute(connection).await?;
    Ok(Erased::All)
}

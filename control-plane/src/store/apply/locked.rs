//! Locks that some writes take before their statement looks.
//!
//! A write sees what was there when its statement began, and of what it waits for only the
//! chat's own row anew. That will do where all else changes with the chat's version. What a
//! title is, what is recorded for debugging, who has pinned the chat, and what goes on in its
//! children, does not: others store it under these locks.

use chatplane_domain::{Change, ChatId};
use chrono::{DateTime, Utc};
use sqlx::{Connection as _, PgConnection};

use super::{Write, update_chat};
use crate::store::retention::{is_left_alone, lock_family};

/// Applies an edit, which deletes what was recorded of the messages that it deletes.
pub(super) async fn edit(
    connection: &mut PgConnection,
    write: &Write<'_>,
    change: &Change,
) -> Result<bool, sqlx::Error> {
    let mut transaction = connection.begin().await?;
    lock_chat(&mut transaction, write.snapshot.chat.id).await?;
    let applied = update_chat(&mut transaction, write, change).await?;
    // A lost compare has written nothing.
    transaction.commit().await?;
    Ok(applied)
}

/// Archives a chat that nothing has happened in since then, if that is so still: a pin and the
/// children do not change with the chat's version.
pub(super) async fn archive_left_alone(
    connection: &mut PgConnection,
    write: &Write<'_>,
    change: &Change,
    since: DateTime<Utc>,
) -> Result<bool, sqlx::Error> {
    let chat = write.snapshot.chat.id;
    let mut transaction = connection.begin().await?;
    lock_chat(&mut transaction, chat).await?;
    lock_family(&mut transaction, chat).await?;
    let archived = is_left_alone(&mut transaction, chat, since).await?
        && update_chat(&mut transaction, write, change).await?;
    // What was not archived has written nothing.
    transaction.commit().await?;
    Ok(archived)
}

async fn lock_chat(connection: &mut PgConnection, chat: ChatId) -> Result<(), sqlx::Error> {
    sqlx::query_scalar!(
        "select c.chat_id \
         from chats c \
         where c.chat_id = $1 \
         for no key update",
        chat.0,
    )
    .fetch_optional(connection)
    .await?;
    Ok(())
}

/// Locks a chat and its title: whoever changes that stores a reply that shows it, too.
pub(super) async fn lock_chat_and_metadata(
    connection: &mut PgConnection,
    chat: ChatId,
) -> Result<(), sqlx::Error> {
    sqlx::query_scalar!(
        "select c.chat_id \
         from chats c \
         join chat_metadata d on d.chat_id = c.chat_id \
         where c.chat_id = $1 \
         for no key update of c, d",
        chat.0,
    )
    .fetch_optional(connection)
    .await?;
    Ok(())
}

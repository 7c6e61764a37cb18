//! Locks that some writes take before their statement looks.
//!
//! A write sees what was there when its statement began, and of what it waits for only the
//! chat's own row anew. That will do where all else changes with the chat's version. What a
//! title is, and what is recorded for debugging, does not: others store it under these locks.

use chatplane_domain::{Change, ChatId};
use sqlx::{Connection as _, PgConnection};

use super::{Write, update_chat};

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

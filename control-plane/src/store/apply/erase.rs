//! The write that deletes a chat for good.

use serde_json::json;
use sqlx::{Connection as _, PgConnection};

use super::{Write, count, locked::lock_chat_and_metadata, storable};

/// Erases what was said in a chat where it still is what was read, with the files that no
/// other chat is linked to. Answers whether it was.
pub(super) async fn erase(connection: &mut PgConnection, write: &Write<'_>) -> Result<bool, sqlx::Error> {
    let mut transaction = connection.begin().await?;
    lock_chat_and_metadata(&mut transaction, write.snapshot.chat.id).await?;
    if write.snapshot.has_files {
        // Of two chats with the same file that are deleted at once the second sees that the
        // first is gone: this statement waits, and the next looks.
        sqlx::query!(
            "select f.file_id \
             from files f \
             where f.file_id in ( \
                 select l.file_id \
                 from chat_files l \
                 where l.chat_id = $1 \
             ) \
             order by f.file_id \
             for update of f",
            write.snapshot.chat.id.0,
        )
        .fetch_all(&mut *transaction)
        .await?;
    }
    let erased = erase_compared(&mut transaction, write).await?;
    if erased {
        transaction.commit().await?;
    } else {
        transaction.rollback().await?;
    }
    Ok(erased)
}

async fn erase_compared(connection: &mut PgConnection, write: &Write<'_>) -> Result<bool, sqlx::Error> {
    let chat = &write.decision.chat;
    let applied = sqlx::query_file_scalar!(
        "src/store/apply_erase.sql",
        chat.id.0,
        write.snapshot.chat.versions.snapshot,
        chat.versions.snapshot,
        chat.versions.history,
        chat.versions.queue,
        chat.versions.error,
        count(chat.queue.len()),
        chat.last_error().map(|error| storable(json!(error))),
        chat.settings.client_tools_version,
        write.snapshot.now,
    )
    .fetch_one(connection)
    .await?;
    Ok(applied == 1)
}

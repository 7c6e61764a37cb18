//! The write that deletes a chat for good.

use serde_json::json;
use sqlx::{Connection as _, PgConnection};
use uuid::Uuid;

use super::{Write, count, locked::lock_chat_and_metadata, storable};
use crate::store::{
    erasing::{ERASED_FILE_BYTES_MAX, ERASED_RUNS_MAX, MESSAGES_MAX},
    files::lock_contents,
};

/// Erases what was said in a chat where it still is what was read, with the files that no
/// other chat is linked to. Answers whether it was. What a large chat has of rows is left to
/// [`super::super::erasing`].
pub(super) async fn erase(connection: &mut PgConnection, write: &Write<'_>) -> Result<bool, sqlx::Error> {
    let mut transaction = connection.begin().await?;
    lock_chat_and_metadata(&mut transaction, write.snapshot.chat.id).await?;
    let mut bytes = 0;
    if write.snapshot.has_files {
        // Of two chats with the same file that are deleted at once the second sees that the
        // first is gone: this statement waits, and the next looks.
        let files = sqlx::query!(
            "select f.file_id, f.size_bytes \
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
        bytes = files.iter().map(|file| file.size_bytes).sum();
        let files: Vec<Uuid> = files.into_iter().map(|file| file.file_id).collect();
        lock_contents(&mut transaction, &files).await?;
    }
    let erased = erase_compared(&mut transaction, write, bytes).await?;
    if erased {
        transaction.commit().await?;
    } else {
        transaction.rollback().await?;
    }
    Ok(erased)
}

async fn erase_compared(
    connection: &mut PgConnection,
    write: &Write<'_>,
    file_bytes: i64,
) -> Result<bool, sqlx::Error> {
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
        write.ask.files_kept.as_secs_f64(),
        MESSAGES_MAX,
        ERASED_RUNS_MAX,
        file_bytes <= ERASED_FILE_BYTES_MAX,
    )
    .fetch_one(connection)
    .await?;
    Ok(applied == 1)
}

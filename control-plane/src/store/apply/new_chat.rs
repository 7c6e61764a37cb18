//! The first write of a chat: a new one, or a copy.

use std::iter;

use serde_json::json;
use sqlx::PgConnection;

use super::{Columns, Write, content, count, ids, messages, requests, text_of};
use crate::store::Links;

/// Stores a new chat.
pub(crate) async fn create(connection: &mut PgConnection, write: &Write<'_>) -> Result<(), sqlx::Error> {
    let chat = &write.decision.chat;
    let metadata = &write.snapshot.beside.metadata;
    let columns = Columns::of_new(write.decision);
    let rows = write.decision.change.as_ref().map_or_else(|| json!([]), |change| messages(write, change));
    sqlx::query_file_scalar!(
        "src/store/apply_create.sql",
        chat.id.0,
        chat.organization.0,
        chat.owner.0,
        chat.settings.workspace.map(|workspace| workspace.0),
        chat.settings.model,
        text_of(chat.settings.effort),
        columns.client_tools,
        columns.client_tool_definitions,
        columns.action_timeout_ms,
        chat.system_prompt.map(|id| id.0),
        count(chat.attempt as usize),
        columns.fence,
        columns.session,
        chat.live_lease().is_some(),
        columns.runnable_since,
        chat.next_message_id.0,
        chat.history_bytes,
        write.snapshot.now,
        content::escape(&metadata.title),
        json!(metadata.labels),
        rows,
        requests(write),
        write.ask.title_job.map(|job| job.0),
        &write.linked(),
        write.document(iter::once(metadata.title.as_str())),
    )
    .fetch_one(connection)
    .await?;
    Ok(())
}

/// Stores a copy of the chat that was read, where its history still is what was read.
/// Answers whether it was.
pub(crate) async fn fork(connection: &mut PgConnection, write: &Write<'_>) -> Result<bool, sqlx::Error> {
    let source = &write.snapshot.chat;
    let chat = &write.decision.chat;
    let columns = Columns::of_new(write.decision);
    let rows = write.decision.change.as_ref().map_or_else(|| json!([]), |change| messages(write, change));
    let applied = sqlx::query_file_scalar!(
        "src/store/apply_fork.sql",
        source.id.0,
        source.versions.history,
        write.ask.fork.map(|id| id.0),
        chat.id.0,
        chat.organization.0,
        chat.owner.0,
        chat.settings.workspace.map(|workspace| workspace.0),
        chat.settings.model,
        text_of(chat.settings.effort),
        columns.client_tools,
        columns.action_timeout_ms,
        chat.system_prompt.map(|id| id.0),
        chat.next_message_id.0,
        chat.answered,
        chat.covers_through.map(|id| id.0),
        chat.history_bytes,
        write.snapshot.now,
        rows,
        requests(write),
        source.settings.client_tools_version,
        write.snapshot.fork.as_ref().and_then(|fork| fork.last_answer).map(|id| id.0),
        &ids(&Links::of_copy(write.snapshot).linked),
    )
    .fetch_one(connection)
    .await?;
    Ok(applied == 1)
}

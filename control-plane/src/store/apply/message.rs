//! The write of most turns: one new message, and nothing of the queue or of calls.

use chatplane_domain::{Body, Change, Chat, Inserted, Message};
use serde::Serialize;
use serde_json::{Value, json};
use sqlx::PgConnection;
use uuid::Uuid;

use super::{CONTENT_VERSION, Columns, Write, content, count, storable, text_of};

/// A message as its row has it.
#[derive(Serialize)]
pub(super) struct MessageColumns {
    id: i64,
    role: String,
    visibility: String,
    content_version: i16,
    content: Value,
    internal: Option<Value>,
    content_bytes: i64,
    created_by: Option<Uuid>,
    model: Option<String>,
    usage: Option<Value>,
    runtime_ms: Option<i64>,
    interrupted: bool,
    queued_message_id: Option<Uuid>,
}

impl MessageColumns {
    pub(super) fn of(chat: &Chat, message: &Message) -> Self {
        let encoded = content::encode(&message.body);
        let mut columns = Self {
            id: message.id.0,
            role: text_of(message.body.role()),
            visibility: text_of(message.visibility),
            content_version: CONTENT_VERSION,
            content: encoded.content,
            internal: encoded.internal,
            content_bytes: i64::try_from(message.body.content_bytes()).unwrap_or(i64::MAX),
            created_by: None,
            model: None,
            usage: None,
            runtime_ms: None,
            interrupted: false,
            queued_message_id: None,
        };
        match &message.body {
            Body::System(_) => {}
            Body::User(user) => {
                columns.created_by = Some(user.created_by.0);
                columns.model = Some(user.model.as_ref().unwrap_or(&chat.settings.model).clone());
                columns.queued_message_id = user.queued_message_id.map(|id| id.0);
            }
            Body::Assistant(answer) => {
                columns.model = Some(answer.model.replace('\0', "\u{fffd}"));
                columns.usage = Some(json!(answer.usage));
                columns.runtime_ms = Some(answer.runtime_ms);
                columns.interrupted = answer.interrupted;
            }
            Body::Tool(result) => columns.runtime_ms = Some(result.runtime_ms),
        }
        columns
    }
}

/// The message, if the change is nothing but a new one.
pub(super) fn only(change: &Change) -> Option<&Message> {
    let Change {
        delete_from: None,
        delete_one: None,
        inserted,
        queue_upserted,
        queue_content: None,
        queue_deleted,
        calls_opened,
        calls_closed,
    } = change
    else {
        return None;
    };
    let is_only = queue_upserted.is_empty()
        && queue_deleted.is_empty()
        && calls_opened.is_empty()
        && calls_closed.is_empty();
    match inserted.as_slice() {
        [Inserted::New(message)] if is_only => Some(message),
        _ => None,
    }
}

/// Applies such a change where the chat still is what was read. Answers whether it was.
pub(super) async fn update(
    connection: &mut PgConnection,
    write: &Write<'_>,
    message: &Message,
) -> Result<bool, sqlx::Error> {
    let chat = &write.decision.chat;
    let columns = Columns::of(chat);
    let message = MessageColumns::of(chat, message);
    let request = write.ask.request.as_ref();
    let model_call = write.ask.model_call.as_ref();
    let usage = model_call.map(|call| call.usage);
    let applied = sqlx::query_file_scalar!(
        "src/store/apply_message.sql",
        chat.id.0,
        write.snapshot.chat.versions.snapshot,
        chat.settings.workspace.map(|workspace| workspace.0),
        chat.settings.model,
        text_of(chat.settings.effort),
        json!(chat.settings.client_tools),
        chat.system_prompt.map(|id| id.0),
        chat.state().as_str(),
        chat.archived(),
        count(chat.queue.len()),
        count(chat.open_calls.len()),
        chat.versions.snapshot,
        chat.versions.history,
        chat.versions.queue,
        chat.versions.retry,
        chat.versions.error,
        count(chat.attempt as usize),
        chat.retry.as_ref().map(|retry| storable(json!(retry))),
        chat.last_error().map(|error| storable(json!(error))),
        columns.fence,
        columns.session,
        chat.live_lease().is_some(),
        columns.last_write,
        columns.runnable_since,
        columns.interrupt_time,
        columns.action_deadline,
        chat.next_message_id.0,
        chat.answered,
        chat.history_bytes,
        write.snapshot.now,
        message.id,
        message.role,
        message.visibility,
        message.content_version,
        message.content,
        message.internal,
        message.content_bytes,
        message.created_by,
        message.model,
        message.usage,
        message.runtime_ms,
        message.interrupted,
        message.queued_message_id,
        request.map(|request| request.actor),
        request.map(|request| request.id.0),
        request.map(|request| request.method),
        request.map(|request| &request.body_sha256[..]),
        request.map(|_| storable(json!(write.reply))),
        model_call.map(|call| call.fence.0),
        model_call.map(|call| call.number),
        model_call.map(|call| call.model.as_str()),
        usage.map(|usage| usage.input_tokens),
        usage.map(|usage| usage.output_tokens),
        usage.map(|usage| usage.cache_read_tokens),
        usage.map(|usage| usage.cache_write_tokens),
        usage.map(|usage| usage.reasoning_tokens),
    )
    .fetch_one(connection)
    .await?;
    Ok(applied == 1)
}

#[cfg(test)]
mod tests {
    /// The statement up to here, without what is said about it.
    fn chat_columns(statement: &str) -> Vec<&str> {
        let lines = statement.lines().skip_while(|line| line.starts_with("--"));
        lines.take_while(|line| !line.contains("history_bytes")).collect()
    }

    #[test]
    fn both_statements_write_the_same_columns_of_a_chat() {
        let common = chat_columns(include_str!("../apply_update.sql"));

        assert!(common.len() > 25, "{common:?}");
        assert_eq!(chat_columns(include_str!("../apply_message.sql")), common);
    }
}

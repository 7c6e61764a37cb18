//! The write of most turns: one new message, and nothing of the queue or of calls.

use chatplane_domain::{AnswerContent, Body, Change, Chat, Inserted, Message, Visibility, texts};
use serde::Serialize;
use serde_json::{Value, json};
use sqlx::PgConnection;
use uuid::Uuid;

use super::{Ask, Columns, Write, content, count, storable, text_of};
use crate::store::{ModelCall, Request};

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
    requested_model: Option<String>,
    usage: Option<Value>,
    runtime_ms: Option<i64>,
    interrupted: bool,
    queued_message_id: Option<Uuid>,
    covers_through: Option<i64>,
    /// What it is found by.
    search: Option<String>,
}

impl MessageColumns {
    pub(super) fn of(write: &Write<'_>, message: &Message) -> Self {
        let chat = &write.decision.chat;
        let encoded = content::encode(&message.body);
        let mut columns = Self {
            id: message.id.0,
            role: text_of(message.body.role()),
            visibility: text_of(message.visibility),
            content_version: encoded.version,
            content: encoded.content,
            internal: encoded.internal,
            content_bytes: i64::try_from(message.body.content_bytes()).unwrap_or(i64::MAX),
            created_by: None,
            model: None,
            requested_model: None,
            usage: None,
            runtime_ms: None,
            interrupted: false,
            queued_message_id: None,
            covers_through: message.covers_through.map(|id| id.0),
            search: search(write, message),
        };
        match &message.body {
            Body::System(_) => {}
            Body::User(user) => {
                columns.created_by = Some(user.created_by.0);
                columns.model = Some(user.model.as_ref().unwrap_or(&chat.settings.model).clone());
                columns.requested_model.clone_from(&user.requested_model);
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

/// What users find a message by: what they wrote, and what the model said to them.
fn search(write: &Write<'_>, message: &Message) -> Option<String> {
    if message.visibility == Visibility::Model {
        return None;
    }
    match &message.body {
        Body::User(user) => write.document(texts(&user.parts)),
        Body::Assistant(answer) => {
            let words = answer.parts.iter().filter_map(|part| match &part.content {
                AnswerContent::Text(text) => Some(text.as_str()),
                AnswerContent::Reasoning(_) | AnswerContent::ToolCall(_) => None,
            });
            write.document(words)
        }
        Body::System(_) | Body::Tool(_) => None,
    }
}

/// The message, if the write is nothing but a new one, without files.
pub(super) fn only<'a>(change: &'a Change, ask: &Ask) -> Option<&'a Message> {
    let Change {
        delete_from: None,
        delete_one: None,
        inserted,
        queue_upserted,
        queue_content: None,
        queue_deleted,
        calls_opened,
        calls_closed,
        client_tools: None,
        erased: false,
    } = change
    else {
        return None;
    };
    let is_only = queue_upserted.is_empty()
        && queue_deleted.is_empty()
        && calls_opened.is_empty()
        && calls_closed.is_empty()
        && ask.files.is_empty()
        && ask.model_calls.len() <= 1;
    match inserted.as_slice() {
        // The rows of a boundary cover others, which are not counted here.
        [Inserted::New(message)] if is_only && message.covers_through.is_none() => Some(message),
        _ => None,
    }
}

/// What the statement is given beside the chat that was read.
struct Parameters<'a> {
    chat: &'a Chat,
    columns: Columns,
    message: MessageColumns,
    request: Option<&'a Request>,
    /// The model that was called, and the numbers of the call.
    model: Option<String>,
    numbers: Option<[i64; 7]>,
}

impl<'a> Parameters<'a> {
    fn of(write: &Write<'a>, message: &Message) -> Self {
        let chat = &write.decision.chat;
        let model_call = write.ask.model_calls.first();
        Self {
            chat,
            columns: Columns::of(&write.snapshot.chat, write.decision),
            message: MessageColumns::of(write, message),
            request: write.ask.request.as_ref(),
            model: model_call.map(ModelCall::storable_model),
            numbers: model_call.map(ModelCall::numbers),
        }
    }
}

/// Applies such a change where the chat still is what was read. Answers whether it was.
pub(super) async fn update(
    connection: &mut PgConnection,
    write: &Write<'_>,
    message: &Message,
) -> Result<bool, sqlx::Error> {
    let Parameters { chat, columns, message, request, model, numbers } = Parameters::of(write, message);
    // A new message alone never takes an answer away.
    let (last_answer, answer_changes) = write.last_answer();
    let last_answer = last_answer.filter(|_| answer_changes);
    let applied = sqlx::query_file_scalar!(
        "src/store/apply_message.sql",
        chat.id.0,
        write.snapshot.chat.versions.snapshot,
        chat.settings.workspace.map(|workspace| workspace.0),
        chat.settings.model,
        text_of(chat.settings.effort),
        columns.client_tools,
        columns.client_tool_definitions,
        columns.action_timeout_ms,
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
        chat.covers_through.map(|id| id.0),
        chat.compact_requested,
        columns.last_turn_summary,
        write.snapshot.now,
        chat.history_bytes,
        message.id,
        message.role,
        message.visibility,
        message.content_version,
        message.content,
        message.internal,
        message.content_bytes,
        message.created_by,
        message.model,
        message.requested_model,
        message.usage,
        message.runtime_ms,
        message.interrupted,
        message.queued_message_id,
        request.map(|request| request.actor),
        request.map(|request| request.id.0),
        request.map(|request| request.method),
        request.map(|request| &request.body_sha256[..]),
        request.map(|_| storable(json!(write.reply))),
        model,
        numbers.as_ref().map(|numbers| &numbers[..]),
        last_answer,
        message.search,
    )
    .fetch_one(connection)
    .await?;
    Ok(applied == 1)
}

#[cfg(test)]
mod tests {
    /// The statement up to here, without what is said about it.
    fn chat_columns(statement: &str) -> Vec<&str> {
        let lines = statement.lines().filter(|line| !line.trim_start().starts_with("--"));
        lines.take_while(|line| !line.contains("history_bytes")).collect()
    }

    #[test]
    fn both_statements_write_the_same_columns_of_a_chat() {
        let common = chat_columns(include_str!("../apply_update.sql"));

        assert!(common.len() > 25, "{common:?}");
        assert_eq!(chat_columns(include_str!("../apply_message.sql")), common);
    }
}

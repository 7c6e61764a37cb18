//! What a picture of a chat says, in the words of the journal.

use std::collections::BTreeSet;

use chatplane_proto::chat::v1 as proto;
use serde_json::{Value, json};

/// What its own row says.
pub(crate) fn of_chat(chat: &proto::Chat) -> Value {
    let required = chat.action_required.as_ref();
    json!({
        "organization_id": chat.organization_id,
        "workspace_id": chat.workspace_id,
        "parent_chat_id": chat.parent_chat_id,
        "snapshot_version": chat.snapshot_version,
        "history_version": chat.history_version,
        "queue_version": chat.queue_version,
        "state": name(chat.state().as_str_name(), "CHAT_STATE_"),
        "archived": chat.archived,
        "model": chat.model,
        "effort": name(chat.effort().as_str_name(), "EFFORT_"),
        "queue_length": chat.queue_length,
        "last_turn_summary": chat.last_turn_summary,
        "compact_requested": chat.compact_requested,
        "client_tools": chat.client_tool_names,
        "action_timeout_ms": chat.action_timeout_ms,
        "open_call_count": required.map_or(0, |required| required.calls.len()),
        "action_deadline_us": required.and_then(|required| required.deadline).map(micros),
        "last_error": chat.last_error.as_ref().map(error),
        "retry": chat.retry.as_ref().map(|retry| json!({
            "error": retry.error.as_ref().map(error),
            "attempt": retry.attempt,
            "next_attempt_time": retry.next_attempt_time.map(|time| time.to_string()),
        })),
        "create_us": chat.create_time.map(micros),
        "update_us": chat.update_time.map(micros),
        "archive_us": chat.archive_time.map(micros),
        "is_deleted": false,
    })
}

/// What the row of its title and labels says.
pub(crate) fn of_metadata(chat: &proto::Chat) -> Value {
    json!({ "metadata_version": chat.metadata_version, "title": chat.title, "labels": chat.labels })
}

/// What its owner's row says.
pub(crate) fn of_user(chat: &proto::Chat) -> Value {
    json!({
        "pin_order": chat.pin_order,
        "read_message_id": chat.read_message_id,
        "has_unread": chat.has_unread,
    })
}

/// The files that are linked to it.
pub(crate) fn files(chat: &proto::Chat) -> BTreeSet<String> {
    chat.files.iter().map(|file| file.file_id.clone()).collect()
}

/// A time as a picture would say it, so that both are written in one way.
pub(crate) fn time(stored: &str) -> String {
    stored.parse::<prost_types::Timestamp>().expect("a stored time is one").to_string()
}

fn error(error: &proto::ChatError) -> Value {
    json!({
        "kind": name(error.kind().as_str_name(), "ERROR_KIND_"),
        "message": error.message,
        "detail": error.detail,
        "provider": error.provider,
        "status_code": Some(error.status_code).filter(|code| *code != 0),
        "retryable": error.retryable,
    })
}

fn name(name: &str, prefix: &str) -> String {
    name.trim_start_matches(prefix).to_lowercase()
}

fn micros(time: prost_types::Timestamp) -> i64 {
    time.seconds * 1_000_000 + i64::from(time.nanos) / 1_000
}

//! Between `chatplane.chat.v1` and our own types. Nothing else converts them.
//!
//! Here is what several topics need; a topic has a file of its own.

mod action;
mod call;
mod chat;
mod client_tools;
mod configure;
mod labels;
mod live;
mod message;
mod part;
mod prompts;
mod queue;
mod requests;
mod update_chat;

use chatplane_domain::{CallId, ChatId, Effort, FileId, MessageId, WorkspaceId};
use chatplane_proto::chat::v1 as proto;
use chrono::{DateTime, Utc};
use prost_types::Timestamp;
use uuid::Uuid;

use crate::app::{Error, FieldViolation};

pub(crate) use action::action_required;
pub(crate) use call::{Repeatable, call};
pub(crate) use chat::{chat, chat_error, file, model, retry, state, tool, workspace};
pub(crate) use client_tools::submitted;
pub(crate) use configure::configure_chat;
#[cfg(test)]
pub(crate) use live::part_kind;
pub(crate) use live::{
    LivePart, live_offset, live_part, live_stream_id, part_append, part_started, stream_id,
};
pub(crate) use message::{call_id, message, usage};
pub(crate) use prompts::{list_prompts, prompts};
pub(crate) use queue::{edit_queued_message, promoted, queue_index, queued, queued_message_id, sent};
pub(crate) use requests::{create_chat, edit_message, list_messages, send_message};
pub(crate) use update_chat::{mark_read, update_chat};

// From clients.

pub(crate) fn uuid(field: &str, text: &str) -> Result<Uuid, Error> {
    Uuid::try_parse(text).map_err(|_| Error::invalid(field, "it must be a UUID"))
}

pub(crate) fn chat_id(text: &str) -> Result<ChatId, Error> {
    uuid("chat_id", text).map(ChatId)
}

pub(crate) fn file_id(text: &str) -> Result<FileId, Error> {
    uuid("file_id", text).map(FileId)
}

/// A message by its id.
pub(crate) fn message_id(field: &str, id: i64) -> Result<MessageId, Error> {
    if id < 1 {
        return Err(Error::invalid(field, "it is the id of a message, from 1"));
    }
    Ok(MessageId(id))
}

/// A call by its id.
fn call_id_of(field: &str, call: Option<proto::CallId>) -> Result<CallId, Error> {
    let call = call.ok_or_else(|| Error::invalid(field, "it is required"))?;
    if call.call_index < 0 {
        return Err(Error::invalid(format!("{field}.call_index"), "it counts from 0"));
    }
    let message = message_id(&format!("{field}.message_id"), call.message_id)?;
    Ok(CallId { message, index: call.call_index })
}

/// A workspace by its id; empty for none.
fn workspace_id(text: &str) -> Result<Option<WorkspaceId>, Error> {
    match text {
        "" => Ok(None),
        id => Ok(Some(WorkspaceId(uuid("workspace_id", id)?))),
    }
}

fn some_text(text: String) -> Option<String> {
    (!text.is_empty()).then_some(text)
}

fn effort(effort: i32) -> Result<Option<Effort>, Error> {
    match proto::Effort::try_from(effort) {
        Ok(proto::Effort::Unspecified) => Ok(None),
        Ok(proto::Effort::Low) => Ok(Some(Effort::Low)),
        Ok(proto::Effort::Medium) => Ok(Some(Effort::Medium)),
        Ok(proto::Effort::High) => Ok(Some(Effort::High)),
        Err(_) => Err(Error::invalid("effort", "it is LOW, MEDIUM or HIGH")),
    }
}

fn violation(field: impl Into<String>, description: impl Into<String>) -> FieldViolation {
    FieldViolation { field: field.into(), description: description.into() }
}

/// A page size: 0 is the default, more than the maximum is clamped.
pub(crate) fn page_size(asked: i32, default: usize, most: usize) -> Result<usize, Error> {
    match usize::try_from(asked) {
        Ok(0) => Ok(default),
        Ok(size) => Ok(size.min(most)),
        Err(_) => Err(Error::invalid("page_size", "it must not be negative")),
    }
}

/// A bound on message ids: 0 is none.
pub(crate) fn message_bound(field: &str, asked: i64) -> Result<Option<MessageId>, Error> {
    match asked {
        0 => Ok(None),
        1.. => Ok(Some(MessageId(asked))),
        ..0 => Err(Error::invalid(field, "it must not be negative")),
    }
}

// To clients.

/// A page is cut where it would no longer fit a message; its first entry always does.
const PAGE_BYTES_MAX: usize = 2 * 1024 * 1024;

/// As many entries as fit a message, from the first on. One is copied at a time.
pub(crate) fn fitting<T: Clone, M: prost::Message>(entries: &[T], convert: impl Fn(T) -> M) -> Vec<M> {
    let mut bytes = 0;
    let mut page = Vec::with_capacity(entries.len());
    for entry in entries {
        let message = convert(entry.clone());
        bytes += message.encoded_len();
        if !page.is_empty() && bytes > PAGE_BYTES_MAX {
            break;
        }
        page.push(message);
    }
    page
}

/// The last of these entries that a page shows, where there are more behind it.
pub(crate) fn last_shown<T>(entries: &[T], shown: usize, has_more: bool) -> Option<&T> {
    let is_last = has_more || shown < entries.len();
    shown.checked_sub(1).filter(|_| is_last).and_then(|last| entries.get(last))
}

pub(crate) fn timestamp(time: DateTime<Utc>) -> Timestamp {
    let nanos = i32::try_from(time.timestamp_subsec_nanos()).unwrap_or(0);
    Timestamp { seconds: time.timestamp(), nanos }
}

pub(crate) fn effort_of(effort: Effort) -> proto::Effort {
    match effort {
        Effort::Unspecified => proto::Effort::Unspecified,
        Effort::Low => proto::Effort::Low,
        Effort::Medium => proto::Effort::Medium,
        Effort::High => proto::Effort::High,
    }
}

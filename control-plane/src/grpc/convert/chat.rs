//! Chats, models and workspaces, as clients see them.

use chatplane_domain::{ChatError, ErrorKind, Retry, State};
use chatplane_proto::chat::v1 as proto;

use super::{action_required, effort_of, timestamp};
use crate::app::{ChatView, FileView, ModelRow, ToolDefinition, WorkspaceListing};

pub(crate) fn chat(view: ChatView) -> proto::Chat {
    proto::Chat {
        chat_id: view.chat_id.to_string(),
        owner_id: view.owner_id.to_string(),
        organization_id: view.organization_id.to_string(),
        workspace_id: view.workspace_id.map(|id| id.to_string()).unwrap_or_default(),
        title: view.metadata.title,
        labels: view.metadata.labels,
        state: state(view.state).into(),
        archived: view.archived,
        model: view.model,
        effort: effort_of(view.effort).into(),
        queue_length: i32::try_from(view.queue_length).unwrap_or(i32::MAX),
        last_error: view.last_error.map(chat_error),
        retry: view.retry.map(retry),
        create_time: Some(timestamp(view.create_time)),
        update_time: Some(timestamp(view.update_time)),
        snapshot_version: view.versions.snapshot,
        history_version: view.versions.history,
        queue_version: view.versions.queue,
        metadata_version: view.metadata.metadata_version,
        action_required: view.action_required.map(action_required),
        client_tool_names: view.client_tool_names,
        action_timeout_ms: i64::try_from(view.action_timeout.as_millis()).unwrap_or(i64::MAX),
        last_turn_summary: view.last_turn_summary,
        compact_requested: view.compact_requested,
        pin_order: view.pin_order.unwrap_or_default(),
        read_message_id: view.read_message_id.map_or(0, |id| id.0),
        has_unread: view.has_unread,
        files: view.files.into_iter().map(file).collect(),
        parent_chat_id: view.parent_chat_id.map(|id| id.to_string()).unwrap_or_default(),
        archive_time: view.archive_time.map(timestamp),
    }
}

pub(crate) fn file(view: FileView) -> proto::File {
    proto::File {
        file_id: view.file_id.to_string(),
        name: view.name,
        media_type: view.media_type,
        size_bytes: view.size_bytes,
        sha256: view.sha256,
        owner_id: view.owner_id.to_string(),
        create_time: Some(timestamp(view.create_time)),
    }
}

pub(crate) fn state(state: State) -> proto::ChatState {
    match state {
        State::Waiting => proto::ChatState::Waiting,
        State::Running => proto::ChatState::Running,
        State::Interrupting => proto::ChatState::Interrupting,
        State::Suspended => proto::ChatState::Suspended,
        State::Error => proto::ChatState::Error,
    }
}

pub(crate) fn retry(retry: Retry) -> proto::RetryState {
    proto::RetryState {
        error: Some(chat_error(retry.error)),
        attempt: i32::try_from(retry.attempt).unwrap_or(i32::MAX),
        next_attempt_time: Some(timestamp(retry.next_attempt_time)),
    }
}

pub(crate) fn chat_error(error: ChatError) -> proto::ChatError {
    proto::ChatError {
        kind: error_kind(error.kind).into(),
        message: error.message,
        detail: error.detail,
        provider: error.provider,
        status_code: error.status_code.map_or(0, i32::from),
        retryable: error.retryable,
    }
}

fn error_kind(kind: ErrorKind) -> proto::ErrorKind {
    match kind {
        ErrorKind::RateLimited => proto::ErrorKind::RateLimited,
        ErrorKind::Overloaded => proto::ErrorKind::Overloaded,
        ErrorKind::ProviderUnavailable => proto::ErrorKind::ProviderUnavailable,
        ErrorKind::Timeout => proto::ErrorKind::Timeout,
        ErrorKind::Authentication => proto::ErrorKind::Authentication,
        ErrorKind::InvalidRequest => proto::ErrorKind::InvalidRequest,
        ErrorKind::ContextLength => proto::ErrorKind::ContextLength,
        ErrorKind::MalformedResponse => proto::ErrorKind::MalformedResponse,
        ErrorKind::AnswerTooLarge => proto::ErrorKind::AnswerTooLarge,
        ErrorKind::TurnLimit => proto::ErrorKind::TurnLimit,
        ErrorKind::AttemptsExhausted => proto::ErrorKind::AttemptsExhausted,
        ErrorKind::ModelUnusable => proto::ErrorKind::ModelUnusable,
        ErrorKind::Refused => proto::ErrorKind::Refused,
        ErrorKind::CompactionFailed => proto::ErrorKind::CompactionFailed,
        ErrorKind::Internal => proto::ErrorKind::Internal,
    }
}

pub(crate) fn tool(tool: ToolDefinition) -> proto::ToolDefinition {
    proto::ToolDefinition {
        name: tool.name,
        description: tool.description,
        input_schema_json: tool.input_schema_json,
    }
}

pub(crate) fn model(model: ModelRow) -> proto::Model {
    proto::Model {
        compaction_threshold_percent: model.compaction_threshold_percent(),
        name: model.name,
        provider: model.provider,
        context_tokens_max: model.context_tokens_max,
        is_default: model.is_default,
    }
}

pub(crate) fn workspace((listing, online): (WorkspaceListing, bool)) -> proto::Workspace {
    proto::Workspace {
        workspace_id: listing.workspace_id.to_string(),
        name: listing.name,
        online,
        tools: listing.tools.into_iter().map(tool).collect(),
        create_time: Some(timestamp(listing.create_time)),
    }
}

//! Between `chatplane.chat.v1` and our own types. Nothing else converts them.

use std::collections::BTreeMap;

use chatplane_domain::{
    AnswerContent, Body, BusyBehavior, CLIENT_MESSAGE_BYTES_MAX, CallId, ChatError, ChatId, Effort,
    ErrorKind, MessageId, PARTS_MAX, RequestId, Retry, Role, SYSTEM_PROMPT_BYTES_MAX, State, SyntheticReason,
    TEXT_PART_BYTES_MAX, Usage, Visibility, WorkspaceId,
};
use chatplane_proto::chat::v1 as proto;
use chrono::{DateTime, Utc};
use prost_types::Timestamp;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::{
    app::{
        Call, ChatView, CreateChat, Error, FieldViolation, MessageView, ModelRow, QueuedView, Request,
        SendMessage, ToolDefinition, WorkspaceListing,
    },
    authz::Actor,
    limits::labels,
};

// From clients.

pub(crate) fn uuid(field: &str, text: &str) -> Result<Uuid, Error> {
    Uuid::try_parse(text).map_err(|_| Error::invalid(field, "it must be a UUID"))
}

pub(crate) fn chat_id(text: &str) -> Result<ChatId, Error> {
    uuid("chat_id", text).map(ChatId)
}

/// Who calls, and how a repeat is known: by the body without its id.
pub(crate) fn call<M: prost::Message>(
    actor: Actor,
    method: &'static str,
    request_id: &str,
    body: &M,
) -> Result<Call, Error> {
    if request_id.is_empty() {
        return Ok(Call { actor, request: None });
    }
    let id = RequestId(uuid("request_id", request_id)?);
    let body_sha256 = Sha256::digest(body.encode_to_vec()).into();
    let request = Request { actor: actor.id(), id, method, body_sha256 };
    Ok(Call { actor, request: Some(request) })
}

pub(crate) fn create_chat(request: proto::CreateChatRequest) -> Result<CreateChat, Error> {
    let mut violations = Vec::new();
    check_labels(&request.labels, &mut violations);
    if request.system_prompt.len() > SYSTEM_PROMPT_BYTES_MAX {
        violations.push(violation("system_prompt", format!("at most {SYSTEM_PROMPT_BYTES_MAX} bytes")));
    }
    if !violations.is_empty() {
        return Err(Error::FieldInvalid(violations));
    }
    let workspace = match request.workspace_id.as_str() {
        "" => None,
        id => Some(WorkspaceId(uuid("workspace_id", id)?)),
    };
    Ok(CreateChat {
        effort: effort(request.effort)?.unwrap_or_default(),
        texts: texts(request.parts)?,
        workspace,
        model: some_text(request.model),
        labels: request.labels,
        system_prompt: some_text(request.system_prompt),
    })
}

pub(crate) fn send_message(request: proto::SendMessageRequest) -> Result<SendMessage, Error> {
    let busy = match proto::BusyBehavior::try_from(request.busy_behavior) {
        Ok(proto::BusyBehavior::Unspecified | proto::BusyBehavior::Queue) => BusyBehavior::Queue,
        Ok(proto::BusyBehavior::Interrupt) => BusyBehavior::Interrupt,
        Err(_) => return Err(Error::invalid("busy_behavior", "it is QUEUE or INTERRUPT")),
    };
    Ok(SendMessage {
        chat: chat_id(&request.chat_id)?,
        effort: effort(request.effort)?,
        texts: texts(request.parts)?,
        model: some_text(request.model),
        busy,
    })
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

/// The text parts of a user's message.
fn texts(parts: Vec<proto::Part>) -> Result<Vec<String>, Error> {
    if parts.is_empty() {
        return Err(Error::invalid("parts", "a message needs at least one part"));
    }
    if parts.len() > PARTS_MAX {
        return Err(Error::invalid("parts", format!("a message has at most {PARTS_MAX} parts")));
    }
    let mut texts = Vec::with_capacity(parts.len());
    let mut violations = Vec::new();
    for (index, part) in parts.into_iter().enumerate() {
        let field = format!("parts[{index}]");
        match part.kind {
            Some(proto::part::Kind::Text(text)) if text.text.len() > TEXT_PART_BYTES_MAX => {
                let description = format!("a text part has at most {TEXT_PART_BYTES_MAX} bytes");
                violations.push(violation(format!("{field}.text"), description));
            }
            Some(proto::part::Kind::Text(text)) if text.text.trim().is_empty() => {
                violations.push(violation(format!("{field}.text"), "it is empty"));
            }
            Some(proto::part::Kind::Text(text)) => texts.push(text.text),
            Some(_) | None => violations.push(violation(field, "a user's message has text parts only")),
        }
    }
    if !violations.is_empty() {
        return Err(Error::FieldInvalid(violations));
    }
    if texts.iter().map(String::len).sum::<usize>() > CLIENT_MESSAGE_BYTES_MAX {
        let description = format!("a message has at most {CLIENT_MESSAGE_BYTES_MAX} bytes in all");
        return Err(Error::invalid("parts", description));
    }
    Ok(texts)
}

fn violation(field: impl Into<String>, description: impl Into<String>) -> FieldViolation {
    FieldViolation { field: field.into(), description: description.into() }
}

fn check_labels(given: &BTreeMap<String, String>, violations: &mut Vec<FieldViolation>) {
    if given.len() > labels::COUNT_MAX {
        violations.push(violation("labels", format!("at most {} labels", labels::COUNT_MAX)));
    }
    for (key, value) in given.iter().take(labels::COUNT_MAX) {
        let shown: String = key.chars().take(labels::KEY_CHARS_MAX).collect();
        let mut characters = key.chars();
        let first = characters.next().is_some_and(|first| first.is_ascii_alphanumeric());
        let rest = characters.all(|other| other.is_ascii_alphanumeric() || "._/-".contains(other));
        if !first || !rest || key.chars().count() > labels::KEY_CHARS_MAX {
            let description = format!(
                "a key is 1 to {} of A-Z a-z 0-9 . _ / - and begins with a letter or digit",
                labels::KEY_CHARS_MAX
            );
            violations.push(violation(format!("labels[{shown:?}]"), description));
        }
        let length = value.chars().count();
        if length == 0 || length > labels::VALUE_CHARS_MAX || value.contains('\0') {
            let description = format!("a value has 1 to {} characters and no NUL", labels::VALUE_CHARS_MAX);
            violations.push(violation(format!("labels[{shown:?}]"), description));
        }
    }
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

/// As many entries as fit a message, and whether there were more.
pub(crate) fn fitting<T: Clone, M: prost::Message>(
    entries: Vec<T>,
    convert: impl Fn(T) -> M,
) -> (Vec<(T, M)>, bool) {
    let mut bytes = 0;
    let mut page: Vec<(T, M)> = Vec::with_capacity(entries.len());
    for entry in entries {
        let message = convert(entry.clone());
        bytes += message.encoded_len();
        if !page.is_empty() && bytes > PAGE_BYTES_MAX {
            return (page, true);
        }
        page.push((entry, message));
    }
    (page, false)
}

pub(crate) fn timestamp(time: DateTime<Utc>) -> Timestamp {
    let nanos = i32::try_from(time.timestamp_subsec_nanos()).unwrap_or(0);
    Timestamp { seconds: time.timestamp(), nanos }
}

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

pub(crate) fn effort_of(effort: Effort) -> proto::Effort {
    match effort {
        Effort::Unspecified => proto::Effort::Unspecified,
        Effort::Low => proto::Effort::Low,
        Effort::Medium => proto::Effort::Medium,
        Effort::High => proto::Effort::High,
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
        ErrorKind::Internal => proto::ErrorKind::Internal,
    }
}

/// A message as users see it: provider state stays behind.
pub(crate) fn message(view: MessageView) -> proto::Message {
    let role = match view.body.role() {
        Role::System => proto::Role::System,
        Role::User => proto::Role::User,
        Role::Assistant => proto::Role::Assistant,
        Role::Tool => proto::Role::Tool,
    };
    let visibility = match view.visibility {
        Visibility::User => proto::Visibility::User,
        Visibility::Model => proto::Visibility::Model,
        Visibility::Both => proto::Visibility::Both,
    };
    let mut message = proto::Message {
        message_id: view.id.0,
        role: role.into(),
        visibility: visibility.into(),
        revision: view.revision,
        create_time: Some(timestamp(view.create_time)),
        ..proto::Message::default()
    };
    match view.body {
        Body::System(text) => message.parts = vec![text_part(text)],
        Body::User(user) => {
            message.parts = user.texts.into_iter().map(text_part).collect();
            message.created_by = user.created_by.to_string();
            message.model = user.model.unwrap_or_default();
            message.queued_message_id = user.queued_message_id.map(|id| id.to_string()).unwrap_or_default();
        }
        Body::Assistant(answer) => {
            message.parts = answer_parts(answer.parts);
            message.model = answer.model;
            message.usage = Some(usage(answer.usage));
            message.runtime_ms = answer.runtime_ms;
            message.interrupted = answer.interrupted;
        }
        Body::Tool(result) => {
            message.runtime_ms = result.runtime_ms;
            message.parts = vec![proto::Part {
                kind: Some(proto::part::Kind::ToolResult(proto::ToolResultPart {
                    call_message_id: result.call.message.0,
                    call_index: result.call.index,
                    tool_name: result.tool_name,
                    output: result.output,
                    is_error: result.is_error,
                    synthetic_reason: synthetic_reason(result.synthetic).into(),
                })),
            }];
        }
    }
    message
}

fn text_part(text: String) -> proto::Part {
    proto::Part { kind: Some(proto::part::Kind::Text(proto::TextPart { text })) }
}

fn answer_parts(parts: Vec<chatplane_domain::AnswerPart>) -> Vec<proto::Part> {
    let mut call_index = 0;
    parts
        .into_iter()
        .map(|part| match part.content {
            AnswerContent::Text(text) => text_part(text),
            AnswerContent::Reasoning(text) => {
                proto::Part { kind: Some(proto::part::Kind::Reasoning(proto::ReasoningPart { text })) }
            }
            AnswerContent::ToolCall(call) => {
                let part = proto::ToolCallPart {
                    call_index,
                    tool_name: call.tool_name,
                    arguments_json: call.arguments_json,
                };
                call_index += 1;
                proto::Part { kind: Some(proto::part::Kind::ToolCall(part)) }
            }
        })
        .collect()
}

fn synthetic_reason(reason: Option<SyntheticReason>) -> proto::SyntheticReason {
    match reason {
        None => proto::SyntheticReason::Unspecified,
        Some(SyntheticReason::Interrupted) => proto::SyntheticReason::Interrupted,
        Some(SyntheticReason::Superseded) => proto::SyntheticReason::Superseded,
        Some(SyntheticReason::TimedOut) => proto::SyntheticReason::TimedOut,
        Some(SyntheticReason::Failed) => proto::SyntheticReason::Failed,
        Some(SyntheticReason::Forked) => proto::SyntheticReason::Forked,
        Some(SyntheticReason::Denied) => proto::SyntheticReason::Denied,
    }
}

pub(crate) fn usage(usage: Usage) -> proto::Usage {
    proto::Usage {
        input_tokens: usage.input_tokens,
        output_tokens: usage.output_tokens,
        cache_read_tokens: usage.cache_read_tokens,
        cache_write_tokens: usage.cache_write_tokens,
        reasoning_tokens: usage.reasoning_tokens,
    }
}

pub(crate) fn queued(view: QueuedView) -> proto::QueuedMessage {
    proto::QueuedMessage {
        queued_message_id: view.id.to_string(),
        position: view.position,
        steering: view.steering,
        preview_text: view.preview_text,
        created_by: view.created_by.to_string(),
        model: view.model.unwrap_or_default(),
        effort: effort_of(view.effort.unwrap_or_default()).into(),
        create_time: Some(timestamp(view.create_time)),
    }
}

pub(crate) fn call_id(call: CallId) -> proto::CallId {
    proto::CallId { message_id: call.message.0, call_index: call.index }
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

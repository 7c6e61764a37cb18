//! `chatplane.worker.v1` and `chatplane.chat.v1` to the worker's types and back.

use std::time::Duration;

use chatplane_domain::{ChatError, Effort, ErrorKind, Usage};
use chatplane_proto::{chat::v1 as chat, worker::v1 as proto};
use thiserror::Error;
use uuid::Uuid;

use super::said::user_part;
use super::types::{
    ApiKey, Disposition, LeaseInput, LivePartKind, LivePosition, Model, NewAnswer, NewResult, NewSummary,
    Outcome, Settings, StreamId, TurnHeader,
};
use crate::{
    files::each_once,
    llm::{AnswerPart, PartContent, ToolDefinition, ToolResult},
    session::{LeaseKey, Resumed, ResumedChat},
    step::{After, CallId, Content, Message, PastAnswer},
    tools::Toolbox,
};

/// A message of the control plane that breaks the contract.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("the control plane sent a message without a valid {0}")]
pub(crate) struct Malformed(pub(crate) &'static str);

pub(crate) fn lease_key(key: Option<&proto::LeaseKey>) -> Result<LeaseKey, Malformed> {
    let key = key.ok_or(Malformed("lease"))?;
    let chat_id = Uuid::try_parse(&key.chat_id).map_err(|_| Malformed("chat_id"))?;
    Ok(LeaseKey { chat_id, fence: key.fence })
}

pub(crate) fn from_lease_key(key: LeaseKey) -> proto::LeaseKey {
    proto::LeaseKey { chat_id: key.chat_id.to_string(), fence: key.fence }
}

pub(crate) fn lease(lease: proto::Lease) -> Result<(LeaseKey, LeaseInput), Malformed> {
    let key = lease_key(lease.lease.as_ref())?;
    let header = header(lease.header.ok_or(Malformed("header"))?)?;
    let messages = lease.complete.then(|| messages(lease.messages)).transpose()?;
    Ok((key, LeaseInput { header, messages }))
}

pub(crate) fn resumed(lease: &proto::ResumedLease) -> Result<Resumed, Malformed> {
    let key = lease_key(lease.lease.as_ref())?;
    let interrupting = lease.state() == chat::ChatState::Interrupting;
    let chat = (!lease.lost).then_some(ResumedChat { version: lease.snapshot_version, interrupting });
    Ok(Resumed { key, chat })
}

pub(crate) fn position(position: &proto::LivePosition) -> Result<LivePosition, Malformed> {
    let stream = position.stream.ok_or(Malformed("stream"))?;
    Ok(LivePosition {
        stream: StreamId { base_version: stream.base_version, index: stream.index },
        part: usize::try_from(position.part).map_err(|_| Malformed("part"))?,
        offset: usize::try_from(position.offset).map_err(|_| Malformed("offset"))?,
    })
}

pub(crate) fn header(header: proto::TurnHeader) -> Result<TurnHeader, Malformed> {
    let interrupting = header.state() == chat::ChatState::Interrupting;
    let effort = effort(header.effort());
    Ok(TurnHeader {
        interrupting,
        snapshot_version: header.snapshot_version,
        history_version: header.history_version,
        last_write_no: header.last_write_no,
        attempt: header.attempt,
        settings: Settings {
            model: model(header.model.ok_or(Malformed("model"))?),
            effort,
            tools: Toolbox {
                workspace: header.tools.into_iter().map(tool_definition).collect(),
                client: header.client_tools.into_iter().map(tool_definition).collect(),
                has_workspace: !header.workspace_id.is_empty(),
            },
            workspace_notice: header.workspace_notice,
            user_instructions: header.user_instructions,
            compaction_threshold_percent: header.compaction_threshold_percent,
            compact_requested: header.compact_requested,
            debug_recording: header.debug_recording,
        },
    })
}

pub(super) fn model(model: proto::ModelConfig) -> Model {
    let millis = |count: i64| Duration::from_millis(count.max(0).unsigned_abs());
    Model {
        name: model.name,
        provider: model.provider,
        endpoint: model.endpoint.trim_end_matches('/').to_owned(),
        provider_model: model.provider_model,
        api_key: ApiKey(model.api_key),
        context_tokens_max: model.context_tokens_max,
        output_tokens_max: model.output_tokens_max,
        first_token_timeout: millis(model.first_token_timeout_ms),
        silence_timeout: millis(model.silence_timeout_ms),
    }
}

fn effort(effort: chat::Effort) -> Effort {
    match effort {
        chat::Effort::Unspecified => Effort::Unspecified,
        chat::Effort::Low => Effort::Low,
        chat::Effort::Medium => Effort::Medium,
        chat::Effort::High => Effort::High,
    }
}

fn tool_definition(tool: chat::ToolDefinition) -> ToolDefinition {
    ToolDefinition {
        name: tool.name,
        description: tool.description,
        input_schema_json: tool.input_schema_json,
    }
}

pub(crate) fn messages(messages: Vec<proto::TurnMessage>) -> Result<Vec<Message>, Malformed> {
    messages.into_iter().map(message).collect()
}

fn message(turn_message: proto::TurnMessage) -> Result<Message, Malformed> {
    let message = turn_message.message.ok_or(Malformed("message"))?;
    let role = message.role();
    let hidden_from_model = message.visibility() == chat::Visibility::User;
    let covers_through = Some(message.covers_through).filter(|through| *through > 0);
    let client_calls = client_calls(&message.parts);
    let usage = message.usage.map(usage).unwrap_or_default();
    let kinds = message.parts.into_iter().map(|part| part.kind);
    let content = match role {
        chat::Role::System => Content::System { texts: texts(kinds) },
        chat::Role::User => Content::User { parts: each_once(kinds.filter_map(user_part).collect()) },
        chat::Role::Assistant => {
            let states =
                turn_message.provider_states.into_iter().chain(std::iter::repeat_with(bytes::Bytes::default));
            let parts = kinds.zip(states).filter_map(answer_part).collect();
            Content::Assistant(PastAnswer { parts, client_calls, usage })
        }
        chat::Role::Tool => Content::Tool { results: kinds.flatten().filter_map(tool_result).collect() },
        chat::Role::Unspecified => return Err(Malformed("role")),
    };
    let (id, revision) = (message.message_id, message.revision);
    Ok(Message { id, revision, hidden_from_model, covers_through, content })
}

/// Places, among the calls, of those that are not a worker's to run, of kinds that are not
/// known here too: whoever settles them, it is not this worker.
fn client_calls(parts: &[chat::Part]) -> Vec<u32> {
    let kinds = parts.iter().filter_map(|part| match &part.kind {
        Some(chat::part::Kind::ToolCall(part)) => Some(part.kind),
        _ => None,
    });
    let is_others = |kind: i32| chat::CallKind::try_from(kind) != Ok(chat::CallKind::Unspecified);
    (0..).zip(kinds).filter(|(_, kind)| is_others(*kind)).map(|(index, _)| index).collect()
}

fn texts(kinds: impl Iterator<Item = Option<chat::part::Kind>>) -> Vec<String> {
    let text = |kind| match kind {
        chat::part::Kind::Text(part) => Some(part.text),
        _ => None,
    };
    kinds.flatten().filter_map(text).collect()
}

fn answer_part((kind, provider_state): (Option<chat::part::Kind>, bytes::Bytes)) -> Option<AnswerPart> {
    let content = match kind? {
        chat::part::Kind::Text(part) => PartContent::Text(part.text),
        chat::part::Kind::Reasoning(part) => PartContent::Reasoning(part.text),
        chat::part::Kind::ToolCall(part) => {
            PartContent::ToolCall { tool_name: part.tool_name, arguments_json: part.arguments_json }
        }
        chat::part::Kind::ToolResult(_)
        | chat::part::Kind::File(_)
        | chat::part::Kind::FileReference(_)
        | chat::part::Kind::DiffComment(_) => return None,
    };
    Some(AnswerPart { content, provider_state })
}

fn tool_result(kind: chat::part::Kind) -> Option<ToolResult> {
    let chat::part::Kind::ToolResult(part) = kind else {
        return None;
    };
    Some(ToolResult {
        call_message_id: part.call_message_id,
        call_index: u32::try_from(part.call_index).ok()?,
        output: part.output,
        is_error: part.is_error,
    })
}

pub(crate) fn outcome(outcome: Option<proto::WriteOutcome>) -> Result<Outcome, Malformed> {
    let outcome = outcome.ok_or(Malformed("outcome"))?;
    let disposition = match outcome.disposition() {
        proto::Disposition::Continues => Disposition::Continues,
        proto::Disposition::NextTurn => Disposition::NextTurn,
        proto::Disposition::Released => Disposition::Released,
        proto::Disposition::Unspecified => return Err(Malformed("disposition")),
    };
    Ok(Outcome {
        snapshot_version: outcome.snapshot_version,
        history_version: outcome.history_version,
        disposition,
        committed_ids: outcome.committed_message_ids,
        has_boundary: !outcome.boundary_message_ids.is_empty(),
        has_added: !outcome.added_message_ids.is_empty(),
        model: outcome.model.map(|changed| Box::new(model(changed))),
    })
}

pub(crate) fn from_answer(answer: &NewAnswer) -> proto::NewMessage {
    let mut calls = (0..).map(|index: u32| {
        let is_clients = answer.client_calls.contains(&index);
        let kind = if is_clients { chat::CallKind::Client } else { chat::CallKind::Unspecified };
        (index.try_into().unwrap_or(i32::MAX), kind)
    });
    proto::NewMessage {
        parts: answer.parts.iter().map(|part| from_part(part, &mut calls)).collect(),
        provider_states: answer.parts.iter().map(|part| part.provider_state.clone()).collect(),
        model: answer.model.clone(),
        usage: Some(from_usage(answer.usage)),
        runtime_ms: millis(answer.runtime),
    }
}

pub(crate) fn from_summary(summary: &NewSummary) -> proto::Summary {
    proto::Summary {
        covers_through: summary.covers_through,
        history_version: summary.history_version,
        text: summary.text.clone(),
        model: summary.model.clone(),
        usage: Some(from_usage(summary.usage)),
        runtime_ms: millis(summary.runtime),
        model_call: summary.model_call,
        context_tokens: summary.context_tokens,
        context_percent: summary.context_percent,
    }
}

fn from_part(part: &AnswerPart, calls: &mut impl Iterator<Item = (i32, chat::CallKind)>) -> chat::Part {
    let kind = match &part.content {
        PartContent::Text(text) => chat::part::Kind::Text(chat::TextPart { text: text.clone() }),
        PartContent::Reasoning(text) => {
            chat::part::Kind::Reasoning(chat::ReasoningPart { text: text.clone() })
        }
        PartContent::ToolCall { tool_name, arguments_json } => {
            let (call_index, kind) = calls.next().expect("there is a number for every call");
            chat::part::Kind::ToolCall(chat::ToolCallPart {
                call_index,
                tool_name: tool_name.clone(),
                arguments_json: arguments_json.clone(),
                kind: kind.into(),
            })
        }
    };
    chat::Part { kind: Some(kind) }
}

pub(crate) fn from_result(result: &NewResult) -> proto::ToolResult {
    proto::ToolResult {
        call: Some(from_call_id(result.call)),
        output: result.output.clone(),
        is_error: result.is_error,
        runtime_ms: millis(result.runtime),
    }
}

pub(crate) fn from_call_id(call: CallId) -> chat::CallId {
    chat::CallId { message_id: call.message_id, call_index: call.index.try_into().unwrap_or(i32::MAX) }
}

pub(crate) fn from_after(after: After) -> proto::NextStep {
    match after {
        After::Continue => proto::NextStep::Continue,
        After::Finish => proto::NextStep::Finish,
        After::Suspend => proto::NextStep::Suspend,
    }
}

fn usage(usage: chat::Usage) -> Usage {
    Usage {
        input_tokens: usage.input_tokens,
        output_tokens: usage.output_tokens,
        cache_read_tokens: usage.cache_read_tokens,
        cache_write_tokens: usage.cache_write_tokens,
        reasoning_tokens: usage.reasoning_tokens,
    }
}

pub(crate) fn from_usage(usage: Usage) -> chat::Usage {
    chat::Usage {
        input_tokens: usage.input_tokens,
        output_tokens: usage.output_tokens,
        cache_read_tokens: usage.cache_read_tokens,
        cache_write_tokens: usage.cache_write_tokens,
        reasoning_tokens: usage.reasoning_tokens,
    }
}

pub(crate) fn from_error(error: &ChatError) -> chat::ChatError {
    chat::ChatError {
        kind: from_error_kind(error.kind).into(),
        message: error.message.clone(),
        detail: error.detail.clone(),
        provider: error.provider.clone(),
        status_code: error.status_code.unwrap_or_default().into(),
        retryable: error.retryable,
    }
}

fn from_error_kind(kind: ErrorKind) -> chat::ErrorKind {
    match kind {
        ErrorKind::RateLimited => chat::ErrorKind::RateLimited,
        ErrorKind::Overloaded => chat::ErrorKind::Overloaded,
        ErrorKind::ProviderUnavailable => chat::ErrorKind::ProviderUnavailable,
        ErrorKind::Timeout => chat::ErrorKind::Timeout,
        ErrorKind::Authentication => chat::ErrorKind::Authentication,
        ErrorKind::InvalidRequest => chat::ErrorKind::InvalidRequest,
        ErrorKind::ContextLength => chat::ErrorKind::ContextLength,
        ErrorKind::MalformedResponse => chat::ErrorKind::MalformedResponse,
        ErrorKind::AnswerTooLarge => chat::ErrorKind::AnswerTooLarge,
        ErrorKind::TurnLimit => chat::ErrorKind::TurnLimit,
        ErrorKind::AttemptsExhausted => chat::ErrorKind::AttemptsExhausted,
        ErrorKind::ModelUnusable => chat::ErrorKind::ModelUnusable,
        ErrorKind::Refused => chat::ErrorKind::Refused,
        ErrorKind::Internal => chat::ErrorKind::Internal,
        ErrorKind::CompactionFailed => chat::ErrorKind::CompactionFailed,
    }
}

pub(crate) fn from_stream_id(stream: StreamId) -> chat::StreamId {
    chat::StreamId { base_version: stream.base_version, index: stream.index }
}

pub(crate) fn from_live_part(stream: StreamId, part: usize, kind: &LivePartKind) -> chat::PartStarted {
    let (kind, tool_name, call) = match kind {
        LivePartKind::Text => (chat::PartKind::Text, String::new(), None),
        LivePartKind::Reasoning => (chat::PartKind::Reasoning, String::new(), None),
        LivePartKind::ToolCall { tool_name } => (chat::PartKind::ToolCall, tool_name.clone(), None),
        LivePartKind::ToolOutput { tool_name, call } => {
            (chat::PartKind::ToolOutput, tool_name.clone(), Some(from_call_id(*call)))
        }
        LivePartKind::Summary => (chat::PartKind::Summary, String::new(), None),
    };
    chat::PartStarted {
        stream: Some(from_stream_id(stream)),
        part: part.try_into().unwrap_or(i32::MAX),
        kind: kind.into(),
        tool_name,
        call,
    }
}

pub(crate) fn millis(duration: Duration) -> i64 {
    duration.as_millis().try_into().unwrap_or(i64::MAX)
}

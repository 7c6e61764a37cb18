//! Messages, as users see them.

use chatplane_domain::{AnswerContent, AnswerPart, Body, CallId, Role, SyntheticReason, Usage, Visibility};
use chatplane_proto::chat::v1 as proto;

use super::{action::call_kind, part::user_part, timestamp};
use crate::app::MessageView;

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
        covers_through: view.covers_through.map_or(0, |id| id.0),
        ..proto::Message::default()
    };
    match view.body {
        Body::System(text) => message.parts = vec![text_part(text)],
        Body::User(user) => {
            message.parts = user.parts.into_iter().map(user_part).collect();
            message.created_by = user.created_by.to_string();
            message.model = user.model.unwrap_or_default();
            message.requested_model = user.requested_model.unwrap_or_default();
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

fn answer_parts(parts: Vec<AnswerPart>) -> Vec<proto::Part> {
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
                    kind: call_kind(call.kind).into(),
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

pub(crate) fn call_id(call: CallId) -> proto::CallId {
    proto::CallId { message_id: call.message.0, call_index: call.index }
}

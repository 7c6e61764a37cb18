//! The chat of a run, and what its holders hand in.

use std::time::Duration;

use chatplane_domain::{
    Answer, AnswerContent, AnswerPart, CallKind, Chat, ChatId, CommitStep, Context, CreateChat, Effort,
    FinishedCall, HolderWrite, NextStep, OpenCall, OrganizationId, ToolCall, Usage, UserId, UserMessage,
    UserPart, create,
};
use chrono::DateTime;
use uuid::Uuid;

use crate::state::Step;

pub(crate) fn context() -> Context {
    Context { now: DateTime::UNIX_EPOCH, queue_max: 1, lease_offer: None }
}

pub(crate) fn new_chat() -> Chat {
    let owner = UserId(Uuid::from_u128(2));
    let message = UserMessage {
        created_by: owner,
        parts: vec![UserPart::Text("go".to_owned())],
        model: None,
        requested_model: None,
        effort: None,
        queued_message_id: None,
    };
    let chat = CreateChat {
        id: ChatId(Uuid::from_u128(1)),
        organization: OrganizationId(Uuid::from_u128(3)),
        owner,
        model: "demo".to_owned(),
        effort: Effort::Unspecified,
        workspace: None,
        deployment_prompt: None,
        system_prompt: None,
        client_tools: Vec::new(),
        action_timeout: Duration::from_secs(60),
        message,
    };
    create(chat, context()).chat
}

pub(crate) fn holder_write(chat: &Chat, step: Step) -> HolderWrite {
    let commit = |calls, next| {
        HolderWrite::CommitStep(CommitStep {
            answer: Some(answer(calls)),
            next,
            journal: None,
            summary: None,
        })
    };
    match step {
        Step::Call => commit(1, NextStep::Continue),
        Step::Result => {
            let result = |open: &OpenCall| FinishedCall {
                call: open.id,
                output: "done".to_owned(),
                is_error: false,
                runtime_ms: 1,
            };
            HolderWrite::CommitToolResults(chat.open_calls.iter().map(result).collect())
        }
        Step::Finish => commit(0, NextStep::Finish),
        Step::Release => HolderWrite::Release,
    }
}

fn answer(calls: usize) -> Answer {
    let call = AnswerContent::ToolCall(ToolCall {
        tool_name: "execute".to_owned(),
        arguments_json: "{}".to_owned(),
        kind: CallKind::Worker,
    });
    let text = AnswerContent::Text("so far".to_owned());
    let contents = std::iter::once(text).chain(std::iter::repeat_n(call, calls));
    Answer {
        parts: contents.map(|content| AnswerPart { content, provider_state: Vec::new() }).collect(),
        model: "demo".to_owned(),
        usage: Usage::default(),
        runtime_ms: 1,
        interrupted: false,
    }
}

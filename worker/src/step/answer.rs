//! From an answer to its commit.

use bytes::Bytes;
use chatplane_domain::{ChatError, ErrorKind};

use crate::{
    limits::{ANSWER_BYTES_MAX, ANSWER_PARTS_MAX},
    llm::{Answer, AnswerPart, PartContent, StopReason},
};

/// How the turn goes on after an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum After {
    /// Tools run, or the model is called again.
    Continue,
    /// The turn is over.
    Finish,
    /// The chat waits, without a worker, for calls that somebody else settles.
    Suspend,
}

/// How the turn goes on after this answer, of whose calls these are the client's. Calls
/// count, not what the provider says about them: every call must get its result, also in an
/// answer cut at its token limit. A worker's own calls run before the chat waits.
pub(crate) fn after(answer: &Answer, client_calls: &[u32]) -> After {
    let calls = answer.parts.iter().filter(|part| is_call(part)).count();
    match calls {
        0 if answer.stop_reason == Some(StopReason::PauseTurn) => After::Continue,
        0 => After::Finish,
        _ if calls == client_calls.len() => After::Suspend,
        _ => After::Continue,
    }
}

/// The parts of a complete answer as they are committed. A model may answer nothing,
/// but a message has at least one part.
pub(crate) fn check(answer: &Answer) -> Result<Vec<AnswerPart>, ChatError> {
    let bytes: usize = answer.parts.iter().map(part_bytes).sum();
    if bytes > ANSWER_BYTES_MAX {
        return Err(too_large(format!("{bytes} bytes of {ANSWER_BYTES_MAX}")));
    }
    if answer.parts.len() > ANSWER_PARTS_MAX {
        return Err(too_large(format!("{} parts of {ANSWER_PARTS_MAX}", answer.parts.len())));
    }
    if answer.parts.is_empty() {
        return Ok(vec![AnswerPart {
            content: PartContent::Text(String::new()),
            provider_state: Bytes::new(),
        }]);
    }
    Ok(answer.parts.clone())
}

/// What is kept of an answer that the user stopped: its words and thoughts. Calls are
/// left out; nobody would run them, and a call needs a result. What no message can hold
/// is left out too.
pub(crate) fn partial(answer: &Answer) -> Vec<AnswerPart> {
    let mut room = ANSWER_BYTES_MAX;
    answer
        .parts
        .iter()
        .filter(|part| !is_call(part) && !is_empty(part))
        .take(ANSWER_PARTS_MAX)
        .take_while(|part| {
            let fits = part_bytes(part) <= room;
            room = room.saturating_sub(part_bytes(part));
            fits
        })
        .cloned()
        .collect()
}

fn is_call(part: &AnswerPart) -> bool {
    matches!(part.content, PartContent::ToolCall { .. })
}

fn is_empty(part: &AnswerPart) -> bool {
    part_bytes(part) == 0
}

fn part_bytes(part: &AnswerPart) -> usize {
    let content = match &part.content {
        PartContent::Text(text) | PartContent::Reasoning(text) => text.len(),
        PartContent::ToolCall { tool_name, arguments_json } => tool_name.len() + arguments_json.len(),
    };
    content + part.provider_state.len()
}

fn too_large(detail: String) -> ChatError {
    ChatError {
        kind: ErrorKind::AnswerTooLarge,
        message: "The model's answer is larger than a message may be. Ask for a shorter one.".to_owned(),
        detail,
        provider: String::new(),
        status_code: None,
        retryable: false,
    }
}

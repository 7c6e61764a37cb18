//! A model call in our own form, as JSON, for people who look for what went wrong: the same
//! for every provider, without the key, without the endpoint (which may hold a credential),
//! and with files as placeholders.

use std::io::{self, Write};

use chatplane_domain::Effort;
use serde::Serialize;

use super::recording::Purpose;
use crate::llm::{
    Answer, AnswerPart, Attachment, ModelCall, PartContent, PromptMessage, StopReason, ToolResult, UserPiece,
};

/// What the JSON of a request, or of a response, may have; the control plane takes no more.
const JSON_BYTES_MAX: usize = 1024 * 1024;
/// Stands in place of the key, should anything repeat it: a tool may print it.
const HIDDEN: &str = "[key]";

/// JSON that may be cut.
pub(super) struct Recorded {
    pub(super) json: String,
    pub(super) is_cut: bool,
}

/// What a model is asked.
pub(super) fn request(purpose: Purpose, call: &ModelCall) -> Recorded {
    let request = Request {
        purpose: match purpose {
            Purpose::Answer => "answer",
            Purpose::Summary => "summary",
        },
        model: &call.provider_model,
        effort: match call.effort {
            Effort::Unspecified => "unspecified",
            Effort::Low => "low",
            Effort::Medium => "medium",
            Effort::High => "high",
        },
        output_tokens_max: call.output_tokens_max,
        tools: call.tools.iter().map(|tool| tool.name.as_str()).collect(),
        system: &call.system,
        messages: call.messages.iter().map(message).collect(),
    };
    recorded(&request, &call.api_key)
}

/// What a model answered, as far as it came.
pub(super) fn response(answer: &Answer, api_key: &str) -> Recorded {
    let stop_reason = answer.stop_reason.map(|reason| match reason {
        StopReason::EndTurn => "end_turn",
        StopReason::ToolUse => "tool_use",
        StopReason::MaxTokens => "max_tokens",
        StopReason::PauseTurn => "pause_turn",
    });
    recorded(&Response { stop_reason, parts: answer.parts.iter().map(answer_part).collect() }, api_key)
}

#[derive(Serialize)]
struct Request<'a> {
    purpose: &'static str,
    model: &'a str,
    effort: &'static str,
    output_tokens_max: i64,
    tools: Vec<&'a str>,
    system: &'a [String],
    messages: Vec<Message<'a>>,
}

#[derive(Serialize)]
struct Response<'a> {
    stop_reason: Option<&'static str>,
    parts: Vec<Part<'a>>,
}

#[derive(Serialize)]
#[serde(tag = "role", rename_all = "snake_case")]
enum Message<'a> {
    User { parts: Vec<Part<'a>> },
    Assistant { message_id: i64, parts: Vec<Part<'a>> },
    Tool { results: Vec<Outcome<'a>> },
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Part<'a> {
    Text { text: &'a str },
    Reasoning { text: &'a str },
    ToolCall { tool_name: &'a str, arguments_json: &'a str },
    Image { name: &'a str, media_type: &'a str, size_bytes: usize },
    Document { name: &'a str, media_type: &'a str, size_bytes: usize },
}

#[derive(Serialize)]
struct Outcome<'a> {
    call_message_id: i64,
    call_index: u32,
    output: &'a str,
    is_error: bool,
}

fn message(message: &PromptMessage) -> Message<'_> {
    match message {
        PromptMessage::User { parts } => Message::User { parts: parts.iter().map(said).collect() },
        PromptMessage::Assistant { message_id, parts } => {
            Message::Assistant { message_id: *message_id, parts: parts.iter().map(answer_part).collect() }
        }
        PromptMessage::Tool { results } => Message::Tool { results: results.iter().map(outcome).collect() },
    }
}

fn said(piece: &UserPiece) -> Part<'_> {
    match piece {
        UserPiece::Text(text) => Part::Text { text },
        UserPiece::Image(Attachment { name, media_type, data }) => {
            Part::Image { name, media_type, size_bytes: data.len() }
        }
        UserPiece::Document(Attachment { name, media_type, data }) => {
            Part::Document { name, media_type, size_bytes: data.len() }
        }
    }
}

fn answer_part(part: &AnswerPart) -> Part<'_> {
    match &part.content {
        PartContent::Text(text) => Part::Text { text },
        PartContent::Reasoning(text) => Part::Reasoning { text },
        PartContent::ToolCall { tool_name, arguments_json } => Part::ToolCall { tool_name, arguments_json },
    }
}

fn outcome(result: &ToolResult) -> Outcome<'_> {
    let ToolResult { call_message_id, call_index, output, is_error } = result;
    let (call_message_id, call_index, is_error) = (*call_message_id, *call_index, *is_error);
    Outcome { call_message_id, call_index, output, is_error }
}

/// Writes no more than is kept: a history may be many times as long, and the turn waits.
fn recorded(value: &impl Serialize, api_key: &str) -> Recorded {
    let key = escaped(api_key);
    // With so much more, a key that begins within what is kept is whole, and found.
    let mut kept = Kept { bytes: Vec::new(), room: JSON_BYTES_MAX + key.len() };
    let is_whole = serde_json::to_writer(&mut kept, value).is_ok();
    let Kept { bytes, .. } = kept;
    let mut json = String::from_utf8(bytes).unwrap_or_else(|error| {
        // Cut in the middle of a character.
        let valid = error.utf8_error().valid_up_to();
        String::from_utf8_lossy(&error.as_bytes()[..valid]).into_owned()
    });
    if !key.is_empty() && json.contains(&key) {
        json = json.replace(&key, HIDDEN);
    }
    if !is_whole {
        // At the very end may be the beginning of one.
        json.truncate(json.floor_char_boundary(json.len().saturating_sub(key.len())));
    }
    let is_cut = !is_whole || json.len() > JSON_BYTES_MAX;
    json.truncate(json.floor_char_boundary(JSON_BYTES_MAX));
    Recorded { json, is_cut }
}

/// A text as it stands within JSON.
fn escaped(text: &str) -> String {
    let json = serde_json::to_string(text).expect("a text can always be written as JSON");
    json[1..json.len() - 1].to_owned()
}

/// The first bytes of what is written.
struct Kept {
    bytes: Vec<u8>,
    room: usize,
}

impl Write for Kept {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        let taken = data.len().min(self.room - self.bytes.len());
        if taken == 0 && !data.is_empty() {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.bytes.extend_from_slice(&data[..taken]);
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::llm::CallLimits;

    fn call(text: String, api_key: &str) -> ModelCall {
        let second = Duration::from_secs(1);
        ModelCall {
            endpoint: "http://user:password@models.example?key=secret".to_owned(),
            api_key: api_key.to_owned(),
            provider_model: "model".to_owned(),
            effort: Effort::High,
            output_tokens_max: 7,
            system: vec!["Be kind.".to_owned()],
            messages: vec![PromptMessage::User { parts: vec![UserPiece::Text(text)] }],
            tools: Vec::new(),
            limits: CallLimits {
                first_token_timeout: second,
                silence_timeout: second,
                answer_duration_max: second,
                answer_bytes_max: 1,
            },
        }
    }

    #[test]
    fn a_request_is_told_whole_without_key_and_endpoint() {
        let Recorded { json, is_cut } = request(Purpose::Summary, &call("a k\"ey b".to_owned(), "k\"ey"));

        let expected = r#"{"purpose":"summary","model":"model","effort":"high","output_tokens_max":7,"tools":[],"system":["Be kind."],"messages":[{"role":"user","parts":[{"type":"text","text":"a [key] b"}]}]}"#;
        assert_eq!((json.as_str(), is_cut), (expected, false));
    }

    #[test]
    fn no_piece_of_a_key_is_left_where_the_request_is_cut() {
        const KEY: &str = "sk-secret";
        let head = request(Purpose::Answer, &call(String::new(), KEY)).json.len() - "\"}]}]}".len();
        for before in 0..2 * KEY.len() + 2 {
            let text = format!("{}{KEY}{}", ".".repeat(JSON_BYTES_MAX - head - before), KEY.repeat(9));

            let Recorded { json, is_cut } = request(Purpose::Answer, &call(text, KEY));

            assert!(is_cut && json.len() <= JSON_BYTES_MAX, "{before}");
            let end = &json[json.len() - 64..];
            assert!(!end.contains('s'), "{before}: {end:?}");
        }
    }
}

//! A model call in our own form, as JSON, for people who look for what went wrong: the same
//! for every provider, without the key, without the endpoint (which may hold a credential),
//! and with files as placeholders.

use std::{
    borrow::Cow,
    io::{self, Write},
};

use chatplane_domain::Effort;
use serde::{Serialize, Serializer};

use super::recording::Purpose;
use crate::llm::{
    Answer, AnswerPart, Attachment, ModelCall, PartContent, PromptMessage, StopReason, ToolResult, UserPiece,
};

/// What the JSON of a request, or of a response, may have; the control plane takes no more.
const JSON_BYTES_MAX: usize = 1024 * 1024;
/// A key of fewer bytes, which `serve` takes no more, is a placeholder for a server that wants
/// none ("test", "none"): to hide it would take it out of every word that has it.
const KEY_BYTES_MIN: usize = 8;
/// Stands in place of the key, should anything repeat it: a tool may print it.
const HIDDEN: &str = "[key]";

/// JSON that may be cut.
#[derive(Debug, Default)]
pub(super) struct Recorded {
    pub(super) json: String,
    pub(super) is_cut: bool,
}

/// What a model is asked.
pub(super) fn request(purpose: Purpose, call: &ModelCall) -> Recorded {
    let key = Key::of(&call.api_key);
    let request = Request {
        purpose: match purpose {
            Purpose::Answer => "answer",
            Purpose::Summary => "summary",
        },
        model: key.without(&call.provider_model),
        effort: match call.effort {
            Effort::Unspecified => "unspecified",
            Effort::Low => "low",
            Effort::Medium => "medium",
            Effort::High => "high",
        },
        output_tokens_max: call.output_tokens_max,
        tools: call.tools.iter().map(|tool| key.without(&tool.name)).collect(),
        system: call.system.iter().map(|text| key.without(text)).collect(),
        messages: Messages { messages: &call.messages, key: &key },
    };
    recorded(&request)
}

/// What a model answered, as far as it came.
pub(super) fn response(answer: &Answer, api_key: &str) -> Recorded {
    let key = Key::of(api_key);
    let stop_reason = answer.stop_reason.map(|reason| match reason {
        StopReason::EndTurn => "end_turn",
        StopReason::ToolUse => "tool_use",
        StopReason::MaxTokens => "max_tokens",
        StopReason::PauseTurn => "pause_turn",
    });
    recorded(&Response {
        stop_reason,
        parts: answer.parts.iter().map(|part| key.answer_part(part)).collect(),
    })
}

#[derive(Serialize)]
struct Request<'a> {
    purpose: &'static str,
    model: Text<'a>,
    effort: &'static str,
    output_tokens_max: i64,
    tools: Vec<Text<'a>>,
    system: Vec<Text<'a>>,
    messages: Messages<'a>,
}

#[derive(Serialize)]
struct Response<'a> {
    stop_reason: Option<&'static str>,
    parts: Vec<Part<'a>>,
}

/// The conversation, of which only as much is looked at as is kept.
struct Messages<'a> {
    messages: &'a [PromptMessage],
    key: &'a Key,
}

impl Serialize for Messages<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.messages.iter().map(|message| self.key.message(message)))
    }
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
    Text { text: Text<'a> },
    Reasoning { text: Text<'a> },
    ToolCall { tool_name: Text<'a>, arguments_json: Text<'a> },
    Image { name: Text<'a>, media_type: Text<'a>, size_bytes: usize },
    Document { name: Text<'a>, media_type: Text<'a>, size_bytes: usize },
}

#[derive(Serialize)]
struct Outcome<'a> {
    call_message_id: i64,
    call_index: u32,
    output: Text<'a>,
    is_error: bool,
}

/// A text that is written without the key.
struct Text<'a> {
    text: &'a str,
    key: &'a Key,
}

impl Serialize for Text<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.key.hidden_in(self.text))
    }
}

/// The key, as texts may repeat it.
struct Key {
    /// As it is, and as it stands within JSON where that differs: arguments are JSON.
    forms: Vec<String>,
}

impl Key {
    fn of(api_key: &str) -> Self {
        if api_key.len() < KEY_BYTES_MIN {
            return Self { forms: Vec::new() };
        }
        // The longer one first: it may hold the other.
        let mut forms = vec![escaped(api_key), api_key.to_owned()];
        forms.dedup();
        Self { forms }
    }

    fn hidden_in<'a>(&self, text: &'a str) -> Cow<'a, str> {
        let mut text = Cow::Borrowed(text);
        for form in &self.forms {
            if text.contains(form) {
                text = Cow::Owned(text.replace(form, HIDDEN));
            }
        }
        text
    }

    fn without<'a>(&'a self, text: &'a str) -> Text<'a> {
        Text { text, key: self }
    }

    fn message<'a>(&'a self, message: &'a PromptMessage) -> Message<'a> {
        match message {
            PromptMessage::User { parts } => {
                Message::User { parts: parts.iter().map(|piece| self.said(piece)).collect() }
            }
            PromptMessage::Assistant { message_id, parts } => Message::Assistant {
                message_id: *message_id,
                parts: parts.iter().map(|part| self.answer_part(part)).collect(),
            },
            PromptMessage::Tool { results } => {
                Message::Tool { results: results.iter().map(|result| self.outcome(result)).collect() }
            }
        }
    }

    fn said<'a>(&'a self, piece: &'a UserPiece) -> Part<'a> {
        let named = |file: &'a Attachment| {
            (self.without(&file.name), self.without(&file.media_type), file.data.len())
        };
        match piece {
            UserPiece::Text(text) => Part::Text { text: self.without(text) },
            UserPiece::Image(file) => {
                let (name, media_type, size_bytes) = named(file);
                Part::Image { name, media_type, size_bytes }
            }
            UserPiece::Document(file) => {
                let (name, media_type, size_bytes) = named(file);
                Part::Document { name, media_type, size_bytes }
            }
        }
    }

    fn answer_part<'a>(&'a self, part: &'a AnswerPart) -> Part<'a> {
        match &part.content {
            PartContent::Text(text) => Part::Text { text: self.without(text) },
            PartContent::Reasoning(text) => Part::Reasoning { text: self.without(text) },
            PartContent::ToolCall { tool_name, arguments_json } => Part::ToolCall {
                tool_name: self.without(tool_name),
                arguments_json: self.without(arguments_json),
            },
        }
    }

    fn outcome<'a>(&'a self, result: &'a ToolResult) -> Outcome<'a> {
        let ToolResult { call_message_id, call_index, output, is_error } = result;
        Outcome {
            call_message_id: *call_message_id,
            call_index: *call_index,
            output: self.without(output),
            is_error: *is_error,
        }
    }
}

/// Writes no more than is kept: a history may be many times as long, and the turn waits.
fn recorded(value: &impl Serialize) -> Recorded {
    let mut kept = Kept { bytes: Vec::new(), room: JSON_BYTES_MAX };
    let is_cut = serde_json::to_writer(&mut kept, value).is_err();
    let json = String::from_utf8(kept.bytes).unwrap_or_else(|error| {
        // Cut in the middle of a character.
        let valid = error.utf8_error().valid_up_to();
        String::from_utf8_lossy(&error.as_bytes()[..valid]).into_owned()
    });
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

    use bytes::Bytes;

    use super::*;
    use crate::llm::{CallLimits, ToolDefinition};

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
        const KEY: &str = "sk\"secret";
        let text = format!("a {KEY} b {}", escaped(KEY));

        let Recorded { json, is_cut } = request(Purpose::Summary, &call(text, KEY));

        let expected = r#"{"purpose":"summary","model":"model","effort":"high","output_tokens_max":7,"tools":[],"system":["Be kind."],"messages":[{"role":"user","parts":[{"type":"text","text":"a [key] b [key]"}]}]}"#;
        assert_eq!((json.as_str(), is_cut), (expected, false));
    }

    #[test]
    fn every_text_of_a_call_is_told_without_the_key() {
        const KEY: &str = "sk-secret";
        let attachment = || Attachment {
            name: KEY.to_owned(),
            media_type: KEY.to_owned(),
            data: Bytes::from_static(b"1"),
        };
        let part = |content| AnswerPart { content, provider_state: Bytes::from_static(KEY.as_bytes()) };
        let tool_call = PartContent::ToolCall {
            tool_name: KEY.to_owned(),
            arguments_json: format!("{{\"a\":\"{KEY}\"}}"),
        };
        let parts = vec![
            part(PartContent::Text(KEY.repeat(2))),
            part(PartContent::Reasoning(format!("({KEY})"))),
            part(tool_call),
        ];
        let result =
            ToolResult { call_message_id: 1, call_index: 0, output: format!("={KEY}="), is_error: false };
        let mut call = call(KEY.to_owned(), KEY);
        call.provider_model.push_str(KEY);
        call.system.push(KEY.to_owned());
        call.tools.push(ToolDefinition {
            name: KEY.to_owned(),
            description: KEY.to_owned(),
            input_schema_json: KEY.to_owned(),
        });
        call.messages.extend([
            PromptMessage::User {
                parts: vec![UserPiece::Image(attachment()), UserPiece::Document(attachment())],
            },
            PromptMessage::Assistant { message_id: 1, parts: parts.clone() },
            PromptMessage::Tool { results: vec![result] },
        ]);

        let asked = request(Purpose::Answer, &call).json;
        let answered = response(&Answer { parts, ..Answer::default() }, KEY).json;

        assert!(!asked.contains(KEY) && !answered.contains(KEY), "{asked} {answered}");
        assert_eq!((asked.matches(HIDDEN).count(), answered.matches(HIDDEN).count()), (14, 5));
    }

    #[test]
    fn what_only_looks_like_the_key_is_left_as_it_is() {
        let plain = request(Purpose::Answer, &call("a role of text".to_owned(), "")).json;
        for word in ["text", "role", "parts", "7", "messages", "output_tokens_max", "\":\"answer\",\""] {
            let recorded = request(Purpose::Answer, &call("a role of text".to_owned(), word)).json;

            assert_eq!(recorded, plain, "{word}");
        }
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

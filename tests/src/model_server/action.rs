//! What a script can do.

use std::time::Duration;

use serde_json::{Value, json};

use super::Gate;

/// A step of a script. Blocks open and close by themselves: texts in a row are one
/// block, whatever waits stand between them; every other kind is a block of its own.
/// A script that ends without [`Action::Stop`] is a stream that is cut short.
#[derive(Clone, Debug)]
pub enum Action {
    /// Answers with a status, headers and a body instead of a stream. Only as the
    /// first action, waits aside.
    Status {
        /// The HTTP status.
        code: u16,
        /// Headers beside the body's length.
        headers: Vec<(String, String)>,
        /// The body.
        body: String,
    },
    /// Sends `message_start` if it has not been sent; every block does so too.
    Begin,
    /// Sends text.
    Text(String),
    /// Sends the same text for ever.
    TextForever(String),
    /// Sends a block of thinking.
    Thinking {
        /// What the model thinks.
        text: String,
        /// Its signature.
        signature: String,
    },
    /// Sends a block of thinking that nobody can read.
    RedactedThinking {
        /// The encrypted thinking.
        data: String,
    },
    /// Sends a tool call.
    ToolUse {
        /// The provider's id.
        id: String,
        /// Name of the tool.
        name: String,
        /// Arguments as text, possibly not JSON.
        arguments: String,
    },
    /// Sets the counts that `message_start` and `message_delta` report.
    Usage {
        /// Tokens read.
        input_tokens: u64,
        /// Tokens written.
        output_tokens: u64,
    },
    /// From here on, a delta has at most so many bytes, cut at characters.
    DeltaBytes(usize),
    /// From here on, bytes go out in pieces of this size, cut anywhere.
    PieceBytes(usize),
    /// From here on, the server pauses before each piece.
    Pace(Duration),
    /// Waits until the test opens the gate. First of all: before the status line.
    Wait(Gate),
    /// Sends nothing more, and keeps the connection. First of all: not even a status.
    Hang,
    /// Sends an event with this data.
    Event(Value),
    /// Sends bytes as they are, within the stream.
    Bytes(Vec<u8>),
    /// Breaks the connection.
    Cut,
    /// Ends the message with a reason.
    Stop(String),
}

impl Action {
    /// [`Action::Text`].
    #[must_use]
    pub fn text(text: &str) -> Self {
        Self::Text(text.to_owned())
    }

    /// [`Action::Thinking`].
    #[must_use]
    pub fn thinking(text: &str, signature: &str) -> Self {
        Self::Thinking { text: text.to_owned(), signature: signature.to_owned() }
    }

    /// A tool call with good arguments.
    #[must_use]
    pub fn tool_use(id: &str, name: &str, arguments: &Value) -> Self {
        Self::ToolUse { id: id.to_owned(), name: name.to_owned(), arguments: arguments.to_string() }
    }

    /// Ends the message because the model is done.
    #[must_use]
    pub fn stop() -> Self {
        Self::Stop("end_turn".to_owned())
    }

    /// Ends the message because the model waits for its calls.
    #[must_use]
    pub fn stop_for_tools() -> Self {
        Self::Stop("tool_use".to_owned())
    }

    /// An error in mid-stream.
    #[must_use]
    pub fn error_event(error_type: &str, message: &str) -> Self {
        Self::Event(error(error_type, message))
    }

    /// An error status with a body of the provider's shape.
    #[must_use]
    pub fn error_status(code: u16, error_type: &str, message: &str) -> Self {
        Self::Status {
            code,
            headers: vec![("content-type".to_owned(), "application/json".to_owned())],
            body: error(error_type, message).to_string(),
        }
    }

    /// A web page where a stream should be.
    #[must_use]
    pub fn html(body: &str) -> Self {
        Self::Status {
            code: 200,
            headers: vec![("content-type".to_owned(), "text/html".to_owned())],
            body: body.to_owned(),
        }
    }

    /// The same status with one more header, for example `retry-after`.
    ///
    /// # Panics
    ///
    /// When the action is no status.
    #[must_use]
    pub fn with_header(mut self, name: &str, value: &str) -> Self {
        match &mut self {
            Self::Status { headers, .. } => headers.push((name.to_owned(), value.to_owned())),
            other => panic!("only a status has headers, not {other:?}"),
        }
        self
    }
}

fn error(error_type: &str, message: &str) -> Value {
    json!({"type": "error", "error": {"type": error_type, "message": message}})
}

/// A whole answer that says one thing.
#[must_use]
pub fn say(text: &str) -> Vec<Action> {
    vec![Action::text(text), Action::stop()]
}

/// A whole answer that says one thing, as Chat Completions streams it.
#[must_use]
pub fn say_in_chunks(text: &str) -> Vec<Action> {
    let chunks = [
        json!({"choices": [{"index": 0, "delta": {"role": "assistant", "content": text}}]}),
        json!({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}),
        json!({"choices": [], "usage": {"prompt_tokens": 10, "completion_tokens": 5}}),
    ];
    let chunks = chunks.map(|chunk| format!("data: {chunk}\n\n")).concat();
    vec![Action::Status {
        code: 200,
        headers: vec![("content-type".to_owned(), "text/event-stream".to_owned())],
        body: format!("{chunks}data: [DONE]\n\n"),
    }]
}

/// A whole answer after which the context is so full.
#[must_use]
pub fn say_with_context(text: &str, input_tokens: u64) -> Vec<Action> {
    vec![Action::Usage { input_tokens, output_tokens: 5 }, Action::text(text), Action::stop()]
}

/// A whole answer that calls tools, given as name and arguments.
#[must_use]
pub fn call_tools(calls: &[(&str, Value)]) -> Vec<Action> {
    let numbered = calls.iter().enumerate();
    let mut actions: Vec<Action> = numbered
        .map(|(index, (name, arguments))| Action::tool_use(&format!("toolu_{index}"), name, arguments))
        .collect();
    actions.push(Action::stop_for_tools());
    actions
}

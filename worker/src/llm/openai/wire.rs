//! Chunks of a Chat Completions stream as they are on the wire, as far as they are
//! used. Fields that are missing, null or unknown are no error where one can do without.

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::super::state::Fields;

#[derive(Deserialize)]
pub(super) struct Chunk {
    #[serde(default)]
    pub(super) choices: Option<Vec<Choice>>,
    #[serde(default)]
    /// Read field by field, since only a part of it may be as it should.
    pub(super) usage: Option<Value>,
    #[serde(default)]
    pub(super) error: Option<Value>,
    /// `error` where a server sends an error in place of a chunk.
    #[serde(default)]
    pub(super) object: Option<String>,
}

#[derive(Deserialize)]
pub(super) struct Choice {
    #[serde(default)]
    pub(super) index: Option<i64>,
    #[serde(default)]
    pub(super) delta: Option<Delta>,
    #[serde(default)]
    pub(super) finish_reason: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Delta {
    pub(super) content: Option<Content>,
    pub(super) refusal: Option<String>,
    /// Thinking, where a server shows it: under this name…
    pub(super) reasoning_content: Option<Box<RawValue>>,
    /// …or under this one.
    pub(super) reasoning: Option<Box<RawValue>>,
    /// Thinking with what must go back.
    pub(super) reasoning_details: Option<Vec<Fields>>,
    pub(super) tool_calls: Option<Vec<Fields>>,
    /// How calls looked before there could be several.
    pub(super) function_call: Option<Box<RawValue>>,
}

/// Words, plain as nearly every server sends them, or in a list.
#[derive(Deserialize)]
#[serde(untagged)]
pub(super) enum Content {
    Plain(String),
    List(Vec<Piece>),
}

/// An item of a list of words.
#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum Piece {
    Text {
        #[serde(default)]
        text: String,
    },
    Thinking {
        thinking: Box<Content>,
    },
    #[serde(other)]
    Unknown,
}

impl Content {
    /// The words alone.
    pub(super) fn into_text(self) -> String {
        match self {
            Self::Plain(text) => text,
            Self::List(pieces) => pieces.into_iter().map(Piece::into_text).collect(),
        }
    }
}

impl Piece {
    fn into_text(self) -> String {
        match self {
            Self::Text { text } => text,
            Self::Thinking { thinking } => thinking.into_text(),
            Self::Unknown => String::new(),
        }
    }
}

//! A conversation in Anthropic's words.
//!
//! Beside what all providers ask for: user and assistant alternate; results stand at
//! the beginning of the user message that follows their calls; the last block of an
//! answer is not thinking.

use serde::Serialize;

use super::super::base64::Base64;
use super::super::history::{self, Outcome, PastAnswer, Said, Speech};
use super::super::state::{Fields, State, raw_text, text_field};
use super::super::{AnswerPart, Attachment, PartContent, PromptMessage};
use super::FORMAT;

/// One message of the conversation.
#[derive(Serialize)]
pub(super) struct Turn<'a> {
    role: Role,
    content: Vec<Block<'a>>,
}

#[derive(Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Role {
    User,
    Assistant,
}

/// Asks the provider to keep everything up to here in its cache.
#[derive(Clone, Copy, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum CacheControl {
    Ephemeral,
}

/// One block of a message.
#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum Block<'a> {
    Text {
        text: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        cache_control: Option<CacheControl>,
    },
    Image {
        source: Source<'a>,
        #[serde(skip_serializing_if = "Option::is_none")]
        cache_control: Option<CacheControl>,
    },
    /// A PDF.
    Document {
        source: Source<'a>,
        /// A blank one is refused.
        #[serde(skip_serializing_if = "Option::is_none")]
        title: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        cache_control: Option<CacheControl>,
    },
    ToolResult {
        tool_use_id: String,
        content: &'a str,
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        is_error: bool,
        #[serde(skip_serializing_if = "Option::is_none")]
        cache_control: Option<CacheControl>,
    },
    /// Thinking or a call, field by field; holds its own type.
    #[serde(untagged)]
    Replayed(Fields),
}

/// The bytes of a file.
#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum Source<'a> {
    Base64 { media_type: &'a str, data: Base64<'a> },
}

impl<'a> Source<'a> {
    fn of(file: &'a Attachment) -> Self {
        Self::Base64 { media_type: &file.media_type, data: Base64(&file.data) }
    }
}

impl<'a> Block<'a> {
    /// What a user says.
    fn said(said: Said<'a>) -> Self {
        match said {
            Said::Text(text) => Self::Text { text, cache_control: None },
            Said::Image(file) => Self::Image { source: Source::of(file), cache_control: None },
            Said::Document(file) => {
                let title = Some(file.name.as_str()).filter(|name| !history::is_blank(name));
                Self::Document { source: Source::of(file), title, cache_control: None }
            }
        }
    }

    /// A text block, unless the text is blank.
    pub(super) fn text(text: &'a str) -> Option<Self> {
        (!history::is_blank(text)).then_some(Self::Text { text, cache_control: None })
    }

    /// Lets the cache end here.
    pub(super) fn cache(&mut self) {
        match self {
            Self::Text { cache_control, .. }
            | Self::Image { cache_control, .. }
            | Self::Document { cache_control, .. }
            | Self::ToolResult { cache_control, .. } => {
                *cache_control = Some(CacheControl::Ephemeral);
            }
            Self::Replayed(_) => {}
        }
    }
}

/// The conversation as Anthropic accepts it, to be answered by `model`.
pub(super) fn conversation<'a>(messages: &'a [PromptMessage], model: &str) -> Vec<Turn<'a>> {
    let own_id = |call: &AnswerPart| {
        State::decode(FORMAT, &call.provider_state).and_then(|state| text_field(&state.block, "id"))
    };
    let mut turns = Vec::new();
    for speech in history::conversation(messages, own_id) {
        match speech {
            Speech::User(pieces) => user(&mut turns, pieces.into_iter().map(Block::said).collect()),
            Speech::Answer(past) => {
                turns.push(Turn { role: Role::Assistant, content: answer(&past, model) });
                user(&mut turns, past.outcomes.into_iter().map(result).collect());
            }
        }
    }
    if let Some(last) = turns.last_mut().and_then(|turn| turn.content.last_mut()) {
        last.cache();
    }
    turns
}

/// Adds to the user's message, or begins one.
fn user<'a>(turns: &mut Vec<Turn<'a>>, blocks: Vec<Block<'a>>) {
    match turns.last_mut() {
        _ if blocks.is_empty() => {}
        Some(turn) if turn.role == Role::User => turn.content.extend(blocks),
        _ => turns.push(Turn { role: Role::User, content: blocks }),
    }
}

fn answer<'a>(past: &PastAnswer<'a>, model: &str) -> Vec<Block<'a>> {
    let with_thinking = thinking_can_be_replayed(past.parts, model);
    let mut outcomes = past.outcomes.iter();
    let block = |part: &'a AnswerPart| match &part.content {
        PartContent::Text(text) => Block::text(text),
        PartContent::Reasoning(text) if with_thinking => thinking(part, text),
        PartContent::Reasoning(_) => None,
        PartContent::ToolCall { tool_name, arguments_json } => {
            let id = &outcomes.next().expect("every call has an outcome").id;
            Some(call(part, id, tool_name, arguments_json))
        }
    };
    past.parts.iter().filter_map(block).collect()
}

/// Whether an answer's thinking goes back. All of it or none: the provider
/// compares what it gets with what it sent. It refuses unsigned thinking and an
/// answer that ends with thinking (one that was interrupted), and accepts an
/// answer without any; another model's thinking is of no use to this one.
fn thinking_can_be_replayed(parts: &[AnswerPart], model: &str) -> bool {
    let is_blank =
        |part: &AnswerPart| matches!(&part.content, PartContent::Text(text) if history::is_blank(text));
    let last = parts.iter().rev().find(|part| !is_blank(part));
    last.is_some_and(|part| !matches!(part.content, PartContent::Reasoning(_)))
        && history::thinking_is_own(parts, FORMAT, model)
}

fn thinking<'a>(part: &AnswerPart, text: &str) -> Option<Block<'a>> {
    let mut block = State::decode(FORMAT, &part.provider_state)?.block;
    if text_field(&block, "type").as_deref() == Some("thinking") {
        block.insert("thinking".to_owned(), raw_text(text));
    }
    Some(Block::Replayed(block))
}

fn call<'a>(part: &AnswerPart, id: &str, tool_name: &str, arguments_json: &str) -> Block<'a> {
    let state = State::decode(FORMAT, &part.provider_state);
    let mut block = state.map(|state| state.block).unwrap_or_default();
    block.insert("type".to_owned(), raw_text("tool_use"));
    block.insert("id".to_owned(), raw_text(id));
    block.insert("name".to_owned(), raw_text(&history::replayable_name(tool_name)));
    block.insert("input".to_owned(), history::object_or_empty(arguments_json));
    Block::Replayed(block)
}

fn result(outcome: Outcome<'_>) -> Block<'_> {
    let Outcome { id, output, is_error } = outcome;
    Block::ToolResult { tool_use_id: id, content: output, is_error, cache_control: None }
}

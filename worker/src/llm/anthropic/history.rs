//! Turns any history that the state machine can produce into a conversation
//! that Anthropic accepts.
//!
//! Its rules: user and assistant alternate, a user begins and a user ends; every
//! call of an answer has exactly one result at the beginning of the user message
//! that follows; no text is blank; ids of calls are unique; the last block of an
//! answer is not thinking. Newer models refuse a conversation that ends with the
//! model's own words, so an answer that was cut and goes on is followed by a
//! user's [`CONTINUE`], both in the call that continues it and in every later one:
//! what has been sent once stays a prefix of what is sent next, and the cache holds.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::super::{AnswerPart, PartContent, PromptMessage, ToolResult};
use super::state::{Fields, State, raw_text, text_field};

/// Stands where a user would have to speak between two answers, or after the last.
pub(super) const CONTINUE: &str = "Continue.";
/// Stands in place of a first user message that is missing or blank.
const OPENING: &str = "(This message has no text.)";
/// The result of a call that has none. The state machine gives every call one;
/// a single missing result would make the provider refuse the chat for ever.
const RESULT_MISSING: &str = "The result of this call is not available.";
/// The result of a tool that wrote nothing; a blank one is refused.
const RESULT_EMPTY: &str = "(no output)";
/// Anthropic's bound for names and ids, and of our own tool names.
const NAME_CHARS_MAX: usize = 64;

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

impl<'a> Block<'a> {
    /// A text block, unless the text is blank.
    pub(super) fn text(text: &'a str) -> Option<Self> {
        (!text.trim().is_empty()).then_some(Self::Text { text, cache_control: None })
    }

    /// Lets the cache end here.
    pub(super) fn cache(&mut self) {
        match self {
            Self::Text { cache_control, .. } | Self::ToolResult { cache_control, .. } => {
                *cache_control = Some(CacheControl::Ephemeral);
            }
            Self::Replayed(_) => {}
        }
    }
}

/// The conversation as Anthropic accepts it, to be answered by `model`.
pub(super) fn conversation<'a>(messages: &'a [PromptMessage], model: &str) -> Vec<Turn<'a>> {
    let mut conversation = Conversation { model, turns: Vec::new(), ids: HashSet::new() };
    for (position, message) in messages.iter().enumerate() {
        match message {
            PromptMessage::User { texts } => {
                conversation.user(texts.iter().filter_map(|text| Block::text(text)));
            }
            PromptMessage::Assistant { message_id, parts } => {
                let results = results_that_follow(&messages[position + 1..]);
                conversation.answer(*message_id, parts, &results);
            }
            // Read together with the answer that asked for them. A result that
            // belongs to no call before it would be refused, and is left out.
            PromptMessage::Tool { .. } => {}
        }
    }
    conversation.finish()
}

/// Results right after an answer, by the call they belong to; the first one counts.
fn results_that_follow(messages: &[PromptMessage]) -> HashMap<(i64, u32), &ToolResult> {
    let mut results = HashMap::new();
    for message in messages {
        let PromptMessage::Tool { results: more } = message else {
            break;
        };
        for result in more {
            results.entry((result.call_message_id, result.call_index)).or_insert(result);
        }
    }
    results
}

struct Conversation<'a, 'm> {
    model: &'m str,
    turns: Vec<Turn<'a>>,
    /// Ids of calls so far.
    ids: HashSet<String>,
}

impl<'a> Conversation<'a, '_> {
    /// Adds to the user's message, or begins one.
    fn user(&mut self, blocks: impl IntoIterator<Item = Block<'a>>) {
        let mut blocks = blocks.into_iter().peekable();
        if blocks.peek().is_none() {
            return;
        }
        match self.turns.last_mut() {
            Some(turn) if turn.role == Role::User => turn.content.extend(blocks),
            _ => self.turns.push(Turn { role: Role::User, content: blocks.collect() }),
        }
    }

    /// Adds an answer and the results of its calls.
    fn answer(
        &mut self,
        message_id: i64,
        parts: &'a [AnswerPart],
        results: &HashMap<(i64, u32), &'a ToolResult>,
    ) {
        let with_thinking = thinking_can_be_replayed(parts, self.model);
        let mut answer = Vec::new();
        let mut answered = Vec::new();
        for part in parts {
            match &part.content {
                PartContent::Text(text) => answer.extend(Block::text(text)),
                PartContent::Reasoning(text) if with_thinking => answer.extend(thinking(part, text)),
                PartContent::Reasoning(_) => {}
                PartContent::ToolCall { tool_name, arguments_json } => {
                    let index = u32::try_from(answered.len()).unwrap_or(u32::MAX);
                    let state = State::decode(&part.provider_state);
                    let id = self.call_id(state.as_ref(), message_id, index);
                    answered.push(result(id.clone(), results.get(&(message_id, index)).copied()));
                    answer.push(call(state, &id, tool_name, arguments_json));
                }
            }
        }
        if answer.is_empty() {
            return;
        }
        self.end_with_user();
        self.turns.push(Turn { role: Role::Assistant, content: answer });
        self.user(answered);
    }

    /// The provider's own id of a call, or one made from ours when there is none,
    /// it cannot be replayed, or the provider has used it before.
    fn call_id(&mut self, state: Option<&State>, message_id: i64, index: u32) -> String {
        let own = state.and_then(|state| text_field(&state.block, "id")).filter(|id| is_name(id));
        let mut id = own.unwrap_or_default();
        let derived = format!("call_{message_id}_{index}");
        let mut suffix = 0;
        while id.is_empty() || !self.ids.insert(id.clone()) {
            id = if suffix == 0 { derived.clone() } else { format!("{derived}_{suffix}") };
            suffix += 1;
        }
        id
    }

    /// Lets a user speak last, so that the model can.
    fn end_with_user(&mut self) {
        match self.turns.last().map(|turn| turn.role) {
            None => self.user(Block::text(OPENING)),
            Some(Role::Assistant) => self.user(Block::text(CONTINUE)),
            Some(Role::User) => {}
        }
    }

    fn finish(mut self) -> Vec<Turn<'a>> {
        self.end_with_user();
        if let Some(last) = self.turns.last_mut().and_then(|turn| turn.content.last_mut()) {
            last.cache();
        }
        self.turns
    }
}

/// Whether an answer's thinking goes back. All of it or none: the provider
/// compares what it gets with what it sent. It refuses unsigned thinking and an
/// answer that ends with thinking (one that was interrupted), and accepts an
/// answer without any; another model's thinking is of no use to this one.
fn thinking_can_be_replayed(parts: &[AnswerPart], model: &str) -> bool {
    let is_thinking = |part: &AnswerPart| matches!(part.content, PartContent::Reasoning(_));
    let is_blank =
        |part: &AnswerPart| matches!(&part.content, PartContent::Text(text) if text.trim().is_empty());
    let last = parts.iter().rev().find(|part| !is_blank(part));
    last.is_some_and(|part| !is_thinking(part))
        && parts
            .iter()
            .filter(|part| is_thinking(part))
            .all(|part| State::decode(&part.provider_state).is_some_and(|state| state.model == model))
}

fn thinking<'a>(part: &AnswerPart, text: &str) -> Option<Block<'a>> {
    let mut block = State::decode(&part.provider_state)?.block;
    if text_field(&block, "type").as_deref() == Some("thinking") {
        block.insert("thinking".to_owned(), raw_text(text));
    }
    Some(Block::Replayed(block))
}

fn call<'a>(state: Option<State>, id: &str, tool_name: &str, arguments_json: &str) -> Block<'a> {
    let mut block = state.map(|state| state.block).unwrap_or_default();
    block.insert("type".to_owned(), raw_text("tool_use"));
    block.insert("id".to_owned(), raw_text(id));
    block.insert("name".to_owned(), raw_text(&replayable_name(tool_name)));
    block.insert("input".to_owned(), object_or_empty(arguments_json));
    Block::Replayed(block)
}

/// Arguments as the model wrote them, or an empty object when they are none.
fn object_or_empty(arguments_json: &str) -> Box<RawValue> {
    let is_object = serde_json::from_str::<Map<String, Value>>(arguments_json).is_ok();
    let json = if is_object { arguments_json } else { "{}" };
    RawValue::from_string(json.to_owned()).expect("it has just been read as JSON")
}

fn result(tool_use_id: String, result: Option<&ToolResult>) -> Block<'_> {
    let (content, is_error) = match result {
        None => (RESULT_MISSING, true),
        Some(result) if result.output.trim().is_empty() => (RESULT_EMPTY, result.is_error),
        Some(result) => (result.output.as_str(), result.is_error),
    };
    Block::ToolResult { tool_use_id, content, is_error, cache_control: None }
}

fn is_name_char(character: char) -> bool {
    character.is_ascii_alphanumeric() || matches!(character, '_' | '-')
}

fn is_name(name: &str) -> bool {
    !name.is_empty() && name.len() <= NAME_CHARS_MAX && name.chars().all(is_name_char)
}

/// A tool's name as the provider accepts it: models make up names that it refuses.
pub(super) fn replayable_name(name: &str) -> Cow<'_, str> {
    if is_name(name) {
        return Cow::Borrowed(name);
    }
    let replace = |character| if is_name_char(character) { character } else { '_' };
    let name: String = name.chars().take(NAME_CHARS_MAX).map(replace).collect();
    if name.is_empty() { Cow::Borrowed("unnamed_tool") } else { Cow::Owned(name) }
}

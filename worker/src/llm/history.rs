//! Turns any history that the state machine can produce into one that every
//! provider accepts, as far as providers agree.
//!
//! What they agree on: a user begins and a user ends; every call of an answer has
//! exactly one result right after it; no text is blank; ids of calls are unique.
//! Newer models refuse a conversation that ends with the model's own words, so an
//! answer that was cut and goes on is followed by a user's [`CONTINUE`], both in the
//! call that continues it and in every later one: what has been sent once stays a
//! prefix of what is sent next, and the provider's cache holds.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::state::{Format, State};
use super::{AnswerPart, Attachment, PartContent, PromptMessage, ToolResult, UserPiece};

/// Stands where a user would have to speak between two answers, or after the last.
const CONTINUE: &str = "Continue.";
/// Stands in place of a first user message that is missing or blank.
const OPENING: &str = "(This message has no text.)";
/// The result of a call that has none. The state machine gives every call one;
/// a single missing result would make the provider refuse the chat for ever.
const RESULT_MISSING: &str = "The result of this call is not available.";
/// The result of a tool that wrote nothing; a blank one is refused.
const RESULT_EMPTY: &str = "(no output)";
/// What providers bound the names of tools to, and our own.
const NAME_CHARS_MAX: usize = 64;
/// The shortest bound of a provider for the id of a call.
const ID_CHARS_MAX: usize = 40;

/// Who speaks in the conversation, in turn: after an answer without calls, and
/// before every answer, comes a user.
#[derive(Debug, PartialEq)]
pub(super) enum Speech<'a> {
    /// What the user says; no words among it are blank.
    User(Vec<Said<'a>>),
    /// An answer with words or calls, or both.
    Answer(PastAnswer<'a>),
}

/// A piece of what the user says.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Said<'a> {
    /// Words.
    Text(&'a str),
    /// An image.
    Image(&'a Attachment),
    /// A PDF.
    Document(&'a Attachment),
}

/// An answer of the history.
#[derive(Debug, PartialEq)]
pub(super) struct PastAnswer<'a> {
    /// Its parts; texts among them may be blank.
    pub(super) parts: &'a [AnswerPart],
    /// The outcomes of its calls, in the order of the calls.
    pub(super) outcomes: Vec<Outcome<'a>>,
}

/// What came of a call.
#[derive(Debug, PartialEq)]
pub(super) struct Outcome<'a> {
    /// The call's id, unique in the conversation.
    pub(super) id: String,
    /// What the model gets to read; never blank.
    pub(super) output: &'a str,
    /// Whether the tool failed, or did not run.
    pub(super) is_error: bool,
}

/// The conversation. `own_id` reads the provider's own id of a call from its state.
pub(super) fn conversation(
    messages: &[PromptMessage],
    own_id: impl Fn(&AnswerPart) -> Option<String>,
) -> Vec<Speech<'_>> {
    let mut speeches = Vec::new();
    let mut ids = HashSet::new();
    for (position, message) in messages.iter().enumerate() {
        match message {
            PromptMessage::User { parts } => {
                for said in parts.iter().filter_map(said) {
                    say(&mut speeches, said);
                }
            }
            PromptMessage::Assistant { message_id, parts } if says_something(parts) => {
                let results = results_that_follow(&messages[position + 1..]);
                let calls = parts.iter().filter(|part| is_call(part));
                let outcomes = (0..).zip(calls).map(|(index, call)| {
                    let id = call_id(&mut ids, own_id(call), *message_id, index);
                    outcome(id, results.get(&(*message_id, index)).copied())
                });
                let outcomes = outcomes.collect();
                end_with_user(&mut speeches);
                speeches.push(Speech::Answer(PastAnswer { parts, outcomes }));
            }
            // Thinking alone is no answer.
            PromptMessage::Assistant { .. } => {}
            // Read together with the answer that asked for them. A result that
            // belongs to no call before it would be refused, and is left out.
            PromptMessage::Tool { .. } => {}
        }
    }
    end_with_user(&mut speeches);
    speeches
}

/// A piece of what the user says, unless it is blank.
fn said(piece: &UserPiece) -> Option<Said<'_>> {
    match piece {
        UserPiece::Text(text) if is_blank(text) => None,
        UserPiece::Text(text) => Some(Said::Text(text)),
        UserPiece::Image(file) => Some(Said::Image(file)),
        UserPiece::Document(file) => Some(Said::Document(file)),
    }
}

/// Adds to what the user says, or begins it.
fn say<'a>(speeches: &mut Vec<Speech<'a>>, said: Said<'a>) {
    match speeches.last_mut() {
        Some(Speech::User(pieces)) => pieces.push(said),
        Some(Speech::Answer(_)) | None => speeches.push(Speech::User(vec![said])),
    }
}

/// Lets a user speak last, so that the model can; results of calls are a user's words.
fn end_with_user(speeches: &mut Vec<Speech<'_>>) {
    match speeches.last() {
        None => say(speeches, Said::Text(OPENING)),
        Some(Speech::Answer(answer)) if answer.outcomes.is_empty() => say(speeches, Said::Text(CONTINUE)),
        Some(Speech::Answer(_) | Speech::User(_)) => {}
    }
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

fn outcome(id: String, result: Option<&ToolResult>) -> Outcome<'_> {
    let (output, is_error) = match result {
        None => (RESULT_MISSING, true),
        Some(result) if is_blank(&result.output) => (RESULT_EMPTY, result.is_error),
        Some(result) => (result.output.as_str(), result.is_error),
    };
    Outcome { id, output, is_error }
}

/// The provider's own id of a call, or one made from ours when there is none, it
/// cannot be replayed, or the provider has used it before.
fn call_id(ids: &mut HashSet<String>, own: Option<String>, message_id: i64, index: u32) -> String {
    let mut id = own.filter(|id| is_name(id) && id.len() <= ID_CHARS_MAX).unwrap_or_default();
    let derived = format!("call_{message_id}_{index}");
    let mut suffix = 0;
    while id.is_empty() || !ids.insert(id.clone()) {
        id = if suffix == 0 { derived.clone() } else { format!("{derived}_{suffix}") };
        suffix += 1;
    }
    id
}

/// Whether all thinking of an answer was written by this model over this wire
/// format, as only then it is of use to it.
pub(super) fn thinking_is_own(parts: &[AnswerPart], format: Format, model: &str) -> bool {
    parts
        .iter()
        .filter(|part| matches!(part.content, PartContent::Reasoning(_)))
        .all(|part| State::decode(format, &part.provider_state).is_some_and(|state| state.model == model))
}

fn says_something(parts: &[AnswerPart]) -> bool {
    parts.iter().any(|part| match &part.content {
        PartContent::Text(text) => !is_blank(text),
        PartContent::ToolCall { .. } => true,
        PartContent::Reasoning(_) => false,
    })
}

fn is_call(part: &AnswerPart) -> bool {
    matches!(part.content, PartContent::ToolCall { .. })
}

/// Whether a text has nothing that a provider would take for words.
pub(super) fn is_blank(text: &str) -> bool {
    text.trim().is_empty()
}

/// Arguments as the model wrote them, or an empty object when they are none.
pub(super) fn object_or_empty(arguments_json: &str) -> Box<RawValue> {
    let is_object = serde_json::from_str::<Map<String, Value>>(arguments_json).is_ok();
    let json = if is_object { arguments_json } else { "{}" };
    RawValue::from_string(json.to_owned()).expect("it has just been read as JSON")
}

fn is_name_char(character: char) -> bool {
    character.is_ascii_alphanumeric() || matches!(character, '_' | '-')
}

fn is_name(name: &str) -> bool {
    !name.is_empty() && name.len() <= NAME_CHARS_MAX && name.chars().all(is_name_char)
}

/// A tool's name as providers accept it: models make up names that are refused.
pub(super) fn replayable_name(name: &str) -> Cow<'_, str> {
    if is_name(name) {
        return Cow::Borrowed(name);
    }
    let replace = |character| if is_name_char(character) { character } else { '_' };
    let name: String = name.chars().take(NAME_CHARS_MAX).map(replace).collect();
    if name.is_empty() { Cow::Borrowed("unnamed_tool") } else { Cow::Owned(name) }
}

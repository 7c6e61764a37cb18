//! A conversation in the words of Chat Completions.
//!
//! Beside what all providers ask for: a message per result, right after the answer that
//! has the calls; texts as plain strings, which every server takes, where lists of parts
//! are taken by some. Only what has files is such a list.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::value::RawValue;

use super::super::base64::DataUrl;
use super::super::history::{self, Outcome, PastAnswer, Said, Speech};
use super::super::state::{Fields, State, raw_text, text_field};
use super::super::{AnswerPart, PartContent, PromptMessage};
use super::FORMAT;
use super::parts::{DETAILS, THINKING_FIELD};

/// Stands between texts that were apart.
const PARAGRAPH: &str = "\n\n";

/// One message of the conversation.
#[derive(Serialize)]
#[serde(tag = "role", rename_all = "snake_case")]
pub(super) enum Message<'a> {
    System {
        content: String,
    },
    User {
        content: Content<'a>,
    },
    Assistant {
        /// Null beside calls: some servers miss the field when it is left out.
        content: Option<String>,
        #[serde(skip_serializing_if = "Vec::is_empty")]
        tool_calls: Vec<Fields>,
        /// Thinking, under the name that its server gave it.
        #[serde(flatten)]
        thinking: BTreeMap<String, Box<RawValue>>,
    },
    Tool {
        tool_call_id: String,
        content: Cow<'a, str>,
    },
}

/// What a user says.
#[derive(Serialize)]
#[serde(untagged)]
pub(super) enum Content<'a> {
    Plain(String),
    Parts(Vec<Part<'a>>),
}

/// A part of what a user says.
#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum Part<'a> {
    Text { text: &'a str },
    ImageUrl { image_url: ImageUrl<'a> },
    File { file: File<'a> },
}

#[derive(Serialize)]
pub(super) struct ImageUrl<'a> {
    url: DataUrl<'a>,
}

#[derive(Serialize)]
pub(super) struct File<'a> {
    filename: &'a str,
    file_data: DataUrl<'a>,
}

/// The conversation as Chat Completions has it, to be answered by `model`.
pub(super) fn conversation<'a>(
    system: &[String],
    messages: &'a [PromptMessage],
    model: &str,
) -> Vec<Message<'a>> {
    let own_id = |call: &AnswerPart| {
        State::decode(FORMAT, &call.provider_state).and_then(|state| text_field(&state.block, "id"))
    };
    let mut conversation = Vec::new();
    // One message: the templates of many models know no second one.
    let system: Vec<&str> =
        system.iter().map(String::as_str).filter(|text| !history::is_blank(text)).collect();
    if !system.is_empty() {
        conversation.push(Message::System { content: system.join(PARAGRAPH) });
    }
    for speech in history::conversation(messages, own_id) {
        match speech {
            Speech::User(pieces) => conversation.push(Message::User { content: content(&pieces) }),
            Speech::Answer(past) => {
                conversation.push(answer(&past, model));
                conversation.extend(past.outcomes.into_iter().map(result));
            }
        }
    }
    conversation
}

/// Words alone are one text.
fn content<'a>(pieces: &[Said<'a>]) -> Content<'a> {
    let words = |said: &Said<'a>| match said {
        Said::Text(text) => Some(*text),
        Said::Image(_) | Said::Document(_) => None,
    };
    match pieces.iter().map(words).collect::<Option<Vec<_>>>() {
        Some(texts) => Content::Plain(texts.join(PARAGRAPH)),
        None => Content::Parts(pieces.iter().map(|said| part(*said)).collect()),
    }
}

fn part(said: Said<'_>) -> Part<'_> {
    match said {
        Said::Text(text) => Part::Text { text },
        Said::Image(file) => Part::ImageUrl { image_url: ImageUrl { url: DataUrl(file) } },
        Said::Document(file) => Part::File { file: File { filename: &file.name, file_data: DataUrl(file) } },
    }
}

fn answer<'a>(past: &PastAnswer<'_>, model: &str) -> Message<'a> {
    let mut texts = Vec::new();
    let mut tool_calls = Vec::new();
    let mut outcomes = past.outcomes.iter();
    for part in past.parts {
        match &part.content {
            PartContent::Text(text) if history::is_blank(text) => {}
            PartContent::Text(text) => texts.push(text.as_str()),
            PartContent::Reasoning(_) => {}
            PartContent::ToolCall { tool_name, arguments_json } => {
                let id = &outcomes.next().expect("every call has an outcome").id;
                tool_calls.push(call(part, model, id, tool_name, arguments_json));
            }
        }
    }
    let content = (!texts.is_empty()).then(|| texts.join(PARAGRAPH));
    let thinking = if tool_calls.is_empty() { BTreeMap::new() } else { thinking(past.parts, model) };
    Message::Assistant { content, tool_calls, thinking }
}

/// A call with what its server wants back with it, such as a signature; only the model
/// that wrote it gets that.
fn call(part: &AnswerPart, model: &str, id: &str, tool_name: &str, arguments_json: &str) -> Fields {
    let state = State::decode(FORMAT, &part.provider_state).filter(|state| state.model == model);
    let mut fields = state.map(|state| state.block).unwrap_or_default();
    let function = Function {
        name: history::replayable_name(tool_name),
        // Text within text: what goes back is what came, to the byte.
        arguments: history::object_or_empty(arguments_json),
    };
    let function = serde_json::value::to_raw_value(&function).expect("text can always be written as JSON");
    fields.insert("id".to_owned(), raw_text(id));
    fields.insert("type".to_owned(), raw_text("function"));
    fields.insert("function".to_owned(), function);
    fields
}

#[derive(Serialize)]
struct Function<'a> {
    name: Cow<'a, str>,
    #[serde(serialize_with = "as_text")]
    arguments: Box<RawValue>,
}

fn as_text<S: serde::Serializer>(json: &RawValue, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(json.get())
}

/// The thinking of an answer with calls, which some models must have back to go on; the
/// others ignore it. Without calls the answer is over, and nobody wants it. Only the
/// model that wrote all of it gets it.
fn thinking(parts: &[AnswerPart], model: &str) -> Fields {
    let mut fields = Fields::new();
    if !history::thinking_is_own(parts, FORMAT, model) {
        return fields;
    }
    let mut texts: BTreeMap<String, String> = BTreeMap::new();
    let mut details: Vec<Box<RawValue>> = Vec::new();
    for part in parts {
        let PartContent::Reasoning(text) = &part.content else { continue };
        let Some(State { block, .. }) = State::decode(FORMAT, &part.provider_state) else { continue };
        if let Some(name) = text_field(&block, THINKING_FIELD) {
            texts.entry(name).or_default().push_str(text);
        }
        let more = block.get(DETAILS).and_then(|more| serde_json::from_str(more.get()).ok());
        details.extend(more.unwrap_or_else(Vec::new));
    }
    if details.is_empty() {
        fields.extend(texts.into_iter().map(|(name, text)| (name, raw_text(&text))));
    } else {
        let details = serde_json::value::to_raw_value(&details).expect("raw JSON can always be written");
        fields.insert(DETAILS.to_owned(), details);
    }
    fields
}

/// A result. The wire format has no field for failures, so they are told in words.
fn result(outcome: Outcome<'_>) -> Message<'_> {
    let Outcome { id, output, is_error } = outcome;
    let content = if is_error { format!("Error: {output}").into() } else { Cow::Borrowed(output) };
    Message::Tool { tool_call_id: id, content }
}

//! Message content as it is stored: versioned JSONB, a type of its own.
//!
//! PostgreSQL's JSONB cannot hold U+0000. Texts are therefore escaped: SUB (U+001A)
//! followed by `0` stands for NUL and by `1` for SUB itself. Everything else is
//! stored as it is.

use base64::{Engine, prelude::BASE64_STANDARD};
use chatplane_domain::{
    Answer, AnswerContent, AnswerPart, Body, CallId, CallKind, DiffSide, FileId, FileRef, MessageId, Role,
    SyntheticReason, ToolCall, ToolResult, Usage, UserId, UserMessage, UserPart, shown_words, texts,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::{borrow::Cow, collections::BTreeMap};
use uuid::Uuid;

use super::Error;

/// Of what the release before can read, too: the version that is written where it will do.
const TEXT_VERSION: i16 = 1;
/// Of messages with parts that only users have: files, references, comments. This release
/// reads every version up to this one.
const PARTS_VERSION: i16 = 2;

const SUB: char = '\u{1a}';

/// Public content of either version.
#[derive(Serialize, Deserialize)]
struct Content {
    parts: Vec<Part>,
}

#[derive(Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
enum Part {
    Text {
        text: String,
    },
    Reasoning {
        text: String,
    },
    ToolCall {
        tool_name: String,
        arguments_json: String,
        call_kind: CallKind,
    },
    ToolResult {
        call_message_id: i64,
        call_index: i32,
        tool_name: String,
        output: String,
        is_error: bool,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        synthetic_reason: Option<SyntheticReason>,
    },
    File {
        file_id: FileId,
        name: String,
        media_type: String,
        size_bytes: i64,
    },
    FileReference {
        path: String,
        start_line: u32,
        end_line: u32,
        snippet: String,
    },
    DiffComment {
        path: String,
        side: DiffSide,
        start_line: u32,
        end_line: u32,
        text: String,
    },
}

/// What only workers may see, of version 1: provider state by part, in base64.
#[derive(Serialize, Deserialize)]
struct Internal {
    provider_states: BTreeMap<usize, String>,
}

/// A message's content in its columns.
pub(crate) struct Encoded {
    pub(crate) version: i16,
    pub(crate) content: Value,
    pub(crate) internal: Option<Value>,
}

/// What a row says beside its content; which of it is set depends on the role.
#[derive(Debug, Default)]
pub(crate) struct RowFields {
    pub(crate) created_by: Option<Uuid>,
    pub(crate) model: Option<String>,
    pub(crate) requested_model: Option<String>,
    pub(crate) usage: Option<Usage>,
    pub(crate) runtime_ms: Option<i64>,
    pub(crate) interrupted: bool,
    pub(crate) queued_message_id: Option<Uuid>,
}

pub(crate) fn encode(body: &Body) -> Encoded {
    let mut provider_states = BTreeMap::new();
    let parts = match body {
        Body::System(text) => vec![Part::Text { text: escape(text) }],
        Body::User(message) => user_parts(&message.parts),
        Body::Assistant(answer) => {
            for (index, part) in answer.parts.iter().enumerate() {
                if !part.provider_state.is_empty() {
                    provider_states.insert(index, BASE64_STANDARD.encode(&part.provider_state));
                }
            }
            answer.parts.iter().map(|part| encode_answer_part(&part.content)).collect()
        }
        Body::Tool(result) => vec![Part::ToolResult {
            call_message_id: result.call.message.0,
            call_index: result.call.index,
            tool_name: escape(&result.tool_name),
            output: escape(&result.output),
            is_error: result.is_error,
            synthetic_reason: result.synthetic,
        }],
    };
    let internal = (!provider_states.is_empty()).then(|| to_value(&Internal { provider_states }));
    Encoded { version: version_of(&parts), content: to_value(&Content { parts }), internal }
}

/// Content of a queued message.
pub(crate) fn encode_parts(parts: &[UserPart]) -> (i16, Value) {
    let parts = user_parts(parts);
    (version_of(&parts), to_value(&Content { parts }))
}

/// The oldest version that has all of these parts.
fn version_of(parts: &[Part]) -> i16 {
    let is_newer = |part: &Part| match part {
        Part::File { .. } | Part::FileReference { .. } | Part::DiffComment { .. } => true,
        Part::Text { .. } | Part::Reasoning { .. } | Part::ToolCall { .. } | Part::ToolResult { .. } => false,
    };
    if parts.iter().any(is_newer) { PARTS_VERSION } else { TEXT_VERSION }
}

fn to_value<T: Serialize>(value: &T) -> Value {
    serde_json::to_value(value).expect("strings, numbers and maps with string keys are always JSON")
}

fn user_parts(parts: &[UserPart]) -> Vec<Part> {
    parts.iter().map(encode_user_part).collect()
}

fn encode_user_part(part: &UserPart) -> Part {
    match part {
        UserPart::Text(text) => Part::Text { text: escape(text) },
        UserPart::File(file) => Part::File {
            file_id: file.id,
            name: escape(&file.name),
            media_type: escape(&file.media_type),
            size_bytes: file.size_bytes,
        },
        UserPart::FileReference { path, start_line, end_line, snippet } => Part::FileReference {
            path: escape(path),
            start_line: *start_line,
            end_line: *end_line,
            snippet: escape(snippet),
        },
        UserPart::DiffComment { path, side, start_line, end_line, text } => Part::DiffComment {
            path: escape(path),
            side: *side,
            start_line: *start_line,
            end_line: *end_line,
            text: escape(text),
        },
    }
}

fn decode_user_part(part: Part) -> Result<UserPart, Error> {
    Ok(match part {
        Part::Text { text } => UserPart::Text(unescape(text)),
        Part::File { file_id, name, media_type, size_bytes } => UserPart::File(FileRef {
            id: file_id,
            name: unescape(name),
            media_type: unescape(media_type),
            size_bytes,
        }),
        Part::FileReference { path, start_line, end_line, snippet } => {
            UserPart::FileReference { path: unescape(path), start_line, end_line, snippet: unescape(snippet) }
        }
        Part::DiffComment { path, side, start_line, end_line, text } => {
            UserPart::DiffComment { path: unescape(path), side, start_line, end_line, text: unescape(text) }
        }
        Part::Reasoning { .. } | Part::ToolCall { .. } | Part::ToolResult { .. } => {
            return Err(Error::ContentMalformed);
        }
    })
}

fn encode_answer_part(content: &AnswerContent) -> Part {
    match content {
        AnswerContent::Text(text) => Part::Text { text: escape(text) },
        AnswerContent::Reasoning(text) => Part::Reasoning { text: escape(text) },
        AnswerContent::ToolCall(call) => Part::ToolCall {
            tool_name: escape(&call.tool_name),
            arguments_json: escape(&call.arguments_json),
            call_kind: call.kind,
        },
    }
}

pub(crate) fn decode(
    role: Role,
    version: i16,
    content: Value,
    internal: Option<Value>,
    fields: RowFields,
) -> Result<Body, Error> {
    let content = read(version, content)?;
    let states = match internal {
        Some(internal) => {
            let internal: Internal = serde_json::from_value(internal).map_err(|_| Error::ContentMalformed)?;
            internal.provider_states
        }
        None => BTreeMap::new(),
    };
    match role {
        Role::System => Ok(Body::System(texts(&parts(content)?).collect())),
        Role::User => Ok(Body::User(UserMessage {
            created_by: UserId(fields.created_by.ok_or(Error::ContentMalformed)?),
            parts: parts(content)?,
            model: fields.model,
            requested_model: fields.requested_model,
            effort: None,
            queued_message_id: fields.queued_message_id.map(chatplane_domain::QueuedMessageId),
        })),
        Role::Assistant => decode_answer(content, &states, fields),
        Role::Tool => decode_result(content, &fields),
    }
}

/// Pieces of a queued message.
pub(crate) fn decode_parts(version: i16, content: Value) -> Result<Vec<UserPart>, Error> {
    parts(read(version, content)?)
}

/// Refuses what a later release has written.
pub(crate) fn check_version(version: i16) -> Result<(), Error> {
    if (TEXT_VERSION..=PARTS_VERSION).contains(&version) {
        return Ok(());
    }
    Err(Error::ContentVersion { version })
}

fn read(version: i16, content: Value) -> Result<Content, Error> {
    check_version(version)?;
    serde_json::from_value(content).map_err(|_| Error::ContentMalformed)
}

/// The text parts of a message, joined as they are; none where the parts are no list. What
/// has another form, or none that is known, is passed over: a prompt that cannot be
/// recalled is no reason to recall none.
pub(crate) fn joined_text(content: &Value) -> Option<String> {
    text_parts(content).map(|texts| texts.concat())
}

/// The same one by one.
pub(crate) fn text_parts(content: &Value) -> Option<Vec<String>> {
    let parts = content.get("parts")?.as_array()?;
    let texts = parts.iter().filter(|part| part.get("kind").is_some_and(|kind| kind == "text"));
    let texts = texts.filter_map(|part| part.get("text")?.as_str());
    Some(texts.map(|text| unescape(text.to_owned())).collect())
}

fn parts(content: Content) -> Result<Vec<UserPart>, Error> {
    content.parts.into_iter().map(decode_user_part).collect()
}

fn decode_answer(
    content: Content,
    states: &BTreeMap<usize, String>,
    fields: RowFields,
) -> Result<Body, Error> {
    let mut parts = Vec::with_capacity(content.parts.len());
    for (index, part) in content.parts.into_iter().enumerate() {
        let content = match part {
            Part::Text { text } => AnswerContent::Text(unescape(text)),
            Part::Reasoning { text } => AnswerContent::Reasoning(unescape(text)),
            Part::ToolCall { tool_name, arguments_json, call_kind } => AnswerContent::ToolCall(ToolCall {
                tool_name: unescape(tool_name),
                arguments_json: unescape(arguments_json),
                kind: call_kind,
            }),
            Part::ToolResult { .. }
            | Part::File { .. }
            | Part::FileReference { .. }
            | Part::DiffComment { .. } => return Err(Error::ContentMalformed),
        };
        let provider_state = match states.get(&index) {
            Some(state) => BASE64_STANDARD.decode(state).map_err(|_| Error::ContentMalformed)?,
            None => Vec::new(),
        };
        parts.push(AnswerPart { content, provider_state });
    }
    Ok(Body::Assistant(Answer {
        parts,
        model: fields.model.unwrap_or_default(),
        usage: fields.usage.unwrap_or_default(),
        runtime_ms: fields.runtime_ms.unwrap_or_default(),
        interrupted: fields.interrupted,
    }))
}

fn decode_result(content: Content, fields: &RowFields) -> Result<Body, Error> {
    let [part] = <[Part; 1]>::try_from(content.parts).map_err(|_| Error::ContentMalformed)?;
    let Part::ToolResult { call_message_id, call_index, tool_name, output, is_error, synthetic_reason } =
        part
    else {
        return Err(Error::ContentMalformed);
    };
    Ok(Body::Tool(ToolResult {
        call: CallId { message: MessageId(call_message_id), index: call_index },
        tool_name: unescape(tool_name),
        output: unescape(output),
        is_error,
        synthetic: synthetic_reason,
        runtime_ms: fields.runtime_ms.unwrap_or_default(),
    }))
}

/// Makes a text storable as JSONB or TEXT.
pub(crate) fn escape(text: &str) -> String {
    if text.contains(['\0', SUB]) {
        let mut escaped = String::with_capacity(text.len() + 8);
        for character in text.chars() {
            match character {
                '\0' => escaped.extend([SUB, '0']),
                SUB => escaped.extend([SUB, '1']),
                other => escaped.push(other),
            }
        }
        return escaped;
    }
    text.to_owned()
}

/// The text that was escaped.
pub(crate) fn unescape(text: String) -> String {
    if !text.contains(SUB) {
        return text;
    }
    let mut plain = String::with_capacity(text.len());
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        match character {
            SUB => plain.push(if characters.next() == Some('0') { '\0' } else { SUB }),
            other => plain.push(other),
        }
    }
    plain
}

/// The beginning of a message's text, at most `chars` characters; of a message without one,
/// of what it is about.
pub(crate) fn preview(parts: &[UserPart], chars: usize) -> String {
    let text: String = shown_words(parts).flat_map(str::chars).take(chars).collect();
    // An escaped text is longer; what a preview cannot show is not worth a column.
    Cow::from(text).replace(['\0', SUB], " ")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_text_survives_escaping(text in "(\\PC|[\\x00\\x1a01])*") {
            let escaped = escape(&text);
            prop_assert!(!escaped.contains('\0'));
            prop_assert_eq!(unescape(escaped), text);
        }
    }

    #[test]
    fn an_unknown_version_is_a_typed_error() {
        let (_, content) = encode_parts(&[UserPart::Text("hello".to_owned())]);

        let decoded = decode(Role::System, 3, content, None, RowFields::default());

        assert!(matches!(decoded, Err(Error::ContentVersion { version: 3 })));
    }
}

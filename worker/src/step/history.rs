//! What a worker knows of a chat's history.

use std::collections::BTreeMap;

use crate::llm::{AnswerPart, PartContent, ToolResult};

/// A message of the history, as far as the model may see it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Message {
    /// Its place.
    pub(crate) id: i64,
    /// Whether only users see it.
    pub(crate) hidden_from_model: bool,
    /// What was said.
    pub(crate) content: Content,
}

/// What was said, and by whom.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Content {
    /// Instructions.
    System { texts: Vec<String> },
    /// Words of a user.
    User { texts: Vec<String> },
    /// An answer of a model.
    Assistant { parts: Vec<AnswerPart> },
    /// Results of tool calls.
    Tool { results: Vec<ToolResult> },
}

/// A tool call, named for good within its chat.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct CallId {
    /// The message that holds it.
    pub(crate) message_id: i64,
    /// Its place among the calls of that message, from 0.
    pub(crate) index: u32,
}

/// A tool call that has no result yet.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct OpenCall {
    /// Its name for good.
    pub(crate) id: CallId,
    /// Name of the tool.
    pub(crate) tool_name: String,
    /// Arguments as the model wrote them.
    pub(crate) arguments_json: String,
}

/// The live messages of a chat in order.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct History {
    messages: BTreeMap<i64, Message>,
}

impl History {
    /// Adds a message, or replaces the older revision of it.
    pub(crate) fn put(&mut self, message: Message) {
        self.messages.insert(message.id, message);
    }

    /// Forgets the message with this id and all after it.
    pub(crate) fn truncate(&mut self, from_id: i64) {
        self.messages.split_off(&from_id);
    }

    /// The messages, oldest first.
    pub(crate) fn messages(&self) -> impl DoubleEndedIterator<Item = &Message> {
        self.messages.values()
    }

    /// Calls without a result, in order.
    pub(crate) fn open_calls(&self) -> Vec<OpenCall> {
        let mut open = BTreeMap::new();
        for message in self.messages() {
            match &message.content {
                Content::Assistant { parts } => open.extend(calls(message.id, parts)),
                Content::Tool { results } => {
                    for result in results {
                        let id = CallId { message_id: result.call_message_id, index: result.call_index };
                        open.remove(&id);
                    }
                }
                Content::System { .. } | Content::User { .. } => {}
            }
        }
        open.into_values().collect()
    }

    /// How many answers the turn has so far: those since the last words of a user.
    pub(crate) fn answers_of_turn(&self) -> usize {
        self.messages()
            .rev()
            .take_while(|message| !matches!(message.content, Content::User { .. }))
            .filter(|message| matches!(message.content, Content::Assistant { .. }))
            .count()
    }
}

/// The calls of an answer with their names.
fn calls(message_id: i64, parts: &[AnswerPart]) -> impl Iterator<Item = (CallId, OpenCall)> {
    let calls = parts.iter().filter_map(|part| match &part.content {
        PartContent::ToolCall { tool_name, arguments_json } => Some((tool_name, arguments_json)),
        PartContent::Text(_) | PartContent::Reasoning(_) => None,
    });
    (0..).zip(calls).map(move |(index, (tool_name, arguments_json))| {
        let id = CallId { message_id, index };
        (id, OpenCall { id, tool_name: tool_name.clone(), arguments_json: arguments_json.clone() })
    })
}

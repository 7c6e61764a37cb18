//! What a worker knows of a chat's history.

use std::collections::BTreeMap;

use chatplane_domain::{FileRef, Usage, UserPart};

use crate::llm::{AnswerPart, PartContent, ToolResult};

/// A message of the history, as far as the model may see it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Message {
    /// Its place.
    pub(crate) id: i64,
    /// Version of the history that it came with.
    pub(crate) revision: i64,
    /// Whether only users see it.
    pub(crate) hidden_from_model: bool,
    /// Set on the rows of a boundary: the model does not see messages up to this one.
    pub(crate) covers_through: Option<i64>,
    /// What was said.
    pub(crate) content: Content,
}

impl Message {
    /// One that the model sees, and that is no boundary's.
    pub(crate) fn new(id: i64, revision: i64, content: Content) -> Self {
        Message { id, revision, hidden_from_model: false, covers_through: None, content }
    }
}

/// What was said, and by whom.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Content {
    /// Instructions.
    System { texts: Vec<String> },
    /// What a user said, or the summary that takes the place of what was said before.
    User { parts: Vec<UserPart> },
    /// An answer of a model.
    Assistant(PastAnswer),
    /// Results of tool calls.
    Tool { results: Vec<ToolResult> },
}

/// An answer of the history.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct PastAnswer {
    /// What it said and asked for.
    pub(crate) parts: Vec<AnswerPart>,
    /// Places of the calls, among the calls, that somebody else than a worker settles.
    pub(crate) client_calls: Vec<u32>,
    /// What its model call took.
    pub(crate) usage: Usage,
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
    /// Whether somebody else than a worker settles it.
    pub(crate) is_clients: bool,
    /// Name of the tool.
    pub(crate) tool_name: String,
    /// Arguments as the model wrote them.
    pub(crate) arguments_json: String,
}

impl Content {
    /// The files that it refers to, in order.
    pub(super) fn files(&self) -> impl Iterator<Item = &FileRef> {
        let parts: &[UserPart] = match self {
            Content::User { parts } => parts,
            Content::System { .. } | Content::Assistant(_) | Content::Tool { .. } => &[],
        };
        parts.iter().filter_map(|part| match part {
            UserPart::File(file) => Some(file),
            UserPart::Text(_) | UserPart::FileReference { .. } | UserPart::DiffComment { .. } => None,
        })
    }
}

/// The live messages of a chat in order.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct History {
    messages: BTreeMap<i64, Message>,
}

/// A history as the model sees it.
pub(crate) struct Rows<'a> {
    /// Instructions. No boundary covers them.
    pub(super) system: Vec<&'a Message>,
    /// The newest boundary's summary. A context that was cleared has none.
    pub(super) summary: Option<&'a Message>,
    /// Everything after the newest boundary.
    pub(super) rest: Vec<&'a Message>,
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

    /// Forgets everything.
    pub(crate) fn clear(&mut self) {
        self.messages.clear();
    }

    /// Where the turn that goes on began, as far as the history tells: the last message of a
    /// user, and the last message of all; 0 for none. Where a summary hides what the user has
    /// said, the last message stands for both.
    pub(crate) fn origin(&self) -> (i64, i64) {
        let rows = self.rows();
        let is_users = |message: &&&Message| matches!(message.content, Content::User { .. });
        let covered = rows.summary.and_then(|summary| summary.covers_through).unwrap_or_default();
        let tip = rows.rest.last().map_or(covered, |message| message.id);
        let users = rows.rest.iter().rev().find(is_users).map_or(tip, |message| message.id);
        (users, tip)
    }

    /// The messages as the model sees them. Boundaries count by what they cover, never by
    /// their own place.
    pub(crate) fn rows(&self) -> Rows<'_> {
        let newest = self.messages.values().filter_map(|message| message.covers_through).max();
        let mut rows = Rows { system: Vec::new(), summary: None, rest: Vec::new() };
        for message in self.messages.values().filter(|message| !message.hidden_from_model) {
            match (&message.content, message.covers_through) {
                (Content::System { .. }, _) => rows.system.push(message),
                (_, Some(through)) if Some(through) == newest => rows.summary = Some(message),
                (_, Some(_)) => {}
                (_, None) if newest.is_none_or(|through| message.id > through) => rows.rest.push(message),
                (_, None) => {}
            }
        }
        rows
    }
}

impl Rows<'_> {
    /// Calls without a result, in order.
    pub(super) fn open_calls(&self) -> Vec<OpenCall> {
        let mut open = BTreeMap::new();
        for message in &self.rest {
            match &message.content {
                Content::Assistant(answer) => open.extend(calls(message.id, answer)),
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

    /// How many answers the turn has so far: those since the last words of a user. Where a
    /// summary stands for these words, `summarized` of them are no longer there.
    pub(super) fn answers_of_turn(&self, summarized: usize) -> usize {
        self.answers_through(i64::MAX, summarized)
    }

    /// The same up to this message.
    fn answers_through(&self, last_id: i64, summarized: usize) -> usize {
        let last_user = self.rest.iter().rposition(|message| matches!(message.content, Content::User { .. }));
        let is_answer = |message: &&&Message| matches!(message.content, Content::Assistant(_));
        let of_turn = self.rest.iter().skip(last_user.map_or(0, |last_user| last_user + 1));
        let there = of_turn.take_while(|message| message.id <= last_id).filter(is_answer).count();
        if last_user.is_some() { there } else { there + summarized }
    }
}

impl History {
    /// How many answers of the turn a summary up to this message takes the place of, with
    /// `summarized` that another one took the place of before.
    pub(crate) fn answers_covered(&self, covers_through: i64, summarized: usize) -> usize {
        self.rows().answers_through(covers_through, summarized)
    }
}

/// The calls of an answer with their names.
fn calls(message_id: i64, answer: &PastAnswer) -> impl Iterator<Item = (CallId, OpenCall)> {
    let calls = answer.parts.iter().filter_map(|part| match &part.content {
        PartContent::ToolCall { tool_name, arguments_json } => Some((tool_name, arguments_json)),
        PartContent::Text(_) | PartContent::Reasoning(_) => None,
    });
    (0..).zip(calls).map(move |(index, (tool_name, arguments_json))| {
        let id = CallId { message_id, index };
        let is_clients = answer.client_calls.contains(&index);
        let (tool_name, arguments_json) = (tool_name.clone(), arguments_json.clone());
        (id, OpenCall { id, is_clients, tool_name, arguments_json })
    })
}

//! From a history to what the model reads.

use chatplane_domain::{FileRef, UserPart};

use super::history::{Content, Message, Rows};
use crate::llm::PromptMessage;

/// Comes before a summary, so that the model takes it neither for a user's words nor for the
/// whole of what was said.
const SUMMARY_PREAMBLE: &str =
    "This is a summary of the conversation so far, which it takes the place of. Go on from here.";

/// What the model reads.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Prompt {
    /// Instructions, in order.
    pub(crate) system: Vec<String>,
    /// The conversation, of whose files only names are known yet.
    pub(crate) messages: Vec<PromptMessage<UserPart>>,
    /// The last message of it; 0 for none.
    pub(crate) tip: i64,
    /// Files of messages after those, where it is not the whole.
    pub(crate) later_files: Vec<FileRef>,
}

impl Prompt {
    /// The files of the conversation, in order.
    pub(crate) fn files(&self) -> Vec<&FileRef> {
        let parts = self.messages.iter().flat_map(|message| match message {
            PromptMessage::User { parts } => parts.as_slice(),
            PromptMessage::Assistant { .. } | PromptMessage::Tool { .. } => &[],
        });
        let files = parts.filter_map(|part| match part {
            UserPart::File(file) => Some(file),
            UserPart::Text(_) | UserPart::FileReference { .. } | UserPart::DiffComment { .. } => None,
        });
        files.collect()
    }
}

/// Instructions that are no rows.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Instructions<'a> {
    /// Tells of the chat's workspace; empty for none.
    pub(crate) workspace_notice: &'a str,
    /// The owner's own, as they were when the turn began; empty for none.
    pub(crate) user_instructions: &'a str,
}

/// Builds the prompt: the system rows and what comes after them, the newest summary, and
/// everything that it does not cover.
pub(super) fn build(rows: &Rows<'_>, instructions: Instructions<'_>) -> Prompt {
    up_to(rows, instructions, i64::MAX)
}

/// The same without the messages after this one: a prefix of the whole prompt, so that what
/// a provider has in its cache of the one serves the other.
pub(super) fn up_to(rows: &Rows<'_>, instructions: Instructions<'_>, last_id: i64) -> Prompt {
    let mut prompt = Prompt::default();
    for message in &rows.system {
        if let Content::System { texts } = &message.content {
            prompt.system.extend(texts.iter().cloned());
        }
    }
    let more = [instructions.workspace_notice, instructions.user_instructions];
    prompt.system.extend(more.into_iter().filter(|text| !text.is_empty()).map(str::to_owned));
    prompt.messages.extend(rows.summary.and_then(summary));
    let (covered, later) = rows.rest.split_at(rows.rest.partition_point(|message| message.id <= last_id));
    prompt.messages.extend(covered.iter().filter_map(|message| prompt_message(message)));
    let summary_id = rows.summary.map(|summary| summary.covers_through.unwrap_or_default());
    prompt.tip = covered.last().map(|message| message.id).or(summary_id).unwrap_or_default();
    prompt.later_files = later.iter().flat_map(|message| message.content.files()).cloned().collect();
    prompt
}

fn summary(message: &Message) -> Option<PromptMessage<UserPart>> {
    let Content::User { parts } = &message.content else {
        return None;
    };
    let preamble = UserPart::Text(SUMMARY_PREAMBLE.to_owned());
    let parts = [preamble].into_iter().chain(parts.iter().cloned()).collect();
    Some(PromptMessage::User { parts })
}

fn prompt_message(message: &Message) -> Option<PromptMessage<UserPart>> {
    match &message.content {
        Content::System { .. } => None,
        Content::User { parts } => Some(PromptMessage::User { parts: parts.clone() }),
        Content::Assistant(answer) => {
            Some(PromptMessage::Assistant { message_id: message.id, parts: answer.parts.clone() })
        }
        Content::Tool { results } => Some(PromptMessage::Tool { results: results.clone() }),
    }
}

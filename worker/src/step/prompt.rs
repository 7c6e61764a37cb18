//! From a history to what the model reads.

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
    /// The conversation.
    pub(crate) messages: Vec<PromptMessage>,
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
    let covered = rows.rest.iter().take_while(|message| message.id <= last_id);
    prompt.messages.extend(covered.filter_map(|message| prompt_message(message)));
    prompt
}

fn summary(message: &Message) -> Option<PromptMessage> {
    let Content::User { texts } = &message.content else {
        return None;
    };
    let texts = [SUMMARY_PREAMBLE.to_owned()].into_iter().chain(texts.iter().cloned()).collect();
    Some(PromptMessage::User { texts })
}

fn prompt_message(message: &Message) -> Option<PromptMessage> {
    match &message.content {
        Content::System { .. } => None,
        Content::User { texts } => Some(PromptMessage::User { texts: texts.clone() }),
        Content::Assistant(answer) => {
            Some(PromptMessage::Assistant { message_id: message.id, parts: answer.parts.clone() })
        }
        Content::Tool { results } => Some(PromptMessage::Tool { results: results.clone() }),
    }
}

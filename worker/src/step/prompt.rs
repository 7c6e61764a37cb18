//! From a history to what the model reads.

use super::history::{Content, History, Message};
use crate::llm::PromptMessage;

/// What the model reads.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Prompt {
    /// Instructions, in order.
    pub(crate) system: Vec<String>,
    /// The conversation.
    pub(crate) messages: Vec<PromptMessage>,
}

/// Builds the prompt from all live rows that the model may see.
pub(super) fn build(history: &History) -> Prompt {
    let mut prompt = Prompt::default();
    for message in history.messages().filter(|message| !message.hidden_from_model) {
        add(&mut prompt, message);
    }
    prompt
}

fn add(prompt: &mut Prompt, message: &Message) {
    match &message.content {
        Content::System { texts } => prompt.system.extend(texts.iter().cloned()),
        Content::User { texts } => prompt.messages.push(PromptMessage::User { texts: texts.clone() }),
        Content::Assistant { parts } => {
            let parts = parts.clone();
            prompt.messages.push(PromptMessage::Assistant { message_id: message.id, parts });
        }
        Content::Tool { results } => {
            prompt.messages.push(PromptMessage::Tool { results: results.clone() });
        }
    }
}

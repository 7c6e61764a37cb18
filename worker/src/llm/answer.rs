//! Adds up what a provider streams.

use bytes::Bytes;
use chatplane_domain::Usage;

use super::{AnswerPart, ModelEvent, PartContent, PartKind, StopReason};

/// An answer as far as it has come.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Answer {
    /// Its parts; the last one may be unfinished.
    pub parts: Vec<AnswerPart>,
    /// Whether the last part is complete.
    pub last_part_finished: bool,
    /// Tokens so far.
    pub usage: Usage,
    /// Set once the answer is complete.
    pub stop_reason: Option<StopReason>,
}

impl Answer {
    /// Adds the next event.
    pub fn apply(&mut self, event: &ModelEvent) {
        match event {
            ModelEvent::PartStarted(kind) => self.start(kind),
            ModelEvent::Delta(text) => self.grow(text),
            ModelEvent::PartFinished { provider_state } => {
                if let Some(part) = self.parts.last_mut() {
                    part.provider_state = provider_state.clone();
                }
                self.last_part_finished = true;
            }
            ModelEvent::Usage(usage) => self.usage = *usage,
            ModelEvent::Finished(reason) => self.stop_reason = Some(*reason),
        }
    }

    fn start(&mut self, kind: &PartKind) {
        let content = match kind {
            PartKind::Text => PartContent::Text(String::new()),
            PartKind::Reasoning => PartContent::Reasoning(String::new()),
            PartKind::ToolCall { tool_name } => {
                PartContent::ToolCall { tool_name: tool_name.clone(), arguments_json: String::new() }
            }
        };
        self.parts.push(AnswerPart { content, provider_state: Bytes::new() });
        self.last_part_finished = false;
    }

    fn grow(&mut self, text: &str) {
        if let Some(part) = self.parts.last_mut() {
            match &mut part.content {
                PartContent::Text(grown)
                | PartContent::Reasoning(grown)
                | PartContent::ToolCall { arguments_json: grown, .. } => grown.push_str(text),
            }
        }
    }
}

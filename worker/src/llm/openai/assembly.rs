//! Turns the chunks of a Chat Completions stream into our events.
//!
//! Pure: events in, events out. What is not known is passed over. Only the first choice
//! is read, as one is asked for. A reason to finish says that the answer is whole; what
//! comes after it, and may be missing, is the count of tokens and the word that all is
//! done.

use chatplane_domain::{ErrorKind, Usage};
use serde_json::value::RawValue;

use super::super::assembly::{Assembly, Fault, Progress, parse};
use super::super::sse::Event;
use super::super::{ModelEvent, StopReason};
use super::failure::in_stream;
use super::fragment::Fragment;
use super::parts::Parts;
use super::usage::Counts;
use super::wire::{Choice, Chunk, Content, Delta, Piece};

/// What a server sends when all is done; no JSON.
const DONE: &str = "[DONE]";

/// Adds up one stream.
pub(in crate::llm) struct ChatAssembly {
    parts: Parts,
    counts: Counts,
    told: Usage,
    finish_reason: Option<String>,
    begun: bool,
}

impl ChatAssembly {
    /// An answer of `model` with parts of at most `answer_bytes_max`.
    pub(super) fn new(model: String, answer_bytes_max: usize) -> Self {
        Self {
            parts: Parts::new(model, answer_bytes_max),
            counts: Counts::default(),
            told: Usage::default(),
            finish_reason: None,
            begun: false,
        }
    }

    fn choice(&mut self, choice: Choice) -> Result<(), Fault> {
        if let Some(delta) = choice.delta {
            self.delta(delta)?;
        }
        // Some servers send an empty one until there is one.
        if let Some(reason) = choice.finish_reason.filter(|reason| !reason.is_empty()) {
            self.begun = true;
            self.finish_reason = Some(reason);
        }
        Ok(())
    }

    fn delta(&mut self, delta: Delta) -> Result<(), Fault> {
        for detail in delta.reasoning_details.unwrap_or_default() {
            self.begun = true;
            self.parts.thinking_detail(detail)?;
        }
        // Servers that send both send the same twice.
        let thoughts = [("reasoning_content", delta.reasoning_content), ("reasoning", delta.reasoning)];
        let thought = thoughts.iter().find_map(|(name, json)| Some((*name, text(json.as_deref()?)?)));
        if let Some((name, text)) = thought {
            self.begun = true;
            self.parts.thinking(Some(name), &text)?;
        }
        if let Some(content) = delta.content {
            self.content(content)?;
        }
        if let Some(refusal) = delta.refusal {
            self.content(Content::Plain(refusal))?;
        }
        for call in delta.tool_calls.unwrap_or_default() {
            self.begun = true;
            self.parts.call(Fragment::read(call)?)?;
        }
        if let Some(function) = delta.function_call {
            self.begun = true;
            self.parts.call(Fragment::read_single(function.get())?)?;
        }
        Ok(())
    }

    /// Words, with thinking among them where a server lists both.
    fn content(&mut self, content: Content) -> Result<(), Fault> {
        match content {
            Content::Plain(text) => {
                self.begun |= !text.is_empty();
                self.parts.text(&text)
            }
            Content::List(pieces) => pieces.into_iter().try_for_each(|piece| match piece {
                Piece::Text { text } => self.content(Content::Plain(text)),
                Piece::Thinking { thinking } => {
                    let text = thinking.into_text();
                    self.begun |= !text.is_empty();
                    self.parts.thinking(None, &text)
                }
                Piece::Unknown => Ok(()),
            }),
        }
    }

    /// The tokens, if they are others than were told before.
    fn usage(&mut self) -> Option<ModelEvent> {
        let usage = self.counts.usage();
        let told = std::mem::replace(&mut self.told, usage);
        (told != usage).then_some(ModelEvent::Usage(usage))
    }
}

impl Assembly for ChatAssembly {
    fn event(&mut self, event: &Event) -> Result<Vec<ModelEvent>, Fault> {
        match event.data.trim() {
            DONE => return self.end(),
            // A sign of life.
            "" => return Ok(Vec::new()),
            _ => {}
        }
        let chunk: Chunk = parse(&event.data, "a chunk is not what it should be")?;
        if let Some(error) = chunk.error {
            return Err(in_stream(&error));
        }
        if event.name == "error" || chunk.object.as_deref() == Some("error") {
            return Err(in_stream(&parse(&event.data, "an error is not a JSON object")?));
        }
        let choices = chunk.choices.unwrap_or_default();
        for choice in choices.into_iter().filter(|choice| choice.index.unwrap_or(0) == 0) {
            self.choice(choice)?;
        }
        let mut events = self.parts.tell()?;
        if let Some(usage) = chunk.usage {
            self.counts.report(&usage);
            events.extend(self.usage());
        }
        Ok(events)
    }

    /// The reason to stop says what the parts say: a caller that waits for calls which
    /// do not exist, or leaves some open, would be stuck. Some servers send `stop` with
    /// calls, and each has words of its own.
    fn end(&mut self) -> Result<Vec<ModelEvent>, Fault> {
        let reason = match self.finish_reason.take().as_deref() {
            None => return Err(Fault::Malformed("the stream ended without a reason to finish")),
            Some("content_filter") => return Err(Fault::Refused("content_filter".to_owned())),
            Some("insufficient_system_resource") => return Err(gave_up(ErrorKind::Overloaded)),
            Some("error") => return Err(gave_up(ErrorKind::ProviderUnavailable)),
            Some("length") => StopReason::MaxTokens,
            Some(_) if self.parts.has_calls() => StopReason::ToolUse,
            Some(_) => StopReason::EndTurn,
        };
        let mut events = self.parts.finish()?;
        events.push(ModelEvent::Finished(reason));
        Ok(events)
    }

    fn progress(&self) -> Progress {
        match (&self.finish_reason, self.begun) {
            (Some(_), _) => Progress::Answered,
            (None, true) => Progress::Begun,
            (None, false) => Progress::Waiting,
        }
    }
}

fn gave_up(kind: ErrorKind) -> Fault {
    Fault::Provider { kind, label: "finish_reason".to_owned() }
}

/// A text that says something; anything else is passed over.
fn text(json: &RawValue) -> Option<String> {
    serde_json::from_str(json.get()).ok().filter(|text: &String| !text.is_empty())
}

#[cfg(test)]
#[path = "assembly_tests.rs"]
mod tests;

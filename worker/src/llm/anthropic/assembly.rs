//! Turns the events of Anthropic's stream into ours.
//!
//! Pure: events in, events out. Kinds of events, deltas and blocks that are not
//! known are passed over, as the provider asks for. A block of an unknown kind is
//! not kept for replay either: what its deltas mean is not known, the known ones
//! come in pairs, and they are only sent to callers that asked for them.

use chatplane_domain::{ErrorKind, Usage};

use super::super::assembly::{Assembly, Budget, Fault, PART_BYTES, Progress, parse};
use super::super::sse::Event;
use super::super::state::{Fields, State, raw_text, text_field};
use super::super::{ModelEvent, PartKind, StopReason};
use super::FORMAT;
use super::failure::kind_of_type;
use super::wire::{
    BlockDelta, BlockStart, BlockStop, Delta, ErrorEvent, Head, MessageDelta, MessageStart, WireUsage,
};

/// The block that is being written.
struct OpenBlock {
    index: i64,
    kind: OpenKind,
    /// What the provider sent at its start.
    fields: Fields,
    /// Whether a delta with content has come.
    grown: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum OpenKind {
    Text,
    Thinking,
    RedactedThinking,
    ToolUse,
    Unknown,
}

/// Adds up one stream.
pub(in crate::llm) struct MessageAssembly {
    model: String,
    budget: Budget,
    open: Option<OpenBlock>,
    usage: Usage,
    stop_reason: Option<String>,
    refusal_category: String,
    has_calls: bool,
    /// Whether the model has begun to answer.
    begun: bool,
}

impl MessageAssembly {
    /// An answer of `model` with parts of at most `answer_bytes_max`.
    pub(super) fn new(model: String, answer_bytes_max: usize) -> Self {
        Self {
            model,
            budget: Budget::new(answer_bytes_max),
            open: None,
            usage: Usage::default(),
            stop_reason: None,
            refusal_category: String::new(),
            has_calls: false,
            begun: false,
        }
    }

    /// Counts grow within a call, and some providers send zeros beside real ones,
    /// so the largest count of each kind is the true one.
    fn report_usage(&mut self, wire: WireUsage) -> Vec<ModelEvent> {
        let raise = |count: &mut i64, reported: Option<i64>| *count = (*count).max(reported.unwrap_or(0));
        raise(&mut self.usage.input_tokens, wire.input_tokens);
        raise(&mut self.usage.output_tokens, wire.output_tokens);
        raise(&mut self.usage.cache_write_tokens, wire.cache_creation_input_tokens);
        raise(&mut self.usage.cache_read_tokens, wire.cache_read_input_tokens);
        let reasoning = wire.output_tokens_details.and_then(|details| details.thinking_tokens);
        raise(&mut self.usage.reasoning_tokens, reasoning);
        vec![ModelEvent::Usage(self.usage)]
    }

    fn start_block(&mut self, start: BlockStart) -> Result<Vec<ModelEvent>, Fault> {
        if self.open.is_some() {
            return Err(Fault::Malformed("a content block starts before the one before has stopped"));
        }
        self.begun = true;
        let fields = start.content_block;
        let (kind, part, text) = match text_field(&fields, "type").as_deref() {
            Some("text") => (OpenKind::Text, Some(PartKind::Text), text_field(&fields, "text")),
            Some("thinking") => {
                (OpenKind::Thinking, Some(PartKind::Reasoning), text_field(&fields, "thinking"))
            }
            Some("redacted_thinking") => (OpenKind::RedactedThinking, Some(PartKind::Reasoning), None),
            Some("tool_use") => {
                let tool_name = text_field(&fields, "name").unwrap_or_default();
                self.budget.spend(tool_name.len())?;
                self.has_calls = true;
                (OpenKind::ToolUse, Some(PartKind::ToolCall { tool_name }), None)
            }
            _ => (OpenKind::Unknown, None, None),
        };
        self.open = Some(OpenBlock { index: start.index, kind, fields, grown: false });
        let Some(part) = part else { return Ok(Vec::new()) };
        self.budget.spend(PART_BYTES)?;
        let mut events = vec![ModelEvent::PartStarted(part)];
        events.extend(self.grow(text.unwrap_or_default())?);
        Ok(events)
    }

    fn grow_block(&mut self, delta: BlockDelta) -> Result<Vec<ModelEvent>, Fault> {
        let Some(open) = self.open.as_mut().filter(|open| open.index == delta.index) else {
            return Err(Fault::Malformed("a delta belongs to no open content block"));
        };
        let text = match (open.kind, delta.delta) {
            (OpenKind::Text, Delta::Text { text }) => text,
            (OpenKind::Thinking, Delta::Thinking { thinking }) => thinking,
            (OpenKind::ToolUse, Delta::InputJson { partial_json }) => partial_json,
            (OpenKind::Thinking, Delta::Signature { signature }) => {
                open.fields.insert("signature".to_owned(), raw_text(&signature));
                return Ok(Vec::new());
            }
            (OpenKind::Unknown, _) | (_, Delta::Unknown) => return Ok(Vec::new()),
            _ => {
                return Err(Fault::Malformed("a delta is of another kind than its content block"));
            }
        };
        Ok(self.grow(text)?.into_iter().collect())
    }

    fn grow(&mut self, text: String) -> Result<Option<ModelEvent>, Fault> {
        if text.is_empty() {
            return Ok(None);
        }
        self.budget.spend(text.len())?;
        if let Some(open) = &mut self.open {
            open.grown = true;
        }
        Ok(Some(ModelEvent::Delta(text)))
    }

    fn stop_block(&mut self, stop: &BlockStop) -> Result<Vec<ModelEvent>, Fault> {
        let Some(open) = self.open.take_if(|open| open.index == stop.index) else {
            return Err(Fault::Malformed("a content block stops that is not open"));
        };
        let mut events = Vec::new();
        let block = match open.kind {
            OpenKind::Unknown => return Ok(events),
            OpenKind::Text => None,
            OpenKind::Thinking => signed(without(open.fields, "thinking")),
            OpenKind::RedactedThinking => Some(open.fields),
            OpenKind::ToolUse => {
                if !open.grown {
                    events.extend(self.grow(whole_input(&open.fields))?);
                }
                Some(without(open.fields, "input"))
            }
        };
        let provider_state =
            block.map(|block| State::new(FORMAT, &self.model, block).encode()).unwrap_or_default();
        self.budget.spend(provider_state.len())?;
        events.push(ModelEvent::PartFinished { provider_state });
        Ok(events)
    }

    /// The reason to stop says what the parts say: a caller that waits for calls
    /// which do not exist, or leaves some open, would be stuck.
    fn finish(&mut self) -> Result<Vec<ModelEvent>, Fault> {
        if self.open.is_some() {
            return Err(Fault::Malformed("the message stops within a content block"));
        }
        let reason = match self.stop_reason.as_deref() {
            Some("refusal") => return Err(Fault::Refused(std::mem::take(&mut self.refusal_category))),
            Some("model_context_window_exceeded") => return Err(Fault::ContextFull),
            Some("max_tokens") => StopReason::MaxTokens,
            Some("pause_turn") => StopReason::PauseTurn,
            _ if self.has_calls => StopReason::ToolUse,
            _ => StopReason::EndTurn,
        };
        Ok(vec![ModelEvent::Finished(reason)])
    }
}

impl Assembly for MessageAssembly {
    fn event(&mut self, event: &Event) -> Result<Vec<ModelEvent>, Fault> {
        let head: Head = parse(&event.data, "an event is not a JSON object")?;
        let kind = if head.kind.is_empty() { &event.name } else { &head.kind };
        match kind.as_str() {
            "message_start" => {
                let start: MessageStart = parse(&event.data, "message_start")?;
                Ok(start.message.usage.map(|usage| self.report_usage(usage)).unwrap_or_default())
            }
            "content_block_start" => self.start_block(parse(&event.data, "content_block_start")?),
            "content_block_delta" => self.grow_block(parse(&event.data, "content_block_delta")?),
            "content_block_stop" => self.stop_block(&parse(&event.data, "content_block_stop")?),
            "message_delta" => {
                let delta: MessageDelta = parse(&event.data, "message_delta")?;
                self.begun = true;
                self.stop_reason = delta.delta.stop_reason.or(self.stop_reason.take());
                let category = delta.delta.stop_details.and_then(|details| details.category);
                self.refusal_category = category.unwrap_or_default();
                Ok(delta.usage.map(|usage| self.report_usage(usage)).unwrap_or_default())
            }
            "message_stop" => self.finish(),
            "error" => {
                let error: ErrorEvent = parse(&event.data, "error")?;
                let label = error.error.kind;
                let kind = kind_of_type(&label).unwrap_or(ErrorKind::ProviderUnavailable);
                Err(Fault::Provider { kind, label })
            }
            _ => Ok(Vec::new()),
        }
    }

    fn end(&mut self) -> Result<Vec<ModelEvent>, Fault> {
        Err(Fault::Malformed("the stream ended before the message did"))
    }

    fn progress(&self) -> Progress {
        if self.begun { Progress::Begun } else { Progress::Waiting }
    }
}

fn without(mut fields: Fields, name: &str) -> Fields {
    fields.remove(name);
    fields
}

/// Thinking without a signature would be refused when it comes back.
fn signed(fields: Fields) -> Option<Fields> {
    text_field(&fields, "signature").is_some_and(|signature| !signature.is_empty()).then_some(fields)
}

/// A call whose arguments came with its start, as some servers send them.
fn whole_input(fields: &Fields) -> String {
    fields.get("input").map_or_else(|| "{}".to_owned(), |input| input.get().to_owned())
}

#[cfg(test)]
#[path = "assembly_tests.rs"]
mod tests;

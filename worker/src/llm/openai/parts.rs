//! The parts of an answer that are being written.
//!
//! Chat Completions never says that a part is over, and a server may write several at a
//! time, while we tell one part after the other. So the first open part is told as it
//! grows and the others wait, until it is known to be whole: a text or a thought when
//! something else begins, a call when its arguments are (then later fragments of it can
//! hold nothing), and all of them when the answer ends. What waits is bounded by the
//! answer's bytes and by [`OPEN_PARTS_MAX`].

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use serde_json::value::RawValue;

use super::super::assembly::{Budget, Fault, PART_BYTES};
use super::super::state::{Fields, State, raw_text};
use super::super::{ModelEvent, PartKind};
use super::FORMAT;
use super::details::Details;
use super::fragment::Fragment;
use super::object_end::ObjectEnd;

/// Parts that may be written at a time; a message holds 100.
const OPEN_PARTS_MAX: usize = 128;
/// Where a part of thinking keeps the name of the field that it came in.
pub(super) const THINKING_FIELD: &str = "field";
/// Where it keeps what must go back beside its text, and the field that it came in.
pub(super) const DETAILS: &str = "reasoning_details";

/// The open parts, in the order in which they began.
pub(super) struct Parts {
    model: String,
    budget: Budget,
    open: VecDeque<Part>,
    /// The provider's ids of calls by index, the finished ones included.
    ids: BTreeMap<i64, String>,
}

struct Part {
    kind: Kind,
    /// What the provider must get back.
    fields: Fields,
    /// Bytes of the budget that the fields have taken.
    fields_bytes: usize,
    /// What has come and is not told yet.
    waiting: String,
    /// Whether its start has been told.
    started: bool,
    /// Whether it has any text.
    grown: bool,
}

enum Kind {
    Text,
    Reasoning(Details),
    Call(OpenCall),
}

struct OpenCall {
    index: i64,
    id: String,
    tool_name: String,
    end: ObjectEnd,
}

impl Parts {
    /// Parts of an answer of `model`, of at most `bytes_max` in all.
    pub(super) fn new(model: String, bytes_max: usize) -> Self {
        Self { model, budget: Budget::new(bytes_max), open: VecDeque::new(), ids: BTreeMap::new() }
    }

    /// Whether the answer has calls.
    pub(super) fn has_calls(&self) -> bool {
        !self.ids.is_empty()
    }

    /// The answer's words grow.
    pub(super) fn text(&mut self, text: &str) -> Result<(), Fault> {
        if text.is_empty() {
            return Ok(());
        }
        if !matches!(self.open.back(), Some(Part { kind: Kind::Text, .. })) {
            self.begin(Kind::Text)?;
        }
        self.grow(self.open.len() - 1, text)
    }

    /// The model's thinking grows, in the field of this name; thinking that has no field of
    /// its own does not go back.
    pub(super) fn thinking(&mut self, field: Option<&str>, text: &str) -> Result<(), Fault> {
        if text.is_empty() {
            return Ok(());
        }
        let part = self.thinking_part()?;
        if let Some(field) = field {
            self.keep(part, THINKING_FIELD, &raw_text(field))?;
        }
        self.grow(part, text)
    }

    /// Something comes that must go back with the thinking.
    pub(super) fn thinking_detail(&mut self, detail: Fields) -> Result<(), Fault> {
        let place = self.thinking_part()?;
        let part = &mut self.open[place];
        let Kind::Reasoning(details) = &mut part.kind else {
            return Ok(());
        };
        let bytes = details.add(detail);
        part.fields_bytes += bytes;
        self.budget.spend(bytes)
    }

    /// The place of the part that takes thinking.
    fn thinking_part(&mut self) -> Result<usize, Fault> {
        if !matches!(self.open.back(), Some(Part { kind: Kind::Reasoning(_), .. })) {
            self.begin(Kind::Reasoning(Details::default()))?;
        }
        Ok(self.open.len() - 1)
    }

    /// A call begins or grows.
    pub(super) fn call(&mut self, fragment: Fragment) -> Result<(), Fault> {
        let Some(place) = self.place_of(&fragment)? else {
            return Ok(());
        };
        let Some(Part { kind: Kind::Call(call), .. }) = self.open.get_mut(place) else {
            return Ok(());
        };
        call.end.follow(&fragment.arguments);
        if call.tool_name.is_empty() {
            self.budget.spend(fragment.tool_name.len())?;
            call.tool_name = fragment.tool_name;
        }
        if call.id.is_empty() && !fragment.id.is_empty() {
            call.id.clone_from(&fragment.id);
            self.ids.insert(call.index, fragment.id.clone());
            self.keep(place, "id", &raw_text(&fragment.id))?;
        }
        for (name, value) in &fragment.rest {
            self.keep(place, name, value)?;
        }
        self.grow(place, &fragment.arguments)
    }

    /// The place of the call that a fragment belongs to, which begins here if it is new;
    /// `None` for a fragment that says nothing.
    fn place_of(&mut self, fragment: &Fragment) -> Result<Option<usize>, Fault> {
        if let Some(place) = self.open_call(fragment) {
            return Ok(Some(place));
        }
        let unused = || self.ids.last_key_value().map_or(0, |(last, _)| last.saturating_add(1));
        let index = fragment.index.unwrap_or_else(unused);
        let says_nothing = fragment.arguments.trim().is_empty();
        // Something may be repeated after the end of a call, but nothing added.
        let is_late = match (fragment.tool_name.as_str(), self.ids.get(&index)) {
            ("", Some(_)) => true,
            ("", None) => fragment.index.is_none(),
            (_, Some(id)) => says_nothing && !id.is_empty() && *id == fragment.id,
            (_, None) => false,
        };
        match is_late {
            true if says_nothing => return Ok(None),
            true => return Err(Fault::Malformed("arguments belong to no open call")),
            false => {}
        }
        self.ids.insert(index, String::new());
        let call = OpenCall { index, id: String::new(), tool_name: String::new(), end: ObjectEnd::default() };
        self.begin(Kind::Call(call))?;
        Ok(Some(self.open.len() - 1))
    }

    /// The place of the open call that a fragment carries on.
    fn open_call(&self, fragment: &Fragment) -> Option<usize> {
        let calls = self.open.iter().enumerate().filter_map(|(place, part)| match &part.kind {
            Kind::Call(call) => Some((place, call)),
            Kind::Text | Kind::Reasoning(_) => None,
        });
        let is_of = |call: &OpenCall| match fragment.index {
            Some(index) => call.index == index,
            None => fragment.id.is_empty() || call.id == fragment.id,
        };
        let (place, call) = calls.rev().find(|(_, call)| is_of(call))?;
        (!begins_another(call, fragment)).then_some(place)
    }

    fn begin(&mut self, kind: Kind) -> Result<(), Fault> {
        if self.open.len() == OPEN_PARTS_MAX {
            return Err(Fault::TooLarge);
        }
        self.budget.spend(PART_BYTES)?;
        self.open.push_back(Part {
            kind,
            fields: Fields::new(),
            fields_bytes: 0,
            waiting: String::new(),
            started: false,
            grown: false,
        });
        Ok(())
    }

    fn grow(&mut self, place: usize, text: &str) -> Result<(), Fault> {
        self.budget.spend(text.len())?;
        let part = &mut self.open[place];
        part.grown |= !text.is_empty();
        part.waiting.push_str(text);
        Ok(())
    }

    /// Keeps a field that must go back; a later value takes the place of an earlier one.
    fn keep(&mut self, place: usize, name: &str, value: &RawValue) -> Result<(), Fault> {
        let part = &mut self.open[place];
        if part.fields.get(name).is_some_and(|kept| kept.get() == value.get()) {
            return Ok(());
        }
        let bytes = name.len() + value.get().len();
        self.budget.spend(bytes)?;
        part.fields_bytes += bytes;
        part.fields.insert(name.to_owned(), value.to_owned());
        Ok(())
    }

    /// What can be told by now.
    pub(super) fn tell(&mut self) -> Result<Vec<ModelEvent>, Fault> {
        let mut events = Vec::new();
        while let Some(first) = self.open.front_mut() {
            first.tell(&mut events);
            if self.open.len() == 1 || !self.open[0].is_whole() {
                break;
            }
            self.finish_first(&mut events)?;
        }
        Ok(events)
    }

    /// The answer is over: tells everything.
    pub(super) fn finish(&mut self) -> Result<Vec<ModelEvent>, Fault> {
        let mut events = Vec::new();
        while !self.open.is_empty() {
            self.finish_first(&mut events)?;
        }
        Ok(events)
    }

    fn finish_first(&mut self, events: &mut Vec<ModelEvent>) -> Result<(), Fault> {
        let Some(mut part) = self.open.pop_front() else {
            return Ok(());
        };
        part.tell(events);
        if !part.started {
            return Err(Fault::Malformed("a tool call has no name"));
        }
        if matches!(part.kind, Kind::Call(_)) && !part.grown {
            // A tool without parameters, as some models call it.
            events.push(ModelEvent::Delta("{}".to_owned()));
        }
        let (kept, provider_state) = (part.fields_bytes, part.state(&self.model));
        self.budget.spend(provider_state.len().saturating_sub(kept))?;
        events.push(ModelEvent::PartFinished { provider_state });
        Ok(())
    }
}

impl Part {
    /// Tells what has come. A call without a name cannot be told yet.
    fn tell(&mut self, events: &mut Vec<ModelEvent>) {
        if !self.started {
            let kind = match &self.kind {
                Kind::Text => PartKind::Text,
                Kind::Reasoning(_) => PartKind::Reasoning,
                Kind::Call(call) if call.tool_name.is_empty() => return,
                Kind::Call(call) => PartKind::ToolCall { tool_name: call.tool_name.clone() },
            };
            events.push(ModelEvent::PartStarted(kind));
            self.started = true;
        }
        if !self.waiting.is_empty() {
            events.push(ModelEvent::Delta(std::mem::take(&mut self.waiting)));
        }
    }

    /// Whether nothing more can come.
    fn is_whole(&self) -> bool {
        match &self.kind {
            Kind::Text | Kind::Reasoning(_) => true,
            Kind::Call(call) => self.started && call.end.reached(),
        }
    }

    fn state(self, model: &str) -> Bytes {
        let mut fields = self.fields;
        if let Kind::Reasoning(details) = self.kind {
            fields.extend(details.into_json().map(|details| (DETAILS.to_owned(), details)));
        }
        if fields.is_empty() { Bytes::new() } else { State::new(FORMAT, model, fields).encode() }
    }
}

/// Whether a fragment that could belong to this call begins another one instead. Some
/// servers send whole calls, all with the same index or with none; others repeat the
/// name, or make up a new id, with every fragment of a call.
fn begins_another(call: &OpenCall, fragment: &Fragment) -> bool {
    let other_id = !fragment.id.is_empty() && fragment.id != call.id;
    let no_id = fragment.id.is_empty() && !fragment.arguments.trim().is_empty();
    !fragment.tool_name.is_empty() && call.end.reached() && (other_id || no_id)
}

#[cfg(test)]
#[path = "parts_tests.rs"]
mod tests;

//! The pure reducer of a watched chat: events in, what to print out.
//!
//! Text is printed as it is streamed, and the committed messages say what it had to be. One rule makes that
//! gapless and free of doubles: text that arrives, from whichever source, is first matched against what has
//! been printed of this answer; only what goes beyond it is printed. So a stream that is sent again after a
//! reconnect prints nothing twice, and a commit prints what the stream has missed. When the two differ (a
//! model call was repeated and answers differently), the answer is printed again from its start on a new
//! line, and a note says that what stands above is void.

use std::{collections::BTreeSet, time::SystemTime};

use chatplane_proto::chat::v1::{
    ActionRequired, ChatError, ChatState, Message, Part, PartAppend, PartKind, PartStarted, PreviewReset,
    RetryState, Role, StreamId, SyntheticReason, part, watch_chat_response::Event,
};

pub(crate) use self::work::{Activity, Waiting};
use self::{
    answer::{Answer, LivePart, LiveStream},
    tool_output::ToolOutput,
    work::Work,
};
use crate::client::{
    details,
    words::{self, Advice},
};

mod answer;
mod tool_output;
mod work;

/// Something to print.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Output {
    /// Bytes of the answer, for standard output.
    Answer(Vec<u8>),
    /// The answer goes on in a new line, if one has been begun.
    NewLine,
    /// What a user wrote.
    Message(String),
    /// A line for standard error.
    Note(String),
}

impl Output {
    /// The line, if it is one.
    pub(crate) fn into_note(self) -> Option<String> {
        match self {
            Self::Note(note) => Some(note),
            Self::Answer(_) | Self::NewLine | Self::Message(_) => None,
        }
    }
}

/// How a turn ended.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Outcome {
    /// The model has answered.
    Answered,
    /// Somebody has stopped it.
    Interrupted,
    /// The chat stopped with this error.
    Failed(Box<ChatError>),
}

/// What is known of the chat, and has been printed of it.
pub(crate) struct Transcript {
    advice: Advice,
    messages: BTreeSet<i64>,
    answer: Answer,
    stream: Option<LiveStream>,
    /// Streams with a lower base are over.
    base_min: i64,
    error: Option<ChatError>,
    retry: Option<RetryState>,
    outcome: Option<Outcome>,
    was_interrupted: bool,
    /// A state of an older picture is not the end of what was begun.
    version_min: i64,
    tool_output: ToolOutput,
    work: Work,
    action: Option<ActionRequired>,
    /// The text of the newest summary.
    summary: Option<String>,
    /// True while the next word is the model's, and nobody has been told that it takes its time.
    waits_for_model: bool,
}

impl Transcript {
    pub(crate) fn new(advice: Advice) -> Self {
        Self {
            advice,
            messages: BTreeSet::new(),
            answer: Answer::default(),
            stream: None,
            base_min: 0,
            error: None,
            retry: None,
            outcome: None,
            was_interrupted: false,
            version_min: 0,
            tool_output: ToolOutput::default(),
            work: Work::default(),
            action: None,
            summary: None,
            waits_for_model: false,
        }
    }

    /// A message was sent: from here on the turn is a new one.
    pub(crate) fn begin_turn(&mut self) {
        self.outcome = None;
        self.error = None;
        self.was_interrupted = false;
        self.waits_for_model = true;
        self.work.begins();
    }

    /// What was asked for was stored with this `snapshot_version`: what came to rest before is not its end.
    pub(crate) fn has_begun(&mut self, snapshot_version: i64) {
        self.version_min = self.version_min.max(snapshot_version);
    }

    /// The message was refused.
    pub(crate) fn begins_not(&mut self) {
        self.waits_for_model = false;
        self.work.begins_not();
    }

    /// Whether it is time to tell that the model takes its time.
    pub(crate) fn waits_for_model(&self) -> bool {
        self.waits_for_model
    }

    /// It has been told.
    pub(crate) fn has_told_to_wait(&mut self) {
        self.waits_for_model = false;
    }

    /// What is going on.
    pub(crate) fn activity(&self) -> Activity {
        self.work.activity()
    }

    /// The messages that wait, the next one first.
    pub(crate) fn queue(&self) -> impl Iterator<Item = &Waiting> {
        self.work.queue()
    }

    /// The newest summary that was made while the chat was watched.
    pub(crate) fn summary(&self) -> Option<&str> {
        self.summary.as_deref()
    }

    /// How the turn ended, once it has.
    pub(crate) fn outcome(&self) -> Option<&Outcome> {
        self.outcome.as_ref()
    }

    /// How the turn ended whose end was not seen, for the next one has begun.
    pub(crate) fn outcome_so_far(&self) -> Outcome {
        if self.was_interrupted { Outcome::Interrupted } else { Outcome::Answered }
    }

    /// How the turn ended, told once.
    pub(crate) fn take_outcome(&mut self) -> Option<Outcome> {
        self.outcome.take()
    }

    /// Takes the next event.
    pub(crate) fn apply(&mut self, event: Event, now: SystemTime) -> Vec<Output> {
        match event {
            Event::Message(message) => return self.message(&message),
            Event::PartAppend(append) => {
                let tool_lines = self.tool_output.append(&append).into_iter().map(Output::Note);
                return tool_lines.chain(self.part_append(&append)).collect();
            }
            Event::Retry(change) => return self.retry(change.retry, now),
            Event::ActionRequired(action) => return self.action_required(action, now),
            Event::HistoryReset(reset) => drop(self.messages.split_off(&reset.from_message_id)),
            Event::PartStarted(header) => self.part_started(&header),
            Event::PreviewReset(reset) => self.preview_reset(&reset),
            Event::PreviewTruncated(cut) => {
                // The commit will show the rest.
                self.stream_named(cut.stream.as_ref()).into_iter().for_each(|stream| stream.is_cut = true);
            }
            Event::Error(change) => self.error = change.error,
            Event::State(change) if change.snapshot_version < self.version_min => {
                self.work.state(ChatState::Running);
            }
            Event::State(change) => self.state(change.state()),
            Event::QueuedMessageUpserted(message) => self.work.upserted(message),
            Event::QueuedMessageRemoved(removed) => self.work.removed(&removed.queued_message_id),
            Event::ChatUpdated(_) | Event::Progress(_) => {}
        }
        Vec::new()
    }

    fn message(&mut self, message: &Message) -> Vec<Output> {
        if !self.messages.insert(message.message_id) {
            return Vec::new();
        }
        if message.covers_through != 0 {
            return self.boundary(message);
        }
        self.work.message(message);
        self.was_interrupted |= message.interrupted;
        match message.role() {
            Role::Assistant => self.assistant_message(message),
            Role::Tool => {
                self.waits_for_model = true;
                message.parts.iter().flat_map(|part| self.tool_result(part)).collect()
            }
            Role::User => self.user_message(message),
            Role::Unspecified | Role::System => Vec::new(),
        }
    }

    /// A row of a boundary: it stands beside the answer that is being printed, and is no part of it.
    fn boundary(&mut self, message: &Message) -> Vec<Output> {
        self.work.boundary();
        let mut outputs = Vec::new();
        for part in &message.parts {
            match &part.kind {
                Some(part::Kind::ToolCall(call)) => outputs.push(Output::Note(words::boundary(call))),
                Some(part::Kind::ToolResult(result)) => self.summary = Some(result.output.clone()),
                Some(
                    part::Kind::Text(_)
                    | part::Kind::Reasoning(_)
                    | part::Kind::File(_)
                    | part::Kind::FileReference(_)
                    | part::Kind::DiffComment(_),
                )
                | None => {}
            }
        }
        outputs
    }

    fn user_message(&mut self, message: &Message) -> Vec<Output> {
        self.waits_for_model = true;
        self.was_interrupted = false;
        self.answer = Answer::default();
        self.end_streams_before(message.revision);
        let mut outputs = vec![Output::NewLine, Output::Message(message_of(&message.parts))];
        if !message.requested_model.is_empty() {
            let note = words::model_replaced(&message.requested_model, &message.model);
            outputs.push(Output::Note(note));
        }
        outputs
    }

    fn tool_result(&mut self, part: &Part) -> Vec<Output> {
        let Some(part::Kind::ToolResult(result)) = &part.kind else {
            return Vec::new();
        };
        self.was_interrupted |= result.synthetic_reason() == SyntheticReason::Interrupted;
        let last_line = self.tool_output.ended(result.call_message_id, result.call_index);
        last_line.into_iter().chain([words::tool_result(result)]).map(Output::Note).collect()
    }

    fn assistant_message(&mut self, message: &Message) -> Vec<Output> {
        self.waits_for_model = false;
        let mut outputs = self.answer.settle(text_of(&message.parts).as_bytes());
        self.end_streams_before(message.revision);
        outputs.extend(message.parts.iter().filter_map(words::tool_call).map(Output::Note));
        outputs
    }

    fn end_streams_before(&mut self, revision: i64) {
        self.base_min = self.base_min.max(revision);
        self.stream.take_if(|stream| stream.base < revision);
    }

    fn part_started(&mut self, header: &PartStarted) {
        match header.kind() {
            PartKind::ToolOutput => self.tool_output.started(header),
            PartKind::Summary => self.work.summary_started(header.stream.as_ref()),
            PartKind::Unspecified | PartKind::Text | PartKind::Reasoning | PartKind::ToolCall => {}
        }
        let Some(id) = &header.stream else { return };
        let is_answer = matches!(header.kind(), PartKind::Text | PartKind::Reasoning | PartKind::ToolCall);
        if !is_answer || id.base_version < self.base_min {
            return;
        }
        self.waits_for_model = false;
        self.work.writes();
        let current = self.stream.as_ref().map(LiveStream::position);
        if current.is_none_or(|current| current < (id.base_version, id.index)) {
            // A model call that follows another without a commit repeats it.
            self.answer.restart();
            self.stream = Some(LiveStream::new(id));
        }
        if let Some(stream) = self.stream_named(Some(id)) {
            let is_text = header.kind() == PartKind::Text;
            stream.parts.entry(header.part).or_insert(LivePart { is_text, bytes: 0 });
        }
    }

    fn part_append(&mut self, append: &PartAppend) -> Vec<Output> {
        let Some(stream) = self.stream_named(append.stream.as_ref()).filter(|stream| !stream.is_cut) else {
            return Vec::new();
        };
        let Some(part) = stream.parts.get_mut(&append.part).filter(|part| part.bytes == append.offset) else {
            // Something is missing before it. What follows would be printed in the wrong place.
            stream.is_cut = true;
            return Vec::new();
        };
        part.bytes += i64::try_from(append.data.len()).unwrap_or(i64::MAX);
        if part.is_text { self.answer.append(&append.data) } else { Vec::new() }
    }

    fn preview_reset(&mut self, reset: &PreviewReset) {
        self.work.preview_reset(reset);
        let is_ours = |stream: &LiveStream| reset.stream.as_ref().is_none_or(|id| stream.is(id));
        if self.stream.as_ref().is_some_and(is_ours) {
            self.stream = None;
            self.answer.restart();
            self.work.writes_no_more();
        }
    }

    fn stream_named(&mut self, id: Option<&StreamId>) -> Option<&mut LiveStream> {
        self.stream.as_mut().filter(|stream| id.is_some_and(|id| stream.is(id)))
    }

    fn retry(&mut self, retry: Option<RetryState>, now: SystemTime) -> Vec<Output> {
        if retry == self.retry {
            // A reconnect repeats what is still the case.
            return Vec::new();
        }
        let note = retry.as_ref().map(|retry| Output::Note(words::retry(retry, self.advice, now)));
        // What follows is another call of the model, which may be as silent.
        self.waits_for_model = true;
        self.work.writes_no_more();
        self.retry = retry;
        note.into_iter().collect()
    }

    fn action_required(&mut self, action: ActionRequired, now: SystemTime) -> Vec<Output> {
        if self.action.as_ref() == Some(&action) {
            return Vec::new();
        }
        let lines = words::action_required(&action, now);
        self.action = Some(action);
        lines.into_iter().map(Output::Note).collect()
    }

    fn state(&mut self, state: ChatState) {
        self.work.state(state);
        if state != ChatState::Suspended {
            self.action = None;
        }
        self.outcome = match state {
            ChatState::Waiting if self.was_interrupted => Some(Outcome::Interrupted),
            ChatState::Waiting => Some(Outcome::Answered),
            ChatState::Error => Some(Outcome::Failed(Box::new(self.error.clone().unwrap_or_default()))),
            ChatState::Unspecified | ChatState::Running | ChatState::Interrupting | ChatState::Suspended => {
                None
            }
        };
        if self.outcome.is_some() {
            self.tool_output.clear();
            self.waits_for_model = false;
        }
    }
}

/// What a user wrote, and below it what goes with it.
fn message_of(parts: &[Part]) -> String {
    let text = Some(text_of(parts)).filter(|text| !text.is_empty());
    text.into_iter().chain(parts.iter().filter_map(details::attached)).collect::<Vec<_>>().join("\n")
}

fn text_of(parts: &[Part]) -> String {
    let text = |part: &Part| match &part.kind {
        Some(part::Kind::Text(part)) => Some(part.text.clone()),
        _ => None,
    };
    parts.iter().filter_map(text).collect()
}

#[cfg(test)]
mod tests;

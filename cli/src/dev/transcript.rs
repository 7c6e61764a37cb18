//! The pure reducer of a prompt's run: events of a watch in, what to print out.
//!
//! Text is printed as it is streamed, and the committed messages say what it had to be. One rule makes that
//! gapless and free of doubles: text that arrives, from whichever source, is first matched against what has
//! been printed of this answer; only what goes beyond it is printed. So a stream that is sent again after a
//! reconnect prints nothing twice, and a commit prints what the stream has missed. When the two differ (a
//! model call was repeated and answers differently), the answer is printed again from its start on a new
//! line, and a note says that what stands above is void.

use std::{
    collections::{BTreeMap, BTreeSet},
    mem,
    time::SystemTime,
};

use chatplane_proto::chat::v1::{
    ChatError, ChatState, Message, Part, PartAppend, PartKind, PartStarted, RetryState, Role, StreamId, part,
    watch_chat_response::Event,
};

use self::tool_output::ToolOutput;
use crate::dev::{model::Provider, words};

mod tool_output;

/// Something to print.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Output {
    /// Bytes of the answer, for standard output.
    Answer(Vec<u8>),
    /// The answer goes on in a new line, if one has been begun.
    NewLine,
    /// A line for standard error.
    Note(String),
}

/// How the turn ended.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Outcome {
    /// The model has answered.
    Answered,
    /// The chat stopped with this error.
    Failed(Box<ChatError>),
}

/// What is known of the chat, and has been printed of it.
pub(crate) struct Transcript {
    provider: Provider,
    messages: BTreeSet<i64>,
    answer: Answer,
    stream: Option<LiveStream>,
    /// Streams with a lower base are over.
    base_min: i64,
    error: Option<ChatError>,
    retry: Option<RetryState>,
    outcome: Option<Outcome>,
    tool_output: ToolOutput,
    /// True while the next word is the model's, and nobody has been told that it takes its time.
    waits_for_model: bool,
}

impl Transcript {
    pub(crate) fn new(provider: Provider) -> Self {
        Self {
            provider,
            messages: BTreeSet::new(),
            answer: Answer::default(),
            stream: None,
            base_min: 0,
            error: None,
            retry: None,
            outcome: None,
            tool_output: ToolOutput::default(),
            waits_for_model: false,
        }
    }

    /// A message was sent: from here on the turn is a new one.
    pub(crate) fn begin_turn(&mut self) {
        self.outcome = None;
        self.error = None;
        self.waits_for_model = true;
    }

    /// Whether it is time to tell that the model takes its time.
    pub(crate) fn waits_for_model(&self) -> bool {
        self.waits_for_model
    }

    /// It has been told.
    pub(crate) fn has_told_to_wait(&mut self) {
        self.waits_for_model = false;
    }

    /// Takes the next event.
    pub(crate) fn apply(&mut self, event: Event, now: SystemTime) -> Vec<Output> {
        match event {
            Event::Message(message) => self.message(&message),
            Event::HistoryReset(reset) => {
                self.messages.split_off(&reset.from_message_id);
                Vec::new()
            }
            Event::PartStarted(header) => {
                self.part_started(&header);
                Vec::new()
            }
            Event::PartAppend(append) => {
                let tool_lines = self.tool_output.append(&append).into_iter().map(Output::Note);
                tool_lines.chain(self.part_append(&append)).collect()
            }
            Event::PreviewReset(reset) => {
                let is_ours = |stream: &LiveStream| reset.stream.as_ref().is_none_or(|id| stream.is(id));
                if self.stream.as_ref().is_some_and(is_ours) {
                    self.stream = None;
                    self.answer.restart();
                }
                Vec::new()
            }
            Event::PreviewTruncated(cut) => {
                // The commit will show the rest.
                self.stream_named(cut.stream.as_ref()).into_iter().for_each(|stream| stream.is_cut = true);
                Vec::new()
            }
            Event::Retry(change) => self.retry(change.retry, now),
            Event::Error(change) => {
                self.error = change.error;
                Vec::new()
            }
            Event::State(change) => {
                self.state(change.state());
                Vec::new()
            }
            Event::QueuedMessageUpserted(_)
            | Event::QueuedMessageRemoved(_)
            | Event::ChatUpdated(_)
            | Event::Progress(_) => Vec::new(),
        }
    }

    /// How the turn ended, once it has.
    pub(crate) fn outcome(&self) -> Option<&Outcome> {
        self.outcome.as_ref()
    }

    fn message(&mut self, message: &Message) -> Vec<Output> {
        if !self.messages.insert(message.message_id) {
            return Vec::new();
        }
        match message.role() {
            Role::Assistant => self.assistant_message(message),
            Role::Tool => {
                self.waits_for_model = true;
                message.parts.iter().flat_map(|part| self.tool_result(part)).collect()
            }
            Role::Unspecified | Role::System | Role::User => Vec::new(),
        }
    }

    fn tool_result(&mut self, part: &Part) -> Vec<Output> {
        let Some(part::Kind::ToolResult(result)) = &part.kind else {
            return Vec::new();
        };
        let last_line = self.tool_output.ended(result.call_message_id, result.call_index);
        last_line.into_iter().chain([words::tool_result(result)]).map(Output::Note).collect()
    }

    fn assistant_message(&mut self, message: &Message) -> Vec<Output> {
        self.waits_for_model = false;
        let mut text = Vec::new();
        for part in &message.parts {
            if let Some(part::Kind::Text(part)) = &part.kind {
                text.extend_from_slice(part.text.as_bytes());
            }
        }
        let mut outputs = self.answer.settle(&text);
        self.base_min = self.base_min.max(message.revision);
        self.stream.take_if(|stream| stream.base < message.revision);
        outputs.extend(message.parts.iter().filter_map(words::tool_call).map(Output::Note));
        outputs
    }

    fn part_started(&mut self, header: &PartStarted) {
        if header.kind() == PartKind::ToolOutput {
            self.tool_output.started(header);
        }
        let Some(id) = &header.stream else { return };
        let is_answer = matches!(header.kind(), PartKind::Text | PartKind::Reasoning | PartKind::ToolCall);
        if !is_answer || id.base_version < self.base_min {
            return;
        }
        self.waits_for_model = false;
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

    fn stream_named(&mut self, id: Option<&StreamId>) -> Option<&mut LiveStream> {
        self.stream.as_mut().filter(|stream| id.is_some_and(|id| stream.is(id)))
    }

    fn retry(&mut self, retry: Option<RetryState>, now: SystemTime) -> Vec<Output> {
        if retry == self.retry {
            // A reconnect repeats what is still the case.
            return Vec::new();
        }
        let note = retry.as_ref().map(|retry| Output::Note(words::retry(retry, self.provider, now)));
        // What follows is another call of the model, which may be as silent.
        self.waits_for_model = true;
        self.retry = retry;
        note.into_iter().collect()
    }

    fn state(&mut self, state: ChatState) {
        self.outcome = match state {
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

/// The model's answer as it is being written.
struct LiveStream {
    base: i64,
    index: i64,
    parts: BTreeMap<i32, LivePart>,
    /// True when what follows cannot be printed, because something is missing before it.
    is_cut: bool,
}

struct LivePart {
    is_text: bool,
    bytes: i64,
}

impl LiveStream {
    fn new(id: &StreamId) -> Self {
        Self { base: id.base_version, index: id.index, parts: BTreeMap::new(), is_cut: false }
    }

    fn position(&self) -> (i64, i64) {
        (self.base, self.index)
    }

    fn is(&self, id: &StreamId) -> bool {
        self.position() == (id.base_version, id.index)
    }
}

/// The text of the answer that is being printed: of one message, over all attempts at it.
#[derive(Default)]
struct Answer {
    printed: Vec<u8>,
    /// How much of `printed` the present source has confirmed.
    matched: usize,
}

impl Answer {
    /// From here on the text arrives from its start.
    fn restart(&mut self) {
        self.matched = 0;
    }

    /// The text goes on.
    fn append(&mut self, data: &[u8]) -> Vec<Output> {
        let known = &self.printed[self.matched..];
        let same = known.len().min(data.len());
        if known[..same] != data[..same] {
            let mut text = mem::take(&mut self.printed);
            text.truncate(self.matched);
            text.extend_from_slice(data);
            return self.print_again(text);
        }
        self.matched += same;
        let new = &data[same..];
        if new.is_empty() {
            return Vec::new();
        }
        let mut outputs = Vec::new();
        if self.printed.is_empty() {
            // Another message may have been printed before.
            outputs.push(Output::NewLine);
        }
        self.printed.extend_from_slice(new);
        self.matched = self.printed.len();
        outputs.push(Output::Answer(new.to_vec()));
        outputs
    }

    /// The text is complete, and this is all of it.
    fn settle(&mut self, whole: &[u8]) -> Vec<Output> {
        self.restart();
        let mut outputs = self.append(whole);
        if self.matched < self.printed.len() {
            // More was printed than was kept.
            outputs = self.print_again(whole.to_vec());
        }
        *self = Self::default();
        outputs
    }

    fn print_again(&mut self, text: Vec<u8>) -> Vec<Output> {
        self.matched = text.len();
        self.printed.clone_from(&text);
        vec![Output::NewLine, Output::Note(words::ANSWER_BEGINS_AGAIN.to_owned()), Output::Answer(text)]
    }
}

#[cfg(test)]
mod tests;

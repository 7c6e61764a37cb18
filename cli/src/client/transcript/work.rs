//! What a chat is doing, as far as its events tell: for the line that says what is waited for.

use std::collections::BTreeMap;

use chatplane_proto::chat::v1::{ChatState, Message, PreviewReset, QueuedMessage, Role, StreamId, part};

/// What is going on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Activity {
    /// Nothing: the chat waits for its user, or stands still after an error.
    Idle,
    /// The next word is the model's.
    Model,
    /// The model writes.
    Answer,
    /// These tools run.
    Tools(Vec<String>),
    /// The history is being summarized, and nothing goes on before that is done.
    Summary,
    /// The turn is being stopped.
    Interruption,
    /// A client has to run tools.
    Client,
}

/// A message that waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Waiting {
    pub(crate) queued_message_id: String,
    pub(crate) is_steering: bool,
    pub(crate) preview: String,
}

/// What the events so far have told.
#[derive(Default)]
pub(super) struct Work {
    state: ChatState,
    /// True while the state is what a call will lead to, and nobody has told it.
    is_assumed: bool,
    writes: bool,
    open_calls: BTreeMap<(i64, i32), String>,
    summary: Option<StreamId>,
    queue: BTreeMap<(i64, String), Waiting>,
}

impl Work {
    pub(super) fn activity(&self) -> Activity {
        match self.state {
            ChatState::Unspecified | ChatState::Waiting | ChatState::Error => Activity::Idle,
            ChatState::Interrupting => Activity::Interruption,
            ChatState::Suspended => Activity::Client,
            ChatState::Running if !self.open_calls.is_empty() => {
                Activity::Tools(self.open_calls.values().cloned().collect())
            }
            ChatState::Running if self.writes => Activity::Answer,
            ChatState::Running if self.summary.is_some() => Activity::Summary,
            ChatState::Running => Activity::Model,
        }
    }

    /// The messages that wait, the next one first.
    pub(super) fn queue(&self) -> impl Iterator<Item = &Waiting> {
        let (steering, ordinary): (Vec<&Waiting>, Vec<&Waiting>) =
            self.queue.values().partition(|waiting| waiting.is_steering);
        steering.into_iter().chain(ordinary)
    }

    pub(super) fn state(&mut self, state: ChatState) {
        self.state = state;
        self.is_assumed = false;
        if matches!(state, ChatState::Waiting | ChatState::Error) {
            self.writes = false;
            self.summary = None;
            self.open_calls.clear();
        }
    }

    /// A message was sent to the chat, whose events will tell what it does.
    pub(super) fn begins(&mut self) {
        if matches!(self.state, ChatState::Unspecified | ChatState::Waiting | ChatState::Error) {
            self.state = ChatState::Running;
            self.is_assumed = true;
        }
    }

    /// It was refused.
    pub(super) fn begins_not(&mut self) {
        if std::mem::take(&mut self.is_assumed) {
            self.state = ChatState::Waiting;
        }
    }

    pub(super) fn message(&mut self, message: &Message) {
        self.writes = false;
        let id = message.message_id;
        match message.role() {
            // The next answer or user message follows when every call has its result.
            Role::Assistant | Role::User => self.open_calls.clear(),
            Role::Tool | Role::System | Role::Unspecified => {}
        }
        for part in &message.parts {
            match &part.kind {
                Some(part::Kind::ToolCall(call)) => {
                    self.open_calls.insert((id, call.call_index), call.tool_name.clone());
                }
                Some(part::Kind::ToolResult(result)) => {
                    self.open_calls.remove(&(result.call_message_id, result.call_index));
                }
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
    }

    /// The answer's stream has begun, or the model writes on.
    pub(super) fn writes(&mut self) {
        self.writes = true;
    }

    /// The answer's stream is void.
    pub(super) fn writes_no_more(&mut self) {
        self.writes = false;
    }

    pub(super) fn summary_started(&mut self, stream: Option<&StreamId>) {
        self.summary = stream.cloned();
    }

    pub(super) fn preview_reset(&mut self, reset: &PreviewReset) {
        self.summary.take_if(|stream| reset.stream.as_ref().is_none_or(|id| id == stream));
    }

    pub(super) fn boundary(&mut self) {
        self.summary = None;
    }

    pub(super) fn upserted(&mut self, message: QueuedMessage) {
        self.removed(&message.queued_message_id);
        let waiting = Waiting {
            queued_message_id: message.queued_message_id.clone(),
            is_steering: message.steering,
            preview: message.preview_text,
        };
        self.queue.insert((message.position, message.queued_message_id), waiting);
    }

    pub(super) fn removed(&mut self, id: &str) {
        self.queue.retain(|(_, queued), _| queued != id);
    }
}

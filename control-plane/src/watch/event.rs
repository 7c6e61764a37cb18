//! What a watcher is told.

use bytes::Bytes;
use chatplane_domain::{ChatError, MessageId, QueuedMessageId, Retry, State};

use crate::{
    relay::{PartHeader, StreamId, StreamKind},
    store::{ActionRequired, ChatView, MessageView, QueuedView},
};

/// An event with the cursor that resumes after it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Emitted {
    /// Where the watcher is in the durable events.
    pub(crate) cursor: String,
    /// What happened.
    pub(crate) event: Event,
}

/// What happened.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Event {
    /// The database says so; the cursor grows.
    Durable(DurableEvent),
    /// It is of the moment; the cursor stays.
    Live(LiveEvent),
}

/// A change of the chat.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum DurableEvent {
    /// A message entered the history.
    Message(Box<MessageView>),
    /// A message was queued, changed or moved.
    QueuedUpserted(QueuedView),
    /// A queued message is gone.
    QueuedRemoved(QueuedMessageId),
    /// The retry in progress changed.
    Retry(Option<Retry>),
    /// The chat's error changed.
    Error(Option<ChatError>),
    /// The chat is suspended until somebody settles these calls.
    ActionRequired(ActionRequired),
    /// The chat's execution changed; the picture is complete.
    State(StateView),
    /// The chat's metadata or settings changed.
    ChatUpdated(Box<ChatView>),
    /// Messages from this one on were removed.
    HistoryReset(MessageId),
}

/// A change of what is not committed.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum LiveEvent {
    /// A live stream is void; all of them when there is no name.
    PreviewReset(Option<StreamId>),
    /// A live part begins.
    PartStarted {
        /// Its stream.
        stream: StreamId,
        /// What writes the stream.
        kind: StreamKind,
        /// The part.
        part: usize,
        /// What it is.
        header: PartHeader,
    },
    /// A live part grows.
    PartAppend {
        /// Its stream.
        stream: StreamId,
        /// The part.
        part: usize,
        /// Where the bytes begin in it.
        offset: usize,
        /// The bytes.
        data: Bytes,
    },
    /// A live stream is cut.
    PreviewTruncated(StreamId),
    /// Nothing happened; the stream is alive.
    Progress,
}

/// A chat's execution, as of one snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct StateView {
    /// What it is doing.
    pub(crate) state: State,
    /// Whether it is archived.
    pub(crate) archived: bool,
    /// The snapshot.
    pub(crate) snapshot_version: i64,
    /// Version of its history.
    pub(crate) history_version: i64,
    /// How many messages wait.
    pub(crate) queue_length: usize,
}

impl StateView {
    pub(super) fn of(chat: &ChatView) -> Self {
        Self {
            state: chat.state,
            archived: chat.archived,
            snapshot_version: chat.versions.snapshot,
            history_version: chat.versions.history,
            queue_length: chat.queue_length,
        }
    }
}

//! What a watcher of all chats does, and what it tells.

use std::time::Duration;

use chatplane_domain::ChatId;

use super::changes::ChatChange;
use crate::store::{ChatView, FeedFrom};

/// What a watcher does next.
#[derive(Debug, PartialEq)]
pub(crate) enum ChatsAction {
    /// Send an event, then ask again.
    Emit(ChatsEmitted),
    /// Begin a read, then ask again.
    Read(FeedFrom),
    /// Ask again when something is learnt, or at this time.
    Wait(Duration),
    /// End the stream: the cursor has seen what the database has not.
    CursorExpired,
}

/// An event with the cursor that resumes after it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ChatsEmitted {
    /// Where the watcher is.
    pub(crate) cursor: String,
    /// What happened.
    pub(crate) event: ChatsEvent,
}

/// What happened.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum ChatsEvent {
    /// Something of a chat changed.
    Changed {
        /// The chat.
        chat: Box<ChatView>,
        /// What changed; never empty.
        changes: Vec<ChatChange>,
    },
    /// A chat was deleted.
    Deleted(ChatId),
    /// Nothing happened; also the first event of all.
    Progress,
}

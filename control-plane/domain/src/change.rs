//! What `decide` answers: the next chat, the rows to write, what to do after commit.

use crate::{
    CallId, Chat, ClientTool, Fence, Message, MessageId, OpenCall, Queued, QueuedMessageId, SessionId, State,
    UserPart, WriteOutcome, chat::Lease,
};

/// What becomes of a command.
#[derive(Clone, Debug, PartialEq)]
pub struct Decision {
    /// The chat after the write.
    pub chat: Chat,
    /// The rows to write; none when nothing changes, and then no version moves.
    pub change: Option<Change>,
    /// What to do after commit.
    pub effects: Vec<Effect>,
    /// What the caller is told.
    pub outcome: Outcome,
}

/// Rows that are written together with the chat's row.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Change {
    /// Soft-deletes the live rows from this id on. The id that counts is that of the last
    /// message covered for the rows of a boundary, and their own for all others; system
    /// rows stay.
    pub delete_from: Option<MessageId>,
    /// Soft-deletes one message.
    pub delete_one: Option<MessageId>,
    /// Rows that enter the history, in order of their ids.
    pub inserted: Vec<Inserted>,
    /// Queue headers that are new or have changed.
    pub queue_upserted: Vec<Queued>,
    /// Content of a queued message that is new or edited.
    pub queue_content: Option<QueueContent>,
    /// Queued messages that were deleted without entering the history.
    pub queue_deleted: Vec<QueuedMessageId>,
    /// Calls that are new.
    pub calls_opened: Vec<OpenCall>,
    /// Calls that are settled, or deleted with their message.
    pub calls_closed: Vec<CallId>,
    /// Definitions of the client's tools that take the place of all that were stored.
    pub client_tools: Option<Vec<ClientTool>>,
    /// The chat is deleted for good: the store erases what was said in it, and keeps what it
    /// cost. Nothing else is set then.
    pub erased: bool,
}

/// A row that enters the history.
#[derive(Clone, Debug, PartialEq)]
pub enum Inserted {
    /// A new row.
    New(Message),
    /// A queued message; the store copies its content.
    Queued {
        /// The queued message.
        queued: QueuedMessageId,
        /// Id of its row.
        message: MessageId,
        /// Takes the place of its model, which the row keeps as the requested one.
        fallback_model: Option<String>,
        /// Whether it extends the turn that goes on; else it begins one.
        steering: bool,
    },
}

impl Inserted {
    /// Id of the row.
    #[must_use]
    pub fn message_id(&self) -> MessageId {
        match self {
            Self::New(message) => message.id,
            Self::Queued { message, .. } => *message,
        }
    }
}

/// Content of a queued message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueContent {
    /// The queued message.
    pub id: QueuedMessageId,
    /// Its pieces, in order.
    pub parts: Vec<UserPart>,
}

/// What to do after commit. Losing one costs latency, never work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// A worker should take the chat.
    Runnable,
    /// Deliver the chat's lease, which is new.
    Deliver(Lease),
    /// The user stopped the turn: tell the holder.
    Interrupt(SessionId, Fence),
    /// History or settings have changed: tell the holder.
    Reload(SessionId, Fence),
    /// The lease has ended without its holder: tell it.
    Lost(SessionId, Fence),
    /// Calls got results that their tools did not write: stop the tools.
    CancelCalls(Vec<CallId>),
}

/// What the caller is told.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// A client's command: rows that entered the history, and the queued message.
    Client {
        /// Ids of user messages that entered the history.
        entered: Vec<MessageId>,
        /// The message, if it was queued.
        queued: Option<Queued>,
    },
    /// A holder's command, applied now.
    Written(WriteOutcome),
    /// A holder's command, applied earlier: the stored outcome.
    Replayed(WriteOutcome),
    /// A command of the control plane.
    Applied,
}

/// Why a command is refused. Nothing is stored then.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    /// The chat's state does not allow the command.
    #[error("the chat is {state}{}, which forbids {command}", if *.archived { " and archived" } else { "" }, state = .state.as_str())]
    StateForbids {
        /// The state.
        state: State,
        /// Whether the chat is archived.
        archived: bool,
        /// The command.
        command: &'static str,
    },
    /// No such queued message.
    #[error("there is no such queued message")]
    QueuedMessageNotFound,
    /// No such message.
    #[error("there is no such message")]
    MessageNotFound,
    /// A field is wrong.
    #[error("{field}: {description}")]
    FieldInvalid {
        /// The field.
        field: &'static str,
        /// What is wrong, and what would be right.
        description: String,
    },
    /// The queue is full.
    #[error("the queue holds {queue_max} messages, which is its limit")]
    QueueFull {
        /// The limit.
        queue_max: usize,
    },
    /// The lease has gone to somebody else or has ended.
    #[error("the lease has ended")]
    LeaseLost,
    /// The history has changed under the holder.
    #[error("the history has changed since")]
    Superseded,
    /// A sweep came too early, or for a lease that is gone.
    #[error("nothing is due")]
    NotDue,
}

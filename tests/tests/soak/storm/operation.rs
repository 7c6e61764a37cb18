//! What users do, and what they may be told instead of OK.

use chatplane_proto::chat::v1::ErrorReason;

/// A call that changes something, by the name of its RPC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    CreateChat,
    SendMessage,
    EditMessage,
    InterruptChat,
    ForkChat,
    CompactChat,
    ClearContext,
    EditQueuedMessage,
    DeleteQueuedMessage,
    PromoteQueuedMessage,
    MoveQueuedMessage,
    ConfigureChat,
    SubmitToolResults,
    ArchiveChat,
    UnarchiveChat,
}

impl Operation {
    /// Every operation: each must succeed at least once in a run.
    pub(crate) const ALL: [Self; 15] = [
        Self::CreateChat,
        Self::SendMessage,
        Self::EditMessage,
        Self::InterruptChat,
        Self::ForkChat,
        Self::CompactChat,
        Self::ClearContext,
        Self::EditQueuedMessage,
        Self::DeleteQueuedMessage,
        Self::PromoteQueuedMessage,
        Self::MoveQueuedMessage,
        Self::ConfigureChat,
        Self::SubmitToolResults,
        Self::ArchiveChat,
        Self::UnarchiveChat,
    ];

    /// For which reasons others, who do things at the same time, may make it fail. UNAVAILABLE
    /// is none of them: then nobody knows whether it was done.
    pub(super) fn may_be_refused_for(self) -> &'static [ErrorReason] {
        use ErrorReason::{
            FieldInvalid, MessageNotFound, QueueFull, QueuedMessageNotFound, StateForbids, Unavailable,
        };
        match self {
            // Nobody knows the chat yet.
            Self::CreateChat => &[],
            // It is archived, or the queue is as long as it may be.
            Self::SendMessage => &[StateForbids, QueueFull, Unavailable],
            // It is archived, or the message was deleted since it was listed.
            Self::EditMessage => &[StateForbids, MessageNotFound, Unavailable],
            // An archived chat can be copied; the message may have been deleted.
            Self::ForkChat => &[MessageNotFound, Unavailable],
            // It is archived, not idle, has nothing to forget, or is not archived.
            Self::InterruptChat
            | Self::CompactChat
            | Self::ClearContext
            | Self::ConfigureChat
            | Self::ArchiveChat
            | Self::UnarchiveChat => &[StateForbids, Unavailable],
            // It is archived, or the message has left the queue since it was listed.
            Self::EditQueuedMessage
            | Self::DeleteQueuedMessage
            | Self::PromoteQueuedMessage
            | Self::MoveQueuedMessage => &[StateForbids, QueuedMessageNotFound, Unavailable],
            // It goes on already, or another has handed in a result of the same call.
            Self::SubmitToolResults => &[StateForbids, FieldInvalid, Unavailable],
        }
    }
}

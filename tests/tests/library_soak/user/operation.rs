//! What users do, and what they may be told instead of OK.

use chatplane_proto::chat::v1::ErrorReason;
use tonic::Status;
use tonic_types::StatusExt as _;

/// A call, by the name of its RPC; three things can be done with `UpdateChat`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    CreateChat,
    SendMessage,
    InterruptChat,
    EditMessage,
    ForkChat,
    ListQueuedMessages,
    EditQueuedMessage,
    DeleteQueuedMessage,
    PromoteQueuedMessage,
    MoveQueuedMessage,
    ConfigureChat,
    ClearContext,
    CompactChat,
    SubmitToolResults,
    ArchiveChat,
    UnarchiveChat,
    RegenerateTitle,
    UpdateTitle,
    UpdateLabels,
    UpdatePin,
    MarkRead,
    WatchChat,
    GetChat,
    ListMessages,
    ListChats,
    UploadFile,
}

/// What a call is about: what it names must be gone when it is told so.
#[derive(Clone, Debug)]
pub(crate) struct Ask {
    pub(crate) operation: Operation,
    /// Empty when it is about none.
    pub(crate) chat: String,
    pub(crate) message_id: Option<i64>,
    pub(crate) queued_message_id: Option<String>,
    pub(crate) files: Vec<String>,
    pub(crate) expected_version: Option<i64>,
}

/// What a call was told instead of OK.
#[derive(Clone, Debug)]
pub(crate) struct Refusal {
    pub(crate) reason: ErrorReason,
    /// What of the chat forbids it, where that is the reason.
    is_archived: bool,
    is_busy: bool,
    /// The stored version, where that is the reason.
    version: Option<i64>,
}

impl Ask {
    pub(crate) fn new(operation: Operation, chat: &str) -> Self {
        Self {
            operation,
            chat: chat.to_owned(),
            message_id: None,
            queued_message_id: None,
            files: Vec::new(),
            expected_version: None,
        }
    }

    /// Whether it can be told this for what others do at the same time. UNAVAILABLE is no such
    /// thing: nobody takes the database away, and whoever loses a race tries again.
    pub(crate) fn may_be_told(&self, refusal: &Refusal) -> bool {
        use Operation as Op;
        match refusal.reason {
            // Retention deletes chats that were archived.
            ErrorReason::ChatNotFound => !self.chat.is_empty(),
            ErrorReason::StateForbids => self.operation.is_forbidden(refusal),
            ErrorReason::QueueFull => self.operation == Op::SendMessage,
            // An edit deletes all that follows.
            ErrorReason::MessageNotFound => self.message_id.is_some(),
            ErrorReason::QueuedMessageNotFound => self.queued_message_id.is_some(),
            // It went with the last chat that had it.
            ErrorReason::FileNotFound => !self.files.is_empty(),
            ErrorReason::VersionMismatch => {
                self.expected_version.is_some_and(|expected| refusal.version.is_some_and(|it| it != expected))
            }
            // Another has handed in a result of the same call.
            ErrorReason::FieldInvalid => self.operation == Op::SubmitToolResults,
            _ => false,
        }
    }
}

impl Operation {
    /// Every operation: each must succeed at least once in a run.
    pub(crate) const ALL: [Self; 26] = [
        Self::CreateChat,
        Self::SendMessage,
        Self::InterruptChat,
        Self::EditMessage,
        Self::ForkChat,
        Self::ListQueuedMessages,
        Self::EditQueuedMessage,
        Self::DeleteQueuedMessage,
        Self::PromoteQueuedMessage,
        Self::MoveQueuedMessage,
        Self::ConfigureChat,
        Self::ClearContext,
        Self::CompactChat,
        Self::SubmitToolResults,
        Self::ArchiveChat,
        Self::UnarchiveChat,
        Self::RegenerateTitle,
        Self::UpdateTitle,
        Self::UpdateLabels,
        Self::UpdatePin,
        Self::MarkRead,
        Self::WatchChat,
        Self::GetChat,
        Self::ListMessages,
        Self::ListChats,
        Self::UploadFile,
    ];

    /// Refusals that are asked for, and so must come: an old version, and a message that never
    /// was in the queue.
    pub(crate) const REFUSED: [(Self, ErrorReason); 2] = [
        (Self::UpdateTitle, ErrorReason::VersionMismatch),
        (Self::EditQueuedMessage, ErrorReason::QueuedMessageNotFound),
    ];

    /// Whether a chat that is as the refusal says forbids it; the domain's table of transitions
    /// says so.
    fn is_forbidden(self, refusal: &Refusal) -> bool {
        match self {
            Self::SendMessage
            | Self::EditMessage
            | Self::InterruptChat
            | Self::EditQueuedMessage
            | Self::DeleteQueuedMessage
            | Self::MoveQueuedMessage
            | Self::ConfigureChat
            | Self::UpdatePin => refusal.is_archived,
            Self::ArchiveChat => refusal.is_archived || refusal.is_busy,
            Self::UnarchiveChat => !refusal.is_archived,
            // It may also have nothing to summarize, to forget, to promote or to settle.
            Self::CompactChat | Self::ClearContext | Self::PromoteQueuedMessage | Self::SubmitToolResults => {
                true
            }
            Self::CreateChat
            | Self::ForkChat
            | Self::ListQueuedMessages
            | Self::RegenerateTitle
            | Self::UpdateTitle
            | Self::UpdateLabels
            | Self::MarkRead
            | Self::WatchChat
            | Self::GetChat
            | Self::ListMessages
            | Self::ListChats
            | Self::UploadFile => false,
        }
    }
}

impl Refusal {
    /// None of what carries no reason of the contract.
    pub(crate) fn read(status: &Status) -> Option<Self> {
        let info = status.get_details_error_info()?;
        let said = |key: &str| info.metadata.get(key).map(String::as_str);
        Some(Self {
            reason: ErrorReason::from_str_name(&format!("ERROR_REASON_{}", info.reason))?,
            is_archived: said("archived") == Some("true"),
            is_busy: said("state").is_some_and(|state| !["waiting", "error"].contains(&state)),
            version: said("version").and_then(|version| version.parse().ok()),
        })
    }
}

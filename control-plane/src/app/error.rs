//! Why a use case did not do what was asked. `grpc::status` turns these into the
//! contract's reasons; nothing else does.

use chatplane_domain::{Rejection, State};

use crate::{
    authz::Denial,
    store::{self, TransactError},
};

/// Why a use case did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The token is missing, wrong, or of the wrong kind.
    #[error("the credentials are not valid for this call")]
    CredentialsInvalid(&'static str),
    /// No such chat, or not the caller's.
    #[error("there is no such chat")]
    ChatNotFound,
    /// No such model.
    #[error("there is no such model")]
    ModelNotFound,
    /// No such workspace, or not the caller's.
    #[error("there is no such workspace")]
    WorkspaceNotFound,
    /// No such message in the chat.
    #[error("there is no such message")]
    MessageNotFound,
    /// No such message in the chat's queue.
    #[error("there is no such queued message")]
    QueuedMessageNotFound,
    /// No such file, or not the caller's.
    #[error("there is no such file")]
    FileNotFound,
    /// No such debug run of the chat.
    #[error("there is no such debug run")]
    DebugRunNotFound,
    /// The caller may read it, and may not do this.
    #[error("the action is forbidden")]
    ActionForbidden,
    /// A choice that the deployment's policy does not leave to users.
    #[error("the policy leaves no choice")]
    ChoiceForbidden,
    /// Fields are wrong.
    #[error("fields are invalid")]
    FieldInvalid(Vec<FieldViolation>),
    /// The chat's state does not allow it.
    #[error("the chat is {}, which forbids {command}", .state.as_str())]
    StateForbids {
        /// The state.
        state: State,
        /// Whether the chat is archived.
        archived: bool,
        /// The command.
        command: &'static str,
    },
    /// The lease has gone to somebody else or has ended.
    #[error("the lease has ended")]
    LeaseLost,
    /// The session is closed.
    #[error("the session is closed")]
    SessionLost,
    /// The history has changed under the holder.
    #[error("the history has changed since")]
    Superseded,
    /// The cursor is ahead of the database.
    #[error("the cursor is ahead of the database")]
    CursorExpired,
    /// The queue is full.
    #[error("the queue is full")]
    QueueFull {
        /// How many messages it holds.
        queue_max: usize,
    },
    /// A limit is reached; the sentence names it.
    #[error("{0}")]
    LimitExceeded(String),
    /// The request id was used with another body.
    #[error("the request id was used with another body")]
    RequestIdReused,
    /// What the caller has seen is not what is stored.
    #[error("the stored version is {version}")]
    VersionMismatch {
        /// The stored version.
        version: i64,
    },
    /// A newer agent of the same workspace has registered.
    #[error("a newer agent of the same workspace has registered")]
    WorkspaceReplaced,
    /// The database or a peer does not answer.
    #[error("the database does not answer")]
    Unavailable(#[source] store::Error),
    /// The replica is shutting down.
    #[error("the replica is shutting down")]
    ShuttingDown,
    /// A defect.
    #[error("a defect of chatplane")]
    Internal(#[source] store::Error),
}

/// One field that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FieldViolation {
    /// Path of the field, as in `parts[0].text`.
    pub field: String,
    /// What is wrong, and what would be right.
    pub description: String,
}

impl Error {
    /// One field is wrong.
    pub(crate) fn invalid(field: impl Into<String>, description: impl Into<String>) -> Self {
        Self::FieldInvalid(vec![FieldViolation { field: field.into(), description: description.into() }])
    }

    /// A denial about a chat.
    #[must_use]
    pub(crate) fn chat_denied(denial: Denial) -> Self {
        match denial {
            Denial::NotFound => Self::ChatNotFound,
            Denial::Forbidden => Self::ActionForbidden,
            Denial::WrongKind => Self::wrong_kind(),
        }
    }

    /// A denial about a workspace.
    #[must_use]
    pub(crate) fn workspace_denied(denial: Denial) -> Self {
        match denial {
            Denial::NotFound => Self::WorkspaceNotFound,
            Denial::Forbidden => Self::ActionForbidden,
            Denial::WrongKind => Self::wrong_kind(),
        }
    }

    /// A denial about a file.
    #[must_use]
    pub(crate) fn file_denied(denial: Denial) -> Self {
        match denial {
            Denial::NotFound => Self::FileNotFound,
            Denial::Forbidden => Self::ActionForbidden,
            Denial::WrongKind => Self::wrong_kind(),
        }
    }

    /// The caller is none of those whom the call is for.
    pub(crate) fn wrong_kind() -> Self {
        Self::CredentialsInvalid("the token is of the wrong kind for this call")
    }
}

impl From<store::Error> for Error {
    fn from(error: store::Error) -> Self {
        match error {
            store::Error::Unavailable(_) => Self::Unavailable(error),
            store::Error::ContentVersion { .. }
            | store::Error::ContentMalformed
            | store::Error::RowInvalid
            | store::Error::NameTaken
            | store::Error::Unusable(_)
            | store::Error::Sql(_)
            | store::Error::Migrate(_) => Self::Internal(error),
        }
    }
}

impl From<TransactError<Error>> for Error {
    fn from(error: TransactError<Error>) -> Self {
        match error {
            TransactError::ChatNotFound => Self::ChatNotFound,
            TransactError::Refused(error) => error,
            TransactError::RequestIdReused => Self::RequestIdReused,
            TransactError::Store(error) => error.into(),
        }
    }
}

impl From<Rejection> for Error {
    fn from(rejection: Rejection) -> Self {
        match rejection {
            Rejection::StateForbids { state, archived, command } => {
                Self::StateForbids { state, archived, command }
            }
            Rejection::QueuedMessageNotFound => Self::QueuedMessageNotFound,
            Rejection::MessageNotFound => Self::MessageNotFound,
            Rejection::FieldInvalid { field, description } => Self::invalid(field, description),
            Rejection::QueueFull { queue_max } => Self::QueueFull { queue_max },
            Rejection::LeaseLost => Self::LeaseLost,
            Rejection::Superseded | Rejection::NotDue => Self::Superseded,
        }
    }
}

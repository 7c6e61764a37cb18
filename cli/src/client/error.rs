//! Why a client's work ends early, in words for the person in front of the terminal.

use std::{io, path::PathBuf};

use tonic::{Code, Status};

use crate::exit::Exit;

/// Why a client's work ends early.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ClientError {
    #[error("the {origin} is empty")]
    TextEmpty { origin: &'static str },
    #[error("the {origin} is longer than 256 KiB, the most that one message may have")]
    TextTooLong { origin: &'static str },
    #[error("the {origin} is not text: it must be UTF-8")]
    TextNotUtf8 { origin: &'static str },
    #[error("the file {path:?} cannot be read")]
    FileUnread { path: PathBuf, source: io::Error },
    #[error("the file {path:?} is larger than 64 MiB, more than any control plane takes")]
    FileTooLarge { path: PathBuf },
    #[error("standard input could not be read")]
    InputUnread(#[source] io::Error),

    #[error(
        "the control plane refused the token: log in again with `chatplane login`, or check CHATPLANE_TOKEN \
         and --token-file"
    )]
    TokenRefused,
    #[error("the control plane refused to {action}: {}", .status.message())]
    Refused { action: &'static str, status: Box<Status> },
    #[error(
        "the control plane did not answer within {seconds} s: check that it runs, and its address. Last: {}",
        .status.message()
    )]
    Unanswered { seconds: u64, status: Box<Status> },
    #[error("the terminal cannot be used")]
    Terminal(#[source] io::Error),
    #[error("the answer could not be written to standard output")]
    Output(#[source] io::Error),
    /// A signal came first.
    #[error("interrupted")]
    Interrupted,
}

impl ClientError {
    /// A refusal of the control plane.
    pub(crate) fn refused(action: &'static str, status: Status) -> Self {
        match status.code() {
            Code::Unauthenticated => Self::TokenRefused,
            _ => Self::Refused { action, status: Box::new(status) },
        }
    }

    /// Whether the chat can go on: it was one call that failed.
    pub(crate) fn is_of_one_call(&self) -> bool {
        matches!(self, Self::Refused { .. } | Self::Unanswered { .. })
    }

    /// What the process ends with.
    pub(crate) fn exit(&self) -> Exit {
        match self {
            Self::TextEmpty { .. } | Self::TextTooLong { .. } | Self::TextNotUtf8 { .. } => Exit::Usage,
            Self::Interrupted => Exit::Interrupted,
            Self::InputUnread(_)
            | Self::FileUnread { .. }
            | Self::FileTooLarge { .. }
            | Self::TokenRefused
            | Self::Refused { .. }
            | Self::Unanswered { .. }
            | Self::Terminal(_)
            | Self::Output(_) => Exit::Failed,
        }
    }
}

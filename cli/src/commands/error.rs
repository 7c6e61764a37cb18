//! Why a client command ends without having done its work.

use std::{io, path::PathBuf};

use crate::{
    client::{ClientError, connection::ConnectError},
    exit::Exit,
    files,
};

/// Why a client command ends without having done its work.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CommandError {
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error(transparent)]
    File(#[from] files::Failed),

    #[error(
        "no token: run `chatplane login`, or give CHATPLANE_TOKEN or --token-file (CHATPLANE_TOKEN_FILE)"
    )]
    TokenMissing,
    #[error("--token-file (CHATPLANE_TOKEN_FILE) {path:?} cannot be read")]
    TokenFileUnreadable { path: PathBuf, source: io::Error },
    #[error("--token-file (CHATPLANE_TOKEN_FILE) {path:?} is empty, or too long for a token")]
    TokenFileUnusable { path: PathBuf },
    #[error(
        "the token that `chatplane login` has kept is for {kept}, and does not go to {asked}: log in there, or \
         give CHATPLANE_TOKEN or --token-file"
    )]
    TokenOfAnotherServer { kept: String, asked: String },
    #[error("no home directory is known to keep the token in: set HOME or XDG_CONFIG_HOME")]
    HomeUnknown,
    #[error(
        "{path:?} belongs to another user, so its token is not used: remove it, and run `chatplane login`"
    )]
    FileOfAnotherUser { path: PathBuf },
    #[error("{path:?} is no file that `chatplane login` has written: remove it, and run `chatplane login`")]
    FileDamaged { path: PathBuf },

    #[error("no token was given: pipe it to standard input, or type it at the prompt")]
    NoTokenGiven,
    #[error("the control plane refused the token, and it was not kept: check that it is a user's token")]
    LoginRefused,
    #[error("the control plane at {server} could not check the token, and it was not kept: {}", .status.message())]
    LoginUnchecked { server: String, status: Box<tonic::Status> },
    #[error("the chat has no messages to copy")]
    NothingToFork,
    #[error("which chat? Give its id; `chatplane chats` lists those there are")]
    ChatMissing,
    #[error("the label {key:?} is given twice: a key has one value")]
    LabelTwice { key: String },
    #[error(
        "no file can be made as {path:?}: say with --output where to, or `--output -` for standard output"
    )]
    DownloadUnmade { path: PathBuf, source: io::Error },
    #[error("the file could not be written to {path:?}")]
    DownloadUnwritten { path: PathBuf, source: io::Error },
}

impl CommandError {
    /// What the process ends with.
    pub(crate) fn exit(&self) -> Exit {
        match self {
            Self::Client(error) => error.exit(),
            Self::ChatMissing | Self::LabelTwice { .. } => Exit::Usage,
            Self::Connect(_)
            | Self::File(_)
            | Self::TokenMissing
            | Self::TokenFileUnreadable { .. }
            | Self::TokenFileUnusable { .. }
            | Self::TokenOfAnotherServer { .. }
            | Self::HomeUnknown
            | Self::FileOfAnotherUser { .. }
            | Self::FileDamaged { .. }
            | Self::NoTokenGiven
            | Self::LoginRefused
            | Self::LoginUnchecked { .. }
            | Self::NothingToFork
            | Self::DownloadUnmade { .. }
            | Self::DownloadUnwritten { .. } => Exit::Failed,
        }
    }
}

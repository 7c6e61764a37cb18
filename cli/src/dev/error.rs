//! Why `dev` ends without an answer, in words for the person in front of the terminal.

use std::{error::Error, io, path::PathBuf, process::ExitStatus};

use chatplane_control_plane::admin::AdminError;
use chatplane_embedded_postgres::StartError;

use crate::{client::ClientError, exit::Exit, files};

/// Why `dev` ends without an answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DevError {
    #[error(
        "{flag} is for the private PostgreSQL, and --database-url (CHATPLANE_DATABASE_URL) asks for none: \
         give one of them"
    )]
    NoPrivateDatabase { flag: &'static str },
    #[error("--pass-env (CHATPLANE_WORKSPACE_PASS_ENV) takes names of variables, without `=` and values")]
    PassEnvMalformed,
    #[error(
        "--pass-env (CHATPLANE_WORKSPACE_PASS_ENV) cannot pass {name}: variables of chatplane and of model \
         providers hold tokens and keys, and are not for commands"
    )]
    PassEnvSecret { name: String },
    #[error("--dir {dir:?} is not a directory that can be entered")]
    WorkspaceUnusable { dir: PathBuf },
    #[error("no home directory is known, so say with --data-dir (CHATPLANE_DATA_DIR) where to keep the data")]
    DataDirUnknown,
    #[error(
        "the data directory {data:?} would lie inside {workspace:?}, where the agent works: choose another \
         one with --data-dir (CHATPLANE_DATA_DIR)"
    )]
    DataDirInside { data: PathBuf, workspace: PathBuf },
    #[error(
        "{workspace:?}, where the agent would work, lies inside the data directory {data:?}: choose another \
         one with --data-dir (CHATPLANE_DATA_DIR)"
    )]
    WorkspaceInside { data: PathBuf, workspace: PathBuf },

    #[error("the data directory {dir:?} holds other files: choose an empty one with --data-dir")]
    DataDirForeign { dir: PathBuf },
    #[error("the data directory {dir:?} belongs to another user: choose another one with --data-dir")]
    DataDirNotOwned { dir: PathBuf },
    #[error(
        "the data directory {dir:?} was written by another version of chatplane: choose another one with --data-dir"
    )]
    DataDirVersion { dir: PathBuf },
    #[error(
        "the data directory {dir:?} is in use by {holder}: stop it, or choose another one with --data-dir"
    )]
    InUse { dir: PathBuf, holder: String },
    #[error(transparent)]
    File(#[from] files::Failed),

    #[error("the demo model could not be started")]
    DemoModelUnavailable(#[source] io::Error),
    #[error("port {port} on 127.0.0.1 cannot be used: choose another one with --port, or 0 for any")]
    PortUnusable { port: u16, source: io::Error },
    #[error("{0}; or start afresh with --reset (CHATPLANE_RESET), which deletes the chats")]
    PostgresDataUnusable(StartError),
    #[error(transparent)]
    Postgres(StartError),
    #[error("PostgreSQL ended unexpectedly; the file `log` beside its data may say why")]
    PostgresEnded,
    #[error("the database could not be deleted (--reset)")]
    ResetFailed(#[source] Box<dyn Error + Send + Sync>),
    #[error(
        "the workspace agent of a `dev` that was killed has not ended yet (process {holder}, which holds \
         {journal:?}): try again in a moment, or end it"
    )]
    AgentLeft { journal: PathBuf, holder: String },
    #[error("the database cannot be used")]
    Admin(#[from] AdminError),
    #[error("{role} could not be started")]
    Spawn { role: &'static str, source: io::Error },
    #[error("{role} ended unexpectedly ({status}). The end of its log, {log:?}:\n{tail}")]
    RoleEnded { role: &'static str, status: ExitStatus, log: PathBuf, tail: String },
    #[error("{role} was not ready within {seconds} s. The end of its log, {log:?}:\n{tail}")]
    NotReady { role: &'static str, seconds: u64, log: PathBuf, tail: String },

    #[error(transparent)]
    Client(#[from] ClientError),
    #[error("the kept token is damaged: start afresh with --reset (CHATPLANE_RESET)")]
    TokenDamaged,
    /// A signal came first.
    #[error("interrupted")]
    Interrupted,
}

impl DevError {
    /// What the process ends with.
    pub(crate) fn exit(&self) -> Exit {
        match self {
            Self::NoPrivateDatabase { .. }
            | Self::PassEnvMalformed
            | Self::PassEnvSecret { .. }
            | Self::WorkspaceUnusable { .. }
            | Self::DataDirUnknown
            | Self::DataDirInside { .. }
            | Self::WorkspaceInside { .. } => Exit::Usage,
            Self::Interrupted => Exit::Interrupted,
            Self::Client(error) => error.exit(),
            Self::DataDirForeign { .. }
            | Self::DataDirNotOwned { .. }
            | Self::DataDirVersion { .. }
            | Self::InUse { .. }
            | Self::File(_)
            | Self::DemoModelUnavailable(_)
            | Self::PortUnusable { .. }
            | Self::PostgresDataUnusable(_)
            | Self::Postgres(_)
            | Self::PostgresEnded
            | Self::ResetFailed(_)
            | Self::AgentLeft { .. }
            | Self::Admin(_)
            | Self::Spawn { .. }
            | Self::RoleEnded { .. }
            | Self::NotReady { .. }
            | Self::TokenDamaged => Exit::Failed,
        }
    }
}

impl From<StartError> for DevError {
    fn from(error: StartError) -> Self {
        match error {
            StartError::VersionMismatch { .. } | StartError::DataBroken { .. } => {
                Self::PostgresDataUnusable(error)
            }
            other => Self::Postgres(other),
        }
    }
}

/// Turns an error of the system into ours: `.map_err(failed("open", &path))`.
pub(crate) fn failed(action: &'static str, path: &std::path::Path) -> impl FnOnce(io::Error) -> DevError {
    let failed = files::failed(action, path);
    move |source| failed(source).into()
}

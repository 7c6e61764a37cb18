//! Why Postgres could not be started, in words for the person in front of the terminal.

use std::io;
use std::path::{Path, PathBuf};

/// Why Postgres could not be started.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// No usable server binaries on this machine.
    #[error(
        "no PostgreSQL server (`initdb` and `postgres`, version 14 or newer) was found: install the package \
         `postgresql` (Debian, Ubuntu) or `postgresql-server` (Fedora), or name an external database with \
         `--database-url`"
    )]
    BinariesMissing,

    /// The directory of binaries that was asked for cannot be used.
    #[error("`{}` does not hold `initdb` and `postgres` of PostgreSQL 14 or newer", .dir.display())]
    BinDirUnusable {
        /// The directory that was asked for.
        dir: PathBuf,
    },

    /// The data was written by another major version than every installed one.
    #[error(
        "the data in `{}` belongs to PostgreSQL {data_major}, but only version {binary_major} was found: \
         install PostgreSQL {data_major}, or upgrade the data with `pg_upgrade`, or move it away to start anew",
        .data.display()
    )]
    VersionMismatch {
        /// The cluster's directory.
        data: PathBuf,
        /// The version that wrote it.
        data_major: u32,
        /// The version found.
        binary_major: u32,
    },

    /// Another launcher has this directory.
    #[error("the database directory `{}` is in use by {}", .dir.display(), holder_words(*.holder))]
    InUse {
        /// The launcher's directory.
        dir: PathBuf,
        /// The process that holds it, where it could be read.
        holder: Option<u32>,
    },

    /// Running as root, and the user who runs Postgres cannot get to a path.
    #[error(
        "the user who runs PostgreSQL (it refuses root) may not pass through `{}`: \
         allow it with `chmod o+x`, or choose a directory outside it for `{}`",
        .ancestor.display(), .path.display()
    )]
    Unreachable {
        /// The first step that is closed.
        ancestor: PathBuf,
        /// Where the path leads.
        path: PathBuf,
    },

    /// Running as root on a system without the users `postgres` and `nobody`.
    #[error("PostgreSQL refuses to run as root, and neither a user `postgres` nor `nobody` exists to run it")]
    NoAccount,

    /// The launcher's directory belongs to another user.
    #[error(
        "the database directory `{}` belongs to another user: run as that user or choose another directory",
        .dir.display()
    )]
    NotOwned {
        /// The launcher's directory.
        dir: PathBuf,
    },

    /// The launcher's directory holds something that the launcher never wrote.
    #[error("`{}` holds other files: choose an empty directory for the database", .dir.display())]
    ForeignFiles {
        /// The directory that was asked for.
        dir: PathBuf,
    },

    /// The launcher's directory is a link: what it leads to may be anybody's.
    #[error("`{}` is a link: name the directory itself", .dir.display())]
    Link {
        /// The link.
        dir: PathBuf,
    },

    /// A server that a dead launcher left could not be ended.
    #[error("PostgreSQL still runs on `{}` as process {pid}, and could not be ended: end it first", .dir.display())]
    StillRuns {
        /// The launcher's directory.
        dir: PathBuf,
        /// The server's process.
        pid: u32,
    },

    /// The cluster's directory exists and is no cluster.
    #[error("`{}` is not a PostgreSQL data directory: move it away to start anew", .data.display())]
    DataBroken {
        /// The cluster's directory.
        data: PathBuf,
    },

    /// No directory for temporary files that is short and open enough.
    #[error("no usable directory for temporary files was found among $TMPDIR, /tmp and /var/tmp")]
    NoTemporaryDirectory,

    /// `initdb` failed.
    #[error("initdb failed; its last words: {log_tail}")]
    InitFailed {
        /// The end of what it printed.
        log_tail: String,
    },

    /// Postgres ended while starting.
    #[error("postgres ended while starting; its last words: {log_tail}")]
    Exited {
        /// The end of its log.
        log_tail: String,
    },

    /// Postgres was not ready in time.
    #[error("postgres was not ready within {seconds} s; its last words: {log_tail}")]
    TimedOut {
        /// How long it was given.
        seconds: u64,
        /// The end of its log.
        log_tail: String,
    },

    /// The operating system refused something.
    #[error("could not {action} `{}`", .path.display())]
    Io {
        /// What was tried, as a verb.
        action: &'static str,
        /// On which path.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
}

/// Turns an error of the system into ours: `.map_err(failed("open", &path))`.
pub(crate) fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> StartError {
    let path = path.to_owned();
    move |source| StartError::Io { action, path, source }
}

fn holder_words(holder: Option<u32>) -> String {
    match holder {
        Some(pid) => format!("process {pid}"),
        None => "another process".to_owned(),
    }
}

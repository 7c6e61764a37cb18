//! Logs go to standard error: standard output belongs to the answer.

use std::io::{self, IsTerminal as _};

use tracing_subscriber::{EnvFilter, filter::ParseError};

use crate::arguments::{Arguments, Role};

/// Starts logging for the role.
pub(crate) fn start(arguments: &Arguments) {
    let default = match arguments.role {
        // There standard error is for the person, not for the operator.
        Role::Dev(_)
        | Role::Admin(_)
        | Role::ToolGuard
        | Role::Login(_)
        | Role::Chat(_)
        | Role::Send(_)
        | Role::Watch(_)
        | Role::Interrupt(_)
        | Role::Fork(_)
        | Role::Compact(_)
        | Role::Clear(_)
        | Role::Library(_) => "warn",
        Role::Serve(_) | Role::Worker(_) | Role::WorkspaceAgent(_) => "info",
    };
    let filter = EnvFilter::new(arguments.log.as_deref().unwrap_or(default));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal())
        // A reader that is gone must not turn a line of the log into a panic.
        .log_internal_errors(false)
        .init();
}

/// Checks a filter while the command line is read, so that a wrong one is a usage error.
pub(crate) fn filter(text: &str) -> Result<String, ParseError> {
    EnvFilter::try_new(text).map(|_| text.to_owned())
}

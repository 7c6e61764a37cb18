//! The workspace agent: a small process next to the code. It dials the control plane, so it needs no
//! open port, and runs the file tools that a leased chat asks for. It holds no model keys.
//!
//! - `config`: the flags of the role;
//! - `link`: the only gRPC: one stream to the control plane, kept for ever;
//! - `tools`: what a tool is, and the set of them;
//! - `files`: `list_dir` and `read_file`, confined to the workspace directory.

mod config;
mod files;
mod link;
mod tools;

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

pub use crate::config::{Config, ConfigError};
use crate::{
    files::{Files, Root},
    link::{Dial, Limits, Link},
    tools::Tools,
};

/// Why the agent ended by itself. A lost connection is no reason: it is opened again.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// A flag, a variable or a file it names is wrong; the sentence says which.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The control plane does not accept the token: another one is needed.
    #[error("the control plane refused the token given by {given_by}: {reason}")]
    TokenRefused {
        /// The flag and the variable by which the token was given.
        given_by: &'static str,
        /// What the control plane said.
        reason: String,
    },
    /// Another agent has registered with a token of the same workspace. Coming back would push it out.
    #[error("another agent has registered for this workspace and taken this one's place")]
    Replaced,
}

/// Serves the workspace until `shutdown`, and connects again whenever the connection is lost.
///
/// # Errors
///
/// When the configuration is wrong, the token is refused, or another agent takes this one's place.
pub async fn run(config: Config, shutdown: CancellationToken) -> Result<(), RunError> {
    let limits = Limits::default();
    let dial = Dial::new(&config, &limits)?;
    let root = Root::new(&config.dir).map_err(|source| ConfigError::Dir { path: config.dir, source })?;
    let tools = Tools::new(Files::new(Arc::new(root)).tools());
    Link::new(dial, tools, limits).run(shutdown).await
}

//! The workspace agent: a small process next to the code. It dials the control plane, so it needs no
//! open port, and runs the tools that a leased chat asks for. It holds no model keys.
//!
//! - `config`: the flags of the role;
//! - `journal`: what was run that may have changed something, so that it does not run twice;
//! - `link`: the only gRPC: one stream to the control plane, kept for ever;
//! - `tools`: what a tool is, and the set of them;
//! - `files`: the tools that read and write files, confined to the workspace directory;
//! - `processes`: the tool that runs commands, and the guard of each.

mod config;
mod files;
mod journal;
mod link;
mod processes;
mod tools;

use std::{io, sync::Arc};

use tokio_util::sync::CancellationToken;

pub use crate::{
    config::{Config, ConfigError},
    journal::JournalError,
    processes::TOOL_ENVIRONMENT,
};
use crate::{
    files::{Files, Root},
    journal::Journal,
    link::{Dial, Limits, Link},
    processes::{Environment, GuardProgram, Orphans, Processes},
    tools::Tools,
};

/// Why the agent ended by itself. A lost connection is no reason: it is opened again.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// A flag, a variable or a file it names is wrong; the sentence says which.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The journal of calls cannot be used; without it no call would be safe to repeat.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// Commands cannot be guarded on this system.
    #[error("commands cannot be run here (--read-only goes without them)")]
    Guards(#[source] io::Error),
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
/// When the configuration is wrong, the journal cannot be used, the token is refused, or another agent takes
/// this one's place.
pub async fn run(config: Config, shutdown: CancellationToken) -> Result<(), RunError> {
    let limits = Limits::default();
    let dial = Dial::new(&config, &limits)?;
    let root = match config.allow_outside {
        true => Root::unconfined(&config.dir),
        false => Root::new(&config.dir),
    };
    let root = root.map_err(|source| ConfigError::Dir { path: config.dir.clone(), source })?;
    // It blocks, like everything up to here: nothing else runs yet. Also an agent that only reads is asked
    // for calls of before.
    let journal = Journal::open(config.state_dir.as_deref(), &config.dir, journal::Limits::default())?;
    let tools = tools(&config, root)?;
    Link::new(dial, tools, journal, limits).run(shutdown).await
}

fn tools(config: &Config, root: Root) -> Result<Tools, RunError> {
    let environment = Environment::cleaned(&config.pass_env)?;
    let files = Files::new(Arc::new(root));
    let mut tools = files.clone().tools();
    if !config.read_only {
        tools.extend(files.clone().changing_tools());
        let processes = GuardProgram::own()
            .and_then(|guard| Processes::new(guard, Orphans::Adopted, environment, files))
            .map_err(RunError::Guards)?;
        tools.extend(processes.tools());
    }
    Ok(Tools::new(tools))
}

/// The whole of the hidden subcommand `tool-guard`: holds one command of an agent, and ends with everything
/// that the command has started. It needs a process of its own, without other threads.
///
/// # Errors
///
/// When the process was not started by an agent.
pub fn tool_guard() -> io::Result<()> {
    processes::guard()
}

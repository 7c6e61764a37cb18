//! Commands: the tool `execute`.
//!
//! A command may start anything: processes in the background, in sessions of their own, with their parents
//! gone. None of them outlives the call, whether it ends, times out, is cancelled, or the agent is killed. So
//! each command is held by a process of its own, the guard (see `guard`), to which everything the command has
//! started comes back in the end:
//!
//! ```text
//! agent ──socket──► guard ──► sh -c … ──► anything
//!   └──────◄──pipe──────────────┴─────────────┘
//! ```
//!
//! The agent reads the pipe, keeps both ends of what was written, and closes the socket when the command shall
//! stop. Its death closes the socket too. Should a command kill its own guard, the shell dies with it by the
//! kernel's hand, and what is left comes to the agent, which is a subreaper and kills it.

mod children;
mod environment;
mod execute;
mod guard;
mod guards;
mod report;
mod running;
#[allow(unsafe_code, reason = "calls for which the standard library has no safe form")]
mod system;
mod transcript;

use std::{io, sync::Arc, time::Duration};

use tokio::sync::Semaphore;

pub use self::environment::TOOL_ENVIRONMENT;
pub(crate) use self::{
    environment::Environment,
    guard::run as guard,
    guards::{GuardProgram, Orphans},
};
use self::{execute::Execute, guards::Guards};
use crate::{files::Files, tools::Tool};

/// What a command may be long. The system takes 128 KiB as one argument.
const COMMAND_BYTES_MAX: usize = 100 * 1024;

/// Commands at the same time: some chats' worth of parallel calls. Each may use all of the machine.
const COMMANDS_MAX: usize = 16;

/// How long everything may take to end after it was killed. Only what hangs in the kernel takes as long.
const KILL_TIME_MAX: Duration = Duration::from_secs(3);

/// What all commands share.
pub(crate) struct Processes {
    guards: Arc<Guards>,
    environment: Environment,
    files: Files,
    slots: Arc<Semaphore>,
}

impl Processes {
    /// Commands in the directory of `files`, each held by a `guard`.
    pub(crate) fn new(
        guard: GuardProgram,
        orphans: Orphans,
        environment: Environment,
        files: Files,
    ) -> io::Result<Self> {
        let guards = Arc::new(Guards::new(guard, orphans)?);
        Ok(Self { guards, environment, files, slots: Arc::new(Semaphore::new(COMMANDS_MAX)) })
    }

    /// As they are declared.
    pub(crate) fn tools(self) -> Vec<Arc<dyn Tool>> {
        vec![Arc::new(Execute::new(Arc::new(self)))]
    }
}

#[cfg(test)]
mod tests;

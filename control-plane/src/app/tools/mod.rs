//! Tool calls on their way from a lease holder to the agent of a workspace, and back.
//!
//! `CallTool` is checked like a write of the holder ([`check`]), and then sent to the agent that is attached
//! to this replica ([`registry`]), or through the one that it is attached to ([`forward`]). Calls have ids that last, so a call may be sent again: to an agent that
//! has come back ([`run`]), or for a holder that has. What a tool writes meanwhile is a preview ([`outlet`]);
//! its result goes to whoever asked last. [`attach`] is the agent's end of all this, and [`journal`] tells the
//! agent which of the calls that it keeps in mind are still wanted.

mod attach;
mod check;
mod forward;
mod journal;
mod outlet;
mod registering;
mod registry;
mod run;

use bytes::Bytes;
use chatplane_domain::{CallId, ChatId, Fence, JournalId, SessionId, TOOL_OUTPUT_BYTES_MAX, WorkspaceId};
use futures::stream::BoxStream;

use super::Error;

pub(crate) use attach::RegisterAgent;
pub(crate) use forward::{PeerCallError, PeerToolPiece, PeerToolStream, PeerTools};
pub(crate) use journal::{Disposition, Verdict};
pub(crate) use registry::Workspaces;

/// Asks to run a committed call.
#[derive(Clone, Debug)]
pub(crate) struct CallTool {
    /// The session that holds the lease.
    pub(crate) session: SessionId,
    /// The chat.
    pub(crate) chat: ChatId,
    /// The lease's fence.
    pub(crate) fence: Fence,
    /// Version of the history that the worker knows.
    pub(crate) history_version: i64,
    /// The call.
    pub(crate) call: CallId,
    /// Name of the tool.
    pub(crate) tool_name: String,
    /// Arguments, a JSON object.
    pub(crate) arguments_json: String,
}

/// A piece of what a tool does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ToolPiece {
    /// Raw output as it is written, at most 256 KiB at a time.
    Output(Bytes),
    /// Always the last.
    Result(ToolEnd),
}

/// What comes of a call.
pub(crate) type ToolStream = BoxStream<'static, Result<ToolPiece, Error>>;

/// How a tool ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ToolEnd {
    /// What the model reads, at most 1 MiB.
    pub(crate) output: String,
    /// Whether the tool failed, or did not run.
    pub(crate) is_error: bool,
}

impl ToolEnd {
    /// Cut to the contract's size: what an agent sends is not to be trusted.
    fn cut(mut self) -> Self {
        const NOTICE: &str = "\n(the result was cut here: it is larger than 1 MiB)";
        if self.output.len() > TOOL_OUTPUT_BYTES_MAX {
            let kept = self.output.floor_char_boundary(TOOL_OUTPUT_BYTES_MAX - NOTICE.len());
            self.output.truncate(kept);
            self.output.push_str(NOTICE);
        }
        self
    }

    /// An end that tells the model what it can do about it.
    fn error(output: impl Into<String>) -> Self {
        Self { output: output.into(), is_error: true }
    }
}

/// A tool call, named for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct CallKey {
    /// The chat.
    pub(crate) chat: ChatId,
    /// The call in the chat.
    pub(crate) call: CallId,
}

/// What an agent is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ToAgent {
    /// The agent is known; always the first.
    Registered(WorkspaceId),
    /// Asks for a pong.
    Ping(i64),
    /// Run a tool.
    CallTool(Sending),
    /// Stop a tool.
    CancelTool(CallKey),
    /// What is to become of entries of its journal.
    JournalVerdicts(Vec<Verdict>),
}

/// A call as an agent is asked for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sending {
    /// The call.
    pub(crate) key: CallKey,
    /// Fence of the lease under which it is asked for.
    pub(crate) fence: Fence,
    /// The journal that was registered when the call was committed.
    pub(crate) journal: Option<JournalId>,
    /// Name of the tool.
    pub(crate) tool_name: String,
    /// Arguments, a JSON object.
    pub(crate) arguments_json: String,
}

/// What an agent says after its registration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum FromAgent {
    /// It is alive.
    Pong,
    /// A tool writes.
    Output {
        /// The call.
        key: CallKey,
        /// The bytes.
        data: Bytes,
    },
    /// A tool has ended.
    Ended {
        /// The call.
        key: CallKey,
        /// How.
        end: ToolEnd,
    },
    /// Calls that are in its journal, at most 1,000.
    JournalEntries(Vec<CallKey>),
}

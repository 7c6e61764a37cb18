//! A chat's execution: one row, one state.

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::{
    ChatError, ChatId, Effort, Fence, MessageId, OpenCall, OrganizationId, QueuedMessageId, SessionId,
    UserId, WorkspaceId,
};

/// Tries of one model call, leases included: a chat that kills its workers must run out.
pub const ATTEMPTS_MAX: u32 = 25;
/// How long a client has to settle calls of its tools, unless the chat says otherwise.
pub const ACTION_TIMEOUT_DEFAULT: Duration = Duration::from_mins(5);
/// A client needs this long at least: less would be over before the event has arrived.
pub const ACTION_TIMEOUT_MIN: Duration = Duration::from_secs(1);
/// A person may sleep over a decision; what is older than a day is forgotten work.
pub const ACTION_TIMEOUT_MAX: Duration = Duration::from_hours(24);

/// A chat as `decide` reads and writes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chat {
    /// Its id.
    pub id: ChatId,
    /// Organization of its owner.
    pub organization: OrganizationId,
    /// User under whose identity the agent acts.
    pub owner: UserId,
    /// What a user may configure.
    pub settings: Settings,
    /// What it is doing.
    pub execution: Execution,
    /// What changed when.
    pub versions: Versions,
    /// User messages that wait, in order; the first is the head.
    pub queue: Vec<Queued>,
    /// Calls without a result, all of the last answer.
    pub open_calls: Vec<OpenCall>,
    /// Tries of the current model call.
    pub attempt: u32,
    /// The retry in progress.
    pub retry: Option<Retry>,
    /// The last lease, kept after its end so that its replays are answered.
    pub last_lease: Option<Lease>,
    /// Id of the next message.
    pub next_message_id: MessageId,
    /// The live row with the chat's own prompt.
    pub system_prompt: Option<MessageId>,
    /// Whether the history has a model's answer.
    pub answered: bool,
    /// Bytes of what the model sees, by which the store decides how to hand it out. The
    /// store counts anew where a write deletes rows or makes a boundary: only it knows
    /// what those rows hold.
    pub history_bytes: i64,
    /// The last message that the newest live boundary covers: the model sees its summary
    /// and what has a higher id.
    pub covers_through: Option<MessageId>,
    /// Whether the turn is to make a summary; cleared with the first that comes of it.
    pub compact_requested: bool,
    /// What the last turn came to, in one line; empty before its end.
    pub last_turn_summary: String,
}

/// What a user may configure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Name of the model that answers.
    pub model: String,
    /// How much it should think.
    pub effort: Effort,
    /// Workspace whose tools the agent may use.
    pub workspace: Option<WorkspaceId>,
    /// Names of the tools that the client runs.
    pub client_tools: Vec<String>,
    /// Version of the write that defined them: definitions may change where names do not.
    pub client_tools_version: i64,
    /// How long the client has to settle calls of its tools.
    pub action_timeout: Duration,
}

/// What a chat is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Execution {
    /// Idle; waits for the user.
    Waiting {
        /// Whether it is archived.
        archived: bool,
    },
    /// Stopped by an error that needs a person.
    Error {
        /// The error.
        error: ChatError,
        /// Whether it is archived.
        archived: bool,
    },
    /// A worker should take it.
    Runnable {
        /// Since when.
        since: DateTime<Utc>,
    },
    /// A worker has it: `Chat::last_lease`.
    Leased,
    /// Stopped by the user; the holder still hands in what it has.
    Interrupting {
        /// Since when.
        since: DateTime<Utc>,
    },
    /// Waits, without a worker, until its open calls are settled.
    Suspended {
        /// When they time out.
        deadline: DateTime<Utc>,
    },
}

/// The `state` of proto, SQL and logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Idle.
    Waiting,
    /// A worker has the chat, or should take it.
    Running,
    /// Stopped by the user.
    Interrupting,
    /// Waits for calls.
    Suspended,
    /// Stopped by an error.
    Error,
}

impl State {
    /// Its name in SQL and error metadata.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Running => "running",
            Self::Interrupting => "interrupting",
            Self::Suspended => "suspended",
            Self::Error => "error",
        }
    }
}

/// When what changed: values of `snapshot`, which grows by one with every write.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Versions {
    /// Counts the writes.
    pub snapshot: i64,
    /// When the history last changed.
    pub history: i64,
    /// When the queue last changed.
    pub queue: i64,
    /// When the retry last changed.
    pub retry: i64,
    /// When the error last changed.
    pub error: i64,
}

/// The header of a queued message; its content stays in the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Queued {
    /// Its id.
    pub id: QueuedMessageId,
    /// Its place; lower enters first. Numbers have gaps.
    pub position: i64,
    /// Whether it joins the running turn.
    pub steering: bool,
    /// Who wrote it.
    pub created_by: UserId,
    /// Model that shall answer it.
    pub model: Option<String>,
    /// The default model, where the store found that `model` cannot be used any more.
    pub fallback_model: Option<String>,
    /// How much it should think.
    pub effort: Option<Effort>,
    /// Bytes of its content.
    pub content_bytes: i64,
}

/// A failed model call that will be repeated.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retry {
    /// What went wrong.
    pub error: ChatError,
    /// Number of the coming attempt.
    pub attempt: u32,
    /// When the call is repeated.
    pub next_attempt_time: DateTime<Utc>,
}

/// A session's exclusive right to advance a chat.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// Tells it from every other lease of the chat.
    pub fence: Fence,
    /// Who was given it.
    pub session: SessionId,
    /// The last write applied under it.
    pub last_write: Option<LastWrite>,
}

/// What a repeated write is answered with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastWrite {
    /// Its number under the lease.
    pub write_no: i64,
    /// What came of it.
    pub outcome: WriteOutcome,
}

/// What came of a holder's write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WriteOutcome {
    /// Version that the write produced.
    pub snapshot_version: i64,
    /// Version of the history after it.
    pub history_version: i64,
    /// What the holder does now.
    pub disposition: Disposition,
    /// Id of the first row it added; rows count up from there: those of a boundary, those
    /// of the holder, those of the control plane.
    pub first_message_id: MessageId,
    /// How many rows the boundary of its summary has. Outcomes stored by releases
    /// without summaries do not say.
    #[serde(default)]
    pub boundary: i64,
    /// How many rows the holder handed in.
    pub committed: i64,
    /// How many rows the control plane added after them.
    pub added: i64,
}

/// What a holder does after a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Disposition {
    /// The lease goes on.
    Continues,
    /// The lease goes on with a new turn.
    NextTurn,
    /// The lease has ended.
    Released,
}

impl Chat {
    /// The `state` of proto, SQL and logs.
    #[must_use]
    pub fn state(&self) -> State {
        match self.execution {
            Execution::Waiting { .. } => State::Waiting,
            Execution::Error { .. } => State::Error,
            Execution::Runnable { .. } | Execution::Leased => State::Running,
            Execution::Interrupting { .. } => State::Interrupting,
            Execution::Suspended { .. } => State::Suspended,
        }
    }

    /// Whether it is archived.
    #[must_use]
    pub fn archived(&self) -> bool {
        match self.execution {
            Execution::Waiting { archived } | Execution::Error { archived, .. } => archived,
            Execution::Runnable { .. }
            | Execution::Leased
            | Execution::Interrupting { .. }
            | Execution::Suspended { .. } => false,
        }
    }

    /// The lease, if a worker has the chat.
    #[must_use]
    pub fn live_lease(&self) -> Option<&Lease> {
        match self.execution {
            Execution::Leased | Execution::Interrupting { .. } => self.last_lease.as_ref(),
            Execution::Waiting { .. }
            | Execution::Error { .. }
            | Execution::Runnable { .. }
            | Execution::Suspended { .. } => None,
        }
    }

    /// The error it stopped with.
    #[must_use]
    pub fn last_error(&self) -> Option<&ChatError> {
        match &self.execution {
            Execution::Error { error, .. } => Some(error),
            Execution::Waiting { .. }
            | Execution::Runnable { .. }
            | Execution::Leased
            | Execution::Interrupting { .. }
            | Execution::Suspended { .. } => None,
        }
    }
}

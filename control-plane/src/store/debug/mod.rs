//! What was recorded of model calls, for finding out why a model did what it did.
//!
//! # Theory of operation
//!
//! A worker hands a step in when its call is over, and that may be late: the turn may have
//! been edited away, the chat deleted, recording forbidden. So a step is stored under the
//! chat's lock, and only where everything that it refers to is still there. Edits and
//! deletions take the same lock before they look: either they find the step, or the step
//! finds them.

mod reads;
mod record;
mod switches;

use chatplane_domain::{ChatError, ChatId, Fence, MessageId, SessionId, Usage};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

pub(crate) use record::Recorded;
pub(crate) use switches::{DebugPolicy, DebugSwitches, DebugSwitchesChange};

/// What a model call was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DebugStep {
    /// The answer's message, if one was stored.
    pub assistant_message: Option<MessageId>,
    /// The last message that the model saw.
    pub history_tip: Option<MessageId>,
    /// The model.
    pub model: String,
    /// What was asked.
    pub request_json: String,
    /// What was answered; empty for nothing.
    pub response_json: String,
    /// Whether one of the two was cut.
    pub truncated: bool,
    /// Tokens of the call.
    pub usage: Usage,
    /// The tries that it took, in order.
    pub attempts: Vec<DebugAttempt>,
    /// Why it failed, if it did.
    pub error: Option<ChatError>,
    /// When the first try began.
    pub start_time: DateTime<Utc>,
    /// Until the first token; 0 when none came.
    pub first_token_ms: i64,
    /// From the beginning of the first try to the end of the last.
    pub duration_ms: i64,
}

/// One try of a model call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct DebugAttempt {
    /// Number of the try.
    pub attempt: i32,
    /// How long it took.
    pub duration_ms: i64,
    /// Why it failed, if it did.
    pub error: Option<ChatError>,
}

/// A step as a worker hands it in.
#[derive(Clone, Debug)]
pub(crate) struct HandedIn {
    /// The chat.
    pub chat: ChatId,
    /// Who was given the lease.
    pub session: SessionId,
    /// The lease.
    pub fence: Fence,
    /// Counts the lease's model calls from 1.
    pub model_call: i64,
    /// The user message that started the turn, or any later message of it.
    pub trigger: Option<MessageId>,
    /// The last message of the history when the turn began under the lease.
    pub run_history_tip: Option<MessageId>,
    /// The call.
    pub step: DebugStep,
}

/// A turn of which something was recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DebugRunView {
    /// The run.
    pub run_id: Uuid,
    /// The chat.
    pub chat: ChatId,
    /// The user message that started the turn.
    pub trigger: Option<MessageId>,
    /// The last message of the history when it began.
    pub history_tip: Option<MessageId>,
    /// How many steps were recorded.
    pub step_count: i64,
    /// When it began.
    pub start_time: DateTime<Utc>,
    /// When its last step ended.
    pub end_time: DateTime<Utc>,
    /// Tokens of all its steps.
    pub usage: Usage,
}

/// A step of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DebugStepView {
    /// Counts the run's steps from 1.
    pub number: i32,
    /// The call.
    pub step: DebugStep,
}

/// A page of runs or of steps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DebugPage<T> {
    /// What it has.
    pub entries: Vec<T>,
    /// Whether there are more.
    pub has_more: bool,
}

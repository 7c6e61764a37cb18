//! What the control plane and a worker tell each other, in the worker's own types.

use std::{fmt, sync::Arc, time::Duration};

use chatplane_domain::{ChatError, Effort, Usage};

use crate::{
    llm::AnswerPart,
    session::LeaseKey,
    step::{After, CallId, Message},
    tools::Toolbox,
};

/// A provider's key: in memory only, and never in a log.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct ApiKey(pub(crate) String);

impl fmt::Debug for ApiKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("ApiKey(hidden)")
    }
}

/// Who writes: a session that holds a lease.
#[derive(Clone)]
pub(crate) struct Holder {
    pub(crate) session_id: Arc<str>,
    pub(crate) key: LeaseKey,
}

/// A model as the chat's settings name it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Model {
    pub(crate) name: String,
    pub(crate) provider: String,
    pub(crate) endpoint: String,
    pub(crate) provider_model: String,
    pub(crate) api_key: ApiKey,
    pub(crate) context_tokens_max: i64,
    pub(crate) output_tokens_max: i64,
    pub(crate) first_token_timeout: Duration,
    pub(crate) silence_timeout: Duration,
}

/// How the turn is to be run.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Settings {
    pub(crate) model: Model,
    pub(crate) effort: Effort,
    pub(crate) tools: Toolbox,
    /// Tells the model of the chat's workspace; empty for none.
    pub(crate) workspace_notice: String,
    /// The owner's own instructions as they are now; empty for none.
    pub(crate) user_instructions: String,
    /// Percent of the context at which the history is summarized; 100 for never.
    pub(crate) compaction_threshold_percent: i32,
    /// The turn is to make a summary and nothing else.
    pub(crate) compact_requested: bool,
    /// The turn's model calls are to be recorded.
    pub(crate) debug_recording: bool,
}

/// Where a turn stands.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct TurnHeader {
    /// Whether the user has stopped the turn.
    pub(crate) interrupting: bool,
    pub(crate) snapshot_version: i64,
    pub(crate) history_version: i64,
    pub(crate) last_write_no: i64,
    /// Tries of the current model call, this one included.
    pub(crate) attempt: i32,
    pub(crate) settings: Settings,
}

/// A lease as it is delivered.
#[derive(Clone, Debug)]
pub(crate) struct LeaseInput {
    pub(crate) header: TurnHeader,
    /// The whole history, when it came with the lease.
    pub(crate) messages: Option<Vec<Message>>,
}

/// What is newer than what the worker knows of a turn.
#[derive(Clone, Debug)]
pub(crate) struct TurnNews {
    pub(crate) header: TurnHeader,
    /// Messages from this id on are gone.
    pub(crate) deleted_from: Option<i64>,
    pub(crate) messages: Vec<Message>,
}

/// An answer as it is handed in.
#[derive(Clone, Debug)]
pub(crate) struct NewAnswer {
    pub(crate) parts: Vec<AnswerPart>,
    /// Places, among its calls, of those that the client settles.
    pub(crate) client_calls: Vec<u32>,
    pub(crate) model: String,
    pub(crate) usage: Usage,
    pub(crate) runtime: Duration,
    /// Counts the lease's model calls from 1.
    pub(crate) model_call: i64,
}

/// A summary as it is handed in.
#[derive(Clone, Debug)]
pub(crate) struct NewSummary {
    /// The last message that it covers.
    pub(crate) covers_through: i64,
    /// Version of the history that it was made from.
    pub(crate) history_version: i64,
    pub(crate) text: String,
    pub(crate) model: String,
    pub(crate) usage: Usage,
    pub(crate) runtime: Duration,
    /// Counts the lease's model calls from 1.
    pub(crate) model_call: i64,
    /// Tokens of the context that it takes the place of.
    pub(crate) context_tokens: i64,
    /// The same as percent of what fits.
    pub(crate) context_percent: i32,
}

/// What a step hands in.
#[derive(Clone, Debug)]
pub(crate) struct NewStep {
    /// Absent where the turn waited for a summary, or for calls to run before it suspends.
    pub(crate) answer: Option<NewAnswer>,
    /// One that is ready.
    pub(crate) summary: Option<NewSummary>,
    pub(crate) after: After,
}

/// The result of a tool call as it is handed in.
#[derive(Clone, Debug)]
pub(crate) struct NewResult {
    pub(crate) call: CallId,
    pub(crate) output: String,
    pub(crate) is_error: bool,
    pub(crate) runtime: Duration,
}

/// A command of a lease holder.
#[derive(Clone, Debug)]
pub(crate) enum Write {
    CommitStep(Box<NewStep>),
    CommitToolResults(Vec<NewResult>),
    RecordRetry { error: ChatError, delay: Duration },
    FinishInterruption { partial: Option<NewAnswer>, results: Vec<NewResult>, model_call: i64 },
    Fail(ChatError),
    Release,
}

/// Which write of the lease it is, and what it was made from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WriteNo {
    pub(crate) write_no: i64,
    pub(crate) history_version: i64,
}

/// What a holder does after a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Disposition {
    /// The lease goes on in the same turn.
    Continues,
    /// The lease goes on with the next turn.
    NextTurn,
    /// The lease has ended.
    Released,
}

/// What came of a write.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Outcome {
    pub(crate) snapshot_version: i64,
    pub(crate) history_version: i64,
    pub(crate) disposition: Disposition,
    /// Ids of what was handed in, in order.
    pub(crate) committed_ids: Vec<i64>,
    /// Whether a summary was handed in and taken.
    pub(crate) has_boundary: bool,
    /// Whether the control plane added rows of its own, to be read.
    pub(crate) has_added: bool,
    pub(crate) model: Option<Box<Model>>,
}

/// Tokens that were paid for.
#[derive(Clone)]
pub(crate) struct UsageReport {
    pub(crate) holder: Holder,
    pub(crate) model_call: i64,
    pub(crate) model: String,
    pub(crate) usage: Usage,
}

/// Names a live stream of a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct StreamId {
    pub(crate) base_version: i64,
    pub(crate) index: i64,
}

/// How far a replica has a live stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LivePosition {
    pub(crate) stream: StreamId,
    pub(crate) part: usize,
    pub(crate) offset: usize,
}

/// What a live part is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum LivePartKind {
    Text,
    Reasoning,
    ToolCall { tool_name: String },
    ToolOutput { tool_name: String, call: CallId },
    Summary,
}

//! Everything that can be asked of a chat.

use std::time::Duration;

use chrono::{DateTime, Utc};

use crate::{
    Answer, CallId, ChatError, ChatId, ClientTool, Effort, Fence, JournalId, MessageId, OpenCall,
    OrganizationId, QueuedMessageId, Role, SessionId, Usage, UserId, UserMessage, UserPart, WorkspaceId,
};

/// What `decide` may know beside the chat and the command.
#[derive(Clone, Copy, Debug)]
pub struct Context {
    /// The database's clock.
    pub now: DateTime<Utc>,
    /// How many messages a queue may hold.
    pub queue_max: usize,
    /// A session with a free slot, should the chat become runnable.
    pub lease_offer: Option<SessionId>,
}

/// A chat that shall be created.
#[derive(Clone, Debug)]
pub struct CreateChat {
    /// Its id.
    pub id: ChatId,
    /// Organization of its owner.
    pub organization: OrganizationId,
    /// Its owner.
    pub owner: UserId,
    /// Model that answers.
    pub model: String,
    /// How much it should think.
    pub effort: Effort,
    /// Workspace whose tools the agent may use.
    pub workspace: Option<WorkspaceId>,
    /// The deployment's prompt.
    pub deployment_prompt: Option<String>,
    /// The chat's own prompt.
    pub system_prompt: Option<String>,
    /// Tools that the client runs.
    pub client_tools: Vec<ClientTool>,
    /// How long the client has to settle calls of its tools.
    pub action_timeout: Duration,
    /// The first message.
    pub message: UserMessage,
}

/// A chat that shall be copied up to a message.
///
/// The store copies these live rows with their ids: what has an id up to `target`, the
/// rows of boundaries with `covers_through` up to it, and every system row, wherever it
/// stands. Everything else here is as the store found it among those rows.
#[derive(Clone, Debug)]
pub struct ForkChat {
    /// Id of the copy.
    pub id: ChatId,
    /// Organization of its owner.
    pub organization: OrganizationId,
    /// Its owner.
    pub owner: UserId,
    /// The last message to copy.
    pub target: MessageId,
    /// The last message that the newest copied boundary covers.
    pub covers_through: Option<MessageId>,
    /// Calls whose answer is copied and whose result is not, in order.
    pub unanswered: Vec<OpenCall>,
    /// Whether an answer of a model is copied.
    pub answered: bool,
}

/// Something asked of a chat that exists.
#[derive(Clone, Debug)]
pub enum Command {
    /// Adds a user message.
    SendMessage(SendMessage),
    /// Replaces a user message and drops what followed it.
    EditMessage(EditMessage),
    /// Replaces the content of a queued message.
    EditQueuedMessage(EditQueuedMessage),
    /// Deletes a queued message.
    DeleteQueuedMessage(QueuedMessageId),
    /// Moves a queued message.
    MoveQueuedMessage {
        /// The message.
        id: QueuedMessageId,
        /// Its new place, from 0; clamped.
        index: usize,
    },
    /// Makes a queued message the next.
    PromoteQueuedMessage(QueuedMessageId),
    /// Stops the turn.
    InterruptChat,
    /// Hands in results of calls that the client runs.
    SubmitToolResults(Vec<SubmittedResult>),
    /// Changes settings.
    ConfigureChat(ConfigureChat),
    /// Asks for a summary in place of the history.
    CompactChat(HistoryEnds),
    /// Lets the model forget the history.
    ClearContext(HistoryEnds),
    /// Archives an idle chat.
    ArchiveChat,
    /// Brings an archived chat back.
    UnarchiveChat,
    /// Gives a runnable chat to a session.
    Lease(SessionId),
    /// A command of the lease holder.
    Holder(HolderCommand),
    /// Ends a lease whose holder is gone.
    ExpireLease(ExpireLease),
    /// Ends a suspension past its deadline.
    ExpireCalls,
    /// Ends a runnable chat whose lease cannot be built.
    FailRunnable(ChatError),
    /// Deletes an archived chat for good.
    DeleteChat,
}

/// Adds a user message.
#[derive(Clone, Debug)]
pub struct SendMessage {
    /// Its id, should it be queued.
    pub id: QueuedMessageId,
    /// The message.
    pub message: UserMessage,
    /// What becomes of it in a busy chat.
    pub busy: BusyBehavior,
}

/// What becomes of a message sent to a busy chat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BusyBehavior {
    /// It waits until the turn ends.
    Queue,
    /// It joins the running turn at its next step.
    Steer,
    /// The turn is stopped.
    Interrupt,
}

/// Replaces a user message.
#[derive(Clone, Debug)]
pub struct EditMessage {
    /// The message to replace.
    pub target: MessageId,
    /// Role of the live row with that id, as the store found it; none for a row of a
    /// boundary.
    pub target_role: Option<Role>,
    /// The last message covered by the newest live boundary that covers nothing from the
    /// target on.
    pub boundary_below: Option<MessageId>,
    /// Whether the live answer of a model is below the target.
    pub answered_below: bool,
    /// What takes its place.
    pub replacement: UserMessage,
}

/// Where a history ends: its newest live rows, as the store found them, without system
/// rows and those of boundaries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HistoryEnds {
    /// The newest of all.
    pub last: Option<MessageId>,
    /// The newest answer of a model.
    pub last_answer: Option<MessageId>,
}

/// Replaces the content of a queued message.
#[derive(Clone, Debug)]
pub struct EditQueuedMessage {
    /// The message.
    pub id: QueuedMessageId,
    /// Its new pieces, in order.
    pub parts: Vec<UserPart>,
}

/// A result of a call that the client runs.
#[derive(Clone, Debug)]
pub struct SubmittedResult {
    /// The call.
    pub call: CallId,
    /// What came of it.
    pub output: String,
    /// Whether it failed.
    pub is_error: bool,
}

/// Changes settings; what is none stays.
#[derive(Clone, Debug, Default)]
pub struct ConfigureChat {
    /// Model that answers.
    pub model: Option<String>,
    /// How much it should think.
    pub effort: Option<Effort>,
    /// Workspace whose tools the agent may use; `Some(None)` takes it away.
    pub workspace: Option<Option<WorkspaceId>>,
    /// All tools that the client runs. The definitions are not read, so these count as a
    /// change unless there were none and are none.
    pub client_tools: Option<Vec<ClientTool>>,
    /// The chat's own prompt; `Some(None)` takes it away.
    pub system_prompt: Option<Option<String>>,
    /// How long the client has to settle calls of its tools.
    pub action_timeout: Option<Duration>,
}

/// A command of the lease holder.
#[derive(Clone, Debug)]
pub struct HolderCommand {
    /// Which write of which lease.
    pub header: WriteHeader,
    /// What is written.
    pub write: HolderWrite,
}

/// Which write of which lease, made from which history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WriteHeader {
    /// The holder.
    pub session: SessionId,
    /// The lease's fence.
    pub fence: Fence,
    /// Counts this lease's writes from 1.
    pub write_no: i64,
    /// Version of the history that the work was made from.
    pub history_version: i64,
}

/// What a lease holder writes.
#[derive(Clone, Debug)]
pub enum HolderWrite {
    /// Hands in an answer.
    CommitStep(CommitStep),
    /// Hands in results of finished calls.
    CommitToolResults(Vec<FinishedCall>),
    /// Records that the model call failed and will be repeated.
    RecordRetry {
        /// What went wrong.
        error: ChatError,
        /// Until the call is repeated.
        delay: Duration,
    },
    /// Ends an interruption with what the step has.
    FinishInterruption {
        /// The answer as far as it came.
        partial: Option<Answer>,
        /// Results of calls that had finished.
        results: Vec<FinishedCall>,
    },
    /// Ends the turn with an error.
    Fail(ChatError),
    /// Gives the lease back.
    Release,
}

/// Hands in an answer.
#[derive(Clone, Debug)]
pub struct CommitStep {
    /// The answer; none to suspend after the holder's own calls are done, or where a
    /// summary is all there is.
    pub answer: Option<Answer>,
    /// How the turn goes on.
    pub next: NextStep,
    /// The journal that the chat's workspace last registered.
    pub journal: Option<JournalId>,
    /// A summary that is ready.
    pub summary: Option<Summary>,
}

/// A summary that takes the place of the messages it covers.
#[derive(Clone, Debug)]
pub struct Summary {
    /// The last message covered.
    pub covers_through: MessageId,
    /// What it covers, as the store found it.
    pub covered: Covered,
    /// The summary.
    pub text: String,
    /// The model that wrote it.
    pub model: String,
    /// Tokens of the call.
    pub usage: Usage,
    /// Milliseconds of the call with its retries.
    pub runtime_ms: i64,
    /// Tokens of the context that it takes the place of.
    pub context_tokens: i64,
    /// The same as percent of the model's context.
    pub context_percent: i32,
}

/// What a summary covers, as the store found it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Covered {
    /// Whether the last row is live, neither a system row nor one of a boundary, and the
    /// end of its step: no result follows it, or the model would see that without its call.
    pub live: bool,
    /// Whether a row up to it has changed since the history that the summary was made
    /// from.
    pub changed_since: bool,
}

/// How a turn goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NextStep {
    /// Tools run, or the model is called again.
    Continue,
    /// The turn is over.
    Finish,
    /// The chat waits for its open calls without a worker, at most as long as its settings
    /// say.
    Suspend,
}

/// The result of a call that the holder ran.
#[derive(Clone, Debug)]
pub struct FinishedCall {
    /// The call.
    pub call: CallId,
    /// What the tool wrote.
    pub output: String,
    /// Whether it failed, or did not run.
    pub is_error: bool,
    /// Milliseconds it ran.
    pub runtime_ms: i64,
}

/// Ends a lease whose holder is gone.
#[derive(Clone, Copy, Debug)]
pub struct ExpireLease {
    /// The lease as the sweep saw it.
    pub fence: Fence,
    /// Why it ends.
    pub cause: ExpireCause,
}

/// Why a lease ends without its holder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExpireCause {
    /// Its session is missing or closed; neither can be undone.
    SessionEnded,
    /// The holder did not finish an interruption in time.
    InterruptionOverdue,
}

impl Command {
    /// The name that proto, logs and error metadata use.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::SendMessage(_) => "SendMessage",
            Self::EditMessage(_) => "EditMessage",
            Self::EditQueuedMessage(_) => "EditQueuedMessage",
            Self::DeleteQueuedMessage(_) => "DeleteQueuedMessage",
            Self::MoveQueuedMessage { .. } => "MoveQueuedMessage",
            Self::PromoteQueuedMessage(_) => "PromoteQueuedMessage",
            Self::InterruptChat => "InterruptChat",
            Self::SubmitToolResults(_) => "SubmitToolResults",
            Self::ConfigureChat(_) => "ConfigureChat",
            Self::CompactChat(_) => "CompactChat",
            Self::ClearContext(_) => "ClearContext",
            Self::ArchiveChat => "ArchiveChat",
            Self::UnarchiveChat => "UnarchiveChat",
            Self::Lease(_) => "Lease",
            Self::Holder(command) => command.write.name(),
            Self::ExpireLease(_) => "ExpireLease",
            Self::ExpireCalls => "ExpireCalls",
            Self::FailRunnable(_) => "FailRunnable",
            Self::DeleteChat => "DeleteChat",
        }
    }
}

impl HolderWrite {
    fn name(&self) -> &'static str {
        match self {
            Self::CommitStep(_) => "CommitStep",
            Self::CommitToolResults(_) => "CommitToolResults",
            Self::RecordRetry { .. } => "RecordRetry",
            Self::FinishInterruption { .. } => "FinishInterruption",
            Self::Fail(_) => "Fail",
            Self::Release => "Release",
        }
    }
}

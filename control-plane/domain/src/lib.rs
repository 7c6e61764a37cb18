//! The rules of a chat's life: pure, without I/O, clock or chance.
//!
//! [`decide`] is the only way a chat changes. Its types make wrong states hard to
//! write; `transitions.txt` shows what every command does in every state, and the
//! property tests hold the invariants over random commands.

mod change;
mod chat;
mod command;
mod decide;
mod draft;
mod failure;
mod fence;
mod ids;
mod message;
mod part;
mod queue;
mod turn_summary;

pub use change::{Change, Decision, Effect, Inserted, Outcome, QueueContent, Rejection};
pub use chat::{
    ACTION_TIMEOUT_DEFAULT, ACTION_TIMEOUT_MAX, ACTION_TIMEOUT_MIN, ATTEMPTS_MAX, Chat, Disposition,
    Execution, LastWrite, Lease, Queued, Retry, Settings, State, Versions, WriteOutcome,
};
pub use command::{
    BusyBehavior, Command, CommitStep, ConfigureChat, Context, Covered, CreateChat, EditMessage,
    EditQueuedMessage, ExpireCause, ExpireLease, FinishedCall, ForkChat, HistoryEnds, HolderCommand,
    HolderWrite, NextStep, SendMessage, SubmittedResult, Summary, WriteHeader,
};
pub use decide::{CHAT_SUMMARIZED, CONTEXT_CLEARED, INTERRUPTION_MAX, create, decide, fork};
pub use failure::{ChatError, DETAIL_CHARS_MAX, Effort, ErrorKind, Usage};
pub use fence::Fence;
pub use ids::{
    CallId, ChatId, FileId, JournalId, MessageId, OrganizationId, QueuedMessageId, ReplicaId, RequestId,
    SessionId, UserId, WorkspaceId,
};
pub use message::{
    ANSWER_BYTES_MAX, Answer, AnswerContent, AnswerPart, Body, CLIENT_MESSAGE_BYTES_MAX,
    CLIENT_TOOL_BYTES_MAX, CLIENT_TOOLS_BYTES_MAX, CLIENT_TOOLS_MAX, COMMIT_BYTES_MAX, CallKind, ClientTool,
    Message, OUTPUT_TOKENS_UNBOUNDED, OpenCall, PARTS_MAX, Role, SUMMARY_BYTES_MAX, SYSTEM_PROMPT_BYTES_MAX,
    SyntheticReason, TEXT_PART_BYTES_MAX, TOOL_OUTPUT_BYTES_MAX, ToolCall, ToolResult, UserMessage,
    Visibility,
};
pub use part::{DiffSide, FileRef, UserPart, content_bytes, file_ids, shown_words, texts};

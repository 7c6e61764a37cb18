//! Messages: what a history is made of.

use serde::{Deserialize, Serialize};

use crate::{
    CallId, Effort, MessageId, QueuedMessageId, Usage, UserId, UserPart, WorkspaceId, ids::JournalId,
    part::content_bytes,
};

/// A user's message may have this many bytes in all: with its envelope it stays
/// under the 3 MiB that no message on any wire exceeds.
pub const CLIENT_MESSAGE_BYTES_MAX: usize = 2_621_440;
/// One text part of a user may have this many bytes.
pub const TEXT_PART_BYTES_MAX: usize = 256 * 1024;
/// A message may have this many parts.
pub const PARTS_MAX: usize = 100;
/// An answer may have this many bytes, provider state included.
pub const ANSWER_BYTES_MAX: usize = 2 * 1024 * 1024;
/// As a model's limit it says that the provider knows best how long an answer may be.
pub const OUTPUT_TOKENS_UNBOUNDED: i64 = i64::MAX;
/// A tool's output may have this many bytes.
pub const TOOL_OUTPUT_BYTES_MAX: usize = 1024 * 1024;
/// One commit of the lease holder may have this many bytes.
pub const COMMIT_BYTES_MAX: usize = 2_621_440;
/// A per-chat system prompt may have this many bytes.
pub const SYSTEM_PROMPT_BYTES_MAX: usize = 64 * 1024;
/// A summary may have this many bytes: far more than a model writes, and a commit with
/// the largest answer beside it keeps its bound.
pub const SUMMARY_BYTES_MAX: usize = 256 * 1024;
/// A chat may have this many tools that its client runs.
pub const CLIENT_TOOLS_MAX: usize = 64;
/// The definition of such a tool may have this many bytes, name and description included.
pub const CLIENT_TOOL_BYTES_MAX: usize = 64 * 1024;
/// The definitions of a chat may have this many bytes in all: they come with every turn.
pub const CLIENT_TOOLS_BYTES_MAX: usize = 1_572_864;

/// Who gets to see a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Visibility {
    /// Users only.
    User,
    /// The model only.
    Model,
    /// Users and the model.
    Both,
}

/// Who speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Instructions.
    System,
    /// A user.
    User,
    /// The model.
    Assistant,
    /// Results of tool calls.
    Tool,
}

/// A message that enters the history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Its id.
    pub id: MessageId,
    /// Who gets to see it.
    pub visibility: Visibility,
    /// Set on the rows of a boundary: the last message that it covers. They live and die
    /// by it, never by their own id.
    pub covers_through: Option<MessageId>,
    /// What it says.
    pub body: Body,
}

/// What a message says, by its role.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    /// Instructions.
    System(String),
    /// Words of a user.
    User(UserMessage),
    /// An answer of the model.
    Assistant(Answer),
    /// What came of a tool call.
    Tool(ToolResult),
}

impl Body {
    /// The role it belongs to.
    #[must_use]
    pub fn role(&self) -> Role {
        match self {
            Self::System(_) => Role::System,
            Self::User(_) => Role::User,
            Self::Assistant(_) => Role::Assistant,
            Self::Tool(_) => Role::Tool,
        }
    }

    /// Bytes of its content, by which pages and commits are cut.
    #[must_use]
    pub fn content_bytes(&self) -> usize {
        match self {
            Self::System(text) => text.len(),
            Self::User(message) => message.content_bytes(),
            Self::Assistant(answer) => answer.content_bytes(),
            Self::Tool(result) => result.output.len() + result.tool_name.len(),
        }
    }
}

/// Words of a user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserMessage {
    /// Who wrote it.
    pub created_by: UserId,
    /// Its pieces, in order.
    pub parts: Vec<UserPart>,
    /// Model that answers from here on; none for the chat's model.
    pub model: Option<String>,
    /// The model that it asked for while it was queued, where `model` took its place.
    pub requested_model: Option<String>,
    /// How much it should think; none for the chat's setting.
    pub effort: Option<Effort>,
    /// The queued message it was.
    pub queued_message_id: Option<QueuedMessageId>,
}

impl UserMessage {
    /// Bytes of its pieces; those of files are elsewhere.
    #[must_use]
    pub fn content_bytes(&self) -> usize {
        content_bytes(&self.parts)
    }
}

/// An answer of the model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Its pieces, in order.
    pub parts: Vec<AnswerPart>,
    /// Model that answered.
    pub model: String,
    /// Tokens of the call.
    pub usage: Usage,
    /// Milliseconds of the call with its retries.
    pub runtime_ms: i64,
    /// Whether the user stopped it.
    pub interrupted: bool,
}

impl Answer {
    /// The calls it asks for, in order.
    pub fn calls(&self) -> impl Iterator<Item = &ToolCall> {
        self.parts.iter().filter_map(|part| match &part.content {
            AnswerContent::ToolCall(call) => Some(call),
            AnswerContent::Text(_) | AnswerContent::Reasoning(_) => None,
        })
    }

    /// Bytes of its pieces, provider state included.
    #[must_use]
    pub fn content_bytes(&self) -> usize {
        self.parts.iter().map(AnswerPart::content_bytes).sum()
    }
}

/// A piece of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AnswerPart {
    /// What it is.
    pub content: AnswerContent,
    /// What the provider must get back byte-exactly; only workers see it.
    pub provider_state: Vec<u8>,
}

impl AnswerPart {
    fn content_bytes(&self) -> usize {
        let content = match &self.content {
            AnswerContent::Text(text) | AnswerContent::Reasoning(text) => text.len(),
            AnswerContent::ToolCall(call) => call.tool_name.len() + call.arguments_json.len(),
        };
        content + self.provider_state.len()
    }
}

/// What a piece of an answer is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AnswerContent {
    /// Words.
    Text(String),
    /// Thinking.
    Reasoning(String),
    /// A request to run a tool.
    ToolCall(ToolCall),
}

/// A request to run a tool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ToolCall {
    /// Name of the tool.
    pub tool_name: String,
    /// Arguments as the model wrote them, possibly not JSON.
    pub arguments_json: String,
    /// Who settles the call.
    pub kind: CallKind,
}

/// Who settles a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CallKind {
    /// The lease holder runs it, or routes it to the workspace.
    Worker,
    /// The client runs it.
    Client,
    /// A person decides whether it runs.
    Approval,
    /// A sub-agent answers.
    Child,
}

/// A tool that the client runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientTool {
    /// Its name, unique in its chat.
    pub name: String,
    /// What it does, for the model.
    pub description: String,
    /// JSON Schema of its arguments: a JSON object.
    pub input_schema_json: String,
}

impl ClientTool {
    /// Bytes of its definition.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.name.len() + self.description.len() + self.input_schema_json.len()
    }
}

/// A call without a result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenCall {
    /// Its id.
    pub id: CallId,
    /// Name of the tool.
    pub tool_name: String,
    /// Who settles it.
    pub kind: CallKind,
    /// The workspace it goes to, for good.
    pub workspace: Option<WorkspaceId>,
    /// The journal that was registered when the call was committed.
    pub journal: Option<JournalId>,
}

/// What came of a tool call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ToolResult {
    /// The call.
    pub call: CallId,
    /// Name of the tool.
    pub tool_name: String,
    /// What the tool wrote.
    pub output: String,
    /// Whether it failed, or did not run.
    pub is_error: bool,
    /// Set when the control plane wrote the result.
    pub synthetic: Option<SyntheticReason>,
    /// Milliseconds the tool ran.
    pub runtime_ms: i64,
}

/// Why a call got a result that no tool wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SyntheticReason {
    /// The user stopped the turn.
    Interrupted,
    /// A newer message took the turn's place.
    Superseded,
    /// Nobody settled the call in time.
    TimedOut,
    /// The turn ended in an error.
    Failed,
    /// The chat was copied while the call was open.
    Forked,
    /// A person denied the call.
    Denied,
}

impl SyntheticReason {
    /// What the model gets to read.
    #[must_use]
    pub fn sentence(self) -> &'static str {
        match self {
            Self::Interrupted => "The user interrupted this call; whether it had an effect is unknown.",
            Self::Superseded => "A newer message took the place of this call before it had a result.",
            Self::TimedOut => "This call was not settled in time.",
            Self::Failed => "The turn ended in an error before this call had a result.",
            Self::Forked => "The chat was copied before this call had a result.",
            Self::Denied => "The user denied this call.",
        }
    }
}

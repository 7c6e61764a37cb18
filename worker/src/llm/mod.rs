//! Model providers: a small common language, and a file per wire format.

mod answer;
mod anthropic;
mod assembly;
mod base64;
mod call;
#[cfg(test)]
mod conformance;
mod failure;
mod history;
mod http;
mod intake;
mod openai;
mod reading;
mod size;
mod sse;
mod state;
mod tools;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use chatplane_domain::{ChatError, Effort, Usage};
use futures::stream::BoxStream;

use self::anthropic::Anthropic;
use self::call::{HttpProvider, WireFormat};
use self::openai::OpenAi;

pub use self::answer::Answer;
pub use self::http::install_crypto_provider;
pub use self::intake::{ImageIntake, Intake};

/// One call of a model: everything a provider needs, nothing it may look up.
#[derive(Clone)]
pub struct ModelCall {
    /// Base URL of the provider, without a trailing slash.
    pub endpoint: String,
    /// The provider's key. Never logged.
    pub api_key: String,
    /// The provider's own name of the model.
    pub provider_model: String,
    /// How much the model should think.
    pub effort: Effort,
    /// How many tokens the answer may have; `i64::MAX` leaves it to a provider that needs no bound.
    pub output_tokens_max: i64,
    /// Instructions, in order.
    pub system: Vec<String>,
    /// The conversation: any history that the state machine can produce.
    pub messages: Vec<PromptMessage>,
    /// Tools the model may call.
    pub tools: Vec<ToolDefinition>,
    /// How long and how large.
    pub limits: CallLimits,
}

/// Bounds of one model call.
#[derive(Clone, Copy, Debug)]
pub struct CallLimits {
    /// How long the first token may take.
    pub first_token_timeout: Duration,
    /// How long the stream may be silent after that.
    pub silence_timeout: Duration,
    /// How long the whole answer may take.
    pub answer_duration_max: Duration,
    /// How many bytes the answer's parts may have in all.
    pub answer_bytes_max: usize,
}

/// One message of the conversation. What a user says is made of `P`: of pieces that a
/// provider takes, or of whatever they are made from.
#[derive(Clone, Debug, PartialEq)]
pub enum PromptMessage<P = UserPiece> {
    /// What a user says.
    User {
        /// Its parts, in order.
        parts: Vec<P>,
    },
    /// An answer of a model, possibly of another provider, possibly interrupted.
    Assistant {
        /// Names the message's calls together with their indexes.
        message_id: i64,
        /// What it said and asked for.
        parts: Vec<AnswerPart>,
    },
    /// Results of tool calls; several in a row belong to the same answer.
    Tool {
        /// The results.
        results: Vec<ToolResult>,
    },
}

impl<P> PromptMessage<P> {
    /// The same with the parts of its user made into others.
    pub fn map_user<Q>(self, map: impl FnOnce(Vec<P>) -> Vec<Q>) -> PromptMessage<Q> {
        match self {
            Self::User { parts } => PromptMessage::User { parts: map(parts) },
            Self::Assistant { message_id, parts } => PromptMessage::Assistant { message_id, parts },
            Self::Tool { results } => PromptMessage::Tool { results },
        }
    }
}

/// A piece of what a user says, as a provider takes it.
#[derive(Clone, Debug, PartialEq)]
pub enum UserPiece {
    /// Words.
    Text(String),
    /// An image; only where the provider's [`Intake`] takes it.
    Image(Attachment),
    /// A PDF; only where the provider's [`Intake`] takes it.
    Document(Attachment),
}

/// A file with its bytes.
#[derive(Clone, PartialEq)]
pub struct Attachment {
    /// Its name, as the user gave it.
    pub name: String,
    /// What it is, for example `image/png`.
    pub media_type: String,
    /// Its bytes, shared by all calls that send them.
    pub data: Bytes,
}

/// Bytes of a user are nobody's to read in a log.
impl fmt::Debug for Attachment {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { media_type, data, .. } = self;
        write!(formatter, "Attachment({media_type}, {} bytes)", data.len())
    }
}

/// A piece of an answer with what its provider must get back.
#[derive(Clone, Debug, PartialEq)]
pub struct AnswerPart {
    /// What the piece is.
    pub content: PartContent,
    /// What the provider must get back byte-exactly, in a form that its wire
    /// format chooses and recognizes as its own; empty for none.
    pub provider_state: Bytes,
}

/// What a piece of an answer is.
#[derive(Clone, Debug, PartialEq)]
pub enum PartContent {
    /// Words.
    Text(String),
    /// Thinking; empty where the provider hides it.
    Reasoning(String),
    /// A request to run a tool.
    ToolCall {
        /// Name of the tool.
        tool_name: String,
        /// Arguments as the model wrote them, possibly not JSON.
        arguments_json: String,
    },
}

/// What came of a tool call.
#[derive(Clone, Debug, PartialEq)]
pub struct ToolResult {
    /// Message that holds the call.
    pub call_message_id: i64,
    /// The call's place among the calls of that message, from 0.
    pub call_index: u32,
    /// What the tool wrote.
    pub output: String,
    /// Whether the tool failed, or did not run.
    pub is_error: bool,
}

/// A tool that the model may call.
#[derive(Clone, Debug, PartialEq)]
pub struct ToolDefinition {
    /// Name.
    pub name: String,
    /// What it does, for the model.
    pub description: String,
    /// JSON Schema of its arguments, as text.
    pub input_schema_json: String,
}

/// What kind of live part begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PartKind {
    /// Text of the answer.
    Text,
    /// The model's thinking.
    Reasoning,
    /// The arguments of a tool call.
    ToolCall {
        /// Name of the tool.
        tool_name: String,
    },
}

/// What a provider's stream says, in order. [`Answer`] adds it up.
#[derive(Clone, Debug, PartialEq)]
pub enum ModelEvent {
    /// A part begins; only the last one grows.
    PartStarted(PartKind),
    /// The last part grows by whole characters.
    Delta(String),
    /// The last part is complete.
    PartFinished {
        /// What the provider must get back with it.
        provider_state: Bytes,
    },
    /// Tokens so far; each report replaces the one before.
    Usage(Usage),
    /// The answer is complete; the stream ends after it.
    Finished(StopReason),
}

/// Why a model stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopReason {
    /// It has said what it wanted.
    EndTurn,
    /// It waits for its tool calls.
    ToolUse,
    /// It reached its token limit.
    MaxTokens,
    /// The provider paused a long turn and wants to be called again with the answer so far.
    PauseTurn,
}

/// A model call that failed.
#[derive(Clone, Debug, PartialEq)]
pub struct CallFailure {
    /// What went wrong, for the chat.
    pub error: ChatError,
    /// How long the provider asked to wait.
    pub retry_after: Option<Duration>,
}

/// A wire format of a provider.
pub trait Provider: Send + Sync {
    /// Calls the model. The stream ends after `Finished` or a failure; dropping it
    /// closes the connection. What it holds back is bounded.
    fn call(&self, call: ModelCall) -> BoxStream<'static, Result<ModelEvent, CallFailure>>;

    /// Which files a model of the provider at this endpoint takes as they are.
    fn intake(&self, endpoint: &str, provider_model: &str) -> Intake;
}

/// The providers that this build knows, each with its own connections. Made once
/// a process and shared by its turns.
#[derive(Default)]
pub struct Providers {
    anthropic: Arc<HttpProvider<Anthropic>>,
    openai: Arc<HttpProvider<OpenAi>>,
}

impl Providers {
    /// The provider of a model, by its wire format; `None` for one that is unknown.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<Arc<dyn Provider>> {
        match name {
            Anthropic::NAME => Some(Arc::clone(&self.anthropic) as Arc<dyn Provider>),
            OpenAi::NAME => Some(Arc::clone(&self.openai) as Arc<dyn Provider>),
            _ => None,
        }
    }
}

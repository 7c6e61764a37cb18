//! Failures of model calls and turns, as chats keep and show them.

use serde::{Deserialize, Serialize};

/// `ChatError::detail` is cut to this many characters: enough for a provider's
/// sentence, too little for a prompt that it echoes.
pub const DETAIL_CHARS_MAX: usize = 500;

/// What kind of failure stopped a model call or a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorKind {
    /// The provider asked to slow down (429).
    RateLimited,
    /// The provider is overloaded (529, 503).
    Overloaded,
    /// The provider failed (other 5xx) or could not be reached.
    ProviderUnavailable,
    /// No token within the first-token or silence timeout.
    Timeout,
    /// The provider refused the key (401, 403).
    Authentication,
    /// The provider refused the request (400, 404, 422).
    InvalidRequest,
    /// The history does not fit the model's context.
    ContextLength,
    /// The provider's answer was not what its protocol says.
    MalformedResponse,
    /// The answer grew past what a message may hold, or took too long.
    AnswerTooLarge,
    /// The turn used up its model calls.
    TurnLimit,
    /// Every attempt at the same model call failed.
    AttemptsExhausted,
    /// The chat's model is unknown or has no credential.
    ModelUnusable,
    /// The provider declined to answer.
    Refused,
    /// The history could not be summarized, or is too long even so.
    CompactionFailed,
    /// A defect of ours.
    Internal,
}

/// A typed failure of a model call or a turn.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChatError {
    /// What kind of failure it is.
    pub kind: ErrorKind,
    /// One sentence for a person, saying what to do.
    pub message: String,
    /// What the provider said, at most [`DETAIL_CHARS_MAX`] characters.
    pub detail: String,
    /// Provider that failed; empty when none was involved.
    pub provider: String,
    /// HTTP status the provider answered, if it answered.
    pub status_code: Option<u16>,
    /// Whether the same call may succeed later.
    pub retryable: bool,
}

/// Tokens of a model call, as the provider counts them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Tokens read anew.
    pub input_tokens: i64,
    /// Tokens written, reasoning included.
    pub output_tokens: i64,
    /// Tokens read from the provider's cache, not part of `input_tokens`.
    pub cache_read_tokens: i64,
    /// Tokens written to the provider's cache, not part of `input_tokens`.
    pub cache_write_tokens: i64,
    /// Tokens of `output_tokens` spent on reasoning, where the provider tells.
    pub reasoning_tokens: i64,
}

/// How much a model should think before it answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Effort {
    /// The model's own default.
    #[default]
    Unspecified,
    /// Little or no thinking.
    Low,
    /// Some thinking.
    Medium,
    /// As much thinking as the model offers.
    High,
}

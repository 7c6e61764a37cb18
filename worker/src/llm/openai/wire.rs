//! Chunks of a Chat Completions stream as they are on the wire, as far as they are
//! used. Fields that are missing, null or unknown are no error where one can do without.

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::super::state::Fields;

#[derive(Deserialize)]
pub(super) struct Chunk {
    #[serde(default)]
    pub(super) choices: Option<Vec<Choice>>,
    #[serde(default)]
    pub(super) usage: Option<WireUsage>,
    #[serde(default)]
    pub(super) error: Option<Value>,
    /// `error` where a server sends an error in place of a chunk.
    #[serde(default)]
    pub(super) object: Option<String>,
}

#[derive(Deserialize)]
pub(super) struct Choice {
    #[serde(default)]
    pub(super) index: Option<i64>,
    #[serde(default)]
    pub(super) delta: Option<Delta>,
    #[serde(default)]
    pub(super) finish_reason: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Delta {
    pub(super) content: Option<String>,
    pub(super) refusal: Option<String>,
    /// Thinking, where a server shows it: under this name…
    pub(super) reasoning_content: Option<Box<RawValue>>,
    /// …or under this one.
    pub(super) reasoning: Option<Box<RawValue>>,
    /// Thinking with what must go back.
    pub(super) reasoning_details: Option<Vec<Fields>>,
    pub(super) tool_calls: Option<Vec<Fields>>,
    /// How calls looked before there could be several.
    pub(super) function_call: Option<Box<RawValue>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct WireUsage {
    pub(super) prompt_tokens: Option<i64>,
    pub(super) completion_tokens: Option<i64>,
    pub(super) total_tokens: Option<i64>,
    pub(super) prompt_tokens_details: Option<PromptDetails>,
    pub(super) completion_tokens_details: Option<CompletionDetails>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct PromptDetails {
    pub(super) cached_tokens: Option<i64>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct CompletionDetails {
    pub(super) reasoning_tokens: Option<i64>,
}

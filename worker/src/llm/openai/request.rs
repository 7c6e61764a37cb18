//! The body of a call to Chat Completions.

use reqwest::Url;
use serde::Serialize;
use serde_json::{Map, Value, json};

use chatplane_domain::Effort;

use super::super::base64;
use super::super::intake::{ImageIntake, Intake};
use super::super::tools::{input_schema, offered};
use super::super::{ModelCall, ToolDefinition};
use super::history::{Message, conversation};

/// Whose server answers: OpenAI's own has fields that others do not know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Server {
    /// OpenAI's own.
    Own,
    /// Azure's, which has OpenAI's models and fields. Models have the names there that
    /// operators give them, so that nothing can be concluded from an unknown one.
    Azure,
    /// One that speaks like it.
    Compatible,
}

impl Server {
    /// The server at a URL.
    pub(super) fn of(url: &Url) -> Self {
        const AZURE: [&str; 3] = ["openai.azure.com", "cognitiveservices.azure.com", "services.ai.azure.com"];
        let host = url.host_str().unwrap_or_default();
        let is_below = |domain: &str| {
            host.strip_suffix(domain).is_some_and(|before| before.is_empty() || before.ends_with('.'))
        };
        if is_below("api.openai.com") {
            Self::Own
        } else if AZURE.into_iter().any(is_below) {
            Self::Azure
        } else {
            Self::Compatible
        }
    }
}

#[derive(Serialize)]
struct Request<'a> {
    model: &'a str,
    stream: bool,
    stream_options: StreamOptions,
    /// The bound of an answer as OpenAI's models take it: the newer ones refuse the other.
    #[serde(skip_serializing_if = "Option::is_none")]
    max_completion_tokens: Option<i64>,
    /// The same as every other server knows it; many refuse or ignore the newer name.
    #[serde(skip_serializing_if = "Option::is_none")]
    max_tokens: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning_effort: Option<&'static str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tools: Vec<Tool<'a>>,
    messages: Vec<Message<'a>>,
}

#[derive(Serialize)]
struct StreamOptions {
    include_usage: bool,
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Tool<'a> {
    Function { function: Function<'a> },
}

#[derive(Serialize)]
struct Function<'a> {
    name: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    description: &'a str,
    parameters: Map<String, Value>,
}

/// The request as JSON.
pub(super) fn body(call: &ModelCall, server: Server) -> String {
    let tools: Vec<Tool<'_>> = offered(call).map(tool).collect();
    let is_bounded = call.output_tokens_max != chatplane_domain::OUTPUT_TOKENS_UNBOUNDED;
    let bound = is_bounded.then(|| call.output_tokens_max.max(1));
    let (max_completion_tokens, max_tokens) = match server {
        Server::Own | Server::Azure => {
            (bound.map(|tokens| tokens.min(answer_tokens_max(&call.provider_model))), None)
        }
        Server::Compatible => (None, bound),
    };
    let request = Request {
        model: &call.provider_model,
        stream: true,
        stream_options: StreamOptions { include_usage: true },
        max_completion_tokens,
        max_tokens,
        reasoning_effort: effort(call, server),
        tools,
        messages: conversation(&call.system, &call.messages, &call.provider_model),
    };
    base64::body(call, &request)
}

fn tool(tool: &ToolDefinition) -> Tool<'_> {
    let mut parameters = input_schema(&tool.input_schema_json);
    // An object without properties is refused, one with none of them is not.
    parameters.entry("properties").or_insert_with(|| json!({}));
    Tool::Function { function: Function { name: &tool.name, description: &tool.description, parameters } }
}

/// `reasoning_effort`. An effort that is not specified is not sent, with one exception.
///
/// OpenAI's models before reasoning refuse the field; the list of those is closed. Its
/// newest models take tools over Chat Completions only with an effort of `none`, and
/// refuse them when nothing is said, so that `none` it is, whatever the chat wants: an
/// answer without thinking is better than none. The models in between, a closed list too,
/// take both. Other servers ignore the field or know what to do with it; at Azure a model's
/// name says too little for that exception.
fn effort(call: &ModelCall, server: Server) -> Option<&'static str> {
    let model = call.provider_model.as_str();
    let wanted = match call.effort {
        Effort::Unspecified => None,
        Effort::Low => Some("low"),
        Effort::Medium => Some("medium"),
        Effort::High => Some("high"),
    };
    if without_effort(model) {
        return None;
    }
    let only_without_thinking = server == Server::Own && !call.tools.is_empty() && !thinks_with_tools(model);
    if only_without_thinking { Some("none") } else { wanted }
}

/// A model's family, from the name of the model or of one that was tuned from it.
fn family(model: &str) -> &str {
    model.strip_prefix("ft:").unwrap_or(model)
}

/// OpenAI's models that do not think, and those whose thinking cannot be set.
fn without_effort(model: &str) -> bool {
    const FAMILIES: [&str; 5] = ["gpt-3.5", "gpt-4", "chatgpt-", "o1-mini", "o1-preview"];
    let model = family(model);
    FAMILIES.iter().any(|family| model.starts_with(family))
        || (model.starts_with("gpt-") && model.contains("-chat"))
}

/// OpenAI's models that think and call tools over Chat Completions.
fn thinks_with_tools(model: &str) -> bool {
    const FAMILIES: [&str; 6] = ["o1", "o3", "o4", "gpt-5-", "gpt-5.1", "gpt-oss"];
    let model = family(model);
    model == "gpt-5" || FAMILIES.iter().any(|family| model.starts_with(family))
}

/// Files that a model takes. OpenAI's models that know words only are a closed list; of other
/// servers nobody can tell. PDFs are taken by OpenAI's own servers alone.
pub(super) fn intake(model: &str, server: Server) -> Intake {
    if without_images(model) {
        return Intake::WORDS;
    }
    let images = ImageIntake { animated: server == Server::Compatible, ..ImageIntake::ANY };
    let documents = server == Server::Own && !family(model).starts_with("gpt-4-");
    Intake { images: Some(images), documents }
}

/// OpenAI's models that know words only.
fn without_images(model: &str) -> bool {
    const FAMILIES: [&str; 8] =
        ["gpt-3.5", "gpt-4-0", "gpt-4-1106", "gpt-4-32k", "gpt-oss", "o1-mini", "o1-preview", "o3-mini"];
    let model = family(model);
    model == "gpt-4" || FAMILIES.iter().any(|family| model.starts_with(family))
}

/// How many tokens OpenAI lets an answer of a model have, for older models that have
/// less than the default of our settings: they refuse a call that asks for more.
fn answer_tokens_max(model: &str) -> i64 {
    const FAMILIES: [(&str, i64); 5] = [
        ("gpt-4.1", 32_768),
        ("gpt-4o", 16_384),
        ("chatgpt-4o", 16_384),
        ("gpt-4", 4_096),
        ("gpt-3.5", 4_096),
    ];
    let model = family(model);
    let known = FAMILIES.iter().find(|(family, _)| model.starts_with(family));
    known.map_or(i64::MAX, |(_, tokens)| *tokens)
}

#[cfg(test)]
#[path = "request_tests.rs"]
mod tests;

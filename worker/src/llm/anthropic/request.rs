//! The body of a call to Anthropic's Messages API.

use std::borrow::Cow;

use serde::Serialize;
use serde_json::{Map, Value, json};

use chatplane_domain::Effort;

use super::super::base64;
use super::super::history::replayable_name;
use super::super::intake::{ImageIntake, Intake};
use super::super::tools::{input_schema, offered};
use super::super::{ModelCall, PartContent, PromptMessage, ToolDefinition};
use super::history::{Block, Turn, conversation};

/// What a tool is called that the history names but nobody offers any more.
const WITHDRAWN: &str = "No longer available.";

#[derive(Serialize)]
struct Request<'a> {
    model: &'a str,
    max_tokens: i64,
    stream: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    system: Vec<Block<'a>>,
    messages: Vec<Turn<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tools: Vec<Tool<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_choice: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    thinking: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    output_config: Option<Value>,
}

#[derive(Serialize)]
struct Tool<'a> {
    name: Cow<'a, str>,
    #[serde(skip_serializing_if = "str::is_empty")]
    description: &'a str,
    input_schema: Map<String, Value>,
}

/// The request as JSON. The cache may keep everything up to the end of the
/// instructions, and everything up to the end of the conversation.
pub(super) fn body(call: &ModelCall) -> String {
    let mut system: Vec<Block<'_>> = call.system.iter().filter_map(|text| Block::text(text)).collect();
    if let Some(last) = system.last_mut() {
        last.cache();
    }
    let (tools, tool_choice) = tools(call);
    let (thinking, output_config) = effort(call.effort, &call.provider_model);
    let request = Request {
        model: &call.provider_model,
        max_tokens: call.output_tokens_max.max(1),
        stream: true,
        system,
        messages: conversation(&call.messages, &call.provider_model),
        tools,
        tool_choice,
        thinking,
        output_config,
    };
    base64::body(call, &request)
}

/// What an image may have; the provider counts it in base64, 5 MiB of it.
const IMAGE_BYTES_MAX: usize = 5 * 1024 * 1024 / 4 * 3;

/// Files that a model takes: all do but the oldest. The lists are complete and will not grow.
pub(super) fn intake(model: &str) -> Intake {
    const WITHOUT_IMAGES: [&str; 2] = ["claude-2", "claude-instant"];
    const WITHOUT_DOCUMENTS: [&str; 3] = ["claude-3-opus", "claude-3-sonnet", "claude-3-haiku"];
    if WITHOUT_IMAGES.iter().any(|family| model.contains(family)) {
        return Intake::WORDS;
    }
    let images = ImageIntake {
        bytes_max: IMAGE_BYTES_MAX,
        side_max: 8000,
        count_max: 100,
        many: 20,
        side_max_of_many: 2000,
        animated: true,
    };
    let documents = !WITHOUT_DOCUMENTS.iter().any(|family| model.contains(family));
    Intake { images: Some(images), documents }
}

/// The tools on offer. A history with calls needs a tool in the request: when none
/// is left, one of the history is named, and the model is told to use none.
fn tools(call: &ModelCall) -> (Vec<Tool<'_>>, Option<Value>) {
    let tools: Vec<Tool<'_>> = offered(call).map(offered_tool).collect();
    if !tools.is_empty() {
        return (tools, None);
    }
    let Some(name) = call.messages.iter().find_map(called_tool) else {
        return (Vec::new(), None);
    };
    let tool = Tool { name, description: WITHDRAWN, input_schema: input_schema("") };
    (vec![tool], Some(json!({"type": "none"})))
}

fn offered_tool(tool: &ToolDefinition) -> Tool<'_> {
    let input_schema = input_schema(&tool.input_schema_json);
    Tool { name: Cow::Borrowed(&tool.name), description: &tool.description, input_schema }
}

fn called_tool(message: &PromptMessage) -> Option<Cow<'_, str>> {
    let PromptMessage::Assistant { parts, .. } = message else {
        return None;
    };
    parts.iter().find_map(|part| match &part.content {
        PartContent::ToolCall { tool_name, .. } => Some(replayable_name(tool_name)),
        PartContent::Text(_) | PartContent::Reasoning(_) => None,
    })
}

/// `thinking` and `output_config` for an effort. Unspecified sends neither.
///
/// Models since 4.6 think adaptively, and their effort says how much; budgets in
/// tokens are refused by the newest. Older models know neither, so that only those
/// of a closed list have to be told apart; there the effort has no effect, since
/// a budget would make the provider demand thinking that another model's answers
/// in the same chat do not have.
fn effort(effort: Effort, model: &str) -> (Option<Value>, Option<Value>) {
    let level = match effort {
        Effort::Unspecified => return (None, None),
        Effort::Low => "low",
        Effort::Medium => "medium",
        Effort::High => "high",
    };
    let output_config = Some(json!({"effort": level}));
    if model.contains("claude-opus-4-5") {
        return (None, output_config);
    }
    if without_effort(model) {
        return (None, None);
    }
    // Without `display` the newest models hide what they think.
    (Some(json!({"type": "adaptive", "display": "summarized"})), output_config)
}

/// Models before adaptive thinking; the list is complete and will not grow.
fn without_effort(model: &str) -> bool {
    const FAMILIES: [&str; 10] = [
        "claude-2",
        "claude-3",
        "claude-instant",
        "claude-haiku-4-5",
        "claude-sonnet-4-0",
        "claude-sonnet-4-2025",
        "claude-sonnet-4-5",
        "claude-opus-4-0",
        "claude-opus-4-1",
        "claude-opus-4-2025",
    ];
    FAMILIES.iter().any(|family| model.contains(family))
}

#[cfg(test)]
#[path = "request_tests.rs"]
mod tests;

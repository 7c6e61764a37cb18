//! Tools that the client runs, and their results.

use std::{collections::HashSet, time::Duration};

use chatplane_domain::{
    ACTION_TIMEOUT_DEFAULT, ACTION_TIMEOUT_MAX, ACTION_TIMEOUT_MIN, CLIENT_MESSAGE_BYTES_MAX,
    CLIENT_TOOL_BYTES_MAX, CLIENT_TOOLS_BYTES_MAX, CLIENT_TOOLS_MAX, ClientTool, SubmittedResult,
    TOOL_OUTPUT_BYTES_MAX,
};
use chatplane_proto::chat::v1 as proto;

use super::{call_id_of, violation};
use crate::{
    app::{Error, FieldViolation},
    limits::client_tools,
};

/// Tools that a client declares; all that is wrong with them is said at once.
pub(super) fn declared(
    tools: Vec<proto::ToolDefinition>,
    violations: &mut Vec<FieldViolation>,
) -> Vec<ClientTool> {
    let tools: Vec<ClientTool> = tools
        .into_iter()
        .map(|tool| ClientTool {
            name: tool.name,
            description: tool.description,
            input_schema_json: tool.input_schema_json,
        })
        .collect();
    if tools.len() > CLIENT_TOOLS_MAX {
        let description = format!("a chat has at most {CLIENT_TOOLS_MAX} tools of the client");
        violations.push(violation("client_tools", description));
        return tools;
    }
    if tools.iter().map(ClientTool::bytes).sum::<usize>() > CLIENT_TOOLS_BYTES_MAX {
        let description = format!("the tools have at most {CLIENT_TOOLS_BYTES_MAX} bytes in all");
        violations.push(violation("client_tools", description));
        return tools;
    }
    let mut names = HashSet::new();
    for (index, tool) in tools.iter().enumerate() {
        let field = format!("client_tools[{index}]");
        check(&field, tool, violations);
        if !names.insert(tool.name.as_str()) {
            violations.push(violation(format!("{field}.name"), "another tool has that name"));
        }
    }
    tools
}

fn check(field: &str, tool: &ClientTool, violations: &mut Vec<FieldViolation>) {
    let is_word = tool.name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte));
    if !is_word || tool.name.is_empty() || tool.name.len() > client_tools::NAME_CHARS_MAX {
        let description = format!("a name is 1 to {} of a-z A-Z 0-9 _ -", client_tools::NAME_CHARS_MAX);
        violations.push(violation(format!("{field}.name"), description));
    }
    // The definitions are stored as JSONB, which cannot hold U+0000.
    if tool.description.len() > client_tools::DESCRIPTION_BYTES_MAX || tool.description.contains('\0') {
        let most = client_tools::DESCRIPTION_BYTES_MAX;
        let description = format!("a description has at most {most} bytes and no NUL");
        violations.push(violation(format!("{field}.description"), description));
    }
    if tool.bytes() > CLIENT_TOOL_BYTES_MAX {
        let description = format!("a tool has at most {CLIENT_TOOL_BYTES_MAX} bytes in all");
        violations.push(violation(field, description));
        return;
    }
    let schema = serde_json::from_str::<serde_json::Value>(&tool.input_schema_json);
    if !schema.is_ok_and(|schema| schema.is_object()) {
        let description = "it must be a JSON Schema, as a JSON object: {\"type\":\"object\"} takes anything";
        violations.push(violation(format!("{field}.input_schema_json"), description));
    }
}

/// How long a client has to settle calls; 0 is the default.
pub(super) fn action_timeout(millis: i64) -> Result<Duration, FieldViolation> {
    if millis == 0 {
        return Ok(ACTION_TIMEOUT_DEFAULT);
    }
    let timeout = u64::try_from(millis).ok().map(Duration::from_millis);
    timeout.filter(|timeout| (ACTION_TIMEOUT_MIN..=ACTION_TIMEOUT_MAX).contains(timeout)).ok_or_else(|| {
        let (least, most) = (ACTION_TIMEOUT_MIN.as_millis(), ACTION_TIMEOUT_MAX.as_millis());
        violation("action_timeout_ms", format!("it is {least} to {most}, or 0 for the default"))
    })
}

/// Results that a client hands in.
pub(crate) fn submitted(given: Vec<proto::SubmittedResult>) -> Result<Vec<SubmittedResult>, Error> {
    if given.is_empty() || given.len() > client_tools::RESULTS_MAX {
        return Err(Error::invalid(
            "results",
            format!("there are 1 to {} results", client_tools::RESULTS_MAX),
        ));
    }
    let mut submitted: Vec<SubmittedResult> = Vec::with_capacity(given.len());
    let mut bytes = 0;
    for (index, result) in given.into_iter().enumerate() {
        let field = format!("results[{index}]");
        let call = call_id_of(&format!("{field}.call"), result.call)?;
        if submitted.iter().any(|other| other.call == call) {
            return Err(Error::invalid(format!("{field}.call"), "another result names the same call"));
        }
        if result.output.len() > TOOL_OUTPUT_BYTES_MAX {
            let description = format!("an output has at most {TOOL_OUTPUT_BYTES_MAX} bytes");
            return Err(Error::invalid(format!("{field}.output"), description));
        }
        bytes += result.output.len();
        submitted.push(SubmittedResult { call, output: result.output, is_error: result.is_error });
    }
    if bytes > CLIENT_MESSAGE_BYTES_MAX {
        let description = format!("the outputs have at most {CLIENT_MESSAGE_BYTES_MAX} bytes in all");
        return Err(Error::invalid("results", description));
    }
    Ok(submitted)
}

//! Tool calls: which may run, and what the model reads when one did not. Pure.

use serde_json::{Map, Value};

use crate::{limits::TOOL_OUTPUT_BYTES_MAX, llm::ToolDefinition, step::OpenCall};

/// How a tool call ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ToolEnd {
    /// What the model reads.
    pub(crate) output: String,
    /// Whether the tool failed, or did not run.
    pub(crate) is_error: bool,
}

impl ToolEnd {
    /// An end that tells the model what it can do about it.
    pub(crate) fn error(output: impl Into<String>) -> Self {
        ToolEnd { output: output.into(), is_error: true }
    }
}

/// Whether a call may be sent to the workspace; if not, what the model reads instead.
pub(crate) fn check(call: &OpenCall, tools: &[ToolDefinition], has_workspace: bool) -> Result<(), ToolEnd> {
    if !has_workspace {
        return Err(ToolEnd::error("The tool did not run: this chat has no workspace."));
    }
    if !tools.iter().any(|tool| tool.name == call.tool_name) {
        let names: Vec<&str> = tools.iter().map(|tool| tool.name.as_str()).collect();
        let names = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
        return Err(ToolEnd::error(format!("The call did not run: no such tool. The tools are: {names}.")));
    }
    if let Err(error) = serde_json::from_str::<Map<String, Value>>(&call.arguments_json) {
        let place = format!("line {}, column {}", error.line(), error.column());
        let output =
            format!("The tool did not run: its arguments are not a JSON object ({place}). Call it again.");
        return Err(ToolEnd::error(output));
    }
    Ok(())
}

/// Cuts what is too long out of the middle, where it is missed least: the beginning says
/// what it is, and the end how it went.
pub(crate) fn cut(output: String) -> String {
    cut_to(output, TOOL_OUTPUT_BYTES_MAX)
}

fn cut_to(output: String, bytes_max: usize) -> String {
    if output.len() <= bytes_max {
        return output;
    }
    // Room for the notice, whatever number it names.
    let kept = bytes_max.saturating_sub(80) / 2;
    let head = &output[..output.floor_char_boundary(kept)];
    let tail = &output[output.ceil_char_boundary(output.len() - kept)..];
    let missing = output.len() - head.len() - tail.len();
    format!("{head}\n[… {missing} bytes are missing here: the output was too long …]\n{tail}")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::step::CallId;

    fn call(tool_name: &str, arguments_json: &str) -> OpenCall {
        OpenCall {
            id: CallId { message_id: 1, index: 0 },
            tool_name: tool_name.to_owned(),
            arguments_json: arguments_json.to_owned(),
        }
    }

    fn tools() -> Vec<ToolDefinition> {
        ["list_dir", "read_file"]
            .map(|name| ToolDefinition {
                name: name.to_owned(),
                description: String::new(),
                input_schema_json: "{}".to_owned(),
            })
            .to_vec()
    }

    #[test]
    fn a_known_tool_with_an_object_of_arguments_may_run() {
        assert_eq!(check(&call("list_dir", r#"{"path": "."}"#), &tools(), true), Ok(()));
    }

    #[test]
    fn an_unknown_tool_is_answered_with_the_names_of_the_known_ones() {
        let end = check(&call("rm", "{}"), &tools(), true).unwrap_err();

        assert!(end.is_error);
        assert!(end.output.contains("list_dir, read_file"), "{}", end.output);
    }

    #[test]
    fn arguments_that_are_no_object_are_answered_without_repeating_them() {
        for arguments in ["", "{", "[1]", "null", "\"secret\"", "{} {}"] {
            let end = check(&call("list_dir", arguments), &tools(), true).unwrap_err();

            assert!(end.is_error);
            assert!(end.output.contains("JSON object"), "{}", end.output);
            assert!(!end.output.contains("secret"));
        }
    }

    #[test]
    fn a_chat_without_a_workspace_has_no_tools() {
        assert!(check(&call("list_dir", "{}"), &[], false).unwrap_err().output.contains("no workspace"));
    }

    proptest! {
        #[test]
        fn a_cut_output_fits_and_keeps_its_beginning_and_end(output in "\\PC{0,400}", max in 100_usize..300) {
            let cut = cut_to(output.clone(), max);

            prop_assert!(cut.len() <= max);
            prop_assert_eq!(cut.chars().next(), output.chars().next());
            prop_assert_eq!(cut.chars().last(), output.chars().last());
            prop_assert_eq!(cut == output, output.len() <= max);
        }
    }
}

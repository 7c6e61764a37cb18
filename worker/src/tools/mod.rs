//! Tool calls: which are on offer, who settles which, which may run, and what the model
//! reads when one did not. Pure.

use std::sync::Arc;

use serde_json::{Map, Value};

use crate::{
    limits::TOOL_OUTPUT_BYTES_MAX,
    llm::{AnswerPart, PartContent, ToolDefinition},
    step::OpenCall,
};

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

/// The tools of a chat.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Toolbox {
    /// Those of its workspace.
    pub(crate) workspace: Arc<[ToolDefinition]>,
    /// Those that the client runs.
    pub(crate) client: Arc<[ToolDefinition]>,
    pub(crate) has_workspace: bool,
}

impl Toolbox {
    /// What the model is offered: a client's tool takes the place of the workspace's with
    /// the same name.
    pub(crate) fn offered(&self) -> Vec<ToolDefinition> {
        let of_workspace = self.workspace.iter().filter(|tool| !is_among(&self.client, &tool.name));
        of_workspace.chain(self.client.iter()).cloned().collect()
    }

    /// Places, among the calls of an answer, of those that the client settles. One whose
    /// arguments are broken is not worth a person's time: a worker answers it.
    pub(crate) fn client_calls(&self, parts: &[AnswerPart]) -> Vec<u32> {
        let calls = parts.iter().filter_map(|part| match &part.content {
            PartContent::ToolCall { tool_name, arguments_json } => Some((tool_name, arguments_json)),
            PartContent::Text(_) | PartContent::Reasoning(_) => None,
        });
        let is_clients = |tool_name: &str, arguments: &str| {
            is_among(&self.client, tool_name) && check_arguments(arguments).is_ok()
        };
        (0..)
            .zip(calls)
            .filter(|(_, (tool_name, arguments))| is_clients(tool_name, arguments))
            .map(|(index, _)| index)
            .collect()
    }

    /// Whether a call may be sent to the workspace; if not, what the model reads instead.
    pub(crate) fn check(&self, call: &OpenCall) -> Result<(), ToolEnd> {
        if self.has_workspace && is_among(&self.workspace, &call.tool_name) {
            return check_arguments(&call.arguments_json);
        }
        if is_among(&self.client, &call.tool_name) {
            check_arguments(&call.arguments_json)?;
            // The tool has become the client's after the call was committed.
            return Err(ToolEnd::error("The tool did not run: it has changed hands. Call it again."));
        }
        if !self.has_workspace && self.client.is_empty() {
            return Err(ToolEnd::error("The tool did not run: this chat has no workspace."));
        }
        let offered = self.offered();
        let names: Vec<&str> = offered.iter().map(|tool| tool.name.as_str()).collect();
        let names = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
        Err(ToolEnd::error(format!("The call did not run: no such tool. The tools are: {names}.")))
    }
}

fn is_among(tools: &[ToolDefinition], name: &str) -> bool {
    tools.iter().any(|tool| tool.name == name)
}

fn check_arguments(arguments_json: &str) -> Result<(), ToolEnd> {
    let parsed = serde_json::from_str::<Map<String, Value>>(arguments_json);
    parsed.map(|_| ()).map_err(|error| {
        let place = format!("line {}, column {}", error.line(), error.column());
        ToolEnd::error(format!(
            "The tool did not run: its arguments are not a JSON object ({place}). Call it again."
        ))
    })
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
    use bytes::Bytes;
    use proptest::prelude::*;

    use super::*;
    use crate::step::CallId;

    fn call(tool_name: &str, arguments_json: &str) -> OpenCall {
        OpenCall {
            id: CallId { message_id: 1, index: 0 },
            is_clients: false,
            tool_name: tool_name.to_owned(),
            arguments_json: arguments_json.to_owned(),
        }
    }

    fn tool(name: &str, description: &str) -> ToolDefinition {
        ToolDefinition {
            name: name.to_owned(),
            description: description.to_owned(),
            input_schema_json: "{}".to_owned(),
        }
    }

    fn toolbox() -> Toolbox {
        Toolbox {
            workspace: ["list_dir", "read_file"].map(|name| tool(name, "the workspace's")).into(),
            client: ["ask_user", "read_file"].map(|name| tool(name, "the client's")).into(),
            has_workspace: true,
        }
    }

    fn asked(calls: &[(&str, &str)]) -> Vec<AnswerPart> {
        let text =
            AnswerPart { content: PartContent::Text("I ask".to_owned()), provider_state: Bytes::new() };
        let calls = calls.iter().map(|(tool_name, arguments_json)| {
            let (tool_name, arguments_json) = ((*tool_name).to_owned(), (*arguments_json).to_owned());
            let content = PartContent::ToolCall { tool_name, arguments_json };
            AnswerPart { content, provider_state: Bytes::new() }
        });
        [text].into_iter().chain(calls).collect()
    }

    #[test]
    fn a_known_tool_with_an_object_of_arguments_may_run() {
        assert_eq!(toolbox().check(&call("list_dir", r#"{"path": "."}"#)), Ok(()));
    }

    #[test]
    fn a_clients_tool_takes_the_place_of_the_workspaces() {
        let offered = toolbox().offered();

        let offered: Vec<_> = offered.iter().map(|tool| (&*tool.name, &*tool.description)).collect();
        let clients = [("ask_user", "the client's"), ("read_file", "the client's")];
        assert_eq!(offered, [&[("list_dir", "the workspace's")][..], &clients].concat());
    }

    #[test]
    fn the_client_settles_calls_of_its_tools_and_no_others() {
        let parts = asked(&[("list_dir", "{}"), ("ask_user", "{}"), ("unknown", "{}"), ("read_file", "{}")]);

        assert_eq!(toolbox().client_calls(&parts), [1, 3]);
    }

    #[test]
    fn a_clients_call_with_broken_arguments_is_answered_without_the_client() {
        let parts = asked(&[("ask_user", "[broken")]);

        assert_eq!(toolbox().client_calls(&parts), [0_u32; 0]);
        let end = toolbox().check(&call("ask_user", "[broken")).unwrap_err();
        assert!(end.output.contains("not a JSON object"), "{}", end.output);
    }

    #[test]
    fn a_call_that_was_committed_before_the_client_took_its_tool_stays_the_workspaces() {
        assert_eq!(toolbox().check(&call("read_file", "{}")), Ok(()));
        let without = Toolbox { workspace: [].into(), ..toolbox() };
        assert!(without.check(&call("read_file", "{}")).unwrap_err().output.contains("Call it again"));
    }

    #[test]
    fn an_unknown_tool_is_answered_with_the_names_of_the_known_ones() {
        let end = toolbox().check(&call("rm", "{}")).unwrap_err();

        assert!(end.is_error);
        assert!(end.output.contains("list_dir, ask_user, read_file"), "{}", end.output);
    }

    #[test]
    fn arguments_that_are_no_object_are_answered_without_repeating_them() {
        for arguments in ["", "{", "[1]", "null", "\"secret\"", "{} {}"] {
            let end = toolbox().check(&call("list_dir", arguments)).unwrap_err();

            assert!(end.is_error);
            assert!(end.output.contains("JSON object"), "{}", end.output);
            assert!(!end.output.contains("secret"));
        }
    }

    #[test]
    fn a_chat_without_a_workspace_has_no_tools() {
        let nothing = Toolbox { workspace: [].into(), client: [].into(), has_workspace: false };

        assert!(nothing.check(&call("list_dir", "{}")).unwrap_err().output.contains("no workspace"));
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

//! How large a call is.

use super::{AnswerPart, ModelCall, PartContent, PromptMessage, ToolDefinition, ToolResult, UserPiece};

/// Bytes of all that a call sends, about.
pub(super) fn bytes(call: &ModelCall) -> usize {
    let system: usize = call.system.iter().map(String::len).sum();
    let tools: usize = call.tools.iter().map(tool).sum();
    let messages: usize = call.messages.iter().map(message).sum();
    system + tools + messages
}

fn tool(tool: &ToolDefinition) -> usize {
    tool.name.len() + tool.description.len() + tool.input_schema_json.len()
}

fn message(message: &PromptMessage) -> usize {
    match message {
        PromptMessage::User { parts } => parts.iter().map(piece).sum(),
        PromptMessage::Assistant { parts, .. } => parts.iter().map(part).sum(),
        PromptMessage::Tool { results } => results.iter().map(|ToolResult { output, .. }| output.len()).sum(),
    }
}

fn piece(piece: &UserPiece) -> usize {
    match piece {
        UserPiece::Text(text) => text.len(),
        UserPiece::Image(file) | UserPiece::Document(file) => file.data.len(),
    }
}

fn part(part: &AnswerPart) -> usize {
    let said = match &part.content {
        PartContent::Text(text) | PartContent::Reasoning(text) => text.len(),
        PartContent::ToolCall { tool_name, arguments_json } => tool_name.len() + arguments_json.len(),
    };
    said + part.provider_state.len()
}

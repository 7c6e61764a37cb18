//! Turns, as their holders read them, and what came of a write.

use chatplane_domain::{Body, ClientTool, Disposition, MessageId, WriteOutcome};
use chatplane_proto::{chat::v1 as chat, worker::v1 as proto};
use prost::{Message as _, bytes::Bytes};

use super::{call_id, convert, fence, key_of, millis, session_id};
use crate::{
    app::{CallTool, Error, GetTurn, HolderReply, MessageView, ReadFile, ToolPiece, TurnPiece},
    scheduler::{LeaseKey, ModelConfig, Turn, TurnHeader},
};

/// A lease with more bytes goes without messages, which its holder then reads: the tools of
/// its header alone may have 2.5 MiB, and a message of the transport has at most 4 MiB.
const LEASE_BYTES_MAX: usize = 3 * 1024 * 1024;

// From workers.

pub(crate) fn get_turn(request: &proto::GetTurnRequest) -> Result<GetTurn, Error> {
    if request.after_revision < 0 {
        return Err(Error::invalid("after_revision", "it is a revision, or 0 for all"));
    }
    Ok(GetTurn {
        session: session_id("session_id", &request.session_id)?,
        key: LeaseKey { chat: convert::chat_id(&request.chat_id)?, fence: fence("fence", request.fence)? },
        after_revision: request.after_revision,
    })
}

pub(crate) fn read_file(request: &proto::ReadFileRequest) -> Result<ReadFile, Error> {
    Ok(ReadFile {
        session: session_id("session_id", &request.session_id)?,
        chat: convert::chat_id(&request.chat_id)?,
        fence: fence("fence", request.fence)?,
        file: convert::file_id(&request.file_id)?,
    })
}

pub(crate) fn call_tool(request: proto::CallToolRequest) -> Result<CallTool, Error> {
    Ok(CallTool {
        session: session_id("session_id", &request.session_id)?,
        chat: convert::chat_id(&request.chat_id)?,
        fence: fence("fence", request.fence)?,
        history_version: request.history_version,
        call: call_id("call", request.call)?,
        tool_name: request.tool_name,
        arguments_json: request.arguments_json,
    })
}

// To workers.

pub(super) fn lease(turn: Turn) -> proto::Lease {
    bounded(proto::Lease {
        lease: Some(key_of(turn.key)),
        header: Some(turn_header(turn.header)),
        complete: turn.messages.is_some(),
        messages: turn.messages.unwrap_or_default().into_iter().map(turn_message).collect(),
    })
}

fn bounded(lease: proto::Lease) -> proto::Lease {
    if lease.encoded_len() <= LEASE_BYTES_MAX {
        return lease;
    }
    proto::Lease { complete: false, messages: Vec::new(), ..lease }
}

pub(crate) fn turn_piece(piece: TurnPiece) -> proto::GetTurnResponse {
    use proto::get_turn_response::Piece;
    let piece = match piece {
        TurnPiece::Header(header) => Piece::Header(turn_header(*header)),
        TurnPiece::DeletedFrom(id) => Piece::DeletedFromMessageId(id.0),
        TurnPiece::Messages(messages) => {
            let messages = messages.into_iter().map(turn_message).collect();
            Piece::Messages(proto::TurnMessages { messages })
        }
    };
    proto::GetTurnResponse { piece: Some(piece) }
}

pub(crate) fn tool_piece(piece: ToolPiece) -> proto::CallToolResponse {
    use proto::call_tool_response::Piece;
    let piece = match piece {
        ToolPiece::Output(bytes) => Piece::Output(bytes),
        ToolPiece::Result(end) => {
            Piece::Result(proto::CallToolResult { output: end.output, is_error: end.is_error })
        }
    };
    proto::CallToolResponse { piece: Some(piece) }
}

pub(crate) fn outcome(reply: HolderReply) -> proto::WriteOutcome {
    let HolderReply { outcome, model } = reply;
    let WriteOutcome { first_message_id: MessageId(first), boundary, committed, added, .. } = outcome;
    let first_committed = first + boundary;
    let first_added = first_committed + committed;
    let disposition = match outcome.disposition {
        Disposition::Continues => proto::Disposition::Continues,
        Disposition::NextTurn => proto::Disposition::NextTurn,
        Disposition::Released => proto::Disposition::Released,
    };
    proto::WriteOutcome {
        snapshot_version: outcome.snapshot_version,
        history_version: outcome.history_version,
        disposition: disposition.into(),
        boundary_message_ids: (first..first_committed).collect(),
        committed_message_ids: (first_committed..first_added).collect(),
        added_message_ids: (first_added..first_added + added).collect(),
        model: model.map(model_config),
    }
}

fn turn_header(header: TurnHeader) -> proto::TurnHeader {
    proto::TurnHeader {
        state: convert::state(header.state).into(),
        snapshot_version: header.snapshot_version,
        history_version: header.history_version,
        last_write_no: header.last_write_no,
        attempt: i32::try_from(header.attempt).unwrap_or(i32::MAX),
        model: Some(model_config(header.model)),
        effort: convert::effort_of(header.effort).into(),
        tools: header.tools.into_iter().map(convert::tool).collect(),
        workspace_id: header.workspace.map(|id| id.to_string()).unwrap_or_default(),
        client_tools: header.client_tools.into_iter().map(client_tool).collect(),
        workspace_notice: header.workspace_notice,
        user_instructions: header.user_instructions,
        compaction_threshold_percent: header.compaction_threshold_percent,
        compact_requested: header.compact_requested,
        debug_recording: header.debug_recording,
    }
}

pub(super) fn client_tool(tool: ClientTool) -> chat::ToolDefinition {
    chat::ToolDefinition {
        name: tool.name,
        description: tool.description,
        input_schema_json: tool.input_schema_json,
    }
}

pub(super) fn model_config(model: ModelConfig) -> proto::ModelConfig {
    proto::ModelConfig {
        name: model.name,
        provider: model.provider,
        endpoint: model.endpoint,
        provider_model: model.provider_model,
        api_key: model.api_key,
        context_tokens_max: model.context_tokens_max,
        output_tokens_max: model.output_tokens_max,
        first_token_timeout_ms: millis(model.first_token_timeout),
        silence_timeout_ms: millis(model.silence_timeout),
    }
}

fn turn_message(mut view: MessageView) -> proto::TurnMessage {
    let mut provider_states: Vec<Bytes> = Vec::new();
    if let Body::Assistant(answer) = &mut view.body {
        let states = answer.parts.iter_mut().map(|part| std::mem::take(&mut part.provider_state).into());
        provider_states = states.collect();
    }
    if provider_states.iter().all(Bytes::is_empty) {
        provider_states.clear();
    }
    proto::TurnMessage { message: Some(convert::message(view)), provider_states }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_goes_without_messages_when_its_tools_leave_them_no_room() {
        let lease = |tool_bytes: usize| {
            let tool = chat::ToolDefinition {
                input_schema_json: "x".repeat(tool_bytes),
                ..chat::ToolDefinition::default()
            };
            let header = proto::TurnHeader { client_tools: vec![tool], ..proto::TurnHeader::default() };
            let messages = vec![proto::TurnMessage::default()];
            proto::Lease { header: Some(header), complete: true, messages, ..proto::Lease::default() }
        };
        let large = lease(LEASE_BYTES_MAX);

        let bare = bounded(large.clone());

        assert_eq!(bounded(lease(LEASE_BYTES_MAX - 64)), lease(LEASE_BYTES_MAX - 64));
        assert_eq!((bare.complete, bare.messages.len()), (false, 0));
        assert_eq!(bare.header, large.header);
    }
}

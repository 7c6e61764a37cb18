//! Between `chatplane.peer.v1` and our own types. Nothing else converts them.
//!
//! What a newer replica says and this one does not know is left alone; what is malformed
//! breaks the link.

use chatplane_domain::{CallId, Fence, MessageId, SessionId, WorkspaceId};
use chatplane_proto::peer::v1::{self as proto, link_message::Message};

use super::convert::{self, LivePart};
use crate::{
    app::{CallTool, Error, PeerToolPiece, ToolEnd, ToolPiece},
    peers::{
        ENDED_CALLS_MAX, EndedCalls, EndedCause, LinkMessage, LivePiece, PIECE_BYTES_MAX, Subscribe,
        SubscriptionNo,
    },
    relay::{LivePosition, StreamHeader, StreamId},
};

/// Positions that one subscription names: more than a chat has live streams.
const POSITIONS_MAX: usize = 1000;

// From replicas.

/// None for what this release does not know.
pub(crate) fn link_message(message: proto::LinkMessage) -> Result<Option<LinkMessage>, Error> {
    let Some(message) = message.message else {
        return Ok(None);
    };
    Ok(Some(match message {
        Message::Heartbeat(proto::Heartbeat {}) => LinkMessage::Heartbeat,
        Message::Subscribe(asked) => LinkMessage::Subscribe(subscribe(asked)?),
        Message::Unsubscribe(over) => LinkMessage::Unsubscribe(SubscriptionNo(over.subscription)),
        Message::PartStarted(started) => return part_started(started),
        Message::PartAppend(append) => part_append(append)?,
        Message::StreamTruncated(cut) => {
            let stream = convert::live_stream_id("stream_truncated.stream", cut.stream)?;
            LinkMessage::Piece(SubscriptionNo(cut.subscription), LivePiece::StreamTruncated(stream))
        }
        Message::StreamClosed(closed) => {
            let stream = convert::live_stream_id("stream_closed.stream", closed.stream)?;
            LinkMessage::Piece(SubscriptionNo(closed.subscription), LivePiece::StreamClosed(stream))
        }
        Message::LeaseEnded(ended) => {
            LinkMessage::Piece(SubscriptionNo(ended.subscription), LivePiece::LeaseEnded)
        }
        Message::WorkspaceAttached(attached) => LinkMessage::WorkspaceAttached {
            workspace: workspace("workspace_attached.workspace_id", &attached.workspace_id)?,
            attachment_no: attached.attachment_no,
        },
        Message::CallsEnded(ended) => LinkMessage::CallsEnded(calls_ended(ended)?),
    }))
}

fn subscribe(asked: proto::Subscribe) -> Result<Subscribe, Error> {
    if asked.positions.len() > POSITIONS_MAX {
        return Err(Error::invalid("subscribe.positions", format!("at most {POSITIONS_MAX} streams")));
    }
    let position = |position: proto::StreamPosition| {
        Ok(LivePosition {
            stream: convert::live_stream_id("subscribe.positions.stream", position.stream)?,
            end: convert::live_offset("subscribe.positions", position.part, position.offset)?,
        })
    };
    Ok(Subscribe {
        no: SubscriptionNo(asked.subscription),
        chat: convert::chat_id(&asked.chat_id)?,
        fence: Fence(asked.fence),
        positions: asked.positions.into_iter().map(position).collect::<Result<_, Error>>()?,
        resumes: asked.resumes,
    })
}

/// A kind of part that is new is not previewed, and neither is what follows it in its stream.
fn part_started(started: proto::SubscribedPartStarted) -> Result<Option<LinkMessage>, Error> {
    let kind = started.part_started.as_ref().map(|part| part.kind);
    if kind.is_some_and(|kind| chatplane_proto::chat::v1::PartKind::try_from(kind).is_err()) {
        return Ok(None);
    }
    let LivePart { stream, stream_kind, part, header } =
        convert::live_part("part_started.part_started", started.part_started)?;
    // The lease is the subscription's: the fence is known there.
    let stream = StreamHeader { id: stream, fence: Fence(0), kind: stream_kind };
    let piece = LivePiece::PartStarted { stream, part, header };
    Ok(Some(LinkMessage::Piece(SubscriptionNo(started.subscription), piece)))
}

fn part_append(append: proto::SubscribedPartAppend) -> Result<LinkMessage, Error> {
    let field = "part_append.part_append";
    let part = append.part_append.ok_or_else(|| Error::invalid(field, "it is required"))?;
    if part.data.len() > PIECE_BYTES_MAX {
        return Err(Error::invalid(format!("{field}.data"), format!("at most {PIECE_BYTES_MAX} bytes")));
    }
    let piece = LivePiece::PartAppend {
        stream: convert::live_stream_id("part_append.part_append.stream", part.stream)?,
        at: convert::live_offset(field, part.part, part.offset)?,
        data: part.data,
    };
    Ok(LinkMessage::Piece(SubscriptionNo(append.subscription), piece))
}

fn calls_ended(ended: proto::CallsEnded) -> Result<EndedCalls, Error> {
    if ended.calls.len() > ENDED_CALLS_MAX {
        return Err(Error::invalid("calls_ended.calls", format!("at most {ENDED_CALLS_MAX} calls")));
    }
    let call = |ended: proto::EndedCall| {
        Ok((
            call_id("calls_ended.calls.call", ended.call)?,
            workspace("calls_ended.calls.workspace_id", &ended.workspace_id)?,
        ))
    };
    Ok(EndedCalls {
        chat: convert::chat_id(&ended.chat_id)?,
        calls: ended.calls.into_iter().map(call).collect::<Result<_, Error>>()?,
        cause: if ended.settled { EndedCause::Settled } else { EndedCause::Cancelled },
    })
}

pub(crate) fn call_tool(request: proto::CallToolRequest) -> Result<CallTool, Error> {
    Ok(CallTool {
        session: SessionId(convert::uuid("session_id", &request.session_id)?),
        chat: convert::chat_id(&request.chat_id)?,
        fence: Fence(request.fence),
        history_version: request.history_version,
        call: call_id("call", request.call)?,
        tool_name: request.tool_name,
        arguments_json: request.arguments_json,
    })
}

/// None for what this release does not know.
pub(crate) fn tool_piece(response: proto::CallToolResponse) -> Option<PeerToolPiece> {
    use proto::call_tool_response::Piece;
    Some(match response.piece? {
        Piece::Output(data) => PeerToolPiece::Piece(ToolPiece::Output(data)),
        Piece::Result(proto::CallToolResult { output, is_error }) => {
            PeerToolPiece::Piece(ToolPiece::Result(ToolEnd { output, is_error }))
        }
        Piece::AgentGone(proto::AgentGone { was_sent }) => PeerToolPiece::AgentGone { was_sent },
    })
}

fn call_id(field: &str, call: Option<chatplane_proto::chat::v1::CallId>) -> Result<CallId, Error> {
    let call = call.ok_or_else(|| Error::invalid(field, "it is required"))?;
    Ok(CallId { message: MessageId(call.message_id), index: call.call_index })
}

fn workspace(field: &str, text: &str) -> Result<WorkspaceId, Error> {
    convert::uuid(field, text).map(WorkspaceId)
}

// To replicas.

pub(crate) fn link_message_of(message: LinkMessage) -> proto::LinkMessage {
    let message = match message {
        LinkMessage::Heartbeat => Message::Heartbeat(proto::Heartbeat {}),
        LinkMessage::Subscribe(subscribe) => Message::Subscribe(subscribe_of(subscribe)),
        LinkMessage::Unsubscribe(no) => Message::Unsubscribe(proto::Unsubscribe { subscription: no.0 }),
        LinkMessage::Piece(no, piece) => live_piece(no.0, piece),
        LinkMessage::WorkspaceAttached { workspace, attachment_no } => {
            let workspace_id = workspace.to_string();
            Message::WorkspaceAttached(proto::WorkspaceAttached { workspace_id, attachment_no })
        }
        LinkMessage::CallsEnded(EndedCalls { chat, calls, cause }) => {
            let call = |(call, workspace): (CallId, WorkspaceId)| proto::EndedCall {
                call: Some(convert::call_id(call)),
                workspace_id: workspace.to_string(),
            };
            Message::CallsEnded(proto::CallsEnded {
                chat_id: chat.to_string(),
                calls: calls.into_iter().map(call).collect(),
                settled: match cause {
                    EndedCause::Settled => true,
                    EndedCause::Cancelled => false,
                },
            })
        }
    };
    proto::LinkMessage { message: Some(message) }
}

fn subscribe_of(subscribe: Subscribe) -> proto::Subscribe {
    let Subscribe { no, chat, fence, positions, resumes } = subscribe;
    let positions = positions.into_iter().map(|position| proto::StreamPosition {
        stream: Some(convert::stream_id(position.stream)),
        part: i32::try_from(position.end.part).unwrap_or(i32::MAX),
        offset: i64::try_from(position.end.offset).unwrap_or(i64::MAX),
    });
    proto::Subscribe {
        subscription: no.0,
        chat_id: chat.to_string(),
        fence: fence.0,
        positions: positions.collect(),
        resumes,
    }
}

fn live_piece(subscription: i64, piece: LivePiece) -> Message {
    let stream_of = |stream: StreamId| Some(convert::stream_id(stream));
    match piece {
        LivePiece::PartStarted { stream, part, header } => {
            let live = LivePart { stream: stream.id, stream_kind: stream.kind, part, header };
            let part_started = Some(convert::part_started(live));
            Message::PartStarted(proto::SubscribedPartStarted { subscription, part_started })
        }
        LivePiece::PartAppend { stream, at, data } => {
            let part_append = Some(convert::part_append(stream, at, data));
            Message::PartAppend(proto::SubscribedPartAppend { subscription, part_append })
        }
        LivePiece::StreamTruncated(stream) => {
            let stream = stream_of(stream);
            Message::StreamTruncated(proto::SubscribedStreamTruncated { subscription, stream })
        }
        LivePiece::StreamClosed(stream) => {
            let stream = stream_of(stream);
            Message::StreamClosed(proto::SubscribedStreamClosed { subscription, stream })
        }
        LivePiece::LeaseEnded => Message::LeaseEnded(proto::LeaseEnded { subscription }),
    }
}

pub(crate) fn call_tool_of(call: &CallTool) -> proto::CallToolRequest {
    proto::CallToolRequest {
        session_id: call.session.to_string(),
        chat_id: call.chat.to_string(),
        fence: call.fence.0,
        history_version: call.history_version,
        call: Some(convert::call_id(call.call)),
        tool_name: call.tool_name.clone(),
        arguments_json: call.arguments_json.clone(),
    }
}

pub(crate) fn tool_piece_of(piece: PeerToolPiece) -> proto::CallToolResponse {
    use proto::call_tool_response::Piece;
    let piece = match piece {
        PeerToolPiece::Piece(ToolPiece::Output(data)) => Piece::Output(data),
        PeerToolPiece::Piece(ToolPiece::Result(ToolEnd { output, is_error })) => {
            Piece::Result(proto::CallToolResult { output, is_error })
        }
        PeerToolPiece::AgentGone { was_sent } => Piece::AgentGone(proto::AgentGone { was_sent }),
    };
    proto::CallToolResponse { piece: Some(piece) }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use chatplane_domain::ChatId;
    use uuid::Uuid;

    use super::*;
    use crate::relay::{PartHeader, PartKind, PartOffset, StreamKind};

    const CHAT: ChatId = ChatId(Uuid::from_u128(7));
    const STREAM: StreamId = StreamId { base_version: 5, index: 2 };
    const NO: SubscriptionNo = SubscriptionNo(9);

    #[test]
    fn whatever_one_replica_says_another_understands() {
        let call = CallId { message: MessageId(4), index: 1 };
        let workspace = WorkspaceId(Uuid::from_u128(8));
        let end = PartOffset { part: 1, offset: 70 };
        let header = PartHeader { kind: PartKind::ToolOutput, tool_name: "execute".to_owned() };
        let stream = StreamHeader { id: STREAM, fence: Fence(0), kind: StreamKind::Call(call) };
        let ended =
            |cause| LinkMessage::CallsEnded(EndedCalls { chat: CHAT, calls: vec![(call, workspace)], cause });
        let said = [
            LinkMessage::Heartbeat,
            LinkMessage::Subscribe(Subscribe {
                no: NO,
                chat: CHAT,
                fence: Fence(3),
                positions: vec![LivePosition { stream: STREAM, end }],
                resumes: true,
            }),
            LinkMessage::Unsubscribe(NO),
            LinkMessage::Piece(NO, LivePiece::PartStarted { stream, part: 3, header }),
            LinkMessage::Piece(
                NO,
                LivePiece::PartAppend { stream: STREAM, at: end, data: Bytes::from_static(b"x") },
            ),
            LinkMessage::Piece(NO, LivePiece::StreamTruncated(STREAM)),
            LinkMessage::Piece(NO, LivePiece::StreamClosed(STREAM)),
            LinkMessage::Piece(NO, LivePiece::LeaseEnded),
            LinkMessage::WorkspaceAttached { workspace, attachment_no: 6 },
            ended(EndedCause::Cancelled),
            ended(EndedCause::Settled),
        ];

        for message in said {
            let heard = link_message(link_message_of(message.clone())).expect("it is understood");
            assert_eq!(heard, Some(message));
        }
    }

    #[test]
    fn what_a_newer_replica_says_is_left_alone_and_what_is_malformed_is_not_taken() {
        assert_eq!(link_message(proto::LinkMessage { message: None }).expect("it is left alone"), None);
        let part = chatplane_proto::chat::v1::PartStarted { kind: 99, ..Default::default() };
        let newer = proto::SubscribedPartStarted { subscription: 1, part_started: Some(part) };
        let newer = proto::LinkMessage { message: Some(Message::PartStarted(newer)) };
        assert_eq!(link_message(newer).expect("it is left alone"), None);

        let nameless = proto::Subscribe { chat_id: "none".to_owned(), ..Default::default() };
        let nameless = proto::LinkMessage { message: Some(Message::Subscribe(nameless)) };
        assert!(link_message(nameless).is_err());
        let large = chatplane_proto::chat::v1::PartAppend {
            data: vec![0; PIECE_BYTES_MAX + 1].into(),
            ..Default::default()
        };
        let large = proto::SubscribedPartAppend { subscription: 1, part_append: Some(large) };
        let large = proto::LinkMessage { message: Some(Message::PartAppend(large)) };
        assert!(link_message(large).is_err());
    }
}

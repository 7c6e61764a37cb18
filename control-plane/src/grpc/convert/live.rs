//! Live parts, as workers, watchers and other replicas have them.

use chatplane_domain::{CallId, MessageId};
use chatplane_proto::chat::v1 as proto;

use crate::{
    app::Error,
    relay::{PartHeader, PartKind, PartOffset, StreamId, StreamKind},
};

/// A part that begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LivePart {
    /// Its stream.
    pub(crate) stream: StreamId,
    /// What writes the stream.
    pub(crate) stream_kind: StreamKind,
    /// Its place there.
    pub(crate) part: usize,
    /// What it is.
    pub(crate) header: PartHeader,
}

// From workers and replicas.

pub(crate) fn live_part(field: &str, part: Option<proto::PartStarted>) -> Result<LivePart, Error> {
    let part = part.ok_or_else(|| Error::invalid(field, "it is required"))?;
    let kind = match proto::PartKind::try_from(part.kind) {
        Ok(proto::PartKind::Text) => PartKind::Text,
        Ok(proto::PartKind::Reasoning) => PartKind::Reasoning,
        Ok(proto::PartKind::ToolCall) => PartKind::ToolCall,
        Ok(proto::PartKind::ToolOutput) => PartKind::ToolOutput,
        Ok(proto::PartKind::Summary) => PartKind::Summary,
        Ok(proto::PartKind::Unspecified) | Err(_) => {
            return Err(Error::invalid(format!("{field}.kind"), "it is unknown"));
        }
    };
    let call = part.call.map(|call| live_call_id(&format!("{field}.call"), call)).transpose()?;
    let stream_kind = match (kind, call) {
        (PartKind::ToolOutput, Some(call)) => StreamKind::Call(call),
        (PartKind::Text | PartKind::Reasoning | PartKind::ToolCall, None) => StreamKind::Answer,
        (PartKind::Summary, None) => StreamKind::Summary,
        (PartKind::ToolOutput, None)
        | (PartKind::Text | PartKind::Reasoning | PartKind::ToolCall | PartKind::Summary, Some(_)) => {
            let description = "it is set on tool output, and only there";
            return Err(Error::invalid(format!("{field}.call"), description));
        }
    };
    Ok(LivePart {
        stream: live_stream_id(&format!("{field}.stream"), part.stream)?,
        stream_kind,
        part: index(&format!("{field}.part"), part.part.into())?,
        header: PartHeader { kind, tool_name: part.tool_name },
    })
}

pub(crate) fn live_stream_id(field: &str, stream: Option<proto::StreamId>) -> Result<StreamId, Error> {
    let stream = stream.ok_or_else(|| Error::invalid(field, "it is required"))?;
    if stream.base_version < 1 || stream.index < 0 {
        return Err(Error::invalid(field, "base_version is a version, index counts up from 0"));
    }
    Ok(StreamId { base_version: stream.base_version, index: stream.index })
}

pub(crate) fn live_offset(field: &str, part: i32, offset: i64) -> Result<PartOffset, Error> {
    Ok(PartOffset {
        part: index(&format!("{field}.part"), part.into())?,
        offset: index(&format!("{field}.offset"), offset)?,
    })
}

fn live_call_id(field: &str, call: proto::CallId) -> Result<CallId, Error> {
    if call.message_id < 1 || call.call_index < 0 {
        return Err(Error::invalid(field, "message_id counts from 1, call_index from 0"));
    }
    Ok(CallId { message: MessageId(call.message_id), index: call.call_index })
}

fn index(field: &str, number: i64) -> Result<usize, Error> {
    usize::try_from(number).map_err(|_| Error::invalid(field, "it counts up from 0"))
}

// To watchers, workers and replicas.

pub(crate) fn part_started(live: LivePart) -> proto::PartStarted {
    proto::PartStarted {
        stream: Some(stream_id(live.stream)),
        part: i32::try_from(live.part).unwrap_or(i32::MAX),
        kind: part_kind(live.header.kind).into(),
        tool_name: live.header.tool_name,
        call: match live.stream_kind {
            StreamKind::Call(call) => Some(super::call_id(call)),
            StreamKind::Answer | StreamKind::Summary => None,
        },
    }
}

pub(crate) fn part_append(stream: StreamId, at: PartOffset, data: bytes::Bytes) -> proto::PartAppend {
    proto::PartAppend {
        stream: Some(stream_id(stream)),
        part: i32::try_from(at.part).unwrap_or(i32::MAX),
        offset: i64::try_from(at.offset).unwrap_or(i64::MAX),
        data,
    }
}

pub(crate) fn stream_id(stream: StreamId) -> proto::StreamId {
    proto::StreamId { base_version: stream.base_version, index: stream.index }
}

pub(crate) fn part_kind(kind: PartKind) -> proto::PartKind {
    match kind {
        PartKind::Text => proto::PartKind::Text,
        PartKind::Reasoning => proto::PartKind::Reasoning,
        PartKind::ToolCall => proto::PartKind::ToolCall,
        PartKind::ToolOutput => proto::PartKind::ToolOutput,
        PartKind::Summary => proto::PartKind::Summary,
    }
}

//! What workers and replicas tell each other on a session.

use std::collections::BTreeSet;

use chatplane_proto::{chat::v1 as chat, worker::v1 as proto};

use super::{call_id, convert, jobs::job, key_of, lease_key, millis, session_id, turn::lease};
use crate::{
    app::{Error, OpenSession},
    relay::{PartHeader, PartKind, PartOffset, StreamId, StreamKind},
    scheduler::{FromWorker, LeaseKey, Opened, ResumedLease, ToWorker},
};

/// A worker runs at most this many chats at a time.
const SLOTS_MAX: usize = 1000;
/// A worker lists at most this many leases: more than slots, since some may be ending.
const LEASES_MAX: usize = 2 * SLOTS_MAX;
/// A worker's name has at most this many characters.
const WORKER_NAME_CHARS_MAX: usize = 200;
/// One append carries at most this many bytes.
const APPEND_BYTES_MAX: usize = 256 * 1024;

// From workers.

pub(crate) fn open(open: proto::Open) -> Result<OpenSession, Error> {
    let slots_total = usize::try_from(open.slots_total).unwrap_or_default();
    if !(1..=SLOTS_MAX).contains(&slots_total) {
        return Err(Error::invalid("open.slots_total", format!("it is 1 to {SLOTS_MAX}")));
    }
    if open.worker_name.chars().count() > WORKER_NAME_CHARS_MAX {
        let description = format!("at most {WORKER_NAME_CHARS_MAX} characters");
        return Err(Error::invalid("open.worker_name", description));
    }
    let session = match open.session_id.as_str() {
        "" => None,
        id => Some(session_id("open.session_id", id)?),
    };
    Ok(OpenSession {
        session,
        // PostgreSQL holds no NUL.
        worker_name: open.worker_name.replace('\0', ""),
        slots_total,
        leases: lease_keys("open.leases", open.leases)?,
    })
}

pub(crate) fn from_worker(request: proto::SessionRequest) -> Result<FromWorker, Error> {
    use proto::session_request::Message;
    match request.message {
        None => Err(Error::invalid("message", "it is of no kind that this release knows")),
        Some(Message::Open(_)) => Err(Error::invalid("open", "it is the first message, and only the first")),
        Some(Message::Pong(pong)) => {
            Ok(FromWorker::Pong { ping_no: pong.ping_no, leases: lease_keys("pong.leases", pong.leases)? })
        }
        Some(Message::LeasesChanged(changed)) => {
            Ok(FromWorker::LeasesChanged(lease_keys("leases_changed.leases", changed.leases)?))
        }
        Some(Message::LivePartStarted(started)) => part_started(started),
        Some(Message::LivePartAppend(append)) => part_append(append),
        Some(Message::LiveStreamClosed(closed)) => Ok(FromWorker::StreamClosed {
            lease: lease_key("live_stream_closed.lease", closed.lease)?,
            stream: stream_id("live_stream_closed.stream", closed.stream)?,
        }),
        Some(Message::Draining(proto::Draining {})) => Ok(FromWorker::Draining),
    }
}

fn part_started(started: proto::LivePartStarted) -> Result<FromWorker, Error> {
    let lease = lease_key("live_part_started.lease", started.lease)?;
    let part = started
        .part_started
        .ok_or_else(|| Error::invalid("live_part_started.part_started", "it is required"))?;
    let kind = match chat::PartKind::try_from(part.kind) {
        Ok(chat::PartKind::Text) => PartKind::Text,
        Ok(chat::PartKind::Reasoning) => PartKind::Reasoning,
        Ok(chat::PartKind::ToolCall) => PartKind::ToolCall,
        Ok(chat::PartKind::ToolOutput) => PartKind::ToolOutput,
        Ok(chat::PartKind::Summary) => PartKind::Summary,
        Ok(chat::PartKind::Unspecified) | Err(_) => {
            return Err(Error::invalid("live_part_started.part_started.kind", "it is unknown"));
        }
    };
    let call =
        part.call.map(|call| call_id("live_part_started.part_started.call", Some(call))).transpose()?;
    let stream_kind = match (kind, call) {
        (PartKind::ToolOutput, Some(call)) => StreamKind::Call(call),
        (PartKind::Text | PartKind::Reasoning | PartKind::ToolCall, None) => StreamKind::Answer,
        (PartKind::Summary, None) => StreamKind::Summary,
        (PartKind::ToolOutput, None)
        | (PartKind::Text | PartKind::Reasoning | PartKind::ToolCall | PartKind::Summary, Some(_)) => {
            let description = "it is set on tool output, and only there";
            return Err(Error::invalid("live_part_started.part_started.call", description));
        }
    };
    Ok(FromWorker::PartStarted {
        lease,
        stream: stream_id("live_part_started.part_started.stream", part.stream)?,
        stream_kind,
        part: index("live_part_started.part_started.part", part.part.into())?,
        header: PartHeader { kind, tool_name: part.tool_name },
    })
}

fn part_append(append: proto::LivePartAppend) -> Result<FromWorker, Error> {
    let lease = lease_key("live_part_append.lease", append.lease)?;
    let part =
        append.part_append.ok_or_else(|| Error::invalid("live_part_append.part_append", "it is required"))?;
    if part.data.len() > APPEND_BYTES_MAX {
        let description = format!("at most {APPEND_BYTES_MAX} bytes");
        return Err(Error::invalid("live_part_append.part_append.data", description));
    }
    Ok(FromWorker::PartAppend {
        lease,
        stream: stream_id("live_part_append.part_append.stream", part.stream)?,
        at: PartOffset {
            part: index("live_part_append.part_append.part", part.part.into())?,
            offset: index("live_part_append.part_append.offset", part.offset)?,
        },
        data: part.data,
    })
}

fn lease_keys(field: &str, keys: Vec<proto::LeaseKey>) -> Result<BTreeSet<LeaseKey>, Error> {
    if keys.len() > LEASES_MAX {
        return Err(Error::invalid(field, format!("at most {LEASES_MAX} leases")));
    }
    keys.into_iter().map(|key| lease_key(field, Some(key))).collect()
}

fn stream_id(field: &str, stream: Option<chat::StreamId>) -> Result<StreamId, Error> {
    let stream = stream.ok_or_else(|| Error::invalid(field, "it is required"))?;
    if stream.base_version < 1 || stream.index < 0 {
        return Err(Error::invalid(field, "base_version is a version, index counts up from 0"));
    }
    Ok(StreamId { base_version: stream.base_version, index: stream.index })
}

fn index(field: &str, number: i64) -> Result<usize, Error> {
    usize::try_from(number).map_err(|_| Error::invalid(field, "it counts up from 0"))
}

// To workers.

pub(crate) fn to_worker(message: ToWorker) -> proto::SessionResponse {
    use proto::session_response::Message;
    let message = match message {
        ToWorker::Opened(opened) => Message::Opened(opened_of(opened)),
        ToWorker::Lease(turn) => Message::Lease(lease(*turn)),
        ToWorker::Ping { ping_no, renewed_age } => {
            Message::Ping(proto::Ping { ping_no, renewed_age_ms: millis(renewed_age) })
        }
        ToWorker::Interrupt { key, version } => {
            Message::Interrupt(proto::Interrupt { lease: Some(key_of(key)), snapshot_version: version })
        }
        ToWorker::Reload { key, version } => {
            Message::Reload(proto::Reload { lease: Some(key_of(key)), snapshot_version: version })
        }
        ToWorker::Lost(key) => Message::Lost(proto::Lost { lease: Some(key_of(key)) }),
        ToWorker::Drain => Message::Drain(proto::Drain {}),
        ToWorker::Job(given) => Message::Job(job(*given)),
    };
    proto::SessionResponse { message: Some(message) }
}

fn opened_of(opened: Opened) -> proto::Opened {
    proto::Opened {
        session_id: opened.session.to_string(),
        leases: opened.leases.into_iter().map(resumed_lease).collect(),
    }
}

fn resumed_lease(resumed: ResumedLease) -> proto::ResumedLease {
    let lease = Some(key_of(resumed.key));
    let Some(alive) = resumed.alive else {
        return proto::ResumedLease { lease, lost: true, ..proto::ResumedLease::default() };
    };
    let positions = alive.positions.into_iter().map(|position| proto::LivePosition {
        stream: Some(stream_of(position.stream)),
        part: i32::try_from(position.end.part).unwrap_or(i32::MAX),
        offset: i64::try_from(position.end.offset).unwrap_or(i64::MAX),
    });
    proto::ResumedLease {
        lease,
        lost: false,
        state: convert::state(alive.state).into(),
        snapshot_version: alive.snapshot_version,
        history_version: alive.history_version,
        last_write_no: alive.last_write_no,
        positions: positions.collect(),
    }
}

fn stream_of(stream: StreamId) -> chat::StreamId {
    chat::StreamId { base_version: stream.base_version, index: stream.index }
}

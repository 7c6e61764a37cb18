//! What workers and replicas tell each other on a session.

use std::collections::BTreeSet;

use chatplane_proto::worker::v1 as proto;

use super::{
    convert::{self, LivePart},
    jobs::job,
    key_of, lease_key, millis, session_id,
    turn::lease,
};
use crate::{
    app::{Error, OpenSession},
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
            stream: convert::live_stream_id("live_stream_closed.stream", closed.stream)?,
        }),
        Some(Message::Draining(proto::Draining {})) => Ok(FromWorker::Draining),
    }
}

fn part_started(started: proto::LivePartStarted) -> Result<FromWorker, Error> {
    let lease = lease_key("live_part_started.lease", started.lease)?;
    let live = convert::live_part("live_part_started.part_started", started.part_started)?;
    let LivePart { stream, stream_kind, part, header } = live;
    Ok(FromWorker::PartStarted { lease, stream, stream_kind, part, header })
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
        stream: convert::live_stream_id("live_part_append.part_append.stream", part.stream)?,
        at: convert::live_offset("live_part_append.part_append", part.part, part.offset)?,
        data: part.data,
    })
}

fn lease_keys(field: &str, keys: Vec<proto::LeaseKey>) -> Result<BTreeSet<LeaseKey>, Error> {
    if keys.len() > LEASES_MAX {
        return Err(Error::invalid(field, format!("at most {LEASES_MAX} leases")));
    }
    keys.into_iter().map(|key| lease_key(field, Some(key))).collect()
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
        stream: Some(convert::stream_id(position.stream)),
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

//! What a worker and its replica tell each other on a session.

use std::{collections::BTreeSet, time::Duration};

use bytes::Bytes;
use chatplane_domain::{SessionId, State};

use super::{Job, LeaseKey, Turn};
use crate::relay::{LivePosition, PartHeader, PartOffset, StreamId, StreamKind};

/// What a worker sends after it has opened its session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum FromWorker {
    /// Answers a ping.
    Pong {
        /// The ping.
        ping_no: i64,
        /// Leases it holds.
        leases: BTreeSet<LeaseKey>,
    },
    /// The leases held have changed.
    LeasesChanged(BTreeSet<LeaseKey>),
    /// A live part begins.
    PartStarted {
        /// The lease under which the work runs.
        lease: LeaseKey,
        /// The stream.
        stream: StreamId,
        /// What writes the stream.
        stream_kind: StreamKind,
        /// The part.
        part: usize,
        /// What it is.
        header: PartHeader,
    },
    /// A live part grows.
    PartAppend {
        /// The lease under which the work runs.
        lease: LeaseKey,
        /// The stream.
        stream: StreamId,
        /// Where the bytes begin.
        at: PartOffset,
        /// The bytes.
        data: Bytes,
    },
    /// A live stream is over.
    StreamClosed {
        /// The lease under which the work ran.
        lease: LeaseKey,
        /// The stream.
        stream: StreamId,
    },
    /// The worker takes no further lease.
    Draining,
}

/// What a replica sends down a session.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum ToWorker {
    /// The session is open: always the first.
    Opened(Opened),
    /// A chat to run.
    Lease(Box<Turn>),
    /// Asks for a pong.
    Ping {
        /// Counts up.
        ping_no: i64,
        /// How long ago the session was renewed.
        renewed_age: Duration,
    },
    /// The user stopped the turn.
    Interrupt {
        /// The lease.
        key: LeaseKey,
        /// Version of the write that stopped it.
        version: i64,
    },
    /// History or settings have changed.
    Reload {
        /// The lease.
        key: LeaseKey,
        /// Version of the write that changed them.
        version: i64,
    },
    /// The lease has ended.
    Lost(LeaseKey),
    /// The replica is leaving.
    Drain,
    /// A job beside the turns.
    Job(Box<Job>),
}

/// The session is open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Opened {
    /// Secret of the worker and the control plane.
    pub(crate) session: SessionId,
    /// What became of each lease that the worker named.
    pub(crate) leases: Vec<ResumedLease>,
}

/// What became of a lease across a reconnect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ResumedLease {
    /// The lease.
    pub(crate) key: LeaseKey,
    /// How it stands; none when it has ended.
    pub(crate) alive: Option<AliveLease>,
}

/// A lease that goes on across a reconnect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AliveLease {
    /// What the chat is doing.
    pub(crate) state: State,
    /// Version of the chat.
    pub(crate) snapshot_version: i64,
    /// Version of its history.
    pub(crate) history_version: i64,
    /// Number of the last write that was applied.
    pub(crate) last_write_no: i64,
    /// What this replica holds of the lease's live streams.
    pub(crate) positions: Vec<LivePosition>,
}

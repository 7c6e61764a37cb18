//! What happens to a session, and what it does.

use std::time::Duration;

use uuid::Uuid;

use super::Control;
use crate::backoff::Backoff;

/// Names a lease. The fence grows by one with every lease of the chat: of two holders
/// of the same chat only the later one's writes are accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct LeaseKey {
    pub(crate) chat_id: Uuid,
    pub(crate) fence: i64,
}

/// What happens to a session.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Event {
    /// The replica answered `Open`.
    Opened { session_id: String, leases: Vec<Resumed> },
    /// The stream could not be opened, or ended.
    Closed(Closed),
    /// A lease is delivered.
    Leased(LeaseKey),
    /// The replica asks for a pong.
    Ping { ping_no: i64, renewed_age: Duration },
    /// The user stopped the turn, with the write of this version.
    Interrupt { key: LeaseKey, version: i64 },
    /// History or settings changed, with the write of this version.
    Reload { key: LeaseKey, version: i64 },
    /// The lease has ended.
    Lost(LeaseKey),
    /// The replica is leaving.
    ReplicaDrains,
    /// The work of a lease has ended here.
    RunEnded { key: LeaseKey, end: RunEnd },
    /// A lease that could not be taken was given back, or could not be.
    GivenBack { key: LeaseKey, done: bool },
    /// The worker shall stop.
    Shutdown,
    /// The time of [`super::Session::deadline`] has come.
    Tick,
}

/// Why there is no stream any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Closed {
    /// It broke, or could not be opened now.
    Broken,
    /// The session is closed for good.
    SessionLost,
    /// No replica will ever open it.
    Refused,
}

/// What became of a lease across a reconnect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Resumed {
    pub(crate) key: LeaseKey,
    /// Absent when the lease has ended.
    pub(crate) chat: Option<ResumedChat>,
}

/// A chat as a reconnect finds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ResumedChat {
    /// Version of the chat.
    pub(crate) version: i64,
    /// Whether the user has stopped the turn.
    pub(crate) interrupting: bool,
}

/// How the work of a lease ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RunEnd {
    /// The lease has ended too.
    LeaseEnded,
    /// The lease lives, but this worker cannot run it: it is given back when it is
    /// delivered again, and never run twice.
    Failed,
}

/// What the shell does.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Action {
    /// Opens a stream to this address, with this `Open`.
    Dial { address: usize, session_id: Option<String>, leases: Vec<LeaseKey> },
    /// Drops the stream or the attempt to open one.
    HangUp,
    /// Answers a ping.
    Pong { ping_no: i64, leases: Vec<LeaseKey> },
    /// Tells the leases held.
    LeasesChanged(Vec<LeaseKey>),
    /// Tells that no lease is taken any more.
    Draining,
    /// Runs a lease.
    Start(LeaseKey),
    /// Gives a lease back that is not run.
    GiveBack(LeaseKey),
    /// Hands new control to a running lease.
    Control { key: LeaseKey, control: Control },
    /// Stops a running lease and forgets it.
    Abandon(LeaseKey),
    /// Everything has ended.
    Stop,
    /// No replica will ever open the session.
    GiveUp,
}

/// Times of a session.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Timing {
    pub(crate) open_timeout: Duration,
    pub(crate) hop_after: Duration,
    pub(crate) pause_after: Duration,
    pub(crate) redial: Backoff,
    pub(crate) drain_timeout: Duration,
    pub(crate) release_grace: Duration,
}

//! The words of the rules: what happens to a session, and what is done about it.

use std::{
    collections::BTreeSet,
    hash::{DefaultHasher, Hash, Hasher},
    mem,
    time::Duration,
};

use chatplane_domain::{ChatId, Fence, Settings};

/// Names a lease: of two holders of the same chat, the one with the higher fence has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct LeaseKey {
    /// The chat.
    pub(crate) chat: ChatId,
    /// Tells the lease from every other lease of the chat.
    pub(crate) fence: Fence,
}

/// A lease as the database has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LeaseRow {
    /// The lease.
    pub(crate) key: LeaseKey,
    /// Whether the user has stopped the turn.
    pub(crate) interrupting: bool,
    /// Version of the chat.
    pub(crate) snapshot_version: i64,
    /// Version of its history.
    pub(crate) history_version: i64,
    /// Version that the holder's last write produced; 0 for none.
    pub(crate) last_write_version: i64,
    /// Changes with the chat's settings; means nothing by itself.
    pub(crate) settings: SettingsMark,
}

/// Tells whether settings have changed; means nothing to another process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SettingsMark(pub(super) u64);

impl SettingsMark {
    /// The mark of these settings.
    pub(crate) fn of(settings: &Settings) -> Self {
        // The deadline of a call is the control plane's business: no worker knows it.
        // The version stands for the names and the definitions of the client's tools.
        let Settings { model, effort, workspace, client_tools: _, client_tools_version, action_timeout: _ } =
            settings;
        let mut hasher = DefaultHasher::new();
        (model, effort, workspace, client_tools_version).hash(&mut hasher);
        Self(hasher.finish())
    }
}

/// Times of a session.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Timing {
    /// Between two pings, and how long an answer may take.
    pub(crate) ping_every: Duration,
    /// How long a worker may be gone before its session is closed.
    pub(crate) close_grace: Duration,
    /// How long a silent stream is kept: the session has ended by then.
    pub(crate) silence_max: Duration,
}

/// How a session begins on this replica.
#[derive(Clone, Debug)]
pub(crate) struct Opening {
    /// Counts the openings of the session, on whichever replica.
    pub(crate) connection: i64,
    /// How many chats the worker runs at a time.
    pub(crate) slots_total: usize,
    /// Leases that the worker says it holds.
    pub(crate) listed: BTreeSet<LeaseKey>,
    /// Leases that the database gives it.
    pub(crate) rows: Vec<LeaseRow>,
}

/// What happens to a session.
#[derive(Clone, Debug)]
pub(crate) enum Event {
    /// Time has passed.
    Tick,
    /// The worker answers a ping.
    Pong { ping_no: i64, leases: BTreeSet<LeaseKey> },
    /// The worker holds other leases than before.
    LeasesChanged(BTreeSet<LeaseKey>),
    /// The worker takes no further lease.
    WorkerDrains,
    /// This replica gives no further lease.
    ReplicaDrains,
    /// The stream has ended, however.
    StreamBroken,
    /// The session was renewed by a question asked then; these are its leases.
    Renewed { asked_at: Duration, rows: Vec<LeaseRow> },
    /// The lease of one chat was read by a question asked then; none where the chat is not
    /// leased to this session.
    LeaseRead { asked_at: Duration, chat: ChatId, row: Option<LeaseRow> },
    /// The database does not have the session as this connection any more.
    NotRenewed,
    /// A write gave the session a lease.
    Granted(LeaseKey),
    /// The lease went down the stream, as of this version.
    Sent { key: LeaseKey, snapshot_version: i64, settings: SettingsMark },
    /// The lease could not be read; it will be tried again.
    NotSent(LeaseKey),
    /// The database does not give the session this lease any more.
    Gone(LeaseKey),
    /// The user stopped the turn.
    Interrupt { key: LeaseKey, version: i64 },
    /// History or settings have changed.
    Reload { key: LeaseKey, version: i64 },
    /// The lease was ended without its holder.
    Lost(LeaseKey),
}

/// What the shell does, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// Asks the worker for a pong.
    SendPing { ping_no: i64, renewed_age: Duration },
    /// Reads the lease's input and sends it; answered by `Sent`, `NotSent` or `Gone`.
    Deliver(LeaseKey),
    /// Tells the worker that the user stopped the turn.
    SendInterrupt { key: LeaseKey, version: i64 },
    /// Tells the worker to read the turn again.
    SendReload { key: LeaseKey, version: i64 },
    /// Tells the worker that the lease has ended.
    SendLost(LeaseKey),
    /// Tells the worker to resume on another replica.
    SendDrain,
    /// Frees the live streams of a lease.
    DropStreams(LeaseKey),
    /// Ends the stream: the session is lost, or somebody else has it.
    HangUp(HangUp),
    /// Closes the session, where its row still names this connection.
    Close,
}

/// Why a stream is ended by the replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HangUp {
    /// The session is closed, or is connected elsewhere.
    SessionLost,
    /// The worker has not answered for longer than a session lives.
    Silent,
}

impl Action {
    /// The lease that it is about.
    pub(super) fn lease(&self) -> Option<LeaseKey> {
        match self {
            Self::Deliver(key)
            | Self::SendInterrupt { key, .. }
            | Self::SendReload { key, .. }
            | Self::SendLost(key)
            | Self::DropStreams(key) => Some(*key),
            Self::SendPing { .. } | Self::SendDrain | Self::HangUp(_) | Self::Close => None,
        }
    }

    pub(super) fn is_replaced_by(&self, newer: &Self) -> bool {
        mem::discriminant(self) == mem::discriminant(newer) && self.lease() == newer.lease()
    }
}

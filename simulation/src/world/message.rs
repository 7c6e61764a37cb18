//! What travels between processes, and what waits for its time.

use std::{cmp::Ordering, collections::BTreeSet, rc::Rc, time::Duration};

use chatplane_domain::{
    ChatId, CommitStep, HolderWrite, Outcome, ReplicaId, RequestId, SessionId, WriteHeader,
};

use crate::{
    database::{Content, ModelCall, Overdue, Refused, Table, TurnNews, Write},
    relay::{LivePosition, PartHeader, PartOffset, StreamHeader, StreamId},
    scheduler::{LeaseKey, LeaseRow, Renewal},
    store::{SyncFrom, SyncPage},
    watch::Emitted,
};

/// A process, by its kind and number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Node {
    Database,
    Replica(usize),
    Worker(usize),
    Client(usize),
    Viewer(usize),
}

/// One life of a process: what was meant for an earlier one is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Life {
    pub(crate) node: Node,
    pub(crate) no: u64,
}

/// Who waits for the answer to a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Caller {
    pub(crate) life: Life,
    pub(crate) call: u64,
}

/// What a client asks for. Numbers choose among what there is when it is decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ask {
    Create,
    Send(chatplane_domain::BusyBehavior),
    Edit(usize),
    EditQueued(usize),
    DeleteQueued(usize),
    MoveQueued(usize, usize),
    Promote(usize),
    Interrupt,
    Submit,
    Configure(u8),
    Clear,
    Archive,
    Unarchive,
    Fork(usize),
}

/// A client's request, the same with every repeat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ClientRequest {
    pub(crate) id: RequestId,
    /// None for a chat that is to be created.
    pub(crate) chat: Option<ChatId>,
    pub(crate) ask: Ask,
}

/// A write of a lease holder.
#[derive(Clone, Debug)]
pub(crate) struct HolderCall {
    pub(crate) chat: ChatId,
    pub(crate) header: WriteHeader,
    pub(crate) write: HolderWrite,
    pub(crate) content: Content,
    pub(crate) model_call: Option<i64>,
    /// The version of the history that its summary was made from.
    pub(crate) summary_since: Option<i64>,
}

impl HolderCall {
    /// The answer that it hands in whole.
    pub(crate) fn step(&self) -> Option<&CommitStep> {
        match &self.write {
            HolderWrite::CommitStep(step) => Some(step),
            _ => None,
        }
    }
}

/// A unary call.
#[derive(Clone, Debug)]
pub(crate) enum Call {
    Client(ClientRequest),
    Holder(Box<HolderCall>),
    GetTurn { session: SessionId, key: LeaseKey, after: i64 },
    ReportUsage(ModelCall),
}

/// Why a call did not succeed, by what its caller does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CallError {
    Unavailable,
    LeaseLost,
    Stale,
    Refused,
}

/// What a call is answered.
#[derive(Clone, Debug)]
pub(crate) enum Reply {
    Client(ChatId, Outcome),
    Written(chatplane_domain::WriteOutcome),
    Turn(Box<TurnNews>),
    Done,
}

/// Up a session.
#[derive(Clone, Debug)]
pub(crate) enum Up {
    Open {
        session: Option<SessionId>,
        leases: BTreeSet<LeaseKey>,
        slots: usize,
    },
    Pong {
        ping_no: i64,
        leases: BTreeSet<LeaseKey>,
    },
    LeasesChanged(BTreeSet<LeaseKey>),
    Draining,
    Part {
        lease: LeaseKey,
        stream: StreamHeader,
        part: usize,
        header: PartHeader,
    },
    Append {
        lease: LeaseKey,
        stream: StreamId,
        at: PartOffset,
        data: Vec<u8>,
    },
    Closed {
        lease: LeaseKey,
        stream: StreamId,
    },
    /// A watcher begins, with its cursor.
    Watch {
        chat: ChatId,
        cursor: Option<String>,
        limit: Option<u32>,
    },
}

/// What became of a lease that a worker named as it resumed.
#[derive(Clone, Debug)]
pub(crate) struct ResumedLease {
    pub(crate) key: LeaseKey,
    /// The row, and what the replica holds of its streams; none when it has ended.
    pub(crate) alive: Option<(LeaseRow, Vec<LivePosition>)>,
}

/// Down a session, or a watch.
#[derive(Clone, Debug)]
pub(crate) enum Down {
    Opened { session: SessionId, leases: Vec<ResumedLease> },
    Lease(LeaseKey, Box<TurnNews>),
    Ping { ping_no: i64, renewed_age: Duration },
    Interrupt { key: LeaseKey, version: i64 },
    Reload { key: LeaseKey, version: i64 },
    Lost(LeaseKey),
    Drain,
    Event(Box<Emitted>),
}

/// Why a stream ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StreamEnd {
    Broken,
    SessionLost,
}

/// One statement.
#[derive(Clone, Debug)]
pub(crate) enum Statement {
    /// The chat with its rows, and what was stored under the request.
    Read(Option<ChatId>, Option<RequestId>),
    Write(Box<Write>),
    Open(SessionId),
    Resume(SessionId),
    Renew(Vec<Renewal>),
    Close(SessionId, i64),
    CloseExpired,
    Overdue,
    Runnable,
    Turn(SessionId, LeaseKey, i64),
    Lease(ChatId),
    Sync(ChatId, SyncFrom),
    Versions(Vec<ChatId>),
    Usage(ModelCall),
}

/// What it is answered.
#[derive(Clone, Debug)]
pub(crate) enum Answer {
    Unavailable,
    Read(Option<Rc<Table>>, Option<crate::database::Stored>),
    Written(bool),
    Opened(Result<(i64, Vec<LeaseRow>), Refused>),
    Renewed(Vec<(SessionId, Vec<LeaseRow>)>),
    Overdue(Vec<Overdue>),
    Turn(Option<Box<TurnNews>>),
    /// The lease with its session.
    Lease(Option<(SessionId, LeaseRow)>),
    Page(Box<SyncPage>),
    Versions(Vec<(ChatId, i64)>),
    Done,
}

/// A word from one replica to the others, which may be lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hint {
    Chat(ChatId),
    Runnable,
}

/// Work of a process that its own clock begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Timer {
    Renew,
    Sweep,
    Poll,
    Session(SessionId, i64),
    Watch(u64),
    WorkerSession,
    Turn(LeaseKey),
    Usage(ModelCall),
    Act,
    Reconnect,
}

/// Something that happens at its time.
#[derive(Clone, Debug)]
pub(crate) enum Event {
    Statement {
        from: Life,
        replica: ReplicaId,
        task: u64,
        statement: Box<Statement>,
        fails: bool,
    },
    Answer {
        to: Life,
        task: u64,
        answer: Box<Answer>,
    },
    Call {
        to: Node,
        from: Caller,
        call: Box<Call>,
    },
    Reply {
        to: Caller,
        reply: Result<Box<Reply>, CallError>,
    },
    Up {
        stream: u64,
        up: Box<Up>,
    },
    Down {
        stream: u64,
        down: Box<Down>,
    },
    /// The end of a stream is noticed on the side of the one who opened it, or on the other.
    Ended {
        stream: u64,
        at: Node,
        why: StreamEnd,
    },
    Hint {
        to: Node,
        hint: Hint,
    },
    Timer {
        of: Life,
        timer: Timer,
    },
    Start(Node),
    /// A replica that has sent its workers away ends, in that life.
    Leave(usize, u64),
    Fault,
}

/// An event in the queue.
#[derive(Debug)]
pub(crate) struct Scheduled {
    pub(crate) at: Duration,
    pub(crate) no: u64,
    pub(crate) event: Event,
}

impl PartialEq for Scheduled {
    fn eq(&self, other: &Self) -> bool {
        (self.at, self.no) == (other.at, other.no)
    }
}

impl Eq for Scheduled {}

impl PartialOrd for Scheduled {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Scheduled {
    fn cmp(&self, other: &Self) -> Ordering {
        (other.at, other.no).cmp(&(self.at, self.no))
    }
}

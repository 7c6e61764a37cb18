//! Everything at one moment: the database, the replicas, the network, the workers.

use std::{
    collections::BTreeSet,
    hash::{Hash, Hasher},
};

use chatplane_domain::{Chat, Execution, Fence, SessionId};
use uuid::Uuid;

/// The chat's row. What is hashed is what differs between two rows of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Row(pub(crate) Chat);

impl Hash for Row {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        let Self(chat) = self;
        std::mem::discriminant(&chat.execution).hash(hasher);
        (chat.versions.snapshot, chat.versions.history, chat.attempt).hash(hasher);
        (chat.next_message_id, chat.open_calls.len()).hash(hasher);
        let Some(lease) = &chat.last_lease else { return };
        (lease.fence, lease.session).hash(hasher);
        let Some(last) = lease.last_write else { return };
        (last.write_no, last.outcome.snapshot_version, last.outcome.history_version).hash(hasher);
    }
}

impl Row {
    pub(crate) fn is_runnable(&self) -> bool {
        matches!(self.0.execution, Execution::Runnable { .. })
    }

    pub(crate) fn is_at_rest(&self) -> bool {
        matches!(self.0.execution, Execution::Waiting { .. })
    }

    /// The session and the fence of the lease that lives.
    pub(crate) fn lease(&self) -> Option<(u8, Fence)> {
        let lease = self.0.live_lease()?;
        Some((session_no(lease.session), lease.fence))
    }
}

pub(crate) fn session_id(no: u8) -> SessionId {
    SessionId(Uuid::from_u128(u128::from(no) + 1))
}

fn session_no(id: SessionId) -> u8 {
    u8::try_from(id.0.as_u128() - 1).expect("sessions of a run are few")
}

/// What a holder writes: the three steps of the one turn, or that it gives up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Step {
    /// An answer that calls a tool.
    Call,
    /// The tool's result.
    Result,
    /// The answer that ends the turn.
    Finish,
    /// Gives the lease back.
    Release,
}

/// A write that was applied, or that a worker was told was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Applied {
    pub(crate) fence: Fence,
    pub(crate) write_no: i64,
    pub(crate) step: Step,
}

/// A write on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Write {
    pub(crate) session: u8,
    pub(crate) history: i64,
    pub(crate) what: Applied,
}

/// What a worker is told of its write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Answer {
    /// It is applied, now or before; the history is of this version now.
    Written { history: i64, is_released: bool },
    /// The lease has ended.
    LeaseLost,
    /// The history has changed.
    Superseded,
    /// It makes no sense. A copy that is late is told so too, when nobody waits for it.
    Refused,
}

/// What the network holds. A message that is sent twice is one: whatever a second copy could do, a repeat does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Message {
    /// A lease goes to its session, with what it is to go on from.
    Lease {
        session: u8,
        fence: Fence,
        history: i64,
        done: u8,
    },
    Write(Write),
    Reply {
        to: Write,
        answer: Answer,
    },
}

/// What a replica is about to write, and the row that it has read for it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Attempt {
    pub(crate) operation: Operation,
    pub(crate) read: Row,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Operation {
    Lease(u8),
    Write(Write),
    Expire(Fence),
}

/// A lease as its holder knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Hold {
    pub(crate) fence: Fence,
    /// Number of its last write that it knows to be applied.
    pub(crate) write_no: i64,
    /// Version of the history that it knows.
    pub(crate) history: i64,
    /// How many steps of the turn it knows to be done.
    pub(crate) done: u8,
    /// A write that has no answer yet: it is repeated until there is one.
    pub(crate) pending: Option<Write>,
    /// It was told that it is behind.
    pub(crate) must_read: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Worker {
    pub(crate) session: u8,
    pub(crate) hold: Option<Hold>,
    /// The highest fence that has ended here: what is at it or below is old news.
    pub(crate) ended: Fence,
}

/// What must never have happened. Kept in the state, since it is seen at the moment of an action.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Seen {
    /// A write was applied that another lease's holder had made.
    pub(crate) stale_commit: bool,
    /// An honest holder was told that its write makes no sense.
    pub(crate) refused: bool,
    /// A write was repeated and answered as the first time: to be seen at least once.
    pub(crate) replayed: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct State {
    pub(crate) row: Row,
    /// Whether each session is open, by number.
    pub(crate) sessions: Vec<bool>,
    pub(crate) replicas: [Option<Attempt>; 2],
    pub(crate) workers: [Worker; 2],
    pub(crate) network: BTreeSet<Message>,
    /// What the database has applied, in order.
    pub(crate) ledger: Vec<Applied>,
    /// What workers were told is applied.
    pub(crate) told: BTreeSet<Applied>,
    /// How many more faults there may be.
    pub(crate) faults: u8,
    pub(crate) seen: Seen,
}

impl State {
    /// How many steps of the turn are done.
    pub(crate) fn done(&self) -> u8 {
        let steps = self.ledger.iter().filter(|applied| applied.step != Step::Release);
        u8::try_from(steps.count()).expect("a turn is short")
    }

    /// The worker that has a session now.
    pub(crate) fn worker_of(&self, session: u8) -> Option<usize> {
        self.workers.iter().position(|worker| worker.session == session)
    }

    pub(crate) fn may_fail(&self) -> bool {
        self.faults > 0
    }
}

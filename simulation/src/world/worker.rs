//! A worker: its end of the session is the worker's own core, and each lease has a [`Turn`].

use std::{collections::BTreeMap, time::Duration};

use chatplane_domain::{ChatId, Fence, HolderWrite, SessionId, WriteHeader};
use uuid::Uuid;

use super::{
    World,
    message::{Call, CallError, Down, HolderCall, Node, Reply, ResumedLease, StreamEnd, Timer, Up},
    turn::Turn,
};
use crate::{
    backoff::Backoff,
    database::{Content, ModelCall, TurnNews},
    relay::{PartOffset, StreamHeader},
    scheduler::LeaseKey,
    session::{
        Action, Closed, Event as Told, LeaseKey as Key, Resumed, ResumedChat, RunEnd, Session, Timing,
    },
};

/// Chats that a worker runs at a time: few, so that they are short.
const SLOTS: usize = 2;
/// Tries to give a lease back.
const TRIES_MAX: u32 = 5;
/// Between two tries to report what a model call cost, for as long as the worker lives.
const REPORT_PAUSE_MAX: Duration = Duration::from_secs(5);

fn timing() -> Timing {
    Timing {
        open_timeout: Duration::from_secs(5),
        hop_after: Duration::from_secs(4),
        pause_after: Duration::from_secs(6),
        redial: Backoff { first: Duration::from_millis(100), max: Duration::from_secs(5) },
        drain_timeout: Duration::from_secs(3),
        release_grace: Duration::from_secs(2),
    }
}

/// A worker process.
#[derive(Debug)]
pub(crate) struct Worker {
    pub(super) life: u64,
    pub(super) is_up: bool,
    core: Session,
    replicas: usize,
    stream: Option<u64>,
    /// The replica has answered `Open`.
    pub(super) is_open: bool,
    pub(super) turns: BTreeMap<LeaseKey, Turn>,
    delivered: Option<TurnNews>,
    pub(super) calls: BTreeMap<u64, Asked>,
    ticks_at: Option<Duration>,
}

/// What a call was for.
#[derive(Clone, Debug)]
pub(crate) enum Asked {
    /// The read or the write of a turn.
    Turn(LeaseKey),
    GiveBack(Box<HolderCall>, u32),
    Usage(ModelCall),
}

pub(super) fn theirs(key: LeaseKey) -> Key {
    Key { chat_id: key.chat.0, fence: key.fence.0 }
}

fn ours(key: Key) -> LeaseKey {
    LeaseKey { chat: ChatId(key.chat_id), fence: Fence(key.fence) }
}

impl Worker {
    pub(super) fn new(replicas: usize) -> Self {
        Self {
            life: 0,
            is_up: false,
            core: Session::new(timing(), SLOTS, replicas),
            replicas,
            stream: None,
            is_open: false,
            turns: BTreeMap::new(),
            delivered: None,
            calls: BTreeMap::new(),
            ticks_at: None,
        }
    }

    fn session(&self) -> Option<SessionId> {
        Uuid::parse_str(self.core.id()?).ok().map(SessionId)
    }
}

impl World {
    pub(super) fn worker_starts(&mut self, no: usize) {
        let worker = &mut self.workers[no];
        if worker.is_up {
            return;
        }
        let (life, replicas) = (worker.life + 1, worker.replicas);
        *worker = Worker { life, is_up: true, ..Worker::new(replicas) };
        self.tell_worker(no, Told::Tick);
    }

    pub(super) fn worker_timed(&mut self, no: usize, timer: Timer) {
        match timer {
            // Others were planned before an earlier one was.
            Timer::WorkerSession if self.workers[no].ticks_at.is_some_and(|at| at <= self.now) => {
                self.workers[no].ticks_at = None;
                self.tell_worker(no, Told::Tick);
            }
            Timer::Turn(key) => self.turn_timed(no, key),
            Timer::Usage(paid) => self.report(no, paid),
            Timer::Act => self.crash(Node::Worker(no)),
            _ => {}
        }
    }

    /// Hands an event to the session's core, and does what it says.
    pub(super) fn tell_worker(&mut self, no: usize, event: Told) {
        let chance = self.random.fraction();
        // The core counts time from its own start or from anywhere.
        let actions = self.workers[no].core.handle(self.now, chance, event);
        for action in actions {
            self.worker_acts(no, action);
        }
        let Some(at) = self.workers[no].core.deadline() else { return };
        if self.workers[no].ticks_at.is_none_or(|planned| planned > at) {
            self.workers[no].ticks_at = Some(at);
            let after = at.saturating_sub(self.now);
            self.timer(Node::Worker(no), after, Timer::WorkerSession);
        }
    }

    fn worker_acts(&mut self, no: usize, action: Action) {
        let node = Node::Worker(no);
        match action {
            Action::Dial { address, session_id, leases } => {
                let session = session_id.and_then(|id| Uuid::parse_str(&id).ok()).map(SessionId);
                let leases = leases.into_iter().map(ours).collect();
                let stream = self.open_stream(node, address, Up::Open { session, leases, slots: SLOTS });
                self.workers[no].stream = Some(stream);
                self.workers[no].is_open = false;
            }
            Action::HangUp => {
                self.workers[no].is_open = false;
                if let Some(stream) = self.workers[no].stream.take() {
                    self.hang_up(stream, node, StreamEnd::Broken);
                }
            }
            Action::Pong { ping_no, leases } => {
                let leases = leases.into_iter().map(ours).collect();
                self.worker_says(no, Up::Pong { ping_no, leases });
            }
            Action::LeasesChanged(leases) => {
                self.worker_says(no, Up::LeasesChanged(leases.into_iter().map(ours).collect()));
            }
            Action::Draining => self.worker_says(no, Up::Draining),
            Action::Start(key) => {
                let worker = &mut self.workers[no];
                if let (Some(news), Some(session)) = (worker.delivered.take(), worker.session()) {
                    worker.turns.insert(ours(key), Turn::new(ours(key), session, news));
                    self.turn_advances(no, ours(key));
                }
            }
            Action::GiveBack(key) => self.give_back(no, ours(key)),
            Action::Control { key, control } => {
                if let Some(turn) = self.workers[no].turns.get_mut(&ours(key)) {
                    turn.control = control;
                    self.turn_advances(no, ours(key));
                }
            }
            Action::Abandon(key) => self.drop_turn(no, ours(key)),
            Action::Stop => self.crash(node),
            Action::GiveUp => self.database.violate(|| "a worker is refused for good".to_owned()),
        }
    }

    pub(super) fn worker_says(&mut self, no: usize, up: Up) {
        if let Some(stream) = self.workers[no].stream {
            self.send_up(stream, up);
        }
    }

    pub(super) fn worker_hears(&mut self, no: usize, stream: u64, down: Down) {
        if self.workers[no].stream != Some(stream) {
            return;
        }
        match down {
            Down::Opened { session, leases } => {
                self.workers[no].is_open = true;
                self.resend(no, &leases);
                let resumed = |lease: &ResumedLease| Resumed {
                    key: theirs(lease.key),
                    chat: lease.alive.as_ref().map(|(row, _)| ResumedChat {
                        version: row.snapshot_version,
                        interrupting: row.interrupting,
                    }),
                };
                let leases = leases.iter().map(resumed).collect();
                self.tell_worker(no, Told::Opened { session_id: session.to_string(), leases });
            }
            Down::Lease(key, news) => {
                self.workers[no].delivered = Some(*news);
                self.tell_worker(no, Told::Leased(theirs(key)));
                self.workers[no].delivered = None;
            }
            Down::Ping { ping_no, renewed_age } => self.tell_worker(no, Told::Ping { ping_no, renewed_age }),
            Down::Interrupt { key, version } => {
                self.tell_worker(no, Told::Interrupt { key: theirs(key), version });
            }
            Down::Reload { key, version } => self.tell_worker(no, Told::Reload { key: theirs(key), version }),
            Down::Lost(key) => self.tell_worker(no, Told::Lost(theirs(key))),
            Down::Drain => self.tell_worker(no, Told::ReplicaDrains),
            Down::Event(_) => {}
        }
    }

    pub(super) fn worker_stream_ended(&mut self, no: usize, stream: u64, why: StreamEnd) {
        if self.workers[no].stream != Some(stream) {
            return;
        }
        self.workers[no].stream = None;
        self.workers[no].is_open = false;
        let closed = match why {
            StreamEnd::Broken => Closed::Broken,
            StreamEnd::SessionLost => Closed::SessionLost,
        };
        self.tell_worker(no, Told::Closed(closed));
    }

    /// What the replica does not have of the live streams is sent, from where it ends there.
    fn resend(&mut self, no: usize, leases: &[ResumedLease]) {
        let mut pieces = Vec::new();
        for lease in leases {
            let Some((_, positions)) = &lease.alive else { continue };
            let Some(turn) = self.workers[no].turns.get(&lease.key) else { continue };
            for (id, live) in &turn.live {
                let at =
                    positions.iter().find(|position| position.stream == *id).map(|position| position.end);
                let stream = StreamHeader { id: *id, fence: lease.key.fence, kind: live.kind };
                if at.is_none() {
                    pieces.push(Up::Part { lease: lease.key, stream, part: 0, header: live.header() });
                }
                let at = at.unwrap_or(PartOffset { part: 0, offset: 0 });
                let data = live.bytes.get(at.offset..).unwrap_or_default().to_vec();
                pieces.push(Up::Append { lease: lease.key, stream: *id, at, data });
            }
            let is_held = |id| positions.iter().any(|position| position.stream == id);
            let closed = turn.closed.iter().filter(|id| is_held(**id));
            pieces.extend(closed.map(|id| Up::Closed { lease: lease.key, stream: *id }));
        }
        for piece in pieces {
            self.worker_says(no, piece);
        }
    }

    // Calls.

    pub(super) fn worker_calls(&mut self, no: usize, call: Call, asked: Asked) -> u64 {
        let to = self.random.index(self.replicas.len());
        let call = self.call(Node::Worker(no), to, call);
        self.workers[no].calls.insert(call, asked);
        call
    }

    pub(super) fn worker_replied(&mut self, no: usize, call: u64, reply: Result<Box<Reply>, CallError>) {
        let Some(asked) = self.workers[no].calls.remove(&call) else { return };
        match asked {
            Asked::Turn(key) => self.turn_replied(no, key, call, reply),
            Asked::GiveBack(write, tries) => {
                let key = LeaseKey { chat: write.chat, fence: write.header.fence };
                match reply {
                    Err(CallError::Unavailable) if tries < TRIES_MAX => {
                        self.worker_calls(no, Call::Holder(write.clone()), Asked::GiveBack(write, tries + 1));
                    }
                    reply => {
                        let done = matches!(reply, Ok(_) | Err(CallError::LeaseLost));
                        self.tell_worker(no, Told::GivenBack { key: theirs(key), done });
                    }
                }
            }
            Asked::Usage(paid) => {
                if reply.is_err() {
                    let pause = self.random.between(Duration::from_millis(1), REPORT_PAUSE_MAX);
                    self.timer(Node::Worker(no), pause, Timer::Usage(paid));
                }
            }
        }
    }

    fn give_back(&mut self, no: usize, key: LeaseKey) {
        let worker = &mut self.workers[no];
        let (Some(news), Some(session)) = (worker.delivered.take(), worker.session()) else { return };
        let header = WriteHeader {
            session,
            fence: key.fence,
            write_no: news.last_write_no + 1,
            history_version: news.history,
        };
        let content = Content { mark: self.fresh(), made_from: None, summary_of: None };
        let write = Box::new(HolderCall {
            chat: key.chat,
            header,
            write: HolderWrite::Release,
            content,
            model_call: None,
            summary_since: None,
        });
        self.worker_calls(no, Call::Holder(write.clone()), Asked::GiveBack(write, 1));
    }

    pub(super) fn run_ended(&mut self, no: usize, key: LeaseKey, end: RunEnd) {
        self.tell_worker(no, Told::RunEnded { key: theirs(key), end });
    }
}

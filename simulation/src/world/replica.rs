//! A replica: its calls and its tasks beside the sessions. What it decides is the domain's, what it knows of its
//! sessions the roster's; this is the shell between them and the database.

use std::{collections::BTreeMap, time::Duration};

use chatplane_domain::{Chat, ChatId, Decision, ReplicaId, SessionId};

use super::{
    World,
    message::{Answer, Ask, Call, CallError, Caller, Hint, Node, Reply, Statement, Timer},
    sessions::Connection,
    transact::{Transact, What},
    viewer::Watch,
};
use crate::{
    bug::Bug,
    database::{Overdue, SESSION_TTL},
    relay::LiveStreams,
    scheduler::{Event as Told, LeaseKey, LeaseRow, Renewal, Roster, Timing},
    sweep_clock::SweepClock,
};

const RENEW_EVERY: Duration = Duration::from_secs(2);
const SWEEP_EVERY: Duration = Duration::from_secs(1);
const POLL_EVERY: Duration = Duration::from_secs(5);
/// A replica.
#[derive(Debug)]
pub(crate) struct Replica {
    pub(super) id: ReplicaId,
    pub(super) life: u64,
    pub(super) is_up: bool,
    pub(super) roster: Roster,
    pub(super) connections: BTreeMap<SessionId, Connection>,
    pub(super) relay: BTreeMap<ChatId, LiveStreams>,
    pub(super) watches: BTreeMap<u64, Watch>,
    pub(super) known_versions: BTreeMap<ChatId, i64>,
    pub(super) tasks: BTreeMap<u64, Task>,
    clock: SweepClock,
    pub(super) claims: bool,
    sweeps: bool,
}

/// What a statement was for.
#[derive(Debug)]
pub(crate) enum Task {
    Reading(Transact),
    Writing(Transact, Box<Chat>, Box<Decision>),
    Opening { stream: u64, session: SessionId, open: super::sessions::Open },
    Delivering { session: SessionId, connection: i64, key: LeaseKey },
    Turn(Caller),
    Renewing { asked_at: Duration, renewals: Vec<Renewal> },
    Hinted { asked_at: Duration, chat: ChatId },
    Closing,
    ClosingExpired { asked_at: Duration },
    Sweeping { asked_at: Duration },
    Claiming,
    Syncing(u64),
    Polling,
    Reporting(Caller),
}

fn roster() -> Roster {
    Roster::new(Timing {
        ping_every: Duration::from_secs(1),
        close_grace: Duration::from_millis(500),
        silence_max: SESSION_TTL,
    })
}

impl Replica {
    pub(super) fn new(id: ReplicaId) -> Self {
        Self {
            id,
            life: 0,
            is_up: false,
            roster: roster(),
            connections: BTreeMap::new(),
            relay: BTreeMap::new(),
            watches: BTreeMap::new(),
            known_versions: BTreeMap::new(),
            tasks: BTreeMap::new(),
            clock: SweepClock::new(SESSION_TTL),
            claims: false,
            sweeps: false,
        }
    }
}

impl World {
    pub(super) fn replica_starts(&mut self, no: usize) {
        let id = ReplicaId(self.uuid());
        let replica = &mut self.replicas[no];
        if replica.is_up {
            return;
        }
        let life = replica.life + 1;
        *replica = Replica { life, is_up: true, ..Replica::new(id) };
        for (after, timer) in
            [(RENEW_EVERY, Timer::Renew), (SWEEP_EVERY, Timer::Sweep), (POLL_EVERY, Timer::Poll)]
        {
            self.timer(Node::Replica(no), after, timer);
        }
    }

    pub(super) fn replica_timed(&mut self, no: usize, timer: Timer) {
        let node = Node::Replica(no);
        match timer {
            Timer::Renew => {
                self.timer(node, RENEW_EVERY, timer);
                self.renew(no);
            }
            Timer::Sweep => {
                self.timer(node, SWEEP_EVERY, timer);
                self.sweep(no);
                self.claim(no);
            }
            Timer::Poll => {
                self.timer(node, POLL_EVERY, timer);
                self.poll_watched(no);
            }
            Timer::Session(session, connection) => self.session_ticks(no, session, connection),
            Timer::Watch(watch) => self.watch_advances(no, watch),
            Timer::WorkerSession | Timer::Turn(_) | Timer::Usage(_) | Timer::Act | Timer::Reconnect => {}
        }
    }

    pub(super) fn begin(&mut self, no: usize, task: Task, statement: Statement) {
        let task_no = self.fresh();
        self.replicas[no].tasks.insert(task_no, task);
        self.state(no, task_no, statement);
    }

    pub(super) fn replica_called(&mut self, no: usize, from: Caller, call: Call) {
        match call {
            Call::Client(request) => {
                let becomes_runnable = !matches!(request.ask, Ask::Archive | Ask::Configure(_));
                let now = self.now;
                let slot = becomes_runnable
                    .then(|| self.replicas[no].roster.promise(now, request.chat, None))
                    .flatten();
                let what = What::Client(from, request);
                self.transact(no, Transact { chat: request.chat, what, slot });
            }
            Call::Holder(call) => {
                let chat = Some(call.chat);
                self.transact(no, Transact { chat, what: What::Holder(from, call), slot: None });
            }
            Call::GetTurn { session, key, after } => {
                self.begin(no, Task::Turn(from), Statement::Turn(session, key, after));
            }
            Call::ReportUsage(paid) => {
                self.begin(no, Task::Reporting(from), Statement::Usage(paid));
            }
        }
    }

    pub(super) fn answered(&mut self, node: Node, task: u64, answer: Answer) {
        let Node::Replica(no) = node else { return };
        let Some(task) = self.replicas[no].tasks.remove(&task) else { return };
        match (task, answer) {
            (Task::Reading(transact), Answer::Read(table, stored)) => {
                if let (Some(stored), What::Client(caller, _)) = (stored, &transact.what) {
                    let caller = *caller;
                    self.database.saw("a request that is answered again");
                    self.withdraw(no, transact.slot);
                    return self.reply(no, caller, Ok(Reply::Client(stored.chat, stored.outcome)));
                }
                self.decide(no, transact, table);
            }
            (Task::Writing(transact, before, decision), Answer::Written(true)) => {
                self.applied(no, &transact, &before, &decision);
            }
            (Task::Writing(transact, ..), Answer::Written(false)) => self.transact(no, transact),
            (Task::Reading(transact) | Task::Writing(transact, ..), _) => {
                self.refused(no, &transact, CallError::Unavailable);
            }
            (Task::Opening { stream, session, open }, answer) => {
                self.opened(no, stream, session, open, answer);
            }
            (Task::Delivering { session, connection, key }, answer) => {
                self.delivered(no, session, connection, key, answer);
            }
            (Task::Turn(caller), answer) => {
                let reply = match answer {
                    Answer::Turn(Some(news)) => Ok(Reply::Turn(news)),
                    Answer::Turn(None) => Err(CallError::LeaseLost),
                    _ => Err(CallError::Unavailable),
                };
                self.reply(no, caller, reply);
            }
            (Task::Reporting(caller), answer) => {
                let is_done = matches!(answer, Answer::Done);
                self.reply(no, caller, if is_done { Ok(Reply::Done) } else { Err(CallError::Unavailable) });
            }
            (Task::Renewing { asked_at, renewals }, Answer::Renewed(rows)) => {
                self.renewed(no, asked_at, &renewals, rows);
            }
            (Task::Hinted { asked_at, chat }, Answer::Lease(row)) => self.lease_read(no, asked_at, chat, row),
            (Task::Closing, Answer::Overdue(overdue)) => self.expire_all(no, overdue),
            (Task::ClosingExpired { asked_at }, Answer::Done) => {
                self.begin(no, Task::Sweeping { asked_at }, Statement::Overdue);
            }
            (Task::ClosingExpired { .. } | Task::Sweeping { .. }, Answer::Unavailable) => {
                self.replicas[no].sweeps = false;
                self.replicas[no].clock.failed();
            }
            (Task::Sweeping { asked_at }, Answer::Overdue(overdue)) => {
                self.replicas[no].sweeps = false;
                self.replicas[no].clock.succeeded(asked_at, self.now);
                self.expire_all(no, overdue);
            }
            (Task::Claiming, answer) => self.found_runnable(no, answer),
            (Task::Syncing(watch), answer) => self.synced(no, watch, answer),
            (Task::Polling, Answer::Versions(versions)) => self.polled(no, versions),
            (
                Task::Renewing { .. }
                | Task::Hinted { .. }
                | Task::Closing
                | Task::Polling
                | Task::ClosingExpired { .. }
                | Task::Sweeping { .. },
                _,
            ) => {}
        }
    }

    // Claims, renewals, sweeps.

    /// Looks for a chat that waits, if a slot is free.
    pub(super) fn claim(&mut self, no: usize) {
        let now = self.now;
        let replica = &mut self.replicas[no];
        if !replica.claims && replica.roster.free_slots(now) > 0 {
            replica.claims = true;
            self.begin(no, Task::Claiming, Statement::Runnable);
        }
    }

    fn found_runnable(&mut self, no: usize, answer: Answer) {
        let Answer::Read(Some(table), _) = answer else {
            self.replicas[no].claims = false;
            return;
        };
        let chat = &table.chat;
        let ran_by = chat.last_lease.as_ref().map(|lease| lease.session);
        let slot = self.replicas[no].roster.promise(self.now, Some(chat.id), ran_by);
        if slot.is_none() {
            self.replicas[no].claims = false;
            return;
        }
        let transact = Transact { chat: Some(chat.id), what: What::Lease, slot };
        self.decide(no, transact, Some(table));
    }

    fn renew(&mut self, no: usize) {
        let renewals = self.replicas[no].roster.renewals(self.now);
        if !renewals.is_empty() {
            let statement = Statement::Renew(renewals.clone());
            self.begin(no, Task::Renewing { asked_at: self.now, renewals }, statement);
        }
    }

    fn renewed(
        &mut self,
        no: usize,
        asked_at: Duration,
        renewals: &[Renewal],
        rows: Vec<(SessionId, Vec<LeaseRow>)>,
    ) {
        let asked_at = if self.bug == Some(Bug::RenewalJudgesWhatIsNewer) { self.now } else { asked_at };
        let mut rows: BTreeMap<SessionId, Vec<LeaseRow>> = rows.into_iter().collect();
        for renewal in renewals {
            let event = match rows.remove(&renewal.session) {
                Some(rows) => Told::Renewed { asked_at, rows },
                None => Told::NotRenewed,
            };
            self.tell_connection(no, renewal.session, renewal.connection, event);
        }
    }

    fn sweep(&mut self, no: usize) {
        let now = self.now;
        let replica = &mut self.replicas[no];
        if replica.sweeps {
            return;
        }
        replica.sweeps = true;
        if replica.clock.may_close(now) || self.bug == Some(Bug::CloseByClockAfterOutage) {
            self.begin(no, Task::ClosingExpired { asked_at: now }, Statement::CloseExpired);
        } else {
            self.begin(no, Task::Sweeping { asked_at: now }, Statement::Overdue);
        }
    }

    fn expire_all(&mut self, no: usize, overdue: Vec<Overdue>) {
        for overdue in overdue {
            let (Overdue::Lease(chat, _) | Overdue::Interruption(chat, _) | Overdue::Calls(chat)) = overdue;
            self.transact(no, Transact { chat: Some(chat), what: What::Expire(overdue), slot: None });
        }
    }

    pub(super) fn hinted(&mut self, no: usize, hint: Hint) {
        if !self.replicas[no].is_up {
            return;
        }
        match hint {
            Hint::Runnable => self.claim(no),
            Hint::Chat(chat) => {
                self.chat_changed(no, chat);
                if !self.replicas[no].roster.holders_of(&[chat].into()).is_empty() {
                    self.begin(no, Task::Hinted { asked_at: self.now, chat }, Statement::Lease(chat));
                }
            }
        }
    }

    /// Whoever is known to hold the chat here is told how its row stands.
    fn lease_read(
        &mut self,
        no: usize,
        asked_at: Duration,
        chat: ChatId,
        row: Option<(SessionId, LeaseRow)>,
    ) {
        for holder in self.replicas[no].roster.holders_of(&[chat].into()) {
            let row = row.filter(|(session, _)| *session == holder.session).map(|(_, row)| row);
            let event = Told::LeaseRead { asked_at, chat, row };
            self.tell_connection(no, holder.session, holder.connection, event);
        }
    }
}

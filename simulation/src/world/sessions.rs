//! A replica's connections with workers: the roster says what to do, and this does it.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use chatplane_domain::SessionId;

use super::{
    World,
    message::{Answer, Down, Node, ResumedLease, Statement, StreamEnd, Timer, Up},
    replica::Task,
};
use crate::{
    bug::Bug,
    relay::{Budget, LiveStreams},
    scheduler::{Action, Event as Told, HangUp, LeaseKey, Opening},
};

/// More than a run writes.
const RELAY_BYTES_MAX: usize = 1 << 20;

/// One opening of a session on this replica.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Connection {
    connection: i64,
    stream: u64,
    ticks_at: Option<Duration>,
}

/// What a worker said when it opened its session.
#[derive(Clone, Debug)]
pub(crate) struct Open {
    is_new: bool,
    leases: BTreeSet<LeaseKey>,
    slots: usize,
}

pub(super) fn no_streams() -> LiveStreams {
    LiveStreams::new(Arc::new(Budget::new(RELAY_BYTES_MAX)))
}

impl World {
    /// A message comes up a stream.
    pub(super) fn replica_hears(&mut self, no: usize, stream: u64, from: Node, up: Up) {
        match up {
            Up::Open { session, leases, slots } => {
                let open = Open { is_new: session.is_none(), leases, slots };
                let session = session.unwrap_or_else(|| SessionId(self.uuid()));
                let statement =
                    if open.is_new { Statement::Open(session) } else { Statement::Resume(session) };
                self.begin(no, Task::Opening { stream, session, open }, statement);
            }
            Up::Watch { chat, cursor, limit } => self.watch_begins(no, stream, from, chat, cursor, limit),
            Up::Pong { ping_no, leases } => self.of_stream(no, stream, Told::Pong { ping_no, leases }),
            Up::LeasesChanged(leases) => self.of_stream(no, stream, Told::LeasesChanged(leases)),
            Up::Draining => self.of_stream(no, stream, Told::WorkerDrains),
            Up::Part { lease, stream: header, part, header: part_header } => {
                if self.has_lease(no, stream, lease) {
                    let streams = self.replicas[no].relay.entry(lease.chat).or_insert_with(no_streams);
                    // A stale or repeated piece is refused, and nothing is lost by it.
                    let _ = streams.begin_part(header, part, part_header);
                    self.live_changed(no, lease.chat);
                }
            }
            Up::Append { lease, stream: id, at, data } => {
                if self.has_lease(no, stream, lease) {
                    let streams = self.replicas[no].relay.entry(lease.chat).or_insert_with(no_streams);
                    let _ = streams.append(lease.fence, id, at, &data);
                    self.live_changed(no, lease.chat);
                }
            }
            Up::Closed { lease, stream: id } => {
                if self.has_lease(no, stream, lease) {
                    let streams = self.replicas[no].relay.entry(lease.chat).or_insert_with(no_streams);
                    let _ = streams.close(lease.fence, id);
                    self.live_changed(no, lease.chat);
                }
            }
        }
    }

    fn session_of(&self, no: usize, stream: u64) -> Option<(SessionId, i64)> {
        let connections = self.replicas[no].connections.iter();
        let mut found = connections.filter(|(_, connection)| connection.stream == stream);
        found.next().map(|(session, connection)| (*session, connection.connection))
    }

    fn has_lease(&self, no: usize, stream: u64, key: LeaseKey) -> bool {
        self.session_of(no, stream)
            .is_some_and(|(session, connection)| self.replicas[no].roster.has_lease(session, connection, key))
    }

    fn of_stream(&mut self, no: usize, stream: u64, event: Told) {
        if let Some((session, connection)) = self.session_of(no, stream) {
            self.tell_connection(no, session, connection, event);
        }
    }

    /// Hands an event to one connection, and does what comes of it.
    pub(super) fn tell_connection(&mut self, no: usize, session: SessionId, connection: i64, event: Told) {
        self.replicas[no].roster.handle(self.now, session, connection, event);
        self.act(no, session, connection);
    }

    /// The same, for what a write has done to a lease. Answers whether the session is here.
    pub(super) fn tell_session(&mut self, no: usize, session: SessionId, event: Told) -> bool {
        let is_here = self.replicas[no].roster.tell(self.now, session, event);
        if let Some(connection) = self.replicas[no].connections.get(&session).copied() {
            self.act(no, session, connection.connection);
        }
        is_here
    }

    pub(super) fn session_ticks(&mut self, no: usize, session: SessionId, connection: i64) {
        if let Some(found) = self.replicas[no].connections.get_mut(&session)
            && found.connection == connection
            // Others were planned before an earlier one was.
            && found.ticks_at.is_some_and(|at| at <= self.now)
        {
            found.ticks_at = None;
            self.tell_connection(no, session, connection, Told::Tick);
        }
    }

    pub(super) fn opened(&mut self, no: usize, stream: u64, session: SessionId, open: Open, answer: Answer) {
        let node = Node::Replica(no);
        let (connection, rows) = match answer {
            Answer::Opened(Ok(opened)) => opened,
            Answer::Opened(Err(_)) => return self.hang_up(stream, node, StreamEnd::SessionLost),
            _ => return self.hang_up(stream, node, StreamEnd::Broken),
        };
        let resumed = |key: &LeaseKey| {
            let row = rows.iter().find(|row| row.key == *key).copied();
            let streams = self.replicas[no].relay.get(&key.chat);
            let positions = streams.map(|streams| streams.positions(key.fence)).unwrap_or_default();
            ResumedLease { key: *key, alive: row.map(|row| (row, positions)) }
        };
        let leases = open.leases.iter().map(resumed).collect();
        let opening = Opening { connection, slots_total: open.slots, listed: open.leases, rows };
        if !self.replicas[no].roster.open(self.now, session, opening) {
            return self.hang_up(stream, node, StreamEnd::SessionLost);
        }
        let earlier =
            self.replicas[no].connections.insert(session, Connection { connection, stream, ticks_at: None });
        if let Some(earlier) = earlier {
            self.hang_up(earlier.stream, node, StreamEnd::SessionLost);
        }
        self.send_down(stream, Down::Opened { session, leases });
        self.act(no, session, connection);
        self.claim(no);
    }

    pub(super) fn replica_stream_ended(&mut self, no: usize, stream: u64) {
        self.replicas[no].watches.remove(&stream);
        self.of_stream(no, stream, Told::StreamBroken);
    }

    /// Does what the rules say.
    fn act(&mut self, no: usize, session: SessionId, connection: i64) {
        let Some(actions) = self.replicas[no].roster.take_actions(session, connection) else { return };
        let Some(Connection { stream, .. }) = self.replicas[no].connections.get(&session).copied() else {
            return;
        };
        for action in actions {
            match action {
                Action::SendPing { ping_no, renewed_age } => {
                    self.send_down(stream, Down::Ping { ping_no, renewed_age });
                }
                Action::Deliver(key) => {
                    let again = self.replicas[no].roster.is_reading(session, key);
                    let task = Task::Delivering { session, connection, key };
                    if again {
                        self.begin(no, task, Statement::Turn(session, key, 0));
                    }
                }
                Action::SendInterrupt { key, version } => {
                    self.send_down(stream, Down::Interrupt { key, version });
                }
                Action::SendReload { key, version } => self.send_down(stream, Down::Reload { key, version }),
                Action::SendLost(key) => self.send_down(stream, Down::Lost(key)),
                Action::SendDrain => self.send_down(stream, Down::Drain),
                Action::DropStreams(key) => {
                    if let Some(streams) = self.replicas[no].relay.get_mut(&key.chat) {
                        streams.end_lease(key.fence);
                        self.live_changed(no, key.chat);
                    }
                }
                Action::HangUp(why) => {
                    let why = match why {
                        HangUp::SessionLost => StreamEnd::SessionLost,
                        HangUp::Silent => StreamEnd::Broken,
                    };
                    self.hang_up(stream, Node::Replica(no), why);
                }
                Action::Close => self.begin(no, Task::Closing, Statement::Close(session, connection)),
            }
        }
        self.plan_tick(no, session, connection);
        self.claim(no);
    }

    /// Does what the rules say for a session, whichever connection it has.
    pub(super) fn act_on(&mut self, no: usize, session: SessionId) {
        if let Some(connection) = self.replicas[no].connections.get(&session).copied() {
            self.act(no, session, connection.connection);
        }
    }

    fn plan_tick(&mut self, no: usize, session: SessionId, connection: i64) {
        let Some(at) = self.replicas[no].roster.deadline(session, connection) else { return };
        let Some(found) = self.replicas[no].connections.get_mut(&session) else { return };
        if found.ticks_at.is_none_or(|planned| planned > at) {
            found.ticks_at = Some(at);
            let after = at.saturating_sub(self.now);
            self.timer(Node::Replica(no), after, Timer::Session(session, connection));
        }
    }

    pub(super) fn delivered(
        &mut self,
        no: usize,
        session: SessionId,
        connection: i64,
        key: LeaseKey,
        answer: Answer,
    ) {
        let event = match answer {
            Answer::Turn(Some(news)) => {
                if !self.replicas[no].roster.awaits(session, connection, key) {
                    return;
                }
                let (snapshot_version, settings) = (news.snapshot, news.settings);
                if let Some(found) = self.replicas[no].connections.get(&session) {
                    self.send_down(found.stream, Down::Lease(key, news));
                }
                Told::Sent { key, snapshot_version, settings }
            }
            Answer::Turn(None) => Told::Gone(key),
            _ => Told::NotSent(key),
        };
        let forgets = self.bug == Some(Bug::LeaseNotSentAgain) && matches!(event, Told::NotSent(_));
        if !forgets {
            self.tell_connection(no, session, connection, event);
        }
    }
}

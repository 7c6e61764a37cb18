//! What is between processes: delays, cuts, calls, and streams that keep their order until they break.

use std::time::Duration;

use super::{
    World,
    message::{
        Answer, Call, CallError, Caller, Down, Event, Hint, Life, Node, Reply, Statement, StreamEnd, Up,
    },
};

/// A caller hears nothing for as long, and gives up.
const CALL_TIMEOUT: Duration = Duration::from_secs(3);
/// A statement that does not reach the database fails then.
const STATEMENT_TIMEOUT: Duration = Duration::from_secs(3);

/// A stream between a worker or a viewer and a replica.
#[derive(Clone, Debug)]
pub(crate) struct Stream {
    pub(crate) from: Node,
    pub(crate) to: Node,
    /// Lives of both ends: a new process knows nothing of the streams of the one before it.
    pub(crate) lives: [Life; 2],
    last_up: Duration,
    last_down: Duration,
    is_broken: bool,
}

impl World {
    /// When something that is sent now arrives.
    fn arrival(&mut self, from: Node, to: Node) -> Duration {
        let chance = self.random.below(1000);
        let (least, most) = match chance {
            _ if self.healed => (100, 1_000),
            0..900 => (100, 3_000),
            900..985 => (1_000, 60_000),
            _ => (20_000, 1_500_000),
        };
        let delay = self.random.between(Duration::from_micros(least), Duration::from_micros(most));
        (self.now + delay).max(self.cut_until(from, to))
    }

    pub(super) fn cut_until(&self, one: Node, other: Node) -> Duration {
        let key = (one.min(other), one.max(other));
        self.cut.get(&key).copied().unwrap_or_default()
    }

    /// Calls, and answers the number of the call. There is always a reply, or a timeout.
    pub(super) fn call(&mut self, from: Node, to: usize, call: Call) -> u64 {
        let no = self.fresh();
        let caller = Caller { life: self.life(from), call: no };
        let to = Node::Replica(to);
        let at = self.arrival(from, to);
        if !self.loses() {
            self.schedule_at(at, Event::Call { to, from: caller, call: Box::new(call) });
        }
        let timeout = Event::Reply { to: caller, reply: Err(CallError::Unavailable) };
        self.schedule(CALL_TIMEOUT, timeout);
        no
    }

    pub(super) fn reply(&mut self, from: usize, to: Caller, reply: Result<Reply, CallError>) {
        let at = self.arrival(Node::Replica(from), to.life.node);
        if !self.loses() {
            self.schedule_at(at, Event::Reply { to, reply: reply.map(Box::new) });
        }
    }

    fn loses(&mut self) -> bool {
        !self.healed && self.random.happens(15)
    }

    /// A unary call arrives at a process, or at none.
    pub(super) fn called(&mut self, to: Node, from: Caller, call: Call) {
        let Node::Replica(replica) = to else { return };
        if self.replicas[replica].is_up {
            self.replica_called(replica, from, call);
        } else {
            self.reply(replica, from, Err(CallError::Unavailable));
        }
    }

    pub(super) fn replied(&mut self, to: Caller, reply: Result<Box<Reply>, CallError>) {
        match to.life.node {
            Node::Worker(worker) => self.worker_replied(worker, to.call, reply),
            Node::Client(client) => self.client_replied(client, to.call, reply),
            Node::Database | Node::Replica(_) | Node::Viewer(_) => {}
        }
    }

    // Streams.

    /// Opens a stream, and says the first word on it.
    pub(super) fn open_stream(&mut self, from: Node, to: usize, first: Up) -> u64 {
        let no = self.fresh();
        let to = Node::Replica(to);
        let lives = [self.life(from), self.life(to)];
        let (last_up, last_down) = (self.now, self.now);
        self.streams.insert(no, Stream { from, to, lives, last_up, last_down, is_broken: false });
        self.send_up(no, first);
        no
    }

    pub(super) fn send_up(&mut self, no: u64, up: Up) {
        let Some(stream) = self.streams.get(&no).filter(|stream| !stream.is_broken).cloned() else { return };
        let at = self.arrival(stream.from, stream.to).max(stream.last_up + Duration::from_nanos(1));
        if let Some(stream) = self.streams.get_mut(&no) {
            stream.last_up = at;
        }
        self.schedule_at(at, Event::Up { stream: no, up: Box::new(up) });
    }

    pub(super) fn send_down(&mut self, no: u64, down: Down) {
        let Some(stream) = self.streams.get(&no).filter(|stream| !stream.is_broken).cloned() else { return };
        let at = self.arrival(stream.to, stream.from).max(stream.last_down + Duration::from_nanos(1));
        if let Some(stream) = self.streams.get_mut(&no) {
            stream.last_down = at;
        }
        self.schedule_at(at, Event::Down { stream: no, down: Box::new(down) });
    }

    /// Ends a stream from one side: the other hears of it behind what was sent.
    pub(super) fn hang_up(&mut self, no: u64, side: Node, why: StreamEnd) {
        let Some(stream) = self.streams.get(&no).filter(|stream| !stream.is_broken).cloned() else { return };
        let (other, last) =
            if side == stream.from { (stream.to, stream.last_up) } else { (stream.from, stream.last_down) };
        let at = self.arrival(side, other).max(last + Duration::from_nanos(1));
        self.schedule_at(at, Event::Ended { stream: no, at: other, why });
        if let Some(stream) = self.streams.get_mut(&no) {
            stream.is_broken = true;
        }
    }

    /// A stream breaks in the middle: what is on its way is lost, and both sides notice some time.
    pub(super) fn break_stream(&mut self, no: u64) {
        let Some(stream) = self.streams.get(&no).cloned() else { return };
        let why = StreamEnd::Broken;
        for at in [stream.from, stream.to] {
            let notices = if self.random.happens(800) || self.healed { 5 } else { 4_000 };
            let after = self.random.between(Duration::ZERO, Duration::from_millis(notices));
            self.schedule(after, Event::Ended { stream: no, at, why });
        }
        if let Some(stream) = self.streams.get_mut(&no) {
            stream.is_broken = true;
            // Nothing more arrives.
            stream.lives = [Life { node: Node::Database, no: u64::MAX }; 2];
        }
    }

    /// All streams that end at a process.
    pub(super) fn streams_of(&self, node: Node) -> Vec<u64> {
        let ends = |stream: &Stream| stream.from == node || stream.to == node;
        self.streams.iter().filter(|(_, stream)| ends(stream)).map(|(no, _)| *no).collect()
    }

    pub(super) fn up(&mut self, no: u64, up: Up) {
        let Some(stream) = self.streams.get(&no) else { return };
        let (from, to, [_, life]) = (stream.from, stream.to, stream.lives);
        let Node::Replica(replica) = to else { return };
        if self.is_alive(life) {
            self.replica_hears(replica, no, from, up);
        } else if life.node == to {
            self.hang_up(no, to, StreamEnd::Broken);
        }
    }

    pub(super) fn down(&mut self, no: u64, down: Down) {
        let Some(stream) = self.streams.get(&no) else { return };
        let [life, _] = stream.lives;
        if !self.is_alive(life) {
            return;
        }
        match life.node {
            Node::Worker(worker) => self.worker_hears(worker, no, down),
            Node::Viewer(viewer) => self.viewer_hears(viewer, no, down),
            Node::Database | Node::Replica(_) | Node::Client(_) => {}
        }
    }

    pub(super) fn stream_ended(&mut self, no: u64, at: Node, why: StreamEnd) {
        match at {
            Node::Replica(replica) => self.replica_stream_ended(replica, no),
            Node::Worker(worker) => self.worker_stream_ended(worker, no, why),
            Node::Viewer(viewer) => self.viewer_stream_ended(viewer, no),
            Node::Database | Node::Client(_) => {}
        }
    }

    // Hints.

    /// Tells the other replicas, as far as they hear.
    pub(super) fn publish(&mut self, replica: usize, hint: Hint) {
        if self.hints_blocked {
            return;
        }
        for other in (0..self.replicas.len()).filter(|other| *other != replica) {
            let to = Node::Replica(other);
            let at = self.arrival(Node::Replica(replica), to);
            if self.healed || !self.random.happens(100) {
                self.schedule_at(at, Event::Hint { to, hint });
            }
        }
    }

    // The database.

    /// Sends a statement.
    pub(super) fn state(&mut self, replica: usize, task: u64, statement: Statement) {
        let node = Node::Replica(replica);
        let from = self.life(node);
        if self.cut_until(node, Node::Database) > self.now + STATEMENT_TIMEOUT {
            let answer = Box::new(Answer::Unavailable);
            return self.schedule(STATEMENT_TIMEOUT, Event::Answer { to: from, task, answer });
        }
        let at = self.arrival(node, Node::Database);
        let fails = !self.healed && self.random.happens(8);
        let (replica, statement) = (self.replicas[replica].id, Box::new(statement));
        self.schedule_at(at, Event::Statement { from, replica, task, statement, fails });
    }

    /// The database does it, or is away; its answer arrives, or is lost with the connection.
    pub(super) fn execute(
        &mut self,
        from: Life,
        replica: chatplane_domain::ReplicaId,
        task: u64,
        statement: Statement,
        fails: bool,
    ) {
        let is_down = self.now < self.database_down_until;
        let mut answer = if is_down || fails { Answer::Unavailable } else { self.answer(replica, statement) };
        if self.loses() {
            answer = Answer::Unavailable;
        }
        let at = self.arrival(Node::Database, from.node);
        self.schedule_at(at, Event::Answer { to: from, task, answer: Box::new(answer) });
    }

    fn answer(&mut self, replica: chatplane_domain::ReplicaId, statement: Statement) -> Answer {
        let database = &mut self.database;
        match statement {
            Statement::Read(chat, request) => {
                let table = chat.and_then(|chat| database.tables.get(&chat)).cloned();
                let stored = request.and_then(|request| database.requests.get(&request)).cloned();
                Answer::Read(table, stored)
            }
            Statement::Write(write) => Answer::Written(database.write(&write)),
            Statement::Open(session) => {
                database.open_session(session, replica);
                Answer::Opened(Ok((1, Vec::new())))
            }
            Statement::Resume(session) => Answer::Opened(database.resume_session(session, replica)),
            Statement::Renew(renewals) => Answer::Renewed(database.renew(replica, &renewals)),
            Statement::Close(session, connection) => {
                Answer::Overdue(database.close_session(session, replica, connection))
            }
            Statement::CloseExpired => {
                database.close_expired();
                Answer::Done
            }
            Statement::Overdue => Answer::Overdue(database.overdue()),
            Statement::Runnable => {
                let chat = database.runnable();
                Answer::Read(chat.and_then(|chat| database.tables.get(&chat)).cloned(), None)
            }
            Statement::Turn(session, key, after) => {
                Answer::Turn(database.turn(session, key.chat, key.fence, after).map(Box::new))
            }
            Statement::Lease(chat) => {
                let row = database
                    .chat(chat)
                    .and_then(|chat| Some((chat.live_lease()?.session, crate::database::lease_row(chat)?)));
                Answer::Lease(row)
            }
            Statement::Sync(chat, from) => match database.tables.get(&chat) {
                Some(table) => Answer::Page(Box::new(table.sync(from))),
                None => Answer::Unavailable,
            },
            Statement::Versions(chats) => {
                let version = |chat| Some((chat, database.chat(chat)?.versions.snapshot));
                Answer::Versions(chats.into_iter().filter_map(version).collect())
            }
            Statement::Usage(paid) => {
                database.report_usage(paid);
                Answer::Done
            }
        }
    }
}

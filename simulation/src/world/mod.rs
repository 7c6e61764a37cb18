//! The world of one run: every process, what is between them, and one clock.

mod client;
mod effects;
mod faults;
mod live;
mod message;
mod network;
mod replica;
mod rest;
mod sessions;
mod summary;
mod transact;
mod turn;
mod turn_io;
mod usage;
mod viewer;
mod worker;

use std::{
    collections::{BTreeMap, BinaryHeap},
    fmt::Write as _,
    time::Duration,
};

use chatplane_domain::ReplicaId;
use uuid::Uuid;

use self::{
    client::Client,
    message::{Event, Life, Node, Scheduled, Timer},
    network::Stream,
    replica::Replica,
    viewer::Viewer,
    worker::Worker,
};
use crate::{Options, bug::Bug, database::Database, random::Random};

/// A line of what happens has so many characters: of most events the beginning says it all.
const LINE_CHARS_MAX: usize = 400;

/// What happens while it is recorded, and a digest of all of it.
#[derive(Debug)]
struct Log {
    digest: u64,
    lines: Option<String>,
}

/// Everything.
pub(crate) struct World {
    random: Random,
    bug: Option<Bug>,
    now: Duration,
    queue: BinaryHeap<Scheduled>,
    scheduled: u64,
    log: Log,
    pub(crate) events: u64,
    pub(crate) database: Database,
    replicas: Vec<Replica>,
    workers: Vec<Worker>,
    clients: Vec<Client>,
    viewers: Vec<Viewer>,
    streams: BTreeMap<u64, Stream>,
    /// Until when nothing passes between two processes.
    cut: BTreeMap<(Node, Node), Duration>,
    /// Until when a process is stopped.
    stopped: BTreeMap<Node, Duration>,
    database_down_until: Duration,
    ids: u64,
    /// No hint arrives: NOTIFY is blocked in this run.
    hints_blocked: bool,
    /// Running this chat kills its worker.
    poison: Option<chatplane_domain::ChatId>,
    has_poison: bool,
    /// Nothing fails any more.
    healed: bool,
    pictures: crate::fold::Pictures,
    /// Everything that workers ever wrote into live streams.
    said: BTreeMap<(chatplane_domain::ChatId, crate::relay::StreamId), Vec<u8>>,
}

impl World {
    pub(crate) fn new(seed: u64, options: Options) -> Self {
        let mut random = Random::new(seed);
        let hints_blocked = random.happens(200);
        let has_poison = random.happens(40);
        let mut world = Self {
            bug: options.bug,
            now: Duration::from_secs(1),
            queue: BinaryHeap::new(),
            scheduled: 0,
            log: Log { digest: 0xcbf2_9ce4_8422_2325, lines: options.trace.then(String::new) },
            events: 0,
            database: Database::new(options.bug),
            replicas: Vec::new(),
            workers: Vec::new(),
            clients: Vec::new(),
            viewers: Vec::new(),
            streams: BTreeMap::new(),
            cut: BTreeMap::new(),
            stopped: BTreeMap::new(),
            database_down_until: Duration::ZERO,
            ids: 0,
            hints_blocked,
            poison: None,
            has_poison,
            healed: false,
            pictures: crate::fold::Pictures::default(),
            said: BTreeMap::new(),
            random,
        };
        world.populate();
        world
    }

    fn populate(&mut self) {
        let (replicas, workers) = (2 + self.random.index(2), 2 + self.random.index(2));
        let (clients, viewers) = (2 + self.random.index(2), 2 + self.random.index(3));
        for no in 0..replicas {
            let id = ReplicaId(self.uuid());
            self.replicas.push(Replica::new(id));
            self.schedule(Duration::ZERO, Event::Start(Node::Replica(no)));
        }
        for no in 0..workers {
            self.workers.push(Worker::new(replicas));
            let after = self.random.between(Duration::ZERO, Duration::from_millis(500));
            self.schedule(after, Event::Start(Node::Worker(no)));
        }
        for no in 0..clients {
            self.clients.push(Client::default());
            let after = self.random.between(Duration::ZERO, Duration::from_millis(500));
            self.timer(Node::Client(no), after, Timer::Act);
        }
        for no in 0..viewers {
            self.viewers.push(Viewer::default());
            let after = self.random.between(Duration::from_millis(200), Duration::from_secs(3));
            self.timer(Node::Viewer(no), after, Timer::Reconnect);
        }
        self.schedule(Duration::from_secs(1), Event::Fault);
    }

    /// An id whose order says nothing of when it was made.
    fn uuid(&mut self) -> Uuid {
        let (high, low) = (self.random.next(), self.random.next());
        Uuid::from_u64_pair(high, low)
    }

    fn fresh(&mut self) -> u64 {
        self.ids += 1;
        self.ids
    }

    fn schedule(&mut self, after: Duration, event: Event) {
        self.schedule_at(self.now + after, event);
    }

    fn schedule_at(&mut self, at: Duration, event: Event) {
        self.scheduled += 1;
        self.queue.push(Scheduled { at, no: self.scheduled, event });
    }

    fn timer(&mut self, node: Node, after: Duration, timer: Timer) {
        let of = self.life(node);
        self.schedule(after, Event::Timer { of, timer });
    }

    /// The life that a process has now.
    fn life(&self, node: Node) -> Life {
        let no = match node {
            Node::Replica(replica) => self.replicas[replica].life,
            Node::Worker(worker) => self.workers[worker].life,
            Node::Database | Node::Client(_) | Node::Viewer(_) => 0,
        };
        Life { node, no }
    }

    fn is_alive(&self, life: Life) -> bool {
        let is_up = match life.node {
            Node::Replica(replica) => self.replicas[replica].is_up,
            Node::Worker(worker) => self.workers[worker].is_up,
            Node::Database | Node::Client(_) | Node::Viewer(_) => true,
        };
        is_up && self.life(life.node) == life
    }

    /// Lets happen what happens until then. Answers false when nothing is left to happen.
    pub(crate) fn run_until(&mut self, end: Duration) {
        while let Some(next) = self.queue.peek() {
            if next.at > end || !self.database.oracle.violations.is_empty() {
                break;
            }
            let Some(Scheduled { at, event, .. }) = self.queue.pop() else { break };
            if let Some(awake) = self.asleep_until(at, &event) {
                self.schedule_at(awake, event);
                continue;
            }
            self.now = at;
            self.database.now = at;
            self.events += 1;
            self.note(&event);
            self.happen(event);
        }
        self.now = self.now.max(end);
        self.database.now = self.now;
    }

    /// A stopped process takes everything later, in order.
    fn asleep_until(&self, at: Duration, event: &Event) -> Option<Duration> {
        let node = match event {
            Event::Answer { to, .. } => to.node,
            Event::Call { to, .. } | Event::Hint { to, .. } => *to,
            Event::Reply { to, .. } => to.life.node,
            Event::Timer { of, .. } => of.node,
            Event::Up { stream, .. } => self.streams.get(stream)?.to,
            Event::Down { stream, .. } => self.streams.get(stream)?.from,
            Event::Ended { at, .. } => *at,
            Event::Statement { .. } | Event::Start(_) | Event::Leave(..) | Event::Fault => return None,
        };
        self.stopped.get(&node).copied().filter(|awake| *awake > at)
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Statement { from, replica, task, statement, fails } => {
                self.execute(from, replica, task, *statement, fails);
            }
            Event::Answer { to, task, answer } if self.is_alive(to) => self.answered(to.node, task, *answer),
            Event::Call { to, from, call } => self.called(to, from, *call),
            Event::Reply { to, reply } if self.is_alive(to.life) => self.replied(to, reply),
            Event::Up { stream, up } => self.up(stream, *up),
            Event::Down { stream, down } => self.down(stream, *down),
            Event::Ended { stream, at, why } => self.stream_ended(stream, at, why),
            Event::Hint { to: Node::Replica(replica), hint } => self.hinted(replica, hint),
            Event::Timer { of, timer } if self.is_alive(of) => self.timed(of.node, timer),
            Event::Start(node) => self.start(node),
            Event::Leave(replica, life) if self.replicas[replica].life == life => {
                self.crash(Node::Replica(replica));
            }
            Event::Fault => self.fault(),
            Event::Answer { .. }
            | Event::Reply { .. }
            | Event::Hint { .. }
            | Event::Timer { .. }
            | Event::Leave(..) => {}
        }
    }

    fn timed(&mut self, node: Node, timer: Timer) {
        match node {
            Node::Replica(replica) => self.replica_timed(replica, timer),
            Node::Worker(worker) => self.worker_timed(worker, timer),
            Node::Client(client) => self.client_acts(client),
            Node::Viewer(viewer) => self.viewer_connects(viewer),
            Node::Database => {}
        }
    }

    fn start(&mut self, node: Node) {
        match node {
            Node::Replica(replica) => self.replica_starts(replica),
            Node::Worker(worker) => self.worker_starts(worker),
            Node::Database | Node::Client(_) | Node::Viewer(_) => {}
        }
    }

    fn note(&mut self, event: &Event) {
        let mut words = [u64::try_from(self.now.as_nanos()).unwrap_or(u64::MAX), 0];
        words[1] = match event {
            Event::Statement { task, .. } | Event::Answer { task, .. } => *task,
            Event::Call { from, .. } => from.call,
            Event::Reply { to, .. } => to.call,
            Event::Up { stream, .. } | Event::Down { stream, .. } | Event::Ended { stream, .. } => *stream,
            Event::Hint { .. } | Event::Timer { .. } | Event::Start(_) | Event::Leave(..) | Event::Fault => {
                self.scheduled
            }
        };
        for word in words {
            self.log.digest = (self.log.digest ^ word).wrapping_mul(0x0100_0000_01b3).rotate_left(17);
        }
        let now = self.now;
        if let Some(lines) = &mut self.log.lines {
            let words: String = format!("{event:?}").chars().take(LINE_CHARS_MAX).collect();
            // Writing into a string does not fail.
            let _ = writeln!(lines, "{now:?} {words}");
        }
    }

    /// A digest of all that has happened: equal for equal runs.
    pub(crate) fn digest(&self) -> u64 {
        self.log.digest
    }

    /// What has happened, if it was recorded.
    pub(crate) fn trace(&mut self) -> Option<String> {
        self.log.lines.take()
    }
}

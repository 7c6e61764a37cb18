//! What goes wrong, and the end of it.

use std::time::Duration;

use super::{
    World,
    message::{Event, Life, Node},
};
use crate::session::Event as WorkerTold;

impl World {
    /// Something goes wrong now, and the next thing some time later.
    pub(super) fn fault(&mut self) {
        if self.healed {
            return;
        }
        let after = self.random.between(Duration::from_millis(100), Duration::from_secs(3));
        self.schedule(after, Event::Fault);
        let replica = self.random.index(self.replicas.len());
        let worker = self.random.index(self.workers.len());
        match self.random.below(100) {
            0..12 => self.crash(Node::Replica(replica)),
            12..28 => self.crash(Node::Worker(worker)),
            28..48 => self.break_some_stream(),
            48..64 => self.cut_some(replica),
            64..72 => self.stop(Node::Worker(worker)),
            72..77 => self.stop(Node::Replica(replica)),
            77..85 => self.database_leaves(),
            85..92 => self.tell_worker_if_up(worker),
            _ => self.replica_leaves(replica),
        }
    }

    /// A process dies with all it knows, and starts again some time.
    pub(super) fn crash(&mut self, node: Node) {
        match node {
            Node::Replica(no) => {
                self.replicas[no].is_up = false;
                self.replicas[no].tasks.clear();
            }
            Node::Worker(no) => {
                self.workers[no].is_up = false;
                self.workers[no].turns.clear();
                self.database.oracle.owed.retain(|_, by| *by != no);
            }
            Node::Database | Node::Client(_) | Node::Viewer(_) => return,
        }
        self.stopped.remove(&node);
        for stream in self.streams_of(node) {
            self.break_stream(stream);
        }
        let most = if self.healed { 50 } else { 4_000 };
        let after = self.random.between(Duration::from_millis(10), Duration::from_millis(most));
        self.schedule(after, Event::Start(node));
    }

    fn break_some_stream(&mut self) {
        let nobody = Life { node: Node::Database, no: u64::MAX };
        let whole = self.streams.iter().filter(|(_, stream)| stream.lives != [nobody; 2]);
        let whole: Vec<u64> = whole.map(|(no, _)| *no).rev().take(8).collect();
        if !whole.is_empty() {
            let stream = whole[self.random.index(whole.len())];
            self.break_stream(stream);
        }
    }

    /// Nothing passes between a replica and somebody else.
    fn cut_some(&mut self, replica: usize) {
        let one = Node::Replica(replica);
        let other = match self.random.below(3) {
            0 => Node::Database,
            _ => Node::Worker(self.random.index(self.workers.len())),
        };
        let until = self.now + self.random.between(Duration::from_millis(50), Duration::from_secs(14));
        self.cut.insert((one.min(other), one.max(other)), until);
    }

    fn stop(&mut self, node: Node) {
        let until = self.now + self.random.between(Duration::from_millis(50), Duration::from_secs(14));
        self.stopped.insert(node, until);
    }

    fn database_leaves(&mut self) {
        let back = self.now + self.random.between(Duration::from_millis(50), Duration::from_secs(12));
        self.database_down_until = back;
        self.database.outage = Some((self.now, back));
    }

    fn tell_worker_if_up(&mut self, worker: usize) {
        if self.workers[worker].is_up {
            self.tell_worker(worker, WorkerTold::Shutdown);
        }
    }

    /// A replica sends its workers away, and leaves.
    fn replica_leaves(&mut self, no: usize) {
        if !self.replicas[no].is_up {
            return;
        }
        self.replicas[no].roster.drain(self.now);
        for session in self.replicas[no].connections.keys().copied().collect::<Vec<_>>() {
            self.act_on(no, session);
        }
        self.schedule(Duration::from_millis(700), Event::Leave(no, self.replicas[no].life));
    }

    /// Nothing fails from now on, and what has failed works again.
    pub(crate) fn heal(&mut self) {
        self.healed = true;
        self.hints_blocked = false;
        self.cut.clear();
        self.stopped.clear();
        self.database_down_until = Duration::ZERO;
        self.database.outage = self.database.outage.map(|(begin, end)| (begin, end.min(self.now)));
        for no in 0..self.replicas.len() {
            self.schedule(Duration::from_millis(1), Event::Start(Node::Replica(no)));
        }
        for no in 0..self.workers.len() {
            self.schedule(Duration::from_millis(2), Event::Start(Node::Worker(no)));
        }
    }
}

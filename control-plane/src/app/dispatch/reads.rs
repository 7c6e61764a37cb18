//! The inputs of leases that are being read for one worker.
//!
//! A read is a task of its own: it comes to its end, and gives its database connection
//! back, whether or not the worker takes what was read before. So that a worker which
//! does not read holds little, only a few reads are under way or wait to be taken.

use std::{
    collections::{HashMap, VecDeque},
    future::Future,
};

use tokio::task::{Id, JoinError, JoinSet};

use crate::scheduler::LeaseKey;

/// So many inputs are read at once for one worker: enough to keep its stream busy, and a
/// share of the database's connections that leaves some for everybody else.
const READS_MAX: usize = 4;

/// Reads of one connection. They end with it.
#[derive(Debug)]
pub(super) struct Reads<T> {
    running: JoinSet<T>,
    keys: HashMap<Id, LeaseKey>,
    waiting: VecDeque<LeaseKey>,
}

impl<T: Send + 'static> Reads<T> {
    pub(super) fn new() -> Self {
        Self { running: JoinSet::new(), keys: HashMap::new(), waiting: VecDeque::new() }
    }

    /// A lease is to be read when its turn comes.
    pub(super) fn add(&mut self, key: LeaseKey) {
        if !self.waiting.contains(&key) {
            self.waiting.push_back(key);
        }
    }

    /// Begins as many reads as there may be, of leases that are still wanted.
    pub(super) fn begin<F>(&mut self, is_wanted: impl Fn(LeaseKey) -> bool, read: impl Fn(LeaseKey) -> F)
    where
        F: Future<Output = T> + Send + 'static,
    {
        while self.running.len() < READS_MAX
            && let Some(key) = self.waiting.pop_front()
        {
            if is_wanted(key) {
                let task = self.running.spawn(read(key));
                self.keys.insert(task.id(), key);
            }
        }
    }

    /// The next that was read; none while nothing is being read. Nothing is lost when the
    /// wait for it is given up.
    pub(super) async fn next(&mut self) -> Option<(LeaseKey, Result<T, JoinError>)> {
        loop {
            let (id, read) = match self.running.join_next_with_id().await? {
                Ok((id, read)) => (id, Ok(read)),
                Err(error) => (error.id(), Err(error)),
            };
            if let Some(key) = self.keys.remove(&id) {
                return Some((key, read));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, sync::Arc};

    use chatplane_domain::{ChatId, Fence};
    use tokio::sync::{Semaphore, mpsc};
    use uuid::Uuid;

    use super::{LeaseKey, READS_MAX, Reads};

    fn key(no: u128) -> LeaseKey {
        LeaseKey { chat: ChatId(Uuid::from_u128(no)), fence: Fence(1) }
    }

    #[tokio::test]
    async fn reads_come_to_their_end_without_being_looked_at_and_only_a_few_at_once() {
        let mut reads = Reads::new();
        for no in 0..10 {
            reads.add(key(no));
        }
        let (ended, mut ends) = mpsc::channel(16);
        let read = |key: LeaseKey| {
            let ended = ended.clone();
            async move { ended.send(key).await.expect("the test listens") }
        };

        reads.begin(|_| true, read);
        reads.begin(|_| true, read);
        // Nobody takes what was read, as when the worker does not read its stream.
        let mut first = BTreeSet::new();
        while first.len() < READS_MAX {
            first.extend(ends.recv().await);
        }

        assert_eq!(first, (0..4).map(key).collect());
        let taken = reads.next().await.expect("four were read").0;
        reads.begin(|_| true, read);
        assert!(first.contains(&taken));
        assert_eq!(ends.recv().await, Some(key(4)));
    }

    #[tokio::test]
    async fn a_lease_that_is_not_wanted_any_more_is_not_read() {
        let mut reads = Reads::new();
        for no in [1, 2, 1] {
            reads.add(key(no));
        }

        reads.begin(|wanted| wanted == key(2), |_| async {});

        assert_eq!(reads.next().await.map(|(read, _)| read), Some(key(2)));
        assert!(reads.next().await.is_none());
    }

    #[tokio::test]
    async fn reads_end_with_their_connection() {
        let mut reads = Reads::new();
        reads.add(key(1));
        let (held, never) = (Arc::new(()), Arc::new(Semaphore::new(0)));
        reads.begin(
            |_| true,
            |_| {
                let (held, never) = (Arc::clone(&held), Arc::clone(&never));
                async move {
                    drop(never.acquire().await);
                    drop(held);
                }
            },
        );

        drop(reads);

        while Arc::strong_count(&held) > 1 {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn a_read_that_fails_by_a_defect_names_its_lease() {
        let mut reads: Reads<()> = Reads::new();
        reads.add(key(1));

        reads.begin(|_| true, |_| async { panic!("a defect") });

        let (failed, read) = reads.next().await.expect("it has ended");
        assert_eq!(failed, key(1));
        assert!(read.is_err());
    }
}

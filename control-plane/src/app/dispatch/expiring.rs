//! What sweeps have found and are ending.

use std::{
    collections::{HashMap, HashSet},
    future::Future,
};

use chatplane_domain::ChatId;
use tokio::task::{Id, JoinSet};

use crate::store::Overdue;

/// Sweeps whose finds are ended at a time, a few chats of each: one that is held up by a row delays the next little,
/// and most of the database's connections are left to everybody else.
const BATCHES_MAX: usize = 2;

/// Batches of overdue chats, no chat in two of them.
#[derive(Default)]
pub(super) struct Expiring {
    tasks: JoinSet<()>,
    chats: HashMap<Id, HashSet<ChatId>>,
}

impl Expiring {
    /// Of what was found, what nobody here is at; nothing while too many batches are under way.
    pub(super) fn new_ones(&mut self, mut found: Vec<Overdue>) -> Vec<Overdue> {
        while let Some(ended) = self.tasks.try_join_next_with_id() {
            let id = ended.map_or_else(|error| error.id(), |(id, ())| id);
            self.chats.remove(&id);
        }
        if self.tasks.len() >= BATCHES_MAX {
            return Vec::new();
        }
        found.retain(|overdue| !self.chats.values().any(|chats| chats.contains(&overdue.chat())));
        found
    }

    /// Begins a batch.
    pub(super) fn begin(&mut self, chats: HashSet<ChatId>, work: impl Future<Output = ()> + Send + 'static) {
        let id = self.tasks.spawn(work).id();
        self.chats.insert(id, chats);
    }

    /// Waits for all of them.
    pub(super) async fn end(mut self) {
        while self.tasks.join_next().await.is_some() {}
    }
}

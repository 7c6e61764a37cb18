//! Leases that have ended here.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use uuid::Uuid;

use super::LeaseKey;

/// How many chats are remembered: more than slots, so that what is still on its way
/// when a lease ends is recognized. What falls out costs a refused write at most.
const CHATS_MAX: usize = 4096;

/// The highest fence of each chat whose lease has ended here. A fence never comes back.
#[derive(Debug, Default)]
pub(super) struct EndedLeases {
    fences: BTreeMap<Uuid, i64>,
    order: VecDeque<Uuid>,
    failed: BTreeSet<LeaseKey>,
}

impl EndedLeases {
    pub(super) fn includes(&self, key: LeaseKey) -> bool {
        self.fences.get(&key.chat_id).is_some_and(|fence| key.fence <= *fence)
    }

    /// Whether this worker has tried to run the lease and could not.
    pub(super) fn has_failed(&self, key: LeaseKey) -> bool {
        self.failed.contains(&key)
    }

    pub(super) fn add(&mut self, key: LeaseKey) {
        self.failed.remove(&key);
        let known = self.fences.insert(key.chat_id, key.fence);
        match known {
            Some(fence) if fence > key.fence => {
                self.fences.insert(key.chat_id, fence);
            }
            Some(_) => {}
            None => self.order.push_back(key.chat_id),
        }
        if self.order.len() > CHATS_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.fences.remove(&oldest);
        }
    }

    pub(super) fn add_failed(&mut self, key: LeaseKey) {
        if self.failed.len() >= CHATS_MAX {
            self.failed.pop_first();
        }
        self.failed.insert(key);
    }
}

//! The fence of a chat tells holders apart: each lease has a higher one than the lease before. The control
//! plane refuses the writes of a late holder by it. An agent's work is no write of the control plane's, so
//! the agent refuses a late holder itself: once it has seen a fence, nothing below it gets a tool run.

use std::collections::{BTreeMap, HashMap};

use uuid::Uuid;

/// The highest fence seen of each chat, for the chats that asked last.
pub(super) struct Fences {
    seen: HashMap<Uuid, Seen>,
    /// Chats by the time of their last call, the oldest first.
    order: BTreeMap<u64, Uuid>,
    clock: u64,
    chats_max: usize,
}

struct Seen {
    fence: i64,
    at: u64,
}

impl Fences {
    /// Remembers so many chats. What is forgotten is admitted again; the control plane's own check remains.
    pub(super) fn new(chats_max: usize) -> Self {
        Self { seen: HashMap::new(), order: BTreeMap::new(), clock: 0, chats_max }
    }

    /// Notes a fence, and tells whether it is not below the highest seen of the chat.
    pub(super) fn admit(&mut self, chat: Uuid, fence: i64) -> bool {
        let known = self.seen.get(&chat);
        if known.is_some_and(|seen| fence < seen.fence) {
            return false;
        }
        if let Some(seen) = known {
            self.order.remove(&seen.at);
        }
        self.clock += 1;
        self.seen.insert(chat, Seen { fence, at: self.clock });
        self.order.insert(self.clock, chat);
        if self.seen.len() > self.chats_max
            && let Some((_, oldest)) = self.order.pop_first()
        {
            self.seen.remove(&oldest);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lower_fence_is_refused_for_its_chat_only() {
        let mut fences = Fences::new(10);
        let (chat, other) = (Uuid::now_v7(), Uuid::now_v7());

        assert!(fences.admit(chat, 5));
        assert!(!fences.admit(chat, 4));
        assert!(fences.admit(chat, 5));
        assert!(fences.admit(chat, 6));
        assert!(!fences.admit(chat, 5));
        assert!(fences.admit(other, 1));
    }

    #[test]
    fn the_chat_that_asked_longest_ago_is_forgotten_first() {
        let mut fences = Fences::new(2);
        let [a, b, c] = std::array::from_fn(|_| Uuid::now_v7());
        fences.admit(a, 5);
        fences.admit(b, 5);
        fences.admit(a, 5);

        fences.admit(c, 5);

        assert!(!fences.admit(a, 4));
        assert!(!fences.admit(c, 4));
        assert!(fences.admit(b, 4));
        assert_eq!((fences.seen.len(), fences.order.len()), (2, 2));
    }
}

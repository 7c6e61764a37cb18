//! Hints between the tasks of a replica: something has changed, go and look.
//!
//! A hint carries no truth; the row does. This is the seam that LISTEN/NOTIFY will
//! fill between replicas: [`Hub::chat_changed`] and [`Hub::owner_changed`] are where a
//! notification will come in.

use std::{
    collections::{HashMap, hash_map::Entry},
    hash::Hash,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use chatplane_domain::{ChatId, UserId};
use tokio::sync::watch;

/// Hands out hints.
#[derive(Clone, Debug, Default)]
pub(crate) struct Hub {
    chats: Topics<ChatId>,
    owners: Topics<UserId>,
}

/// What somebody is interested in.
#[derive(Debug)]
struct Topics<K>(Arc<Mutex<HashMap<K, watch::Sender<u64>>>>);

/// A watcher's interest in one chat, or in all chats of one owner. Ends when it is dropped.
#[derive(Debug)]
pub(crate) struct Subscription<K: Eq + Hash = ChatId> {
    topics: Topics<K>,
    key: K,
    receiver: watch::Receiver<u64>,
}

impl Hub {
    /// Registers interest in a chat. Do so before you look, or a change in between goes
    /// unseen.
    #[must_use]
    pub(crate) fn subscribe(&self, chat: ChatId) -> Subscription {
        self.chats.subscribe(chat)
    }

    /// The same for all chats of an owner.
    #[must_use]
    pub(crate) fn subscribe_owner(&self, owner: UserId) -> Subscription<UserId> {
        self.owners.subscribe(owner)
    }

    /// Says that a chat has changed.
    pub(crate) fn chat_changed(&self, chat: ChatId) {
        self.chats.changed(&chat);
    }

    /// Says that a chat of this owner has changed, or what the owner keeps about it.
    pub(crate) fn owner_changed(&self, owner: UserId) {
        self.owners.changed(&owner);
    }

    /// The chats that somebody watches.
    #[must_use]
    pub(crate) fn watched(&self) -> Vec<ChatId> {
        self.chats.keys()
    }

    /// The owners all of whose chats somebody watches.
    #[must_use]
    pub(crate) fn watched_owners(&self) -> Vec<UserId> {
        self.owners.keys()
    }
}

impl<K: Copy + Eq + Hash> Topics<K> {
    fn subscribe(&self, key: K) -> Subscription<K> {
        let receiver = match self.lock().entry(key) {
            Entry::Occupied(entry) => entry.get().subscribe(),
            Entry::Vacant(entry) => entry.insert(watch::Sender::new(0)).subscribe(),
        };
        Subscription { topics: self.clone(), key, receiver }
    }

    fn changed(&self, key: &K) {
        if let Some(sender) = self.lock().get(key) {
            sender.send_modify(|hints| *hints = hints.wrapping_add(1));
        }
    }

    fn keys(&self) -> Vec<K> {
        self.lock().keys().copied().collect()
    }
}

impl<K> Topics<K> {
    fn lock(&self) -> MutexGuard<'_, HashMap<K, watch::Sender<u64>>> {
        // A panic elsewhere leaves the map whole: every change is one call.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K> Clone for Topics<K> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<K> Default for Topics<K> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<K: Eq + Hash> Subscription<K> {
    /// Waits for the next hint; several that came in between count as one.
    pub(crate) async fn changed(&mut self) {
        if self.receiver.changed().await.is_err() {
            // The sender lives as long as its subscriptions; without one nothing comes.
            std::future::pending::<()>().await;
        }
    }
}

impl<K: Eq + Hash> Drop for Subscription<K> {
    fn drop(&mut self) {
        let mut topics = self.topics.lock();
        if topics.get(&self.key).is_some_and(|sender| sender.receiver_count() <= 1) {
            topics.remove(&self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[tokio::test]
    async fn a_hint_after_the_subscription_is_seen_and_the_entry_goes_with_it() {
        let hub = Hub::default();
        let (chat, owner) = (ChatId(Uuid::nil()), UserId(Uuid::nil()));

        let mut of_chat = hub.subscribe(chat);
        let mut of_owner = hub.subscribe_owner(owner);
        let second = hub.subscribe_owner(owner);
        hub.chat_changed(chat);
        of_chat.changed().await;
        hub.owner_changed(owner);
        of_owner.changed().await;
        drop(of_chat);
        drop(of_owner);

        assert_eq!((hub.watched(), hub.watched_owners()), (Vec::new(), vec![owner]));
        drop(second);
        assert_eq!(hub.watched_owners(), Vec::new());
    }
}

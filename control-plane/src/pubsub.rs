//! Hints between the tasks of a replica: something has changed, go and look.
//!
//! A hint carries no truth; the row does. This is the seam that LISTEN/NOTIFY will
//! fill between replicas: [`Hub::chat_changed`] is where a notification will come in.

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use chatplane_domain::ChatId;
use tokio::sync::watch;

/// Hands out hints.
#[derive(Clone, Debug, Default)]
pub(crate) struct Hub {
    chats: Arc<Mutex<HashMap<ChatId, watch::Sender<u64>>>>,
}

/// A watcher's interest in one chat. Ends when it is dropped.
#[derive(Debug)]
pub(crate) struct Subscription {
    hub: Hub,
    chat: ChatId,
    receiver: watch::Receiver<u64>,
}

impl Hub {
    /// Registers interest. Do so before you look, or a change in between goes unseen.
    #[must_use]
    pub(crate) fn subscribe(&self, chat: ChatId) -> Subscription {
        let receiver = match self.lock().entry(chat) {
            Entry::Occupied(entry) => entry.get().subscribe(),
            Entry::Vacant(entry) => entry.insert(watch::Sender::new(0)).subscribe(),
        };
        Subscription { hub: self.clone(), chat, receiver }
    }

    /// Says that a chat has changed.
    pub(crate) fn chat_changed(&self, chat: ChatId) {
        if let Some(sender) = self.lock().get(&chat) {
            sender.send_modify(|hints| *hints = hints.wrapping_add(1));
        }
    }

    /// The chats that somebody watches.
    #[must_use]
    pub(crate) fn watched(&self) -> Vec<ChatId> {
        self.lock().keys().copied().collect()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<ChatId, watch::Sender<u64>>> {
        // A panic elsewhere leaves the map whole: every change is one call.
        self.chats.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Subscription {
    /// Waits for the next hint; several that came in between count as one.
    pub(crate) async fn changed(&mut self) {
        if self.receiver.changed().await.is_err() {
            // The sender lives as long as its subscriptions; without one nothing comes.
            std::future::pending::<()>().await;
        }
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        let mut chats = self.hub.lock();
        if let Entry::Occupied(entry) = chats.entry(self.chat)
            && entry.get().receiver_count() <= 1
        {
            entry.remove();
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
        let chat = ChatId(Uuid::nil());

        let mut subscription = hub.subscribe(chat);
        hub.chat_changed(chat);
        subscription.changed().await;
        drop(subscription);

        assert_eq!(hub.watched(), Vec::new());
    }
}

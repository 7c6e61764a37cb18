//! What waits to be said on a link, beside the pieces of live streams.
//!
//! Subscriptions are at most one word each and never lost: there are as many as chats. The
//! other words are the fast path of something that is found out anyway; those that do not
//! fit are not said.

use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
};

use tokio::sync::Notify;

use super::{
    following::SUBSCRIPTIONS_MAX,
    wire::{LinkMessage, SubscriptionNo},
};

/// Words of the fast path that wait on one link: more than a burst of interrupts makes.
const WORDS_MAX: usize = 1024;
/// Words about subscriptions. A subscription that has not been asked for yet is taken back
/// in place, so that more than one a chat wait only while a link is slow; a link so far
/// behind is given up and begun anew.
const SUBSCRIPTION_WORDS_MAX: usize = 4 * SUBSCRIPTIONS_MAX;

/// What waits to be said on a link.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    waiting: Mutex<Waiting>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    subscriptions: VecDeque<LinkMessage>,
    words: VecDeque<LinkMessage>,
    overflowed: bool,
}

impl Outbox {
    /// Something about a subscription.
    pub(super) fn subscription(&self, message: LinkMessage) {
        let mut waiting = self.lock();
        if let LinkMessage::Unsubscribe(no) = &message
            && let Some(unsaid) = waiting.subscriptions.iter().rposition(|said| is_subscribe(said, *no))
        {
            waiting.subscriptions.remove(unsaid);
            return;
        }
        if waiting.subscriptions.len() >= SUBSCRIPTION_WORDS_MAX {
            waiting.overflowed = true;
        } else {
            waiting.subscriptions.push_back(message);
        }
        self.changed.notify_one();
    }

    /// Something that may be lost.
    pub(super) fn word(&self, message: LinkMessage) {
        let mut waiting = self.lock();
        if waiting.words.len() < WORDS_MAX {
            waiting.words.push_back(message);
            self.changed.notify_one();
        }
    }

    /// The next to be said.
    pub(super) fn next(&self) -> Option<LinkMessage> {
        let mut waiting = self.lock();
        let subscription = waiting.subscriptions.pop_front();
        subscription.or_else(|| waiting.words.pop_front())
    }

    /// Whether something waits.
    pub(super) fn is_empty(&self) -> bool {
        let waiting = self.lock();
        waiting.subscriptions.is_empty() && waiting.words.is_empty()
    }

    /// Whether something was lost that must not be: the link is to be begun anew.
    pub(super) fn has_overflowed(&self) -> bool {
        self.lock().overflowed
    }

    /// Waits for something to say.
    pub(super) async fn changed(&self) {
        self.changed.notified().await;
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        // A panic elsewhere leaves the queues whole: every change is one call.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_subscribe(message: &LinkMessage, no: SubscriptionNo) -> bool {
    matches!(message, LinkMessage::Subscribe(subscribe) if subscribe.no == no)
}

#[cfg(test)]
mod tests {
    use chatplane_domain::{ChatId, Fence};
    use uuid::Uuid;

    use super::*;
    use crate::peers::wire::Subscribe;

    fn subscribe(no: i64) -> LinkMessage {
        LinkMessage::Subscribe(Subscribe {
            no: SubscriptionNo(no),
            chat: ChatId(Uuid::nil()),
            fence: Fence(1),
            positions: Vec::new(),
            resumes: false,
        })
    }

    #[test]
    fn a_subscription_that_was_not_asked_for_yet_is_taken_back_without_a_word() {
        let outbox = Outbox::default();
        outbox.subscription(subscribe(1));
        outbox.subscription(subscribe(2));

        outbox.subscription(LinkMessage::Unsubscribe(SubscriptionNo(1)));

        assert_eq!(outbox.next(), Some(subscribe(2)));
        assert!(outbox.is_empty());
    }

    #[test]
    fn words_are_bounded_and_subscriptions_come_first() {
        let outbox = Outbox::default();

        for _ in 0..=WORDS_MAX {
            outbox.word(LinkMessage::Heartbeat);
        }
        outbox.subscription(subscribe(1));

        assert_eq!(outbox.next(), Some(subscribe(1)));
        assert_eq!(std::iter::from_fn(|| outbox.next()).count(), WORDS_MAX);
        assert!(!outbox.has_overflowed());
    }

    #[test]
    fn a_link_that_lost_a_subscription_is_to_be_begun_anew() {
        let outbox = Outbox::default();

        for no in 0..=i64::try_from(SUBSCRIPTION_WORDS_MAX).expect("it is small") {
            outbox.subscription(subscribe(no));
        }

        assert!(outbox.has_overflowed());
    }
}

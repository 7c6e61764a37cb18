//! Which live streams this replica follows, and where. Pure: what it learns in, what is to
//! be done out.
//!
//! # Theory of operation
//!
//! A watcher's sync says where its chat's live lease is: at which replica, under which fence
//! ([`Seen`]). That is the only truth. It is as old as the sync, and several watchers of a
//! chat sync apart, so the newest counts: chats count their versions, and a session its
//! openings. Everything else is a reason to sync again, and a way to get bytes:
//!
//! - While a chat's lease is at another replica, the link to that replica is up and somebody
//!   watches, there is one subscription. It is named by a number that is never used again, so
//!   whatever arrives late, of a lease, a link or a watcher that is no more, names nothing and
//!   is not taken. Nobody waits for a link: a subscription is asked for when it comes up.
//! - A link that goes down ends its subscriptions and makes the watchers of their chats sync
//!   at once. The bytes stay: a session that has moved goes on under its fence, and whoever
//!   has it is asked for the rest.
//! - The other side says that a lease has ended, or a piece cannot be taken: then a sync is
//!   asked for. The place where it was said is not asked again until a sync names another,
//!   or a sync, a hint and a subscription could chase each other without end.
//!
//! A subscription beyond what a peer serves is not asked for: that watcher has the durable
//! events alone.

use std::collections::{BTreeMap, BTreeSet};

use chatplane_domain::{ChatId, Fence, ReplicaId};

use super::wire::SubscriptionNo;
use crate::{relay::Refusal, store::LiveAt};

/// Subscriptions at one peer: as many chats as are watched here and run there, at some
/// hundred bytes each on both sides.
pub(crate) const SUBSCRIPTIONS_MAX: usize = 10_000;
/// So often what is missing of one lease is asked for anew: what is still missing then is of a kind that
/// this release does not know.
const REFILLS_MAX: u32 = 8;

/// What one sync of a chat says of its lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    /// The chat's version.
    pub(crate) version: i64,
    /// Where its lease is, if it is leased.
    pub(crate) at: Option<LiveAt>,
}

impl Seen {
    /// A session opens anew without a write of the chat, so both count.
    fn age(&self) -> (i64, i64) {
        (self.version, self.at.map_or(0, |at| at.connection))
    }
}

/// What is to be done, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Act {
    /// Ask the peer for the chat's streams, from what the relay has.
    Subscribe {
        /// Whom.
        peer: ReplicaId,
        /// The new subscription.
        no: SubscriptionNo,
        /// The chat.
        chat: ChatId,
        /// The lease's fence.
        fence: Fence,
        /// What is here is from that peer, which had the session all along.
        resumes: bool,
    },
    /// Tell the peer that a subscription is over.
    Unsubscribe {
        /// Whom.
        peer: ReplicaId,
        /// The subscription.
        no: SubscriptionNo,
    },
    /// What is here of the chat's leases up to this one is not wanted any more.
    Forget {
        /// The chat.
        chat: ChatId,
        /// The lease's fence.
        fence: Fence,
    },
    /// The session has come here: what was followed is this replica's own.
    Adopt(ChatId),
    /// The watchers of the chat are to sync now.
    Sync(ChatId),
}

#[derive(Debug, Default)]
struct Watched {
    watchers: usize,
    seen: Option<Seen>,
    /// The place that is followed, with its subscription while there is one.
    followed: Option<(LiveAt, Option<SubscriptionNo>)>,
    /// Nothing is to be had there.
    given_up: Option<LiveAt>,
    /// Where what is here comes from.
    source: Option<LiveAt>,
    /// How often something was missing of what is there.
    refills: Option<(LiveAt, u32)>,
}

/// What of other replicas' live streams is followed here.
#[derive(Debug)]
pub(crate) struct Following {
    own: ReplicaId,
    chats: BTreeMap<ChatId, Watched>,
    /// The peers whose link is up, with what is subscribed there.
    up: BTreeMap<ReplicaId, BTreeMap<SubscriptionNo, ChatId>>,
    last_no: i64,
    acts: Vec<Act>,
}

impl Following {
    /// Nothing is watched, and no link is up.
    pub(crate) fn new(own: ReplicaId) -> Self {
        Self { own, chats: BTreeMap::new(), up: BTreeMap::new(), last_no: 0, acts: Vec::new() }
    }

    /// What is to be done since it was asked last.
    pub(crate) fn take_acts(&mut self) -> Vec<Act> {
        std::mem::take(&mut self.acts)
    }

    /// Somebody watches a chat.
    pub(crate) fn watch(&mut self, chat: ChatId) {
        self.chats.entry(chat).or_default().watchers += 1;
    }

    /// Somebody watches a chat no more.
    pub(crate) fn unwatch(&mut self, chat: ChatId) {
        let Some(watched) = self.chats.get_mut(&chat) else {
            return;
        };
        watched.watchers = watched.watchers.saturating_sub(1);
        if watched.watchers == 0 {
            self.leave(chat);
            self.chats.remove(&chat);
        }
    }

    /// A watcher's sync has read where the chat's lease is.
    pub(crate) fn seen(&mut self, chat: ChatId, seen: Seen) {
        let own = self.own;
        let Some(watched) = self.chats.get_mut(&chat) else {
            return;
        };
        if watched.seen.is_some_and(|before| before.age() > seen.age()) {
            return;
        }
        watched.seen = Some(seen);
        let wanted = seen.at.filter(|at| at.replica != own);
        match watched.followed {
            Some((at, _)) if Some(at) == wanted => {}
            Some((at, no)) => {
                // A session that has only moved goes on with what is here.
                let is_same_lease = seen.at.is_some_and(|now| now.fence == at.fence);
                if !is_same_lease {
                    watched.source = None;
                    self.acts.push(Act::Forget { chat, fence: at.fence });
                } else if wanted.is_none() {
                    watched.source = None;
                    self.acts.push(Act::Adopt(chat));
                }
                watched.followed = wanted.map(|at| (at, None));
                self.unsubscribe(at.replica, no);
            }
            None => watched.followed = wanted.map(|at| (at, None)),
        }
        self.subscribe(chat);
    }

    /// A link has come up.
    pub(crate) fn peer_up(&mut self, peer: ReplicaId) {
        self.peer_down(peer);
        self.up.insert(peer, BTreeMap::new());
        let followed = |watched: &Watched| watched.followed.is_some_and(|(at, _)| at.replica == peer);
        let chats: Vec<ChatId> =
            self.chats.iter().filter(|(_, watched)| followed(watched)).map(|(chat, _)| *chat).collect();
        for chat in chats {
            self.subscribe(chat);
        }
    }

    /// A link is down, or is not heard any more. What was followed there may have gone
    /// elsewhere.
    pub(crate) fn peer_down(&mut self, peer: ReplicaId) {
        let Some(subscriptions) = self.up.remove(&peer) else {
            return;
        };
        let chats: BTreeSet<ChatId> = subscriptions.into_values().collect();
        for chat in chats {
            if let Some(Watched { followed: Some((_, no)), .. }) = self.chats.get_mut(&chat) {
                *no = None;
            }
            self.acts.push(Act::Sync(chat));
        }
    }

    /// Whose streams the pieces of a subscription are. None for one that is over.
    pub(crate) fn subscribed(&self, peer: ReplicaId, no: SubscriptionNo) -> Option<(ChatId, Fence)> {
        let chat = *self.up.get(&peer)?.get(&no)?;
        let (at, _) = self.chats.get(&chat)?.followed?;
        Some((chat, at.fence))
    }

    /// The peer says that the lease is not there any more. A sync says where it is.
    pub(crate) fn lease_ended(&mut self, peer: ReplicaId, no: SubscriptionNo) {
        if let Some(chat) = self.up.get_mut(&peer).and_then(|subscriptions| subscriptions.remove(&no)) {
            self.give_up(chat);
            self.acts.push(Act::Sync(chat));
        }
    }

    /// A piece of a subscription could not be taken.
    pub(crate) fn refused(&mut self, peer: ReplicaId, no: SubscriptionNo, refusal: Refusal) {
        let Some(chat) = self.up.get_mut(&peer).and_then(|subscriptions| subscriptions.remove(&no)) else {
            return;
        };
        self.acts.push(Act::Unsubscribe { peer, no });
        match refusal {
            // What was here went meanwhile; it is sent anew from what there is.
            Refusal::Gap | Refusal::UnknownStream if self.may_refill(chat) => {
                self.without_subscription(chat);
                self.subscribe(chat);
            }
            // A session of this replica writes: it may have come here since the last sync,
            // or be one that has left and is not done yet.
            Refusal::NotFollowed => {
                self.without_subscription(chat);
                self.acts.push(Act::Sync(chat));
            }
            // A later lease has written here, or there is no room; or what is missing is not understood.
            Refusal::StaleFence
            | Refusal::OtherHeader
            | Refusal::TooMany
            | Refusal::Gap
            | Refusal::UnknownStream => {
                self.give_up(chat);
                self.acts.push(Act::Sync(chat));
            }
        }
    }

    /// How many subscriptions there are at a peer.
    #[cfg(test)]
    pub(crate) fn subscriptions(&self, peer: ReplicaId) -> usize {
        self.up.get(&peer).map_or(0, BTreeMap::len)
    }

    fn subscribe(&mut self, chat: ChatId) {
        let Some(watched) = self.chats.get_mut(&chat) else {
            return;
        };
        let Some((at, no @ None)) = &mut watched.followed else {
            return;
        };
        let Some(subscriptions) = self.up.get_mut(&at.replica) else {
            return;
        };
        if watched.given_up == Some(*at) || subscriptions.len() >= SUBSCRIPTIONS_MAX {
            return;
        }
        self.last_no += 1;
        let new = SubscriptionNo(self.last_no);
        *no = Some(new);
        subscriptions.insert(new, chat);
        let resumes = watched.source == Some(*at);
        watched.source = Some(*at);
        self.acts.push(Act::Subscribe { peer: at.replica, no: new, chat, fence: at.fence, resumes });
    }

    fn may_refill(&mut self, chat: ChatId) -> bool {
        let Some(Watched { followed: Some((at, _)), refills, .. }) = self.chats.get_mut(&chat) else {
            return false;
        };
        let before = refills.filter(|(before, _)| before == at).map_or(0, |(_, times)| times);
        *refills = Some((*at, before + 1));
        before < REFILLS_MAX
    }

    fn without_subscription(&mut self, chat: ChatId) {
        if let Some(Watched { followed: Some((_, no)), source, .. }) = self.chats.get_mut(&chat) {
            (*no, *source) = (None, None);
        }
    }

    fn give_up(&mut self, chat: ChatId) {
        self.without_subscription(chat);
        if let Some(watched) = self.chats.get_mut(&chat) {
            watched.given_up = watched.followed.map(|(at, _)| at);
        }
    }

    fn unsubscribe(&mut self, peer: ReplicaId, no: Option<SubscriptionNo>) {
        if let (Some(no), Some(subscriptions)) = (no, self.up.get_mut(&peer)) {
            subscriptions.remove(&no);
            self.acts.push(Act::Unsubscribe { peer, no });
        }
    }

    /// Nobody watches: what is here of it is of no use.
    fn leave(&mut self, chat: ChatId) {
        if let Some((at, no)) = self.chats.get_mut(&chat).and_then(|watched| watched.followed.take()) {
            self.unsubscribe(at.replica, no);
            self.acts.push(Act::Forget { chat, fence: at.fence });
        }
    }
}

#[cfg(test)]
mod tests;

//! What hints of other replicas do here.
//!
//! A watcher looks for itself. A lease is looked at for its worker: the rows of all that
//! were hinted at are read by one statement, and the session's rules judge them as they
//! judge the answer of a renewal.

use std::{
    collections::{BTreeSet, HashMap},
    time::Duration,
};

use chatplane_domain::{ChatId, SessionId, UserId};
use tokio::time::{self, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use super::{
    App,
    chain::chain,
    dispatch::{Failure, lease_row},
};
use crate::{
    pubsub::{Channel, Hints, Subjects},
    scheduler::{Event, Holder},
    store::SessionLease,
};

/// A replica says so often which chats its sessions have leases of; what it wants to hear
/// of is forgotten after a minute.
const SAY_WHAT_IS_LEASED_EVERY: Duration = Duration::from_secs(10);
/// Leases that are read by one statement, each by its key.
const LEASES_MAX: usize = 1000;

/// What is to be looked at, with what one channel means put together with the others.
#[derive(Debug, Default, PartialEq, Eq)]
struct Look {
    chats: BTreeSet<ChatId>,
    owners: BTreeSet<UserId>,
    /// Everything of these channels.
    everything: BTreeSet<Channel>,
    /// What the channel itself stands for.
    signals: BTreeSet<Channel>,
}

impl Look {
    fn at(hints: Hints) -> Self {
        let mut look = Self::default();
        for (channel, subjects) in hints {
            match (channel, subjects) {
                (Channel::Chats(_), Subjects::Ids(ids)) => look.chats.extend(ids.into_iter().map(ChatId)),
                (Channel::Owners(_), Subjects::Ids(ids)) => look.owners.extend(ids.into_iter().map(UserId)),
                (Channel::Chats(_) | Channel::Owners(_), Subjects::Everything) => {
                    look.everything.insert(channel);
                }
                (Channel::Runnable | Channel::Peers | Channel::Workspaces, _) => {
                    look.signals.insert(channel);
                }
            }
        }
        look
    }
}

impl App {
    /// Does what hints of other replicas ask for, until `stop`.
    pub(super) async fn take_hints(self, stop: CancellationToken) {
        let mut due = time::interval(SAY_WHAT_IS_LEASED_EVERY);
        due.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = due.tick() => self.say_what_is_leased(),
                hints = self.inner.hub.heard() => self.look(Look::at(hints)).await,
            }
        }
    }

    fn say_what_is_leased(&self) {
        let (hub, scheduler) = (&self.inner.hub, &self.inner.scheduler);
        if scheduler.load().sessions > 0 {
            hub.want_runnable();
        }
        for chat in scheduler.leased() {
            hub.want_chat(chat);
        }
    }

    async fn look(&self, mut look: Look) {
        let (hub, scheduler) = (&self.inner.hub, &self.inner.scheduler);
        if look.signals.contains(&Channel::Runnable) {
            scheduler.hear();
        }
        if look.signals.contains(&Channel::Peers) {
            hub.hint_replicas();
        }
        if look.signals.contains(&Channel::Workspaces) {
            hub.hint_workspaces();
        }
        if !look.everything.is_empty() {
            let of_chat = |chat: &ChatId| look.everything.contains(&Channel::of_chat(*chat));
            look.chats.extend(hub.watched().into_iter().chain(scheduler.leased()).filter(of_chat));
            let of_owner = |owner: &UserId| look.everything.contains(&Channel::of_owner(*owner));
            look.owners.extend(hub.watched_owners().into_iter().filter(of_owner));
        }
        look.chats.iter().for_each(|chat| hub.hint_chat(*chat));
        look.owners.iter().for_each(|owner| hub.hint_owner(*owner));
        let holders = scheduler.holders_of(&look.chats);
        for holders in holders.chunks(LEASES_MAX) {
            if let Err(error) = self.read_leases(holders).await {
                let cause = chain(&error);
                tracing::warn!(%cause, leases = holders.len(), "leases could not be read; renewals see to them");
                return;
            }
        }
    }

    /// Tells sessions how their leases stand.
    async fn read_leases(&self, holders: &[Holder]) -> Result<(), Failure> {
        let scheduler = &self.inner.scheduler;
        let chats: Vec<ChatId> = holders.iter().map(|holder| holder.key.chat).collect();
        let asked_at = scheduler.now();
        let leases = self.in_time(self.inner.store.leases_of(&chats)).await?;
        let leases: HashMap<ChatId, (SessionId, SessionLease)> =
            leases.into_iter().map(|(session, lease)| (lease.chat, (session, lease))).collect();
        for holder in holders {
            let chat = holder.key.chat;
            let lease = leases.get(&chat).filter(|(session, _)| *session == holder.session);
            let event = Event::LeaseRead { asked_at, chat, row: lease.map(|(_, lease)| lease_row(lease)) };
            scheduler.handle_and_wake(holder.session, holder.connection, event);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use chatplane_domain::ReplicaId;
    use uuid::Uuid;

    use super::{BTreeSet, Channel, ChatId, Look, UserId};
    use crate::pubsub::Hub;

    #[tokio::test]
    async fn what_was_told_is_what_is_looked_at() {
        let (chat, owner) = (ChatId(Uuid::from_u128(1)), UserId(Uuid::from_u128(2)));
        let (teller, listener) = (Hub::default(), Hub::default());
        teller.chat_changed(chat);
        teller.owner_changed(owner);
        teller.chat_waits();

        listener.hear_all(ReplicaId(Uuid::max()), &teller);

        let look = Look::at(listener.heard().await);
        let signals = BTreeSet::from([Channel::Runnable]);
        let expected =
            Look { chats: [chat].into(), owners: [owner].into(), everything: BTreeSet::new(), signals };
        assert_eq!(look, expected);
    }
}

//! The hub of a replica: who waits for which hints, what is to be told to other replicas,
//! and what was heard from them.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, hash_map::Entry},
    hash::Hash,
    mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

#[cfg(test)]
use chatplane_domain::ReplicaId;
use chatplane_domain::{ChatId, UserId};
use tokio::sync::{Notify, watch};

use super::{channels::Channel, hints::Hints};

/// Hands out hints.
#[derive(Clone, Debug)]
pub(crate) struct Hub {
    chats: Topics<ChatId>,
    owners: Topics<UserId>,
    interest: Arc<Interest>,
    replicas: watch::Sender<u64>,
    workspaces: watch::Sender<u64>,
    /// What other replicas are to be told.
    pub(super) outgoing: Arc<Mailbox>,
    /// What other replicas have told.
    pub(super) incoming: Arc<Mailbox>,
}

/// What somebody is interested in.
#[derive(Debug)]
struct Topics<K> {
    senders: Arc<Mutex<HashMap<K, watch::Sender<u64>>>>,
    interest: Arc<Interest>,
    channel: fn(K) -> Channel,
}

/// A watcher's interest in one chat, or in all chats of one owner. Ends when it is dropped.
#[derive(Debug)]
pub(crate) struct Subscription<K: Copy + Eq + Hash = ChatId> {
    topics: Topics<K>,
    key: K,
    receiver: watch::Receiver<u64>,
}

/// The channels that this replica has use for.
#[derive(Debug, Default)]
struct Interest {
    wanted: Mutex<Wanted>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct Wanted {
    /// How many topics with watchers each channel has.
    watched: BTreeMap<Channel, usize>,
    /// Wanted by what runs here, since marks were last forgotten.
    marked: BTreeSet<Channel>,
}

/// Hints that wait for one task.
#[derive(Debug, Default)]
pub(super) struct Mailbox {
    hints: Mutex<Hints>,
    filled: Notify,
}

impl Default for Hub {
    fn default() -> Self {
        let interest = Arc::<Interest>::default();
        Self {
            chats: Topics::new(Arc::clone(&interest), Channel::of_chat),
            owners: Topics::new(Arc::clone(&interest), Channel::of_owner),
            interest,
            replicas: watch::Sender::new(0),
            workspaces: watch::Sender::new(0),
            outgoing: Arc::default(),
            incoming: Arc::default(),
        }
    }
}

impl Hub {
    /// Registers interest in a chat. Do so before you look, or a change in between goes
    /// unseen. Where its channel is not listened to yet, one hint comes when it is.
    #[must_use]
    pub(crate) fn subscribe(&self, chat: ChatId) -> Subscription {
        self.chats.subscribe(chat)
    }

    /// The same for all chats of an owner.
    #[must_use]
    pub(crate) fn subscribe_owner(&self, owner: UserId) -> Subscription<UserId> {
        self.owners.subscribe(owner)
    }

    /// A write here has changed a chat: tells the watchers of every replica.
    pub(crate) fn chat_changed(&self, chat: ChatId) {
        self.hint_chat(chat);
        self.outgoing.put(|hints| hints.add(Channel::of_chat(chat), chat.0));
    }

    /// A write here has changed a chat of this owner, or what the owner keeps about it: tells
    /// the watchers of every replica.
    pub(crate) fn owner_changed(&self, owner: UserId) {
        self.hint_owner(owner);
        self.outgoing.put(|hints| hints.add(Channel::of_owner(owner), owner.0));
    }

    /// A chat waits for a slot: tells the other replicas.
    pub(crate) fn chat_waits(&self) {
        self.outgoing.put(|hints| hints.add_signal(Channel::Runnable));
    }

    /// This replica came: tells the others. That it has left they see by its links, or its row.
    pub(crate) fn replicas_changed(&self) {
        self.outgoing.put(|hints| hints.add_signal(Channel::Peers));
    }

    /// A workspace agent registered here: tells the other replicas.
    pub(crate) fn workspaces_changed(&self) {
        self.outgoing.put(|hints| hints.add_signal(Channel::Workspaces));
    }

    /// Changes when another replica came or left, or may have.
    pub(crate) fn subscribe_replicas(&self) -> watch::Receiver<u64> {
        self.replicas.subscribe()
    }

    /// Changes when an agent registered at another replica or left it, or may have.
    pub(crate) fn subscribe_workspaces(&self) -> watch::Receiver<u64> {
        self.workspaces.subscribe()
    }

    /// A replica may have come or left: whoever keeps an eye on them here had better look.
    pub(crate) fn hint_replicas(&self) {
        self.replicas.send_modify(|hints| *hints = hints.wrapping_add(1));
    }

    /// The same for workspace agents.
    pub(crate) fn hint_workspaces(&self) {
        self.workspaces.send_modify(|hints| *hints = hints.wrapping_add(1));
    }

    /// A chat may have changed: its watchers here had better look. Nobody else is told.
    pub(crate) fn hint_chat(&self, chat: ChatId) {
        self.chats.changed(&chat);
    }

    /// The same for the watchers of all chats of an owner.
    pub(crate) fn hint_owner(&self, owner: UserId) {
        self.owners.changed(&owner);
    }

    /// A session here has a lease of the chat: what others do to it shall be heard of, for
    /// the next minute or so.
    pub(crate) fn want_chat(&self, chat: ChatId) {
        self.interest.mark(Channel::of_chat(chat));
    }

    /// A worker is here: chats that wait elsewhere shall be heard of, for the next minute.
    pub(crate) fn want_runnable(&self) {
        self.interest.mark(Channel::Runnable);
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

    /// What was heard from other replicas since this was last asked; waits until there is
    /// something. For one task.
    pub(crate) async fn heard(&self) -> Hints {
        self.incoming.take().await
    }

    /// Hears what another would tell, as if a database were in between.
    #[cfg(test)]
    pub(crate) fn hear_all(&self, own: ReplicaId, from: &Self) {
        let sender = ReplicaId(uuid::Uuid::from_u128(own.0.as_u128() ^ 1));
        for message in from.outgoing.take_now().messages(sender) {
            self.incoming
                .put(|hints| hints.hear(own, &message.channel, &message.payload).expect("it is whole"));
        }
    }

    /// The channels to listen to.
    pub(super) fn wanted(&self) -> BTreeSet<Channel> {
        self.interest.lock().channels()
    }

    /// Returns when there may be more to listen to. For one task.
    pub(super) async fn more_is_wanted(&self) {
        self.interest.changed.notified().await;
    }

    /// The same, and for the last time what was merely marked: who still wants it says so again.
    pub(super) fn wanted_so_far(&self) -> BTreeSet<Channel> {
        let mut wanted = self.interest.lock();
        let channels = wanted.channels();
        wanted.marked.clear();
        channels
    }
}

impl Wanted {
    fn channels(&self) -> BTreeSet<Channel> {
        let always = [Channel::Peers, Channel::Workspaces];
        self.watched.keys().chain(&self.marked).copied().chain(always).collect()
    }
}

impl Interest {
    fn mark(&self, channel: Channel) {
        if self.lock().marked.insert(channel) {
            self.changed.notify_one();
        }
    }

    fn watch(&self, channel: Channel) {
        let mut wanted = self.lock();
        let topics = wanted.watched.entry(channel).or_default();
        *topics += 1;
        if *topics == 1 {
            self.changed.notify_one();
        }
    }

    fn unwatch(&self, channel: Channel) {
        let mut wanted = self.lock();
        if let Some(topics) = wanted.watched.get_mut(&channel) {
            *topics -= 1;
            if *topics == 0 {
                wanted.watched.remove(&channel);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Wanted> {
        self.wanted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Mailbox {
    /// Puts something in. It never waits, and what is in there is bounded.
    pub(super) fn put(&self, put: impl FnOnce(&mut Hints)) {
        put(&mut self.lock());
        self.filled.notify_one();
    }

    /// Everything, as soon as there is something.
    pub(super) async fn take(&self) -> Hints {
        loop {
            let hints = self.take_now();
            if !hints.is_empty() {
                return hints;
            }
            self.filled.notified().await;
        }
    }

    /// Everything, or nothing.
    pub(super) fn take_now(&self) -> Hints {
        mem::take(&mut *self.lock())
    }

    /// Whether nothing waits.
    pub(super) fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }

    fn lock(&self) -> MutexGuard<'_, Hints> {
        self.hints.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Copy + Eq + Hash> Topics<K> {
    fn new(interest: Arc<Interest>, channel: fn(K) -> Channel) -> Self {
        Self { senders: Arc::default(), interest, channel }
    }

    fn subscribe(&self, key: K) -> Subscription<K> {
        let receiver = match self.lock().entry(key) {
            Entry::Occupied(entry) => entry.get().subscribe(),
            Entry::Vacant(entry) => {
                self.interest.watch((self.channel)(key));
                entry.insert(watch::Sender::new(0)).subscribe()
            }
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
        self.senders.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K> Clone for Topics<K> {
    fn clone(&self) -> Self {
        Self {
            senders: Arc::clone(&self.senders),
            interest: Arc::clone(&self.interest),
            channel: self.channel,
        }
    }
}

impl<K: Copy + Eq + Hash> Subscription<K> {
    /// Waits for the next hint; several that came in between count as one.
    pub(crate) async fn changed(&mut self) {
        if self.receiver.changed().await.is_err() {
            // The sender lives as long as its subscriptions; without one nothing comes.
            std::future::pending::<()>().await;
        }
    }
}

impl<K: Copy + Eq + Hash> Drop for Subscription<K> {
    fn drop(&mut self) {
        let mut topics = self.topics.lock();
        // Under the lock, so that the last of several that end at once finds that it is the last.
        self.receiver = watch::channel(0).1;
        if topics.get(&self.key).is_some_and(|sender| sender.receiver_count() == 0) {
            topics.remove(&self.key);
            self.topics.interest.unwatch((self.topics.channel)(self.key));
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;
    use uuid::Uuid;

    use super::{BTreeSet, Channel, ChatId, Hints, Hub, UserId};

    const CHAT: ChatId = ChatId(Uuid::nil());
    const OWNER: UserId = UserId(Uuid::nil());

    #[tokio::test]
    async fn a_hint_after_the_subscription_is_seen_and_the_entry_goes_with_it() {
        let hub = Hub::default();

        let mut of_chat = hub.subscribe(CHAT);
        let mut of_owner = hub.subscribe_owner(OWNER);
        let second = hub.subscribe_owner(OWNER);
        hub.chat_changed(CHAT);
        of_chat.changed().await;
        hub.owner_changed(OWNER);
        of_owner.changed().await;
        drop(of_chat);
        drop(of_owner);

        assert_eq!((hub.watched(), hub.watched_owners()), (Vec::new(), vec![OWNER]));
        drop(second);
        assert_eq!(hub.watched_owners(), Vec::new());
    }

    #[tokio::test]
    async fn what_changes_here_is_told_to_others_and_what_was_heard_is_not() {
        let hub = Hub::default();
        hub.hint_chat(CHAT);
        hub.hint_owner(OWNER);
        assert!(hub.outgoing.is_empty());

        hub.chat_changed(CHAT);
        hub.owner_changed(OWNER);
        hub.chat_waits();

        let mut told = Hints::default();
        told.add(Channel::of_chat(CHAT), CHAT.0);
        told.add(Channel::of_owner(OWNER), OWNER.0);
        told.add_signal(Channel::Runnable);
        assert_eq!(hub.outgoing.take().await, told);
        assert!(hub.outgoing.is_empty());
    }

    #[tokio::test]
    async fn a_channel_is_wanted_while_somebody_watches_it_or_says_so() {
        let hub = Hub::default();
        let always = BTreeSet::from([Channel::Peers, Channel::Workspaces]);
        assert_eq!(hub.wanted(), always);

        let first = hub.subscribe(CHAT);
        hub.more_is_wanted().await;
        let second = hub.subscribe(CHAT);
        assert!(hub.more_is_wanted().now_or_never().is_none(), "it is wanted already");
        hub.want_runnable();
        hub.more_is_wanted().await;
        let more = BTreeSet::from([Channel::of_chat(CHAT), Channel::Runnable]);
        assert_eq!(hub.wanted(), &always | &more);

        drop(first);
        assert_eq!(hub.wanted_so_far(), &always | &more);
        assert_eq!(hub.wanted(), &always | &BTreeSet::from([Channel::of_chat(CHAT)]));
        drop(second);
        assert_eq!(hub.wanted(), always);
    }
}

//! The other replicas: who they are, what is followed there, what is served to them.
//!
//! Replicas find each other in a table, which each reads with its own heartbeat. Of each pair
//! one calls ([`dialing`]), and one stream carries both directions ([`link`]): live streams that
//! are watched here and written there ([`following`]), or the other way round ([`serving`]), and
//! a few words about tool calls. They prove to each other that they belong together ([`proof`]).
//!
//! Nothing durable comes this way, and nothing waits for it. A chat's truth is its row; what a
//! peer says is bytes of a preview, or a reason to look at the row.

mod calling;
mod dialing;
mod following;
mod link;
mod outbox;
mod proof;
mod serving;
mod table;
mod taking;
#[cfg(test)]
mod tests;
mod wire;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use chatplane_domain::{ChatId, ReplicaId, WorkspaceId};
use futures::Stream;
use tokio::{
    sync::{Mutex as AsyncMutex, Notify, mpsc, watch},
    time::Instant,
};
use tokio_util::sync::CancellationToken;

use crate::{pubsub::Hub, relay::Relay};

pub(crate) use calling::{DialError, Dialled, Transport};
pub(crate) use following::Seen;
pub(crate) use link::{Broken, LinkEnd, UNSENT_MESSAGES_MAX};
pub(crate) use proof::{PROOF_BYTES, Secret};
pub(crate) use table::{PEERS_MAX, Peer};
pub(crate) use wire::{
    ENDED_CALLS_MAX, EndedCalls, EndedCause, LinkMessage, LivePiece, PIECE_BYTES_MAX, Subscribe,
    SubscriptionNo,
};

use dialing::Dialing;
use following::Following;
use link::Link;
use outbox::Outbox;
use serving::Serving;
use table::Table;

/// Tells the links to one replica apart that come one after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LinkNo(u64);

/// The other replicas.
#[derive(Clone)]
pub(crate) struct Peers {
    shared: Arc<Shared>,
}

struct Shared {
    own: ReplicaId,
    secret: Secret,
    /// Where others reach this replica; none: it has no peers.
    address: Option<String>,
    transport: Option<Arc<dyn Transport>>,
    relay: Relay,
    hub: Hub,
    epoch: Instant,
    state: Mutex<State>,
    /// Somebody is to be called, perhaps.
    dial: Notify,
    /// Moves when a link comes up.
    changed: watch::Sender<()>,
    words: mpsc::Sender<Heard>,
    heard: AsyncMutex<mpsc::Receiver<Heard>>,
}

struct State {
    table: Table,
    dialing: Dialing,
    following: Following,
    links: HashMap<ReplicaId, Up>,
    links_begun: u64,
}

struct Up {
    no: LinkNo,
    outbox: Arc<Outbox>,
    replaced: CancellationToken,
}

/// What was heard of tool calls elsewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    /// An agent has attached elsewhere.
    WorkspaceAttached(WorkspaceId, i64),
    /// Calls need not go on.
    CallsEnded(EndedCalls),
}

/// Words about tool calls that wait to be acted upon. They may be lost.
const HEARD_MAX: usize = 1024;

/// What a replica speaks with the others by.
pub(crate) struct PeersParts {
    /// Its id.
    pub(crate) own: ReplicaId,
    /// Where others reach it; none: it has no peers.
    pub(crate) address: Option<String>,
    /// How it reaches others.
    pub(crate) transport: Option<Arc<dyn Transport>>,
    /// Its live streams.
    pub(crate) relay: Relay,
    /// Its hints.
    pub(crate) hub: Hub,
}

impl Peers {
    /// Nobody is known yet.
    #[must_use]
    pub(crate) fn new(parts: PeersParts) -> Self {
        let PeersParts { own, address, transport, relay, hub } = parts;
        let state = State {
            table: Table::default(),
            dialing: Dialing::new(own),
            following: Following::new(own),
            links: HashMap::new(),
            links_begun: 0,
        };
        let (words, heard) = mpsc::channel(HEARD_MAX);
        let shared = Shared {
            own,
            secret: Secret::random(),
            address,
            transport,
            relay,
            hub,
            epoch: Instant::now(),
            state: Mutex::new(state),
            dial: Notify::new(),
            changed: watch::Sender::new(()),
            words,
            heard: AsyncMutex::new(heard),
        };
        Self { shared: Arc::new(shared) }
    }

    /// The next that was heard of tool calls elsewhere. For one task.
    pub(crate) async fn heard(&self) -> Heard {
        let mut heard = self.shared.heard.lock().await;
        heard.recv().await.expect("its sender is here")
    }

    /// Where others reach this replica, and what proves it.
    pub(crate) fn own_row(&self) -> (ReplicaId, Option<&str>, &Secret) {
        (self.shared.own, self.shared.address.as_deref(), &self.shared.secret)
    }

    /// Whether a token is a replica's, and whose.
    pub(crate) fn caller(&self, token: &str) -> Option<Option<ReplicaId>> {
        proof::is_token(token).then(|| proof::caller(&self.shared.secret, token, self.shared.own))
    }

    /// What the table says: who there is beside this one.
    pub(crate) fn known(&self, peers: Vec<Peer>) {
        let mut state = self.lock();
        // Without an address of its own this replica is none of those that have peers.
        let peers = if self.shared.address.is_some() { peers } else { Vec::new() };
        state.table.replace(peers);
        let replicas: Vec<ReplicaId> = state.table.reachable().collect();
        state.dialing.known(self.now(), replicas);
        drop(state);
        self.shared.dial.notify_one();
    }

    /// Whether a link to a replica is up.
    pub(crate) fn is_linked(&self, replica: ReplicaId) -> bool {
        self.lock().links.contains_key(&replica)
    }

    /// A replica to which a link is up, as the table has it, with the token to call it with.
    pub(crate) fn linked(&self, replica: ReplicaId) -> Option<(Peer, String)> {
        let state = self.lock();
        state.links.get(&replica)?;
        let peer = state.table.get(replica)?.clone();
        let token = proof::token(&peer.secret, self.shared.own, replica);
        Some((peer, token))
    }

    /// Hears when a link comes up.
    pub(crate) fn changes(&self) -> watch::Receiver<()> {
        self.shared.changed.subscribe()
    }

    /// What a replica that calls is answered with.
    pub(crate) fn answer(&self, caller: ReplicaId, nonce: &[u8]) -> [u8; PROOF_BYTES] {
        proof::answer(&self.shared.secret, nonce, caller, self.shared.own)
    }

    /// Whether an answer is the one that was expected.
    pub(crate) fn is_answer(expected: &[u8; PROOF_BYTES], given: &[u8]) -> bool {
        proof::is_answer(expected, given)
    }

    /// Serves a link, whoever has called, until it ends.
    pub(crate) async fn run_link(
        &self,
        peer: ReplicaId,
        incoming: impl Stream<Item = Result<LinkMessage, Broken>> + Send,
        outgoing: mpsc::Sender<LinkMessage>,
        shutdown: &CancellationToken,
    ) -> LinkEnd {
        let link = self.link_up(peer);
        tracing::info!(%peer, "a link to another replica is up");
        // It is down also when whoever drives it stops doing so.
        let _down = Down { peers: self.clone(), peer, no: link.no };
        link.run(incoming, outgoing, shutdown).await
    }

    fn link_up(&self, peer: ReplicaId) -> Link {
        let mut state = self.lock();
        state.links_begun += 1;
        let no = LinkNo(state.links_begun);
        let outbox = Arc::new(Outbox::default());
        let replaced = CancellationToken::new();
        let up = Up { no, outbox: outbox.clone(), replaced: replaced.clone() };
        if let Some(before) = state.links.insert(peer, up) {
            before.replaced.cancel();
        }
        state.following.peer_up(peer);
        self.act(&mut state);
        drop(state);
        self.shared.changed.send_replace(());
        let serving = Serving::new(self.shared.relay.clone());
        Link { peers: self.clone(), peer, no, outbox, serving, replaced }
    }

    fn link_down(&self, peer: ReplicaId, no: LinkNo) {
        let mut state = self.lock();
        if state.links.get(&peer).is_some_and(|up| up.no == no) {
            state.links.remove(&peer);
            state.following.peer_down(peer);
            self.act(&mut state);
        }
    }

    /// Somebody watches a chat.
    pub(crate) fn watch(&self, chat: ChatId) -> Watching {
        self.lock().following.watch(chat);
        Watching { peers: self.clone(), chat }
    }

    /// Tells all other replicas something that they may as well not hear.
    pub(crate) fn tell_all(&self, message: &LinkMessage) {
        for up in self.lock().links.values() {
            up.outbox.word(message.clone());
        }
    }

    fn heard_attached(&self, workspace: WorkspaceId, attachment_no: i64) {
        // One that is lost is found with the next heartbeat.
        let _ = self.shared.words.try_send(Heard::WorkspaceAttached(workspace, attachment_no));
        self.shared.hub.hint_workspaces();
    }

    fn heard_ended(&self, ended: &EndedCalls) {
        // Agents that are not told ask.
        let _ = self.shared.words.try_send(Heard::CallsEnded(ended.clone()));
    }

    fn now(&self) -> Duration {
        self.shared.epoch.elapsed()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic elsewhere leaves the rules whole: they do not panic.
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Ends a link when it is dropped.
struct Down {
    peers: Peers,
    peer: ReplicaId,
    no: LinkNo,
}

impl Drop for Down {
    fn drop(&mut self) {
        self.peers.link_down(self.peer, self.no);
    }
}

/// A watcher's interest in a chat's live streams, wherever they are. Ends when it is dropped.
pub(crate) struct Watching {
    peers: Peers,
    chat: ChatId,
}

impl Watching {
    /// The watcher's sync has read where the chat's lease is.
    pub(crate) fn seen(&self, seen: Seen) {
        let mut state = self.peers.lock();
        state.following.seen(self.chat, seen);
        self.peers.act(&mut state);
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        let mut state = self.peers.lock();
        state.following.unwatch(self.chat);
        self.peers.act(&mut state);
    }
}

//! The other replicas as the table has them.

use std::collections::BTreeMap;

use chatplane_domain::ReplicaId;

use super::proof::Secret;

/// Replicas that are spoken with: each pair has a stream.
pub(crate) const PEERS_MAX: usize = 64;

/// Another replica.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Peer {
    /// Its id.
    pub(crate) replica: ReplicaId,
    /// Where it is reached; none: it takes no peers.
    pub(crate) address: Option<String>,
    /// Proves who it is.
    pub(crate) secret: Secret,
}

/// The other replicas.
#[derive(Debug, Default)]
pub(super) struct Table(BTreeMap<ReplicaId, Peer>);

impl Table {
    /// What was read. Of too many the oldest are kept.
    pub(super) fn replace(&mut self, peers: Vec<Peer>) {
        if peers.len() > PEERS_MAX {
            tracing::warn!(
                replicas = peers.len(),
                max = PEERS_MAX,
                "there are more replicas than are spoken with"
            );
        }
        let peers: BTreeMap<ReplicaId, Peer> = peers.into_iter().map(|peer| (peer.replica, peer)).collect();
        self.0 = peers.into_iter().take(PEERS_MAX).collect();
    }

    pub(super) fn get(&self, replica: ReplicaId) -> Option<&Peer> {
        self.0.get(&replica)
    }

    /// Those that have an address.
    pub(super) fn reachable(&self) -> impl Iterator<Item = ReplicaId> {
        self.0.values().filter(|peer| peer.address.is_some()).map(|peer| peer.replica)
    }
}

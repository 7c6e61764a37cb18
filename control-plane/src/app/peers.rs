//! Speaking with other replicas: this one's row, the links, and what they say of tool calls.

use std::time::Duration;

use chatplane_domain::ReplicaId;
use futures::Stream;
use tokio::{
    sync::mpsc,
    time::{self, MissedTickBehavior},
};
use tokio_util::sync::CancellationToken;

use super::{App, Error, chain::chain, dispatch::Failure};
use crate::{
    authz::{self, Action, Actor, Resource},
    peers::{Broken, Heard, LinkEnd, LinkMessage, PROOF_BYTES, Peer, Secret},
    store::ReplicaRow,
};

/// A replica renews its row so often, and reads who else there is.
const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(2);

impl App {
    /// Keeps this replica's row alive and reads those of the others, until `stop`. Every
    /// replica has a row: one without an address says that it takes no peers.
    pub(super) async fn keep_replica(self, stop: CancellationToken) {
        let mut hints = self.inner.hub.subscribe_replicas();
        let mut due = time::interval(HEARTBEAT_INTERVAL);
        due.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut is_announced = false;
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                _ = due.tick() => {}
                Ok(()) = hints.changed() => {}
            }
            let renewed = tokio::select! {
                () = stop.cancelled() => break,
                renewed = self.renew_replica() => renewed,
            };
            match renewed {
                // The others have this one's row before they hear of it.
                Ok(()) if !is_announced => {
                    is_announced = true;
                    self.inner.hub.replicas_changed();
                }
                Ok(()) => self.put_out_replaced().await,
                // Whoever is known already is called all the same.
                Err(error) => {
                    let cause = chain(&error);
                    tracing::warn!(%cause, "this replica's row could not be renewed");
                }
            }
        }
        self.leave().await;
    }

    async fn renew_replica(&self) -> Result<(), Failure> {
        let (own, address, secret) = self.inner.peers.own_row();
        let rows = self.in_time(self.inner.store.renew_replica(own, address, &secret.0)).await?;
        let peer =
            |row: ReplicaRow| Peer { replica: row.replica, address: row.address, secret: Secret(row.secret) };
        self.inner.peers.known(rows.into_iter().map(peer).collect());
        Ok(())
    }

    /// Puts agents out that have registered elsewhere since, whose replica's word was lost.
    async fn put_out_replaced(&self) {
        let workspaces = &self.inner.workspaces;
        let attachments = workspaces.attachments();
        if attachments.is_empty() {
            return;
        }
        match self.in_time(self.inner.store.replaced_attachments(&attachments)).await {
            Ok(replaced) => {
                for (workspace, attachment_no) in replaced {
                    workspaces.attached_elsewhere(workspace, attachment_no);
                }
            }
            Err(error) => {
                let cause = chain(&error);
                tracing::warn!(%cause, "it could not be read where agents are attached");
            }
        }
    }

    /// The others have no use for a row that stays behind after 30 s.
    async fn leave(&self) {
        if let Err(error) = self.in_time(self.inner.store.forget_replica(self.inner.replica)).await {
            tracing::warn!(cause = %chain(&error), "this replica's row stays behind");
        }
    }

    /// Calls the replicas that this one is to call, until it leaves.
    pub(super) async fn dial_peers(self) {
        self.inner.peers.clone().dial(self.inner.shutdown.clone()).await;
    }

    /// Does what other replicas say of tool calls, until `stop`.
    pub(super) async fn hear_peers(self, stop: CancellationToken) {
        let workspaces = &self.inner.workspaces;
        loop {
            let heard = tokio::select! {
                () = stop.cancelled() => return,
                heard = self.inner.peers.heard() => heard,
            };
            match heard {
                Heard::WorkspaceAttached(workspace, attachment_no) => {
                    workspaces.attached_elsewhere(workspace, attachment_no);
                }
                Heard::CallsEnded(ended) => workspaces.ended(ended.chat, &ended.calls, ended.cause),
            }
        }
    }

    /// Answers a replica that has called: what proves that this one is who it called.
    ///
    /// # Errors
    ///
    /// `CredentialsInvalid`, `ShuttingDown`.
    pub(crate) fn answer_peer(
        &self,
        actor: &Actor,
        nonce: &[u8],
    ) -> Result<(ReplicaId, [u8; PROOF_BYTES]), Error> {
        let peer = require_peer(actor)?;
        if self.inner.shutdown.is_cancelled() {
            return Err(Error::ShuttingDown);
        }
        Ok((peer, self.inner.peers.answer(peer, nonce)))
    }

    /// Serves a link that another replica has begun, until it ends.
    ///
    /// # Errors
    ///
    /// `ShuttingDown`; `SessionLost` when the other side is silent, or another link has taken the
    /// place of this one.
    pub(crate) async fn serve_peer(
        &self,
        peer: ReplicaId,
        incoming: impl Stream<Item = Result<LinkMessage, Broken>> + Send,
        outgoing: mpsc::Sender<LinkMessage>,
    ) -> Result<(), Error> {
        let end = self.inner.peers.run_link(peer, incoming, outgoing, &self.inner.shutdown).await;
        match end {
            LinkEnd::Broken => Ok(()),
            LinkEnd::ShuttingDown => Err(Error::ShuttingDown),
            LinkEnd::Silent | LinkEnd::Replaced | LinkEnd::Behind => Err(Error::SessionLost),
        }
    }
}

/// Only replicas of this deployment call this.
pub(super) fn require_peer(actor: &Actor) -> Result<ReplicaId, Error> {
    authz::may(actor, Action::Peer, Resource::Deployment).map_err(Error::chat_denied)?;
    match actor {
        Actor::Peer(replica) => Ok(*replica),
        Actor::User { .. } | Actor::Worker | Actor::WorkspaceAgent(_) => Err(Error::wrong_kind()),
    }
}

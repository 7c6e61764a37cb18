//! Calls to other replicas: when they are made, and what becomes of them.

use futures::{future::BoxFuture, stream::BoxStream};
use tokio::{sync::mpsc, time};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{Broken, LinkMessage, PROOF_BYTES, Peer, Peers, proof};

/// The other direction of a link, as its transport has it.
pub(crate) struct Dialled {
    /// What the other side says.
    pub(crate) incoming: BoxStream<'static, Result<LinkMessage, Broken>>,
    /// What is said to it.
    pub(crate) outgoing: mpsc::Sender<LinkMessage>,
}

/// Why a replica could not be called.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DialError {
    /// Its address cannot be used.
    #[error("its address cannot be used: {0}")]
    Address(&'static str),
    /// It did not answer.
    #[error("it did not answer: {0}")]
    Unanswered(String),
    /// What answered is not that replica.
    #[error("what answered could not prove that it is that replica")]
    Unproven,
}

/// How other replicas are reached; `grpc` does it.
pub(crate) trait Transport: Send + Sync {
    /// Calls a replica. The nonce is for its answer, which must be this one.
    fn dial(
        &self,
        peer: &Peer,
        token: String,
        nonce: [u8; PROOF_BYTES],
        answer: [u8; PROOF_BYTES],
    ) -> BoxFuture<'static, Result<Dialled, DialError>>;
}

impl Peers {
    /// Calls the replicas that this one is to call, until `shutdown`.
    pub(crate) async fn dial(self, shutdown: CancellationToken) {
        let tasks = TaskTracker::new();
        loop {
            let (peer, due) = {
                let mut state = self.lock();
                let next = state.dialing.next(self.now());
                (next.and_then(|replica| state.table.get(replica).cloned()), state.dialing.due())
            };
            if let Some(peer) = peer {
                tasks.spawn(self.clone().keep_link(peer, shutdown.clone()));
                continue;
            }
            let due = async {
                match due {
                    Some(due) => time::sleep_until(self.shared.epoch + due).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = shutdown.cancelled() => break,
                () = due => {}
                () = self.shared.dial.notified() => {}
            }
        }
        tasks.close();
        tasks.wait().await;
    }

    /// One call, and its link for as long as it lives.
    async fn keep_link(self, peer: Peer, shutdown: CancellationToken) {
        let replica = peer.replica;
        match self.call(&peer, &shutdown).await {
            Ok(Dialled { incoming, outgoing }) => {
                let now = self.now();
                self.lock().dialing.up(now, replica);
                let end = self.run_link(replica, incoming, outgoing, &shutdown).await;
                tracing::info!(peer = %replica, ?end, "a link to another replica has ended");
            }
            // Once, and not with each try.
            Err(error) if self.lock().dialing.is_to_be_told(replica) => {
                tracing::warn!(
                    peer = %replica, address = peer.address, %error,
                    "another replica could not be called, and is tried again: until then watchers see no live \
                     parts of turns there, and tools whose workspace agent is there cannot be reached"
                );
            }
            Err(error) => tracing::debug!(peer = %replica, %error, "another replica could not be called"),
        }
        self.lock().dialing.down(self.now(), replica, rand::random());
        self.shared.dial.notify_one();
    }

    async fn call(&self, peer: &Peer, shutdown: &CancellationToken) -> Result<Dialled, DialError> {
        let transport = self.shared.transport.as_ref().ok_or(DialError::Address("there is no transport"))?;
        let nonce = proof::random();
        let token = proof::token(&peer.secret, self.shared.own, peer.replica);
        let answer = proof::answer(&peer.secret, &nonce, self.shared.own, peer.replica);
        tokio::select! {
            () = shutdown.cancelled() => Err(DialError::Unanswered("this replica is leaving".to_owned())),
            dialled = transport.dial(peer, token, nonce, answer) => dialled,
        }
    }
}

//! One link: the shell of what two replicas say to each other, the same on both sides.
//!
//! The task reads always, and writes when there is room: an answer of the other side never
//! waits for this one's. What is on its way is bounded by the channel to the transport.

use std::{sync::Arc, time::Duration};

use chatplane_domain::ReplicaId;
use futures::{Stream, StreamExt};
use tokio::{
    sync::mpsc,
    time::{self, Instant, MissedTickBehavior},
};
use tokio_util::sync::CancellationToken;

use super::{
    LinkNo, Peers,
    outbox::Outbox,
    serving::Serving,
    wire::{LinkMessage, PIECE_BYTES_MAX},
};

/// Something is said at least this often.
const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(1);
/// A side that says nothing for this long is down: three of its heartbeats.
const SILENCE_MAX: Duration = Duration::from_secs(3);
/// Bytes of live streams that are on their way to a peer, beside the transport's own buffers.
const UNSENT_BYTES_MAX: usize = 1024 * 1024;
/// Messages that are on their way to the transport.
pub(crate) const UNSENT_MESSAGES_MAX: usize = UNSENT_BYTES_MAX / PIECE_BYTES_MAX;

/// A link that is up.
pub(super) struct Link {
    pub(super) peers: Peers,
    pub(super) peer: ReplicaId,
    pub(super) no: LinkNo,
    pub(super) outbox: Arc<Outbox>,
    pub(super) serving: Serving,
    /// Cancelled when another link to the same replica takes its place.
    pub(super) replaced: CancellationToken,
}

/// The other side has broken off, or said what cannot be understood.
#[derive(Debug)]
pub(crate) struct Broken;

/// Why a link has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LinkEnd {
    /// The stream has ended or broken.
    Broken,
    /// The other side was silent.
    Silent,
    /// Another link has taken its place.
    Replaced,
    /// It was too far behind.
    Behind,
    /// This replica is leaving.
    ShuttingDown,
}

impl Link {
    /// Serves the link until it ends.
    pub(super) async fn run(
        mut self,
        incoming: impl Stream<Item = Result<LinkMessage, Broken>> + Send,
        outgoing: mpsc::Sender<LinkMessage>,
        shutdown: &CancellationToken,
    ) -> LinkEnd {
        tokio::pin!(incoming);
        let mut ticks = time::interval(HEARTBEAT_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut heard = Instant::now();
        let mut beat_is_due = false;
        loop {
            if self.outbox.has_overflowed() {
                return LinkEnd::Behind;
            }
            let has_words = beat_is_due || !self.outbox.is_empty() || self.serving.is_ready();
            tokio::select! {
                () = shutdown.cancelled() => return LinkEnd::ShuttingDown,
                () = self.replaced.cancelled() => return LinkEnd::Replaced,
                permit = outgoing.reserve(), if has_words => {
                    let Ok(permit) = permit else { return LinkEnd::Broken };
                    if let Some(message) = self.next_message(&mut beat_is_due) {
                        permit.send(message);
                    }
                }
                message = incoming.next() => {
                    let Some(Ok(message)) = message else { return LinkEnd::Broken };
                    heard = Instant::now();
                    self.receive(message);
                }
                () = self.outbox.changed() => {}
                () = self.serving.news() => {}
                _ = ticks.tick() => {
                    beat_is_due = true;
                    if heard.elapsed() > SILENCE_MAX {
                        return LinkEnd::Silent;
                    }
                }
            }
        }
    }

    /// A heartbeat goes before all, so that a busy link is not taken for a dead one. Anything
    /// said would do, but a slow reader is told the time by it.
    fn next_message(&mut self, beat_is_due: &mut bool) -> Option<LinkMessage> {
        if std::mem::take(beat_is_due) {
            return Some(LinkMessage::Heartbeat);
        }
        let word = self.outbox.next();
        word.or_else(|| self.serving.next().map(|(no, piece)| LinkMessage::Piece(no, piece)))
    }

    fn receive(&mut self, message: LinkMessage) {
        match message {
            LinkMessage::Heartbeat => {}
            LinkMessage::Subscribe(subscribe) => self.serving.subscribe(&subscribe),
            LinkMessage::Unsubscribe(no) => self.serving.unsubscribe(no),
            LinkMessage::Piece(no, piece) => self.peers.take_piece(self.peer, self.no, no, piece),
            LinkMessage::WorkspaceAttached { workspace, attachment_no } => {
                self.peers.heard_attached(workspace, attachment_no);
            }
            LinkMessage::CallsEnded(ended) => self.peers.heard_ended(&ended),
        }
    }
}

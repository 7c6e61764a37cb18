//! What this replica sends of its live streams to a peer: slices, each from where the peer is.
//!
//! Nothing is queued for a peer but which of its subscriptions may have news. A piece is cut
//! when the link has room for it, so a slow link costs what a fast one costs; and one piece at
//! a time of each subscription, so that a busy chat does not starve the others.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    future::pending,
};

use bytes::Bytes;
use chatplane_domain::Fence;
use futures::{StreamExt, future::BoxFuture, stream::FuturesUnordered};
use tokio_util::sync::CancellationToken;

use super::{
    following::SUBSCRIPTIONS_MAX,
    wire::{LivePiece, PIECE_BYTES_MAX, Subscribe, SubscriptionNo},
};
use crate::relay::{LiveStream, LiveStreams, PartOffset, Relay, StreamId, Watched};

/// How far one subscriber has the streams of one lease.
#[derive(Debug)]
pub(super) struct Sent {
    fence: Fence,
    streams: BTreeMap<StreamId, SentStream>,
    /// Streams take turns.
    last_served: StreamId,
}

#[derive(Debug, Default)]
struct SentStream {
    parts_started: usize,
    /// Bytes sent of the last started part.
    offset: usize,
    truncation_told: bool,
    /// It was here: that it is gone means that it was closed. Of one that was never here it
    /// may mean that its worker has not sent it yet.
    was_here: bool,
}

impl Sent {
    pub(super) fn new(subscribe: &Subscribe) -> Self {
        let streams = subscribe.positions.iter().map(|position| {
            let PartOffset { part, offset } = position.end;
            let was_here = subscribe.resumes;
            (
                position.stream,
                SentStream { parts_started: part + 1, offset, was_here, ..SentStream::default() },
            )
        });
        Self { fence: subscribe.fence, streams: streams.collect(), last_served: StreamId::default() }
    }

    /// The next piece, if there is any news.
    pub(super) fn next(&mut self, live: &LiveStreams) -> Option<LivePiece> {
        if live.is_over(self.fence) {
            return Some(LivePiece::LeaseEnded);
        }
        let closed = self.streams.iter().find(|(id, sent)| sent.was_here && live.get(**id).is_none());
        if let Some(id) = closed.map(|(id, _)| *id) {
            self.streams.remove(&id);
            return Some(LivePiece::StreamClosed(id));
        }
        for stream in live.iter_after(self.last_served) {
            if stream.header().fence != self.fence {
                continue;
            }
            let sent = self.streams.entry(stream.header().id).or_default();
            sent.was_here = true;
            if let Some(piece) = sent.advance(stream) {
                self.last_served = stream.header().id;
                return Some(piece);
            }
        }
        None
    }
}

impl SentStream {
    fn advance(&mut self, live: &LiveStream) -> Option<LivePiece> {
        let stream = live.header().id;
        if let Some(part) = self.parts_started.checked_sub(1)
            && let Some(live_part) = live.parts().get(part)
        {
            let news = live_part.bytes().get(self.offset..).unwrap_or_default();
            if !news.is_empty() {
                let at = PartOffset { part, offset: self.offset };
                let slice = &news[..news.len().min(PIECE_BYTES_MAX)];
                self.offset += slice.len();
                return Some(LivePiece::PartAppend { stream, at, data: Bytes::copy_from_slice(slice) });
            }
        }
        if let Some(next) = live.parts().get(self.parts_started) {
            let part = self.parts_started;
            self.parts_started += 1;
            self.offset = 0;
            return Some(LivePiece::PartStarted {
                stream: *live.header(),
                part,
                header: next.header().clone(),
            });
        }
        if live.truncated() && !self.truncation_told {
            self.truncation_told = true;
            return Some(LivePiece::StreamTruncated(stream));
        }
        None
    }
}

/// The subscriptions of one peer. They end with its link.
pub(super) struct Serving {
    relay: Relay,
    subscriptions: HashMap<SubscriptionNo, Served>,
    /// May have news.
    ready: VecDeque<SubscriptionNo>,
    /// Have none, and wait for some.
    waiting: FuturesUnordered<BoxFuture<'static, Option<(SubscriptionNo, Watched)>>>,
}

struct Served {
    sent: Sent,
    /// None while it waits for news.
    watched: Option<Watched>,
    over: CancellationToken,
}

impl Serving {
    pub(super) fn new(relay: Relay) -> Self {
        Self {
            relay,
            subscriptions: HashMap::new(),
            ready: VecDeque::new(),
            waiting: FuturesUnordered::new(),
        }
    }

    /// The peer asks for a chat's streams. One that asks for too much, or finds this replica
    /// full, is not told: it reads the durable events.
    pub(super) fn subscribe(&mut self, subscribe: &Subscribe) {
        if self.subscriptions.len() >= SUBSCRIPTIONS_MAX {
            tracing::warn!("a replica subscribes to more chats than are served");
            return;
        }
        let Ok(watched) = self.relay.watch(subscribe.chat) else {
            return;
        };
        let served =
            Served { sent: Sent::new(subscribe), watched: Some(watched), over: CancellationToken::new() };
        self.subscriptions.insert(subscribe.no, served);
        self.ready.push_back(subscribe.no);
    }

    /// The peer has enough.
    pub(super) fn unsubscribe(&mut self, no: SubscriptionNo) {
        if let Some(served) = self.subscriptions.remove(&no) {
            served.over.cancel();
        }
    }

    /// The next piece for the peer; none when there is no news.
    pub(super) fn next(&mut self) -> Option<(SubscriptionNo, LivePiece)> {
        while let Some(no) = self.ready.pop_front() {
            let Some(served) = self.subscriptions.get_mut(&no) else {
                continue;
            };
            let Some(watched) = &served.watched else {
                continue;
            };
            match watched.read(|live| served.sent.next(live)) {
                Some(LivePiece::LeaseEnded) => {
                    self.subscriptions.remove(&no);
                    return Some((no, LivePiece::LeaseEnded));
                }
                Some(piece) => {
                    self.ready.push_back(no);
                    return Some((no, piece));
                }
                None => self.wait_for_news(no),
            }
        }
        None
    }

    /// Whether there may be a piece to send.
    pub(super) fn is_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// Waits until there may be news. Nothing is lost when the wait is given up.
    pub(super) async fn news(&mut self) {
        loop {
            match self.waiting.next().await {
                Some(Some((no, watched))) => {
                    if let Some(served) = self.subscriptions.get_mut(&no) {
                        served.watched = Some(watched);
                        self.ready.push_back(no);
                        return;
                    }
                }
                Some(None) => {}
                None => return pending().await,
            }
        }
    }

    fn wait_for_news(&mut self, no: SubscriptionNo) {
        let Some(served) = self.subscriptions.get_mut(&no) else {
            return;
        };
        let Some(mut watched) = served.watched.take() else {
            return;
        };
        let over = served.over.clone();
        self.waiting.push(Box::pin(async move {
            tokio::select! {
                () = over.cancelled() => None,
                () = watched.changed() => Some((no, watched)),
            }
        }));
    }
}

#[cfg(test)]
mod tests;

//! What comes in of followed streams, and what the rules make of it.

use chatplane_domain::ReplicaId;

use super::{LinkMessage, LinkNo, LivePiece, Peers, State, Subscribe, SubscriptionNo, following::Act};
use crate::relay::{Refusal, StreamHeader};

impl Peers {
    pub(super) fn take_piece(&self, peer: ReplicaId, link: LinkNo, no: SubscriptionNo, piece: LivePiece) {
        let mut state = self.lock();
        if state.links.get(&peer).is_none_or(|up| up.no != link) {
            return;
        }
        // What arrives after its subscription has ended concerns nobody.
        let Some((chat, fence)) = state.following.subscribed(peer, no) else {
            return;
        };
        let relay = &self.shared.relay;
        let taken = match piece {
            LivePiece::LeaseEnded => {
                state.following.lease_ended(peer, no);
                Ok(())
            }
            LivePiece::PartStarted { stream, part, header } => {
                let stream = StreamHeader { fence, ..stream };
                relay.write_followed(chat, |live| live.begin_part(stream, part, header))
            }
            LivePiece::PartAppend { stream, at, data } => {
                relay.write_followed(chat, |live| live.append(fence, stream, at, &data))
            }
            LivePiece::StreamTruncated(stream) => {
                relay.write_followed(chat, |live| live.truncate(fence, stream))
            }
            // One that is not here any more is closed as well.
            LivePiece::StreamClosed(stream) => relay.write_followed(chat, |live| {
                live.close(fence, stream).or_else(|refusal| match refusal {
                    Refusal::UnknownStream => Ok(()),
                    other => Err(other),
                })
            }),
        };
        if let Err(refusal) = taken {
            tracing::debug!(%chat, %refusal, "a piece of another replica's live stream was not taken");
            state.following.refused(peer, no, refusal);
        }
        self.act(&mut state);
    }

    /// Does what is to be done. The relay and the hub know nothing of peers, so that their locks
    /// may be taken under this one.
    pub(super) fn act(&self, state: &mut State) {
        loop {
            let acts = state.following.take_acts();
            if acts.is_empty() {
                return;
            }
            for act in acts {
                self.act_once(state, &act);
            }
        }
    }

    fn act_once(&self, state: &State, act: &Act) {
        let say = |peer: ReplicaId, message| {
            if let Some(up) = state.links.get(&peer) {
                up.outbox.subscription(message);
            }
        };
        let relay = &self.shared.relay;
        match *act {
            Act::Subscribe { peer, no, chat, fence, resumes } => {
                let positions = relay.follow(chat, fence);
                say(peer, LinkMessage::Subscribe(Subscribe { no, chat, fence, positions, resumes }));
            }
            Act::Unsubscribe { peer, no } => say(peer, LinkMessage::Unsubscribe(no)),
            Act::Forget { chat, fence } => relay.unfollow(chat, fence),
            Act::Adopt(chat) => relay.adopt(chat),
            Act::Sync(chat) => self.shared.hub.hint_chat(chat),
        }
    }
}

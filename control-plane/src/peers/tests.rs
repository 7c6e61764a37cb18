//! Two replicas in one process, with channels for a network.

use chatplane_domain::Fence;
use futures::{StreamExt as _, stream};
use tokio::time;
use tokio_stream::wrappers::ReceiverStream;
use uuid::Uuid;

use super::*;
use crate::{
    relay::{LiveStream, PartHeader, PartKind, PartOffset, StreamHeader, StreamId, StreamKind},
    store::LiveAt,
};

const CHAT: ChatId = ChatId(Uuid::from_u128(7));
const STREAM: StreamId = StreamId { base_version: 5, index: 0 };

struct Replica {
    peers: Peers,
    relay: Relay,
    hub: Hub,
}

fn replica(no: u128) -> Replica {
    let (relay, hub) = (Relay::default(), Hub::default());
    let parts = PeersParts {
        own: ReplicaId(Uuid::from_u128(no)),
        address: Some("http://127.0.0.1:1".to_owned()),
        transport: None,
        relay: relay.clone(),
        hub: hub.clone(),
    };
    Replica { peers: Peers::new(parts), relay, hub }
}

impl Replica {
    fn writes(&self, fence: i64, offset: usize, text: &str) {
        let header = StreamHeader { id: STREAM, fence: Fence(fence), kind: StreamKind::Answer };
        let part = PartHeader { kind: PartKind::Text, tool_name: String::new() };
        self.relay.begin_part(CHAT, header, 0, part).unwrap();
        let at = PartOffset { part: 0, offset };
        self.relay.append(CHAT, Fence(fence), STREAM, at, text.as_bytes()).unwrap();
    }

    fn at(&self, fence: i64, connection: i64) -> Option<LiveAt> {
        Some(LiveAt { connection, replica: self.peers.shared.own, fence: Fence(fence) })
    }
}

/// Waits until a watched chat's answer has these bytes; none for no answer.
async fn shows(watched: &mut crate::relay::Watched, text: Option<&str>) {
    let wait = async {
        loop {
            let bytes = watched.read(|live| {
                live.get(STREAM)
                    .and_then(|stream: &LiveStream| stream.parts().first())
                    .map(|part| part.bytes().to_vec())
            });
            if bytes.as_deref() == text.map(str::as_bytes) {
                return;
            }
            watched.changed().await;
        }
    };
    time::timeout(Duration::from_secs(60), wait).await.expect("it is shown");
}

/// A link between two replicas, until the token is cancelled.
fn link(one: &Replica, other: &Replica, over: &CancellationToken) {
    let (to_other, from_one) = mpsc::channel(UNSENT_MESSAGES_MAX);
    let (to_one, from_other) = mpsc::channel(UNSENT_MESSAGES_MAX);
    for (replica, peer, incoming, outgoing) in
        [(one, other, from_other, to_other), (other, one, from_one, to_one)]
    {
        let (peers, peer, over) = (replica.peers.clone(), peer.peers.shared.own, over.clone());
        let incoming = ReceiverStream::new(incoming).map(Ok);
        tokio::spawn(async move { peers.run_link(peer, incoming, outgoing, &over).await });
    }
}

#[tokio::test]
async fn what_is_written_at_one_replica_is_watched_at_another_and_goes_when_nobody_watches() {
    let (one, other) = (replica(1), replica(2));
    let over = CancellationToken::new();
    one.writes(1, 0, "Once upon");
    let mut watched = other.relay.watch(CHAT).unwrap();
    let watching = other.peers.watch(CHAT);

    watching.seen(Seen { version: 5, at: one.at(1, 1) });
    link(&one, &other, &over);
    shows(&mut watched, Some("Once upon")).await;
    one.writes(1, 9, " a time");
    shows(&mut watched, Some("Once upon a time")).await;
    drop(watching);

    shows(&mut watched, None).await;
    over.cancel();
}

#[tokio::test]
async fn a_link_that_breaks_makes_the_watchers_sync_and_goes_on_from_what_is_here() {
    let (one, other) = (replica(1), replica(2));
    let first = CancellationToken::new();
    one.writes(1, 0, "Once");
    let mut watched = other.relay.watch(CHAT).unwrap();
    let mut hints = other.hub.subscribe(CHAT);
    let watching = other.peers.watch(CHAT);
    watching.seen(Seen { version: 5, at: one.at(1, 1) });
    link(&one, &other, &first);
    shows(&mut watched, Some("Once")).await;

    first.cancel();
    time::timeout(Duration::from_secs(60), hints.changed()).await.expect("its watchers are told");
    one.writes(1, 4, " upon");
    shows(&mut watched, Some("Once")).await;
    let second = CancellationToken::new();
    link(&one, &other, &second);

    shows(&mut watched, Some("Once upon")).await;
    second.cancel();
}

#[tokio::test]
async fn a_session_that_moves_to_the_watchers_replica_goes_on_with_what_was_followed() {
    let (one, other) = (replica(1), replica(2));
    let over = CancellationToken::new();
    one.writes(1, 0, "Once upon");
    let mut watched = other.relay.watch(CHAT).unwrap();
    let watching = other.peers.watch(CHAT);
    watching.seen(Seen { version: 5, at: one.at(1, 1) });
    link(&one, &other, &over);
    shows(&mut watched, Some("Once upon")).await;

    let positions = other.relay.resume(CHAT, Fence(1));
    other.writes(1, 9, " a time");
    watching.seen(Seen { version: 5, at: other.at(1, 2) });
    drop(watching);

    assert_eq!(positions[0].end, PartOffset { part: 0, offset: 9 });
    shows(&mut watched, Some("Once upon a time")).await;
    over.cancel();
}

#[tokio::test]
async fn a_replica_from_which_the_session_has_moved_away_keeps_what_it_follows_now() {
    let (one, other) = (replica(1), replica(2));
    let over = CancellationToken::new();
    other.writes(1, 0, "Once");
    let mut watched = other.relay.watch(CHAT).unwrap();
    let watching = other.peers.watch(CHAT);
    one.writes(1, 0, "Once upon");
    watching.seen(Seen { version: 5, at: one.at(1, 2) });
    link(&one, &other, &over);
    shows(&mut watched, Some("Once upon")).await;

    // The session's grace here runs out.
    other.relay.end_lease(CHAT, Fence(1));

    shows(&mut watched, Some("Once upon")).await;
    over.cancel();
}

#[tokio::test]
async fn a_peer_that_says_nothing_is_down_within_a_few_heartbeats() {
    let one = replica(1);
    let (outgoing, _heard) = mpsc::channel(UNSENT_MESSAGES_MAX);
    let peer = ReplicaId(Uuid::from_u128(2));

    let end = one.peers.run_link(peer, stream::pending(), outgoing, &CancellationToken::new()).await;

    assert_eq!(end, LinkEnd::Silent);
    assert!(!one.peers.is_linked(peer));
}

#[tokio::test]
async fn a_later_link_takes_the_place_of_an_earlier_one() {
    let one = replica(1);
    let peer = ReplicaId(Uuid::from_u128(2));
    let over = CancellationToken::new();
    let begin = || {
        let (peers, over) = (one.peers.clone(), over.clone());
        let (outgoing, heard) = mpsc::channel(UNSENT_MESSAGES_MAX);
        (tokio::spawn(async move { peers.run_link(peer, stream::pending(), outgoing, &over).await }), heard)
    };

    let (earlier, mut heard) = begin();
    assert_eq!(heard.recv().await, Some(LinkMessage::Heartbeat));
    let (later, _heard) = begin();

    assert_eq!(earlier.await.unwrap(), LinkEnd::Replaced);
    assert!(one.peers.is_linked(peer));
    over.cancel();
    assert_eq!(later.await.unwrap(), LinkEnd::ShuttingDown);
    assert!(!one.peers.is_linked(peer));
}

#[tokio::test]
async fn words_about_tool_calls_reach_every_other_replica() {
    let (one, other) = (replica(1), replica(2));
    let over = CancellationToken::new();
    let mut links = one.peers.changes();
    link(&one, &other, &over);
    links.changed().await.unwrap();
    let workspace = WorkspaceId(Uuid::from_u128(9));

    one.peers.tell_all(&LinkMessage::WorkspaceAttached { workspace, attachment_no: 3 });

    assert_eq!(other.peers.heard().await, Heard::WorkspaceAttached(workspace, 3));
    over.cancel();
}

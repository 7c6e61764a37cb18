//! Live parts on their way from a worker to the watchers of its replica.

use std::time::Duration;

use chatplane_control_plane::SchedulerLimits;
use chatplane_proto::{
    chat::v1::{self as chat, watch_chat_response::Event},
    worker::v1::{self as proto, session_request::Message as Up},
};
use chatplane_tests::DEADLINE;
use futures::StreamExt;
use tokio::time::timeout;

use crate::{
    replica::{World, quick},
    worker::{Held, Worker},
};

fn stream(held: &Held) -> Option<chat::StreamId> {
    Some(chat::StreamId { base_version: held.header.snapshot_version, index: 0 })
}

async fn write(worker: &Worker, held: &Held, offset: i64, words: &str) {
    let lease = Some(held.lease_key());
    let stream = stream(held);
    let kind = chat::PartKind::Text.into();
    let part_started = Some(chat::PartStarted { stream, kind, ..Default::default() });
    worker.send(Up::LivePartStarted(proto::LivePartStarted { lease: lease.clone(), part_started })).await;
    let data = words.as_bytes().to_vec().into();
    let part_append = Some(chat::PartAppend { stream, part: 0, offset, data });
    worker.send(Up::LivePartAppend(proto::LivePartAppend { lease, part_append })).await;
}

/// Reads until the stream has these bytes.
async fn appended(events: &mut tonic::Streaming<chat::WatchChatResponse>, bytes: usize) -> String {
    let mut text = Vec::new();
    while text.len() < bytes {
        let event = timeout(DEADLINE, events.next()).await.expect("in time").expect("it goes on");
        if let Some(Event::PartAppend(append)) = event.expect("it goes on").event {
            assert_eq!(append.offset, i64::try_from(text.len()).expect("small"));
            text.extend_from_slice(&append.data);
        }
    }
    String::from_utf8(text).expect("it is text")
}

#[tokio::test]
async fn what_a_holder_streams_reaches_a_watcher_and_survives_a_reconnect_here() {
    let world = World::new().await;
    let limits = SchedulerLimits { close_grace: Duration::from_secs(3600), ..quick() };
    let replica = world.replica(limits).await;
    let mut client = world.client(&replica);
    let mut before = Worker::open(&replica, &world.worker_token, 1).await;
    let created = client.create_chat("Hello").await;
    let held = before.lease().await;
    write(&before, &held, 0, "Once upon").await;
    let mut events = client.watch(&created.chat_id, "").await.expect("it is watched");
    assert_eq!(appended(&mut events, 9).await, "Once upon");
    let session = before.session.clone();
    drop(before);

    let after = Worker::try_open(&replica, &world.worker_token, 1, &session, &[held.key()]).await;
    let after = after.expect("the session is resumed");
    write(&after, &held, 9, " a time").await;

    let position = proto::LivePosition { stream: stream(&held), part: 0, offset: 9 };
    assert_eq!(after.resumed[0].positions, vec![position]);
    let mut late = client.watch(&created.chat_id, "").await.expect("it is watched");
    assert_eq!(appended(&mut late, 16).await, "Once upon a time");
}

#[tokio::test]
async fn a_worker_that_names_a_lease_it_was_not_given_is_not_heard() {
    let world = World::new().await;
    let replica = world.replica(quick()).await;
    let mut client = world.client(&replica);
    let mut holder = Worker::open(&replica, &world.worker_token, 1).await;
    let created = client.create_chat("Hello").await;
    let held = holder.lease().await;
    let mut stranger = Worker::open(&replica, &world.worker_token, 1).await;
    let mut events = client.watch(&created.chat_id, "").await.expect("it is watched");

    write(&stranger, &held, 0, "Forged.").await;
    stranger.claim(&held).await;
    write(&stranger, &held, 0, "Forged.").await;
    // Its answer comes after the replica has read all of that.
    let lost = stranger.next().await.expect("a word");
    write(&holder, &held, 0, "Genuine").await;

    assert!(matches!(lost, proto::session_response::Message::Lost(_)), "{lost:?}");
    assert_eq!(appended(&mut events, 7).await, "Genuine");
}

//! Calls whose answer does not begin in time.

use std::{convert::Infallible, future::poll_fn, time::Duration};

use bytes::Bytes;
use chatplane_control_plane::Limits;
use chatplane_proto::chat::v1::watch_chat_response::Event;
use chatplane_tests::DEADLINE;
use futures::{StreamExt as _, stream};
use http_body_util::StreamBody;
use hyper::body::Frame;
use tokio::time::timeout;
use tonic::{
    Code, Status,
    body::Body,
    client::GrpcService as _,
    codegen::http::Request,
    transport::{Channel, Endpoint},
};
use tonic_types::StatusExt as _;

use crate::{
    reason,
    replica::{Replica, World, quick},
    worker::Worker,
};

/// Longer than a call takes on a busy machine, and a wait of the test.
const ANSWER_BEGINS: Duration = Duration::from_secs(3);

async fn replica(world: &World) -> Replica {
    let calls = Limits { answer_begins: ANSWER_BEGINS, ..Limits::default() };
    world.replica_within(calls, quick()).await
}

/// Sends half a message, and answers what comes of it.
async fn half_a_message(replica: &Replica, token: &str) -> Status {
    let endpoint = Endpoint::from_shared(replica.url()).expect("the URL is one");
    let mut channel: Channel = endpoint.connect().await.expect("the replica takes connections");
    // A message of 100 bytes, of which 3 are there.
    let half = Bytes::from_static(&[0, 0, 0, 0, 100, 1, 2, 3]);
    let sent = stream::iter([Ok::<_, Infallible>(Frame::data(half))]).chain(stream::pending());
    let request = Request::post(format!("{}/chatplane.chat.v1.ChatService/SendMessage", replica.url()))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .header("authorization", format!("Bearer {token}"))
        .body(Body::new(StreamBody::new(sent)))
        .expect("the request is well formed");
    poll_fn(|context| channel.poll_ready(context)).await.expect("the connection stays");
    let answered = timeout(DEADLINE, channel.call(request)).await.expect("it is answered in time");
    let answered = answered.expect("the connection stays");
    Status::from_header_map(answered.headers()).expect("it is refused at once")
}

#[tokio::test]
async fn a_request_that_never_ends_is_given_up_with_a_reason() {
    let world = World::new().await;
    let replica = replica(&world).await;

    let refused = half_a_message(&replica, &world.user_token).await;

    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::Unavailable, "UNAVAILABLE"));
    assert!(refused.message().contains("within 3 s"), "{}", refused.message());
    assert!(refused.get_details_retry_info().is_some());
}

#[tokio::test]
async fn streams_outlast_the_time_in_which_an_answer_has_to_begin() {
    let world = World::new().await;
    let replica = replica(&world).await;
    let mut client = world.client(&replica);
    let mut worker = Worker::open(&replica, &world.worker_token, 2).await;
    let first = client.create_chat("Hello").await;
    worker.lease().await;
    let mut watched = client.watch(&first.chat_id, "").await.expect("the chat can be watched");

    // It began later, so that the time of the streams is over when its own is.
    half_a_message(&replica, &world.user_token).await;
    client.send(&first.chat_id, "and more").await.expect("it is queued");

    let queued = async {
        loop {
            let event = watched.message().await.expect("the stream goes on").expect("the stream goes on");
            if let Some(Event::QueuedMessageUpserted(_)) = event.event {
                return;
            }
        }
    };
    timeout(DEADLINE, queued).await.expect("the watcher hears of it");
    let second = client.create_chat("Later").await;
    assert_eq!(worker.lease().await.chat, second.chat_id, "the session goes on");
}

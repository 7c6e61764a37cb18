//! How chats come to workers.

use chatplane_proto::{
    chat::v1 as chat,
    worker::v1::{self as proto, session_response::Message as Down},
};
use chatplane_tests::eventually;

use crate::{
    comes_to, execute,
    replica::{World, calm, quick},
    worker::{Worker, answer},
};

#[tokio::test]
async fn a_new_chat_is_leased_by_its_own_write_to_a_worker_with_a_free_slot() {
    let world = World::new().await;
    let replica = world.replica(calm()).await;
    let mut worker = Worker::open(&replica, &world.worker_token, 1).await;

    let created = world.client(&replica).create_chat("Hello").await;

    let held = worker.lease().await;
    assert_eq!((held.chat.as_str(), held.fence), (created.chat_id.as_str(), 1));
    assert_eq!((created.snapshot_version, held.header.snapshot_version), (1, 1), "one write did both");
    assert!(held.complete);
    let message = held.messages[0].message.as_ref().expect("a message");
    assert_eq!((message.role(), message.revision), (chat::Role::User, 1));
    assert_eq!(message.parts, vec![chatplane_tests::text("Hello")]);
    let model = held.header.model.expect("a model");
    assert_eq!(
        (model.name.as_str(), model.provider.as_str(), model.api_key.as_str()),
        ("test", "anthropic", "test-key")
    );
    assert_eq!((model.first_token_timeout_ms, model.silence_timeout_ms), (1000, 2000));
    assert_eq!(held.header.attempt, 1);
}

#[tokio::test]
async fn a_lease_says_what_get_turn_says() {
    let world = World::new().await;
    let replica = world.replica(quick()).await;
    let mut client = world.client(&replica);
    let mut worker = Worker::open(&replica, &world.worker_token, 1).await;
    let created = client.create_chat("Hello").await;
    let mut first = worker.lease().await;
    worker.finish(&mut first).await;
    worker.forget(&first).await;
    comes_to(&mut client, &created.chat_id, chat::ChatState::Waiting).await;
    client.send(&created.chat_id, "Again").await.expect("it is sent");
    let second = worker.lease().await;
    assert_eq!(second.fence, 2);

    let read = crate::writes::get_turn(&mut worker, second.get(0)).await.expect("the turn is read");

    assert!(second.complete);
    assert_eq!(read.header, second.header);
    assert_eq!(read.messages, second.messages);
    assert_eq!(read.messages.len(), 3);
}

#[tokio::test]
async fn a_chat_that_waited_goes_to_the_first_worker_that_comes() {
    let world = World::new().await;
    let replica = world.replica(quick()).await;
    let created = world.client(&replica).create_chat("Hello").await;

    let mut worker = Worker::open(&replica, &world.worker_token, 1).await;

    let held = worker.lease().await;
    assert_eq!(held.chat, created.chat_id);
    assert_eq!(held.messages.len(), 1);
}

#[tokio::test]
async fn a_worker_gets_as_many_chats_as_it_has_slots_and_the_next_when_one_is_free() {
    let world = World::new().await;
    let replica = world.replica(calm()).await;
    let mut client = world.client(&replica);
    let mut worker = Worker::open(&replica, &world.worker_token, 2).await;
    let mut chats = Vec::new();
    for no in 0..4 {
        chats.push(client.create_chat(&format!("Chat {no}")).await.chat_id);
    }

    let mut first = worker.lease().await;
    let second = worker.lease().await;
    worker.finish(&mut first).await;
    worker.forget(&first).await;
    let third = worker.lease().await;

    assert_eq!([&first.chat, &second.chat, &third.chat], [&chats[0], &chats[1], &chats[2]]);
    let mut database = world.database.connection().await;
    let leased = crate::number(&mut database, "select count(*) from chats where leased".to_owned()).await;
    assert_eq!(leased, 2);
}

#[tokio::test]
async fn a_lease_that_the_worker_does_not_list_is_delivered_again() {
    let world = World::new().await;
    let replica = world.replica(quick()).await;
    let mut worker = Worker::open(&replica, &world.worker_token, 1).await;
    world.client(&replica).create_chat("Hello").await;

    let lost = worker.leave_lease().await;
    let again = worker.leave_lease().await;

    assert_eq!(lost, again);
}

#[tokio::test]
async fn a_lease_that_another_replica_made_is_delivered_by_the_one_that_has_the_session() {
    let world = World::new().await;
    let replica = world.replica(calm()).await;
    let mut worker = Worker::open(&replica, &world.worker_token, 2).await;
    let mut other = Worker::open(&replica, &world.worker_token, 1).await;
    let created = world.client(&replica).create_chat("Hello").await;
    let held = worker.lease().await;
    assert_eq!(held.chat, created.chat_id);

    // As if a replica to which the session had been connected had given the lease.
    let mut database = world.database.connection().await;
    let give = format!(
        "update chats set session_id = '{}', fence = 2, snapshot_version = snapshot_version + 1",
        other.session
    );
    execute(&mut database, give).await;

    assert_eq!(other.lease().await.fence, 2);
    assert_eq!(
        worker.next().await.expect("a word"),
        Down::Lost(proto::Lost { lease: Some(held.lease_key()) })
    );
}

#[tokio::test]
async fn a_released_chat_goes_on_elsewhere_and_a_draining_worker_gets_none() {
    let world = World::new().await;
    let replica = world.replica(quick()).await;
    let mut leaving = Worker::open(&replica, &world.worker_token, 1).await;
    let created = world.client(&replica).create_chat("Hello").await;
    let held = leaving.lease().await;
    leaving.send(proto::session_request::Message::Draining(proto::Draining {})).await;
    let mut staying = Worker::open(&replica, &world.worker_token, 1).await;

    let release = proto::ReleaseRequest { header: held.write() };
    let outcome = leaving.calls.release(release).await.expect("it is released").into_inner().outcome;

    assert_eq!(outcome.expect("an outcome").disposition(), proto::Disposition::Released);
    let taken = staying.lease().await;
    assert_eq!((taken.chat, taken.fence), (created.chat_id, 2));
}

#[tokio::test]
async fn a_turn_whose_model_has_no_key_ends_with_an_error_that_says_so() {
    let world = World::new().await;
    let replica = world.replica(quick()).await;
    let mut client = world.client(&replica);
    let _worker = Worker::open(&replica, &world.worker_token, 1).await;
    let mut database = world.database.connection().await;
    let keyless = "insert into models (organization_id, name, provider, endpoint, provider_model, \
                   context_tokens_max, output_tokens_max) \
                   select organization_id, 'keyless', 'other', endpoint, 'keyless', 1, 1 from models";
    execute(&mut database, keyless.to_owned()).await;
    let request = chat::CreateChatRequest {
        parts: vec![chatplane_tests::text("Hello")],
        model: "keyless".to_owned(),
        ..Default::default()
    };
    let created = eventually("the model is known", async || {
        client.chats.create_chat(request.clone()).await.ok().and_then(|created| created.into_inner().chat)
    })
    .await;

    let failed = comes_to(&mut client, &created.chat_id, chat::ChatState::Error).await;

    let error = failed.last_error.expect("an error");
    assert_eq!(error.kind(), chat::ErrorKind::ModelUnusable);
    assert_eq!(error.provider, "other");
}

#[tokio::test]
async fn the_head_of_the_queue_goes_to_the_same_lease() {
    let world = World::new().await;
    let replica = world.replica(quick()).await;
    let mut client = world.client(&replica);
    let mut worker = Worker::open(&replica, &world.worker_token, 1).await;
    let created = client.create_chat("One").await;
    let mut held = worker.lease().await;
    client.send(&created.chat_id, "Two").await.expect("it is queued");

    let outcome =
        worker.commit(&mut held, answer("First."), proto::NextStep::Finish).await.expect("committed");

    assert_eq!(outcome.disposition(), proto::Disposition::NextTurn);
    assert_eq!(outcome.committed_message_ids, vec![2]);
    assert_eq!(outcome.added_message_ids, vec![3]);
    assert_eq!(worker.finish(&mut held).await.disposition(), proto::Disposition::Released);
    assert_eq!(client.messages(&created.chat_id).await.len(), 4);
}

#[tokio::test]
async fn a_chat_that_cannot_be_read_fails_and_keeps_nobody_waiting() {
    let world = World::new().await;
    let replica = world.replica(quick()).await;
    let mut client = world.client(&replica);
    let broken = client.create_chat("Broken").await;
    let healthy = client.create_chat("Healthy").await;
    let mut database = world.database.connection().await;
    let unknown = format!("update messages set content_version = 99 where chat_id = '{}'", broken.chat_id);
    execute(&mut database, unknown).await;

    let mut worker = Worker::open(&replica, &world.worker_token, 2).await;

    assert_eq!(worker.lease().await.chat, healthy.chat_id);
    let failed = comes_to(&mut client, &broken.chat_id, chat::ChatState::Error).await;
    assert_eq!(failed.last_error.expect("an error").kind(), chat::ErrorKind::Internal);
}

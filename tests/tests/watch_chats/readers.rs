//! Who watches: each their own chats, at their own pace, until the replica leaves.

use std::collections::BTreeMap;

use chatplane_proto::chat::v1 as proto;
use chatplane_tests::{Cluster, Options, eventually};
use prost_types::FieldMask;
use tonic::Code;
use tonic_types::StatusExt as _;

use crate::{stranger, watcher::Watcher};

#[tokio::test]
async fn nobody_is_told_of_anothers_chats() {
    let cluster = Cluster::start(Options::default()).await;
    let (mut client, mut stranger) = (cluster.client(), stranger(&cluster));
    let before = Watcher::begin(&mut stranger, "").await.cursor;
    let mut watcher = Watcher::begin(&mut stranger, "").await;

    let theirs = client.create_chat("secret").await.chat_id;
    let own = stranger.create_chat("mine").await.chat_id;
    watcher.until(&own, |_| true).await;
    let mut resumed = Watcher::begin(&mut stranger, &before).await;
    resumed.until(&own, |_| true).await;

    for watcher in [watcher, resumed] {
        assert!(!watcher.chats.contains_key(&theirs), "{:?}", watcher.chats.keys());
    }
}

#[tokio::test]
async fn watchers_that_do_not_read_leave_the_database_to_others_and_are_told_the_last_picture() {
    let serve = BTreeMap::from([("CHATPLANE_DATABASE_CONNECTIONS", "2".to_owned())]);
    let cluster = Cluster::start(Options { serve, ..Options::default() }).await;
    let mut client = cluster.client();
    let cursor = Watcher::begin(&mut client, "").await.cursor;
    let labels: BTreeMap<String, String> =
        (0..50).map(|number| (format!("label-{number}"), "x".repeat(256))).collect();
    let mut chats = Vec::new();
    for _ in 0..60 {
        let request = proto::CreateChatRequest {
            parts: vec![chatplane_tests::text("hello")],
            labels: labels.clone().into_iter().collect(),
            ..Default::default()
        };
        let created = client.chats.create_chat(request).await.expect("created").into_inner();
        chats.push(created.chat.expect("a chat").chat_id);
    }

    // Each has more to read than its connection takes in, and reads none of it.
    let mut watching = Vec::new();
    for _ in 0..6 {
        let mut reader = cluster.client();
        watching.push((Watcher::open(&mut reader, &cursor).await.expect("they can be watched"), reader));
    }
    for round in 0..2 {
        for chat in &chats {
            let request = proto::UpdateChatRequest {
                chat_id: chat.clone(),
                update_mask: Some(FieldMask { paths: vec!["title".to_owned()] }),
                title: format!("round {round}"),
                ..Default::default()
            };
            client.chats.update_chat(request).await.expect("others are served");
        }
    }

    for (mut watcher, _reader) in watching {
        for chat in &chats {
            watcher.until(chat, |chat| chat.title == "round 1").await;
        }
        // What was overtaken while nobody read is not told.
        assert!(watcher.events <= 2 * chats.len() + 110, "{} events", watcher.events);
    }
}

#[tokio::test]
async fn a_watch_ends_when_its_replica_leaves_and_goes_on_with_its_cursor() {
    let mut cluster = Cluster::start(Options::default()).await;
    let mut client = cluster.client();
    let mut watcher = Watcher::begin(&mut client, "").await;
    let chat = client.create_chat("hello").await.chat_id;
    watcher.until(&chat, |_| true).await;

    cluster.control_plane.terminate();
    let status = watcher.end().await;
    eventually("the replica leaves", async || cluster.control_plane.exit_code()).await;
    cluster.start_control_plane().await;
    let mut client = cluster.client();
    let later = client.create_chat("again").await.chat_id;
    let mut resumed = Watcher::begin(&mut client, &watcher.cursor).await;
    resumed.until(&later, |_| true).await;

    assert_eq!(status.code(), Code::Unavailable);
    assert_eq!(status.get_details_error_info().expect("a reason").reason, "SHUTTING_DOWN");
}

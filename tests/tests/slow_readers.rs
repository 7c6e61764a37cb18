//! Watchers that do not read harm nobody but themselves.

use std::collections::BTreeMap;

use chatplane_proto::chat::v1 as proto;
use chatplane_tests::{Cluster, Options, text};
use tokio::time::timeout;

#[tokio::test]
async fn watchers_that_do_not_read_leave_the_database_to_others() {
    let serve = BTreeMap::from([("CHATPLANE_DATABASE_CONNECTIONS", "2".to_owned())]);
    let cluster = Cluster::start(Options { serve, ..Options::default() }).await;
    let mut client = cluster.client();
    let chat = client.create_chat("hello").await.chat_id;
    let large = |_| proto::SendMessageRequest {
        chat_id: chat.clone(),
        parts: vec![text(&"x".repeat(256 * 1024)); 8],
        busy_behavior: proto::BusyBehavior::Interrupt.into(),
        ..Default::default()
    };
    for number in 0..4 {
        client.chats.send_message(large(number)).await.expect("sent");
    }

    // Each gets more than its connection takes in, and reads none of it.
    let mut watching = Vec::new();
    for _ in 0..6 {
        let mut reader = cluster.client();
        watching.push((reader.watch(&chat, "").await.expect("the chat can be watched"), reader));
    }
    for number in 0..4 {
        let sent = timeout(chatplane_tests::DEADLINE, client.chats.send_message(large(number))).await;
        sent.expect("it is answered in time").expect("sent");
        client.chat(&chat).await.expect("the chat can be read");
    }

    assert_eq!(client.messages(&chat).await.len(), 1, "a page holds what fits");
}

//! The queue: listing, editing, moving, promoting, deleting.

use chatplane_proto::{MESSAGE_BYTES_MAX, chat::v1 as proto};
use chatplane_tests::{Client, text};
use prost::Message as _;

use crate::{
    cluster,
    holder::Holder,
    new_id,
    stage::{TOOL, message},
};

/// Queues a message and answers its id.
async fn queue(client: &mut Client, chat: &str, words: &str, busy: proto::BusyBehavior) -> String {
    let request = proto::SendMessageRequest { parts: vec![text(words)], ..message(chat, busy) };
    let sent = client.chats.send_message(request).await.expect("it is queued").into_inner();
    sent.queued_message.expect("it waits").queued_message_id
}

async fn page(
    client: &mut Client,
    chat: &str,
    page_size: i32,
    page_token: &str,
) -> proto::ListQueuedMessagesResponse {
    let request = proto::ListQueuedMessagesRequest {
        chat_id: chat.to_owned(),
        page_size,
        page_token: page_token.to_owned(),
    };
    client.chats.list_queued_messages(request).await.expect("it is listed").into_inner()
}

/// The queue's messages, read page by page.
async fn listed(client: &mut Client, chat: &str, page_size: i32) -> Vec<proto::QueuedMessage> {
    let mut all = Vec::new();
    let mut page_token = String::new();
    loop {
        let page = page(client, chat, page_size, &page_token).await;
        assert!(page.encoded_len() <= MESSAGE_BYTES_MAX);
        all.extend(page.queued_messages);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return all;
        }
    }
}

async fn words(client: &mut Client, chat: &str) -> Vec<String> {
    listed(client, chat, 0).await.into_iter().map(|queued| queued.preview_text).collect()
}

#[tokio::test]
async fn the_queue_is_listed_in_order_with_whole_messages_page_by_page() {
    let (cluster, mut client) = cluster().await;
    let chat = client.create_chat("first").await.chat_id;
    let _holder = Holder::open(&cluster).await;
    for (words, busy) in [
        ("one", proto::BusyBehavior::Queue),
        ("two", proto::BusyBehavior::Queue),
        ("steer", proto::BusyBehavior::Steer),
        ("three", proto::BusyBehavior::Queue),
    ] {
        queue(&mut client, &chat, words, busy).await;
    }

    let by_one = listed(&mut client, &chat, 1).await;

    assert_eq!(by_one, listed(&mut client, &chat, 0).await);
    let parts: Vec<Vec<proto::Part>> = by_one.iter().map(|queued| queued.parts.clone()).collect();
    assert_eq!(parts, ["steer", "one", "two", "three"].map(|words| vec![text(words)]));
    assert!(by_one[0].steering && !by_one[1].steering);
    // The headers come with the messages' first page, without content.
    let request = proto::ListMessagesRequest { chat_id: chat.clone(), ..Default::default() };
    let headers = client.chats.list_messages(request).await.expect("listed").into_inner().queued_messages;
    let without_parts = |queued: proto::QueuedMessage| proto::QueuedMessage { parts: Vec::new(), ..queued };
    assert_eq!(headers, by_one.into_iter().map(without_parts).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_page_of_large_queued_messages_is_cut() {
    let (_cluster, mut client) = cluster().await;
    let chat = client.create_chat("first").await.chat_id;
    for _ in 0..4 {
        let request = proto::SendMessageRequest {
            parts: vec![text(&"x".repeat(262_144)); 9],
            ..message(&chat, proto::BusyBehavior::Queue)
        };
        client.chats.send_message(request).await.expect("it is queued");
    }

    let first = page(&mut client, &chat, 0, "").await;

    assert!(first.queued_messages.len() < 4);
    assert_eq!(listed(&mut client, &chat, 0).await.len(), 4);
}

#[tokio::test]
async fn an_edited_message_keeps_its_place_its_author_and_its_time() {
    let (cluster, mut client) = cluster().await;
    let chat = client.create_chat("first").await.chat_id;
    let id = queue(&mut client, &chat, "one", proto::BusyBehavior::Queue).await;
    queue(&mut client, &chat, "two", proto::BusyBehavior::Queue).await;
    let before = listed(&mut client, &chat, 0).await;

    let request = proto::EditQueuedMessageRequest {
        chat_id: chat.clone(),
        queued_message_id: id,
        parts: vec![text("bet"), text("ter")],
        ..Default::default()
    };
    let edited = client.chats.edit_queued_message(request).await.expect("it is edited").into_inner();

    let expected = proto::QueuedMessage {
        parts: vec![text("bet"), text("ter")],
        preview_text: "better".to_owned(),
        ..before[0].clone()
    };
    assert_eq!(edited.queued_message, Some(expected.clone()));
    assert_eq!(listed(&mut client, &chat, 0).await, [expected, before[1].clone()]);
    // It enters as it was edited.
    let mut holder = Holder::open(&cluster).await;
    holder.finish("Done.").await;
    let entered = client.messages(&chat).await.pop().expect("it has entered");
    assert_eq!(entered.parts, vec![text("bet"), text("ter")]);
}

#[tokio::test]
async fn a_message_moves_among_those_of_its_kind() {
    let (cluster, mut client) = cluster().await;
    let chat = client.create_chat("first").await.chat_id;
    let _holder = Holder::open(&cluster).await;
    let mut ids = Vec::new();
    for words in ["a", "b", "c"] {
        ids.push(queue(&mut client, &chat, words, proto::BusyBehavior::Queue).await);
    }
    let steer = queue(&mut client, &chat, "s", proto::BusyBehavior::Steer).await;
    let moved = async |client: &mut Client, id: &str, index: i32| {
        let request = proto::MoveQueuedMessageRequest {
            chat_id: chat.clone(),
            queued_message_id: id.to_owned(),
            index,
            ..Default::default()
        };
        let moved = client.chats.move_queued_message(request).await.expect("it is moved").into_inner();
        let queued = moved.queued_message.expect("it waits");
        assert_eq!(queued.queued_message_id, id);
        let stored = listed(client, &chat, 0).await.into_iter().find(|queued| queued.queued_message_id == id);
        let stored = stored.expect("it still waits");
        assert_eq!(queued, proto::QueuedMessage { parts: Vec::new(), ..stored });
        words(client, &chat).await
    };

    assert_eq!(moved(&mut client, &ids[2], 1).await, ["s", "c", "a", "b"]);
    assert_eq!(moved(&mut client, &ids[2], 0).await, ["s", "c", "a", "b"], "never before a steering one");
    assert_eq!(moved(&mut client, &ids[2], 99).await, ["s", "a", "b", "c"]);
    assert_eq!(moved(&mut client, &steer, 3).await, ["s", "a", "b", "c"], "never behind an ordinary one");
}

#[tokio::test]
async fn a_promoted_message_is_the_next_and_stops_the_worker() {
    let (cluster, mut client) = cluster().await;
    let chat = client.create_chat("first").await.chat_id;
    let mut holder = Holder::open(&cluster).await;
    queue(&mut client, &chat, "one", proto::BusyBehavior::Queue).await;
    let second = queue(&mut client, &chat, "two", proto::BusyBehavior::Queue).await;

    let request = proto::PromoteQueuedMessageRequest {
        chat_id: chat.clone(),
        queued_message_id: second.clone(),
        ..Default::default()
    };
    let promoted = client.chats.promote_queued_message(request).await.expect("promoted").into_inner();

    assert_eq!(promoted.chat.expect("a chat").state(), proto::ChatState::Interrupting);
    assert!(promoted.messages.is_empty());
    assert_eq!(promoted.queued_message.expect("it waits").queued_message_id, second);
    assert_eq!(words(&mut client, &chat).await, ["two", "one"]);
    holder.finish_interruption().await;
    let entered = client.messages(&chat).await.pop().expect("it has entered");
    assert_eq!(entered.queued_message_id, second);
    assert_eq!(words(&mut client, &chat).await, ["one"]);
}

#[tokio::test]
async fn a_message_promoted_in_a_suspended_chat_enters_behind_the_results_of_its_calls() {
    let (cluster, mut client) = cluster().await;
    let chat = client.create_chat("first").await.chat_id;
    let mut holder = Holder::open(&cluster).await;
    let id = queue(&mut client, &chat, "one", proto::BusyBehavior::Queue).await;
    holder.suspend(&[TOOL]).await;

    let request = proto::PromoteQueuedMessageRequest {
        chat_id: chat.clone(),
        queued_message_id: id.clone(),
        request_id: new_id(),
    };
    let promoted = client.chats.promote_queued_message(request.clone()).await.expect("promoted").into_inner();

    let roles: Vec<proto::Role> = promoted.messages.iter().map(proto::Message::role).collect();
    assert_eq!(roles, [proto::Role::Tool, proto::Role::User]);
    assert_eq!(
        (promoted.messages[1].queued_message_id.as_str(), &promoted.queued_message),
        (id.as_str(), &None)
    );
    assert_eq!(promoted.messages, client.messages(&chat).await[2..]);
    let again = client.chats.promote_queued_message(request).await.expect("repeated").into_inner();
    assert_eq!(again, promoted);
}

#[tokio::test]
async fn a_deleted_message_never_enters() {
    let (cluster, mut client) = cluster().await;
    let chat = client.create_chat("first").await.chat_id;
    let id = queue(&mut client, &chat, "one", proto::BusyBehavior::Queue).await;

    let request = proto::DeleteQueuedMessageRequest {
        chat_id: chat.clone(),
        queued_message_id: id,
        ..Default::default()
    };
    let after = client.chats.delete_queued_message(request).await.expect("it is deleted").into_inner();

    assert_eq!(after.chat.expect("a chat").queue_length, 0);
    assert!(listed(&mut client, &chat, 0).await.is_empty());
    let mut holder = Holder::open(&cluster).await;
    holder.finish("Done.").await;
    assert_eq!(client.messages(&chat).await.len(), 2);
}

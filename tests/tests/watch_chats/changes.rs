//! Each kind of change comes with the chat as GetChat returns it.

use std::collections::BTreeSet;

use chatplane_proto::chat::v1::{self as proto, ChatChange, ChatState};
use chatplane_tests::{
    Client, Cluster, Options,
    model_server::{ModelServer, call_tools, say},
    text,
};
use prost_types::FieldMask;
use serde_json::json;

use crate::watcher::Watcher;

fn update(chat: &str, path: &str) -> proto::UpdateChatRequest {
    proto::UpdateChatRequest {
        chat_id: chat.to_owned(),
        update_mask: Some(FieldMask { paths: vec![path.to_owned()] }),
        ..Default::default()
    }
}

async fn update_chat(client: &mut Client, request: proto::UpdateChatRequest) {
    client.chats.update_chat(request).await.expect("it is changed");
}

/// The chat that was watched is the chat that is read.
async fn same(client: &mut Client, watcher: &Watcher, chat: &str) {
    let read = client.chat(chat).await.expect("the chat can be read");
    assert_eq!(watcher.chats.get(chat), Some(&read));
}

fn set(changes: Vec<ChatChange>) -> BTreeSet<ChatChange> {
    changes.into_iter().collect()
}

#[tokio::test]
async fn a_turn_is_told_from_the_chats_creation_to_its_unread_answer() {
    let model = ModelServer::start(|_| say("Done.")).await;
    let cluster = Cluster::start(Options { model_url: model.url(), workers: 1, ..Options::default() }).await;
    let mut client = cluster.client();
    let before = client.create_chat("hello").await.chat_id;
    let mut other = Watcher::begin(&mut client, "").await;
    other.until(&before, |chat| chat.state() == ChatState::Waiting).await;
    let mut watcher = Watcher::begin(&mut client, "").await;

    let chat = client.create_chat("hello").await.chat_id;
    let changes =
        set(watcher.until(&chat, |chat| chat.state() == ChatState::Waiting && chat.has_unread).await);

    for expected in [ChatChange::Created, ChatChange::State, ChatChange::Summary, ChatChange::ReadState] {
        assert!(changes.contains(&expected), "{expected:?} in {changes:?}");
    }
    assert!(
        !changes.contains(&ChatChange::Archived) && !changes.contains(&ChatChange::Metadata),
        "{changes:?}"
    );
    same(&mut client, &watcher, &chat).await;
    assert!(!watcher.chats.contains_key(&before), "a watch begins with the present");
}

#[tokio::test]
async fn what_a_user_does_with_a_chat_is_told_by_its_name() {
    let model = ModelServer::start(|_| say("Done.")).await;
    let cluster = Cluster::start(Options { model_url: model.url(), workers: 1, ..Options::default() }).await;
    let mut client = cluster.client();
    let mut watcher = Watcher::begin(&mut client, "").await;
    let chat = client.create_chat("hello").await.chat_id;
    watcher.until(&chat, |chat| chat.state() == ChatState::Waiting && chat.has_unread).await;

    let mark = proto::MarkReadRequest { chat_id: chat.clone(), message_id: 0 };
    client.chats.mark_read(mark).await.expect("it is read");
    assert_eq!(watcher.until(&chat, |chat| !chat.has_unread).await, [ChatChange::ReadState]);
    same(&mut client, &watcher, &chat).await;

    let named = proto::UpdateChatRequest { title: "A name".to_owned(), ..update(&chat, "title") };
    update_chat(&mut client, named).await;
    assert_eq!(watcher.until(&chat, |chat| chat.title == "A name").await, [ChatChange::Metadata]);
    let set_labels = [("kind".to_owned(), "test".to_owned())].into();
    update_chat(&mut client, proto::UpdateChatRequest { set_labels, ..update(&chat, "set_labels") }).await;
    assert_eq!(watcher.until(&chat, |chat| !chat.labels.is_empty()).await, [ChatChange::Metadata]);
    same(&mut client, &watcher, &chat).await;

    update_chat(&mut client, proto::UpdateChatRequest { pin_order: 1, ..update(&chat, "pin_order") }).await;
    assert_eq!(watcher.until(&chat, |chat| chat.pin_order == 1).await, [ChatChange::Pin]);
    same(&mut client, &watcher, &chat).await;

    let archive = proto::ArchiveChatRequest { chat_id: chat.clone(), ..Default::default() };
    client.chats.archive_chat(archive).await.expect("it is archived");
    let changes = watcher.until(&chat, |chat| chat.archived).await;
    assert_eq!(changes, [ChatChange::Archived, ChatChange::Pin], "archiving takes the pin off");
    same(&mut client, &watcher, &chat).await;

    let unarchive = proto::UnarchiveChatRequest { chat_id: chat.clone(), ..Default::default() };
    client.chats.unarchive_chat(unarchive).await.expect("it is brought back");
    assert_eq!(watcher.until(&chat, |chat| !chat.archived).await, [ChatChange::Unarchived]);
    same(&mut client, &watcher, &chat).await;

    let last = client.messages(&chat).await[0].message_id;
    let fork = proto::ForkChatRequest { chat_id: chat.clone(), message_id: last, ..Default::default() };
    let forked = client.chats.fork_chat(fork).await.expect("it is copied").into_inner().chat.expect("a chat");
    assert_eq!(watcher.until(&forked.chat_id, |_| true).await, [ChatChange::Created]);
    same(&mut client, &watcher, &forked.chat_id).await;
}

#[tokio::test]
async fn what_a_chat_waits_for_is_told_and_that_it_waits_no_more() {
    let model = ModelServer::start(|request| match request.new_tool_results()[..] {
        [] => call_tools(&[("ask_user", json!({}))]),
        [..] => say("I see."),
    })
    .await;
    let cluster = Cluster::start(Options { model_url: model.url(), workers: 1, ..Options::default() }).await;
    let mut client = cluster.client();
    let mut watcher = Watcher::begin(&mut client, "").await;
    let tool = proto::ToolDefinition {
        name: "ask_user".to_owned(),
        description: "Asks the user.".to_owned(),
        input_schema_json: r#"{"type": "object"}"#.to_owned(),
    };
    let create =
        proto::CreateChatRequest { parts: vec![text("Go.")], client_tools: vec![tool], ..Default::default() };
    let created = client.chats.create_chat(create).await.expect("the chat is created").into_inner();
    let chat = created.chat.expect("a chat").chat_id;

    let asked = watcher.until(&chat, |chat| chat.action_required.is_some()).await;
    same(&mut client, &watcher, &chat).await;
    let pending = watcher.chats[&chat].action_required.clone().expect("a call waits");
    let result =
        proto::SubmittedResult { call: pending.calls[0].call, output: "yes".to_owned(), is_error: false };
    let submit = proto::SubmitToolResultsRequest {
        chat_id: chat.clone(),
        results: vec![result],
        ..Default::default()
    };
    client.chats.submit_tool_results(submit).await.expect("it is submitted");
    let answered = watcher.until(&chat, |chat| chat.action_required.is_none()).await;

    assert!(asked.contains(&ChatChange::ActionRequired), "{asked:?}");
    assert!(answered.contains(&ChatChange::ActionRequired), "{answered:?}");
}

//! Copying a chat: what the copy has, and that the source stays as it is.

use std::collections::BTreeMap;

use chatplane_proto::{chat::v1 as proto, worker::v1::NextStep};
use chatplane_tests::{Client, text};

use crate::{
    cluster,
    holder::{Holder, calls},
    new_id, reason,
    stage::TOOL,
};

async fn fork(client: &mut Client, chat: &str, message_id: i64) -> proto::Chat {
    let request = proto::ForkChatRequest { chat_id: chat.to_owned(), message_id, ..Default::default() };
    client.chats.fork_chat(request).await.expect("it is copied").into_inner().chat.expect("a chat")
}

#[tokio::test]
async fn a_copy_has_the_settings_and_the_messages_up_to_the_one_that_is_named() {
    let (cluster, mut client) = cluster().await;
    let request = proto::CreateChatRequest {
        parts: vec![text("first")],
        labels: BTreeMap::from([("team".to_owned(), "blue".to_owned())]),
        workspace_id: cluster.workspace.to_string(),
        effort: proto::Effort::High.into(),
        system_prompt: "Be brief.".to_owned(),
        action_timeout_ms: 60_000,
        client_tools: vec![proto::ToolDefinition {
            name: TOOL.to_owned(),
            description: "Asks.".to_owned(),
            input_schema_json: "{}".to_owned(),
        }],
        ..Default::default()
    };
    let source = client.chats.create_chat(request).await.expect("created").into_inner().chat.expect("a chat");
    let mut holder = Holder::open(&cluster).await;
    holder.finish("One.").await;
    client.send(&source.chat_id, "second").await.expect("it is sent");
    let before = client.messages(&source.chat_id).await;
    let snapshot = client.chat(&source.chat_id).await.expect("it is there");

    let copy = fork(&mut client, &source.chat_id, before[1].message_id).await;

    assert_ne!(copy.chat_id, source.chat_id);
    assert_eq!(
        (copy.state(), copy.snapshot_version, copy.history_version),
        (proto::ChatState::Waiting, 1, 1)
    );
    let settings = |chat: &proto::Chat| {
        (
            (chat.title.clone(), chat.labels.clone(), chat.workspace_id.clone(), chat.model.clone()),
            (chat.effort, chat.client_tool_names.clone(), chat.action_timeout_ms),
        )
    };
    assert_eq!(settings(&copy), settings(&snapshot));
    assert_eq!(client.chat(&copy.chat_id).await.expect("it is there"), copy);
    let copied = client.messages(&copy.chat_id).await;
    let content = |messages: &[proto::Message]| -> Vec<(i64, Vec<proto::Part>)> {
        messages.iter().map(|message| (message.message_id, message.parts.clone())).collect()
    };
    assert_eq!(content(&copied), content(&before[..2]));
    assert!(copied.iter().all(|message| message.revision == 1));
    assert_eq!(client.messages(&source.chat_id).await, before);
    assert_eq!(client.chat(&source.chat_id).await.expect("it is there"), snapshot);
}

#[tokio::test]
async fn a_copy_goes_on_by_itself_above_every_copied_id() {
    let (cluster, mut client) = cluster().await;
    let source = client.create_chat("first").await.chat_id;
    let mut holder = Holder::open(&cluster).await;
    holder.finish("One.").await;
    let before = client.messages(&source).await;
    let copy = fork(&mut client, &source, before[0].message_id).await.chat_id;

    let sent = client.send(&copy, "other").await.expect("it is sent").messages.remove(0);
    let mut holder = Holder::open(&cluster).await;
    assert_eq!(holder.chat, copy);
    holder.finish("Other.").await;

    assert!(sent.message_id > before[0].message_id);
    assert_eq!(client.messages(&copy).await.len(), 3);
    assert_eq!(client.messages(&source).await, before);
}

#[tokio::test]
async fn calls_without_a_result_among_the_copies_get_one() {
    let (cluster, mut client) = cluster().await;
    let source = client.create_chat("first").await.chat_id;
    let mut holder = Holder::open(&cluster).await;
    let asked =
        holder.commit(Some(calls(&[TOOL, TOOL], proto::CallKind::Client)), None, NextStep::Suspend).await;
    let asked = asked.committed_message_ids[0];

    let copy = fork(&mut client, &source, asked).await;

    let messages = client.messages(&copy.chat_id).await;
    let synthetic: Vec<proto::ToolResultPart> = messages[2..]
        .iter()
        .filter_map(|message| match message.parts.first()?.kind.clone()? {
            proto::part::Kind::ToolResult(result) => Some(result),
            _ => None,
        })
        .collect();
    assert_eq!(synthetic.len(), 2);
    for (index, result) in (0..).zip(&synthetic) {
        assert_eq!((result.call_message_id, result.call_index), (asked, index));
        assert_eq!(result.synthetic_reason(), proto::SyntheticReason::Forked);
    }
    assert_eq!(copy.action_required, None);
    assert!(client.chat(&source).await.expect("it is there").action_required.is_some());
}

#[tokio::test]
async fn only_a_message_that_users_see_can_be_the_last_copied() {
    let (_cluster, mut client) = cluster().await;
    let request = proto::CreateChatRequest {
        parts: vec![text("first")],
        system_prompt: "Be brief.".to_owned(),
        ..Default::default()
    };
    let chat = client.chats.create_chat(request).await.expect("created").into_inner();
    let (chat, message) = (chat.chat.expect("a chat").chat_id, chat.message.expect("a message").message_id);

    for hidden in (1..message).chain([message + 1]) {
        let request =
            proto::ForkChatRequest { chat_id: chat.clone(), message_id: hidden, ..Default::default() };
        let refused = client.chats.fork_chat(request).await.expect_err("it is not seen");
        assert_eq!(reason(&refused), "MESSAGE_NOT_FOUND");
    }

    let listed = client.chats.list_chats(proto::ListChatsRequest::default()).await.expect("listed");
    assert_eq!(listed.into_inner().chats.len(), 1);
}

#[tokio::test]
async fn a_fork_that_is_repeated_makes_one_copy() {
    let (_cluster, mut client) = cluster().await;
    let chat = client.create_chat("first").await.chat_id;
    let message_id = client.messages(&chat).await[0].message_id;
    let request = proto::ForkChatRequest { chat_id: chat.clone(), message_id, request_id: new_id() };
    let first = client.chats.fork_chat(request.clone()).await.expect("copied").into_inner();
    let copy = first.chat.clone().expect("a chat").chat_id;
    client.send(&copy, "the copy goes on").await.expect("sent");
    client.send(&chat, "the source too").await.expect("sent");

    let again = client.chats.fork_chat(request).await.expect("repeated").into_inner();

    assert_eq!(again, first);
    let listed = client.chats.list_chats(proto::ListChatsRequest::default()).await.expect("listed");
    assert_eq!(listed.into_inner().chats.len(), 2);
}

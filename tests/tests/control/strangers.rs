//! Another user's chat is none, whatever else is wrong with a call.

use chatplane_proto::{FILE_DESCRIPTOR_SET, chat::v1 as proto};
use chatplane_tests::{Client, text};
use prost::Message as _;
use prost_types::{FieldMask, FileDescriptorSet};

use crate::{
    calls::{Target, changes, reads},
    cluster, new_id, reason,
};

#[tokio::test]
async fn anothers_chat_is_not_found_by_any_call_and_stays_as_it_is() {
    let (cluster, mut client) = cluster().await;
    let chat = client.create_chat("mine").await.chat_id;
    let queued = client.send(&chat, "mine too").await.expect("it is queued").queued_message.expect("queued");
    let message = client.messages(&chat).await[0].message_id;
    let before = client.chat(&chat).await.expect("it is there");
    let stranger = Client::new(&cluster.url(), &cluster.tokens.stranger);

    // What there is, and what there is not: neither is told to a stranger.
    for target in [
        Target {
            message,
            queued: queued.queued_message_id,
            ..Target { chat: chat.clone(), ..Target::default() }
        },
        Target { chat: chat.clone(), message: 999, queued: new_id(), ..Target::default() },
    ] {
        let mut target = target;
        target.call.message_id = message;
        for call in changes(&target).into_iter().chain(reads(&target)) {
            let refused = call.run(&stranger, &new_id()).await.expect_err(call.name);
            assert_eq!(reason(&refused), "CHAT_NOT_FOUND", "{}", call.name);
        }
    }

    assert_eq!(client.chat(&chat).await.expect("it is there"), before);
    assert_eq!(client.messages(&chat).await.len(), 1);
}

#[tokio::test]
async fn a_stranger_is_not_told_what_there_is_to_name() {
    let (cluster, mut client) = cluster().await;
    let chat_id = client.create_chat("mine").await.chat_id;
    let mut stranger = Client::new(&cluster.url(), &cluster.tokens.stranger);
    let (model, parts) = ("none".to_owned(), vec![text("x")]);

    let send = proto::SendMessageRequest {
        chat_id: chat_id.clone(),
        parts: parts.clone(),
        model: model.clone(),
        ..Default::default()
    };
    let edit = proto::EditMessageRequest {
        chat_id: chat_id.clone(),
        message_id: 1,
        parts,
        model: model.clone(),
        ..Default::default()
    };
    let configure = |path: &str| proto::ConfigureChatRequest {
        chat_id: chat_id.clone(),
        update_mask: Some(FieldMask { paths: vec![path.to_owned()] }),
        model: model.clone(),
        workspace_id: new_id(),
        ..Default::default()
    };

    for refused in [
        stranger.chats.send_message(send).await.map(drop),
        stranger.chats.edit_message(edit).await.map(drop),
        stranger.chats.configure_chat(configure("model")).await.map(drop),
        stranger.chats.configure_chat(configure("workspace_id")).await.map(drop),
    ] {
        assert_eq!(reason(&refused.expect_err("it is somebody else's")), "CHAT_NOT_FOUND");
    }
}

#[tokio::test]
async fn anothers_workspace_is_none() {
    let (cluster, _) = cluster().await;
    let mut stranger = Client::new(&cluster.url(), &cluster.tokens.stranger);
    let before = stranger.create_chat("theirs").await;

    let request = proto::ConfigureChatRequest {
        chat_id: before.chat_id.clone(),
        update_mask: Some(FieldMask { paths: vec!["workspace_id".to_owned()] }),
        workspace_id: cluster.workspace.to_string(),
        ..Default::default()
    };
    let refused = stranger.chats.configure_chat(request).await.expect_err("it is somebody else's");

    assert_eq!(reason(&refused), "WORKSPACE_NOT_FOUND");
    assert_eq!(stranger.chat(&before.chat_id).await.expect("it is there"), before);
}

#[test]
fn the_calls_of_these_tests_are_all_that_concern_one_chat() {
    let set = FileDescriptorSet::decode(FILE_DESCRIPTOR_SET).expect("the descriptors are well formed");
    let services = set.file.iter().flat_map(|file| &file.service);
    let service = services.into_iter().find(|service| service.name() == "ChatService").expect("it is there");
    let elsewhere = [
        "CreateChat",
        "ListChats",
        "ListChatsByWorkspace",
        "ListModels",
        "ListWorkspaces",
        "WatchChat",
        "WatchChats",
    ];
    let mut declared: Vec<String> = service.method.iter().map(|method| method.name().to_owned()).collect();
    declared.retain(|name| !elsewhere.contains(&name.as_str()));
    declared.sort();

    let target = Target::default();
    let mut called: Vec<String> =
        changes(&target).iter().chain(&reads(&target)).map(|call| camel(call.name)).collect();
    called.sort();

    assert_eq!(called, declared);
}

/// `send_message` as the contract writes it.
fn camel(name: &str) -> String {
    let word = |word: &str| word[..1].to_uppercase() + &word[1..];
    name.split('_').map(word).collect()
}

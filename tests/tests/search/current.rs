//! What was stored is found by whoever has heard that it was stored, and what is gone is not.

use chatplane_proto::chat::v1 as proto;
use chatplane_tests::{
    Cluster, Options, eventually,
    model_server::{ModelServer, say},
    text,
};

use crate::{chat, cluster, found, rename};

#[tokio::test]
async fn a_message_is_found_as_soon_as_it_is_answered_for() {
    let (_cluster, mut client) = cluster().await;
    let id = chat(&mut client, "first").await;

    for number in 0..50 {
        let request = proto::SendMessageRequest {
            chat_id: id.clone(),
            parts: vec![text(&format!("message{number} of many"))],
            busy_behavior: proto::BusyBehavior::Interrupt.into(),
            ..Default::default()
        };
        client.chats.send_message(request).await.expect("it is sent");
        assert_eq!(found(&mut client, &format!("message{number}")).await, [id.as_str()]);
    }
}

#[tokio::test]
async fn titles_answers_forks_and_what_was_queued_are_found() {
    let model = ModelServer::start(|_| say("Consider it done, captain.")).await;
    let options = Options { model_url: model.url(), workers: 1, ..Options::default() };
    let cluster = Cluster::start(options).await;
    let mut client = cluster.client();
    let id = chat(&mut client, "hello").await;

    rename(&mut client, &id, "Shipyard").await;
    assert_eq!(found(&mut client, "shipyard").await, [id.as_str()]);
    assert!(found(&mut client, "untitled").await.is_empty());
    client.send(&id, "engage the warpdrive").await.expect("it is sent or queued");
    eventually("it has entered the history", async || {
        (found(&mut client, "warpdrive").await == [id.clone()]).then_some(())
    })
    .await;
    eventually("the turns are over", async || {
        let chat = client.chat(&id).await.ok()?;
        (chat.state() == proto::ChatState::Waiting && chat.queue_length == 0).then_some(())
    })
    .await;
    assert_eq!(found(&mut client, "captain").await, [id.as_str()]);

    let last = client.messages(&id).await.last().expect("there is one").message_id;
    let request = proto::ForkChatRequest { chat_id: id.clone(), message_id: last, ..Default::default() };
    let fork =
        client.chats.fork_chat(request).await.expect("it is forked").into_inner().chat.expect("a chat");
    let mut both = found(&mut client, "captain").await;
    both.sort_unstable();
    assert_eq!(both, [id, fork.chat_id]);
}

#[tokio::test]
async fn what_an_edit_removes_is_not_found_any_more() {
    let (_cluster, mut client) = cluster().await;
    let id = chat(&mut client, "the wrong thing").await;
    let message_id = client.messages(&id).await[0].message_id;

    let request = proto::EditMessageRequest {
        chat_id: id.clone(),
        message_id,
        parts: vec![text("the right thing")],
        ..Default::default()
    };
    client.chats.edit_message(request).await.expect("it is edited");

    assert!(found(&mut client, "wrong").await.is_empty());
    assert_eq!(found(&mut client, "right").await, [id]);
}

#[tokio::test]
async fn what_only_the_model_sees_is_not_found() {
    let (_cluster, mut client) = cluster().await;
    let request = proto::CreateChatRequest {
        parts: vec![text("hello")],
        system_prompt: "Be a confidential advisor.".to_owned(),
        ..Default::default()
    };
    client.chats.create_chat(request).await.expect("it is created");

    assert!(found(&mut client, "confidential").await.is_empty());
}

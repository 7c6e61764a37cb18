//! Sending to a chat that is busy: waiting, steering, interrupting.

use std::collections::BTreeMap;

use chatplane_proto::{chat::v1 as proto, worker::v1::NextStep};
use chatplane_tests::{Client, Cluster, Options, text};
use prost::Message as _;
use sqlx::Executor as _;
use tonic::Code;

use crate::{
    cluster,
    holder::{Holder, answer},
    reason,
    stage::{TOOL, message},
};

async fn send(client: &mut Client, request: proto::SendMessageRequest) -> proto::SendMessageResponse {
    client.chats.send_message(request).await.expect("it is sent").into_inner()
}

fn texts(messages: &[proto::Message]) -> Vec<Vec<proto::Part>> {
    messages.iter().map(|message| message.parts.clone()).collect()
}

#[tokio::test]
async fn steering_messages_stand_before_ordinary_ones_and_enter_with_the_next_step() {
    let (cluster, mut client) = cluster().await;
    let chat = client.create_chat("first").await.chat_id;
    let mut holder = Holder::open(&cluster).await;

    client.send(&chat, "afterwards").await.expect("it is queued");
    for words in ["look here", "and there"] {
        let request = proto::SendMessageRequest {
            parts: vec![text(words)],
            ..message(&chat, proto::BusyBehavior::Steer)
        };
        let queued = send(&mut client, request).await.queued_message.expect("it is queued");
        assert!(queued.steering);
        assert_eq!(queued.preview_text, words);
    }
    let outcome = holder.commit(Some(answer("Hm.")), None, NextStep::Finish).await;

    // Both joined the turn, which goes on; the ordinary one waits.
    assert_eq!(outcome.added_message_ids.len(), 2);
    let chat = client.chat(&chat).await.expect("it is there");
    assert_eq!((chat.state(), chat.queue_length), (proto::ChatState::Running, 1));
    let messages = client.messages(&chat.chat_id).await;
    assert_eq!(texts(&messages[2..]), vec![vec![text("look here")], vec![text("and there")]]);
}

#[tokio::test]
async fn the_reply_to_an_interrupt_lists_every_message_that_entered_the_history() {
    let (cluster, mut client) = cluster().await;
    let chat = client.create_chat("first").await.chat_id;
    let mut holder = Holder::open(&cluster).await;
    let waiting = client.send(&chat, "second").await.expect("it is queued").queued_message.expect("queued");
    holder.suspend(&[TOOL, TOOL]).await;

    let sent = send(&mut client, message(&chat, proto::BusyBehavior::Interrupt)).await;

    // Results in place of those that never came, then the head; the message itself waits.
    let roles: Vec<proto::Role> = sent.messages.iter().map(proto::Message::role).collect();
    assert_eq!(roles, [proto::Role::Tool, proto::Role::Tool, proto::Role::User]);
    assert_eq!(sent.messages[2].queued_message_id, waiting.queued_message_id);
    assert_eq!(sent.messages[2].parts, vec![text("second")]);
    assert_eq!(sent.queued_message.expect("it is queued").preview_text, "next");
    let stored = client.messages(&chat).await;
    assert_eq!(stored[2..], sent.messages);
}

#[tokio::test]
async fn a_message_to_a_chat_in_error_lets_an_older_one_go_first() {
    let (cluster, mut client) = cluster().await;
    let chat = client.create_chat("first").await.chat_id;
    let mut holder = Holder::open(&cluster).await;
    client.send(&chat, "older").await.expect("it is queued");
    holder.fail().await;
    let failed = client.chat(&chat).await.expect("it is there");
    assert_eq!(
        (failed.state(), failed.last_turn_summary.as_str()),
        (proto::ChatState::Error, "Stopped by an error")
    );

    let sent = client.send(&chat, "newer").await.expect("it is sent");

    assert_eq!(texts(&sent.messages), vec![vec![text("older")]]);
    assert_eq!(sent.queued_message.expect("it waits").preview_text, "newer");
    let chat = sent.chat.expect("a chat");
    assert_eq!((chat.state(), chat.queue_length, chat.last_error), (proto::ChatState::Running, 1, None));
}

#[tokio::test]
async fn a_queue_holds_as_many_messages_as_the_operator_says() {
    let serve = BTreeMap::from([("CHATPLANE_QUEUE_MAX", "2".to_owned())]);
    let cluster = Cluster::start(Options { serve, ..Options::default() }).await;
    let mut client = cluster.client();
    let chat = client.create_chat("first").await.chat_id;
    let _holder = Holder::open(&cluster).await;
    for busy in [proto::BusyBehavior::Queue, proto::BusyBehavior::Steer] {
        send(&mut client, message(&chat, busy)).await;
    }
    let before = client.chat(&chat).await.expect("it is there");

    for busy in [proto::BusyBehavior::Queue, proto::BusyBehavior::Steer, proto::BusyBehavior::Interrupt] {
        let refused = client.chats.send_message(message(&chat, busy)).await.expect_err("it is full");
        assert_eq!((refused.code(), reason(&refused).as_str()), (Code::ResourceExhausted, "QUEUE_FULL"));
        assert!(refused.message().contains("2 messages"), "{}", refused.message());
    }

    assert_eq!(client.chat(&chat).await.expect("it is there"), before);
}

#[tokio::test]
async fn a_full_queue_is_no_obstacle_to_a_chat_in_error() {
    let serve = BTreeMap::from([("CHATPLANE_QUEUE_MAX", "1".to_owned())]);
    let cluster = Cluster::start(Options { serve, ..Options::default() }).await;
    let mut client = cluster.client();
    let chat = client.create_chat("first").await.chat_id;
    let mut holder = Holder::open(&cluster).await;
    client.send(&chat, "older").await.expect("it is queued");
    holder.fail().await;

    let sent = client.send(&chat, "newer").await.expect("one in, one out");

    assert_eq!(texts(&sent.messages), vec![vec![text("older")]]);
    assert_eq!(sent.chat.expect("a chat").queue_length, 1);
}

#[tokio::test]
async fn a_queued_message_whose_model_is_gone_gets_the_default_one_and_says_so() {
    let (cluster, mut client) = cluster().await;
    let mut connection = cluster.database.connection().await;
    let another = "insert into models (organization_id, name, provider, endpoint, provider_model, is_default, \
                       context_tokens_max, output_tokens_max, first_token_timeout_ms, silence_timeout_ms) \
                   select organization_id, 'another', provider, endpoint, provider_model, false, \
                       context_tokens_max, output_tokens_max, first_token_timeout_ms, silence_timeout_ms \
                   from models where is_default";
    connection.execute(another).await.expect("the model is added");
    let chat = client.create_chat("first").await.chat_id;
    let mut holder = Holder::open(&cluster).await;
    let request = || proto::SendMessageRequest {
        model: "another".to_owned(),
        ..message(&chat, proto::BusyBehavior::Queue)
    };
    chatplane_tests::eventually("the model is known", async || {
        client.chats.send_message(request()).await.ok().map(drop)
    })
    .await;

    connection.execute("update models set enabled = false where name = 'another'").await.expect("disabled");
    holder.finish("Done.").await;

    let entered = client.messages(&chat).await.pop().expect("it has entered");
    assert_eq!((entered.model.as_str(), entered.requested_model.as_str()), ("test", "another"));
    assert_eq!(client.chat(&chat).await.expect("it is there").model, "test");
    chatplane_tests::eventually("the model is known to be gone", async || {
        let refused = client.chats.send_message(request()).await.err()?;
        (reason(&refused) == "MODEL_NOT_FOUND").then_some(())
    })
    .await;
    let models = client.chats.list_models(proto::ListModelsRequest::default()).await.expect("listed");
    let names: Vec<String> = models.into_inner().models.into_iter().map(|model| model.name).collect();
    assert_eq!(names, ["test"]);
}

#[tokio::test]
async fn a_reply_leaves_out_results_with_which_it_would_not_fit() {
    let (cluster, mut client) = cluster().await;
    let chat = client.create_chat("first").await.chat_id;
    let mut holder = Holder::open(&cluster).await;
    let parts = vec![text(&"x".repeat(262_144)); 10];
    let large =
        proto::SendMessageRequest { parts: parts.clone(), ..message(&chat, proto::BusyBehavior::Queue) };
    send(&mut client, large).await;
    // No tool of ours is called like that, but a model may call anything.
    let name = "x".repeat(1_000_000);
    holder.suspend(&[&name]).await;

    let sent = send(&mut client, message(&chat, proto::BusyBehavior::Interrupt)).await;

    assert!(sent.encoded_len() <= chatplane_proto::MESSAGE_BYTES_MAX);
    assert_eq!(texts(&sent.messages), vec![parts]);
    assert_eq!(client.chat(&chat).await.expect("it is there").state(), proto::ChatState::Running);
}

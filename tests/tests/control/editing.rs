//! Replacing a user message: what follows it goes, what was paid for stays countable.

use chatplane_proto::{chat::v1 as proto, worker::v1::NextStep};
use chatplane_tests::text;
use sqlx::Row as _;
use tonic::Code;

use crate::{
    cluster, field,
    holder::{Holder, answer, calls},
    new_id, reason,
    stage::TOOL,
};

fn edit(chat: &str, message_id: i64, words: &str) -> proto::EditMessageRequest {
    proto::EditMessageRequest {
        chat_id: chat.to_owned(),
        message_id,
        parts: vec![text(words)],
        ..Default::default()
    }
}

#[tokio::test]
async fn an_edit_drops_what_followed_and_starts_a_turn_with_the_replacement() {
    let (cluster, mut client) = cluster().await;
    let chat = client.create_chat("first").await.chat_id;
    let mut holder = Holder::open(&cluster).await;
    holder.finish("One.").await;
    let second = client.send(&chat, "second").await.expect("sent").messages.remove(0);
    let mut holder = Holder::open(&cluster).await;
    client.send(&chat, "queued").await.expect("it is queued");
    holder.commit(Some(calls(&[TOOL], proto::CallKind::Client)), None, NextStep::Suspend).await;

    let request = proto::EditMessageRequest {
        effort: proto::Effort::High.into(),
        ..edit(&chat, second.message_id, "better")
    };
    let edited = client.chats.edit_message(request).await.expect("it is edited").into_inner();

    let after = edited.chat.expect("a chat");
    assert_eq!((after.state(), after.queue_length), (proto::ChatState::Running, 0));
    assert_eq!((after.effort(), after.action_required), (proto::Effort::High, None));
    let replacement = edited.message.expect("a message");
    assert!(replacement.message_id > second.message_id, "it has an id of its own");
    assert_eq!(replacement.parts, vec![text("better")]);
    let messages = client.messages(&chat).await;
    assert_eq!(messages.len(), 3);
    assert_eq!((&messages[1].parts, &messages[2]), (&answer("One.").parts, &replacement));
    let mut holder = Holder::open(&cluster).await;
    let seen: Vec<i64> =
        holder.messages.iter().filter_map(|message| message.message.as_ref()).map(|m| m.message_id).collect();
    assert_eq!(seen.last(), Some(&replacement.message_id));
    assert!(!seen.contains(&second.message_id));
    holder.finish("Better.").await;
    assert_eq!(usage_rows(&cluster, &chat).await, 3, "the answer that is gone was paid for");
}

async fn usage_rows(cluster: &chatplane_tests::Cluster, chat: &str) -> i64 {
    let mut connection = cluster.database.connection().await;
    let query = "select count(*) from model_calls where chat_id = $1::text::uuid";
    let row = sqlx::query(query).bind(chat).fetch_one(&mut connection).await.expect("the query is right");
    row.get(0)
}

#[tokio::test]
async fn only_a_users_message_that_is_there_can_be_edited() {
    let (cluster, mut client) = cluster().await;
    let chat = client.create_chat("first").await.chat_id;
    let mut holder = Holder::open(&cluster).await;
    holder.finish("One.").await;
    let messages = client.messages(&chat).await;
    let (question, reply) = (messages[0].message_id, messages[1].message_id);
    client.chats.edit_message(edit(&chat, question, "again")).await.expect("it is edited");

    for gone in [question, reply] {
        let refused = client.chats.edit_message(edit(&chat, gone, "x")).await.expect_err("it is gone");
        assert_eq!((refused.code(), reason(&refused).as_str()), (Code::NotFound, "MESSAGE_NOT_FOUND"));
    }
    let mut holder = Holder::open(&cluster).await;
    let committed = holder.finish("Two.").await.committed_message_ids[0];
    let refused = client.chats.edit_message(edit(&chat, committed, "x")).await.expect_err("it is no user's");
    assert_eq!((reason(&refused).as_str(), field(&refused).as_str()), ("FIELD_INVALID", "message_id"));
}

#[tokio::test]
async fn a_holder_whose_chat_is_edited_keeps_its_lease_and_is_superseded() {
    let (cluster, mut client) = cluster().await;
    let created = client.create_chat("first").await;
    let mut holder = Holder::open(&cluster).await;
    let message = client.messages(&created.chat_id).await[0].message_id;

    client.chats.edit_message(edit(&created.chat_id, message, "second")).await.expect("it is edited");

    let late = holder.try_commit(Some(answer("Too late.")), None, NextStep::Finish).await;
    let superseded = late.expect_err("the history has changed");
    assert_eq!(reason(&superseded), "SUPERSEDED");
    assert_eq!(client.messages(&created.chat_id).await.len(), 1);
}

#[tokio::test]
async fn the_replay_of_an_edit_gives_the_replacement_of_then() {
    let (_cluster, mut client) = cluster().await;
    let chat = client.create_chat("first").await.chat_id;
    let message = client.messages(&chat).await[0].message_id;
    let request = proto::EditMessageRequest { request_id: new_id(), ..edit(&chat, message, "second") };
    let first = client.chats.edit_message(request.clone()).await.expect("edited").into_inner();
    let second = first.message.clone().expect("a message").message_id;
    client.chats.edit_message(edit(&chat, second, "third")).await.expect("it is edited again");

    let again = client.chats.edit_message(request).await.expect("it is repeated").into_inner();

    assert_eq!(again, first);
}

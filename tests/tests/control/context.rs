//! Compacting and clearing what the model sees.

use chatplane_proto::{chat::v1 as proto, worker::v1 as worker};
use chatplane_tests::{Client, text};
use tonic::Status;

use crate::{cluster, holder::Holder, reason};

async fn compact(client: &mut Client, chat: &str) -> Result<proto::Chat, Status> {
    let request = proto::CompactChatRequest { chat_id: chat.to_owned(), ..Default::default() };
    Ok(client.chats.compact_chat(request).await?.into_inner().chat.expect("a chat"))
}

async fn clear(client: &mut Client, chat: &str) -> Result<proto::Chat, Status> {
    let request = proto::ClearContextRequest { chat_id: chat.to_owned(), ..Default::default() };
    Ok(client.chats.clear_context(request).await?.into_inner().chat.expect("a chat"))
}

fn summary(holder: &Holder, covers_through: i64) -> worker::Summary {
    worker::Summary {
        covers_through,
        history_version: holder.header.history_version,
        text: "They said hello.".to_owned(),
        model: "test".to_owned(),
        usage: Some(proto::Usage { input_tokens: 9, output_tokens: 4, ..Default::default() }),
        runtime_ms: 5,
        model_call: 1,
        context_tokens: 700,
        context_percent: 70,
    }
}

/// What a worker is given, by id and role.
fn seen(holder: &Holder) -> Vec<(i64, proto::Role)> {
    let messages = holder.messages.iter().filter_map(|message| message.message.as_ref());
    messages.map(|message| (message.message_id, message.role())).collect()
}

#[tokio::test]
async fn a_summary_that_was_asked_for_takes_the_place_of_the_history() {
    let (cluster, mut client) = cluster().await;
    let chat = client.create_chat("first").await.chat_id;
    let mut holder = Holder::open(&cluster).await;
    let last = holder.finish("Hello.").await.committed_message_ids[0];

    let asked = compact(&mut client, &chat).await.expect("it can be compacted");
    assert_eq!((asked.state(), asked.compact_requested), (proto::ChatState::Running, true));
    let mut holder = Holder::open(&cluster).await;
    assert!(holder.header.compact_requested);
    let made = summary(&holder, last);
    let outcome = holder.commit(None, Some(made), worker::NextStep::Finish).await;

    assert_eq!(outcome.boundary_message_ids.len(), 3);
    let after = client.chat(&chat).await.expect("it is there");
    assert_eq!((after.state(), after.compact_requested), (proto::ChatState::Waiting, false));
    let messages = client.messages(&chat).await;
    let boundary = &messages[2..];
    assert_eq!((messages.len(), messages[1].covers_through), (4, 0));
    assert!(boundary.iter().all(|message| message.covers_through == last));
    let Some(proto::part::Kind::ToolCall(call)) = &boundary[0].parts[0].kind else { panic!("no call") };
    assert_eq!(call.tool_name, "chat_summarized");
    assert!(call.arguments_json.contains("manual"), "{}", call.arguments_json);
    let Some(proto::part::Kind::ToolResult(result)) = &boundary[1].parts[0].kind else { panic!("no result") };
    assert_eq!(result.output, "They said hello.");
    // The next turn begins with the summary.
    let next = client.send(&chat, "second").await.expect("it is sent").messages.remove(0);
    let holder = Holder::open(&cluster).await;
    let mut seen = seen(&holder);
    seen.retain(|(_, role)| *role != proto::Role::System);
    let expected =
        [(outcome.boundary_message_ids[0], proto::Role::User), (next.message_id, proto::Role::User)];
    assert_eq!(seen, expected);
}

#[tokio::test]
async fn there_is_something_to_summarize_only_after_a_new_answer() {
    let (cluster, mut client) = cluster().await;
    let chat = client.create_chat("first").await.chat_id;
    let mut holder = Holder::open(&cluster).await;
    let last = holder.finish("Hello.").await.committed_message_ids[0];
    compact(&mut client, &chat).await.expect("it can be compacted");
    let mut holder = Holder::open(&cluster).await;
    let made = summary(&holder, last);
    holder.commit(None, Some(made), worker::NextStep::Finish).await;

    let refused = compact(&mut client, &chat).await.expect_err("nothing new was said");
    assert_eq!(reason(&refused), "STATE_FORBIDS");
    assert!(refused.message().contains("no answer since its last boundary"), "{}", refused.message());
    let refused = clear(&mut client, &chat).await.expect_err("nothing is left to clear");
    assert_eq!(reason(&refused), "STATE_FORBIDS");
    client.send(&chat, "second").await.expect("it is sent");
    let mut holder = Holder::open(&cluster).await;
    holder.finish("Again.").await;

    compact(&mut client, &chat).await.expect("there is a new answer");
}

#[tokio::test]
async fn a_chat_in_error_with_an_answer_is_compacted_with_its_queue_untouched() {
    let (cluster, mut client) = cluster().await;
    let chat = client.create_chat("first").await.chat_id;
    let mut holder = Holder::open(&cluster).await;
    holder.finish("Hello.").await;
    client.send(&chat, "second").await.expect("it is sent");
    let mut holder = Holder::open(&cluster).await;
    client.send(&chat, "queued").await.expect("it is queued");
    holder.fail().await;

    let asked = compact(&mut client, &chat).await.expect("it can be compacted");

    assert_eq!((asked.state(), asked.queue_length), (proto::ChatState::Running, 1));
    assert_eq!(asked.last_error, None);
}

#[tokio::test]
async fn an_interrupt_forgets_that_a_summary_was_asked_for() {
    let (cluster, mut client) = cluster().await;
    let chat = client.create_chat("first").await.chat_id;
    let mut holder = Holder::open(&cluster).await;
    holder.finish("Hello.").await;
    compact(&mut client, &chat).await.expect("it can be compacted");

    let stopped = crate::interrupt(&mut client, &chat).await;

    assert_eq!((stopped.state(), stopped.compact_requested), (proto::ChatState::Waiting, false));
}

#[tokio::test]
async fn a_cleared_context_leaves_the_messages_readable_and_the_model_without_them() {
    let (cluster, mut client) = cluster().await;
    let chat = client.create_chat("first").await.chat_id;
    let mut holder = Holder::open(&cluster).await;
    holder.finish("Hello.").await;

    let cleared = clear(&mut client, &chat).await.expect("it is cleared");

    assert_eq!(cleared.state(), proto::ChatState::Waiting);
    let messages = client.messages(&chat).await;
    assert_eq!(messages.len(), 4);
    assert_eq!(messages[0].parts, vec![text("first")]);
    let Some(proto::part::Kind::ToolCall(call)) = &messages[2].parts[0].kind else { panic!("no call") };
    assert_eq!(call.tool_name, "context_cleared");
    assert_eq!(messages[3].covers_through, messages[1].message_id);
    let next = client.send(&chat, "second").await.expect("it is sent").messages.remove(0);
    let holder = Holder::open(&cluster).await;
    let mut seen = seen(&holder);
    seen.retain(|(_, role)| *role != proto::Role::System);
    assert_eq!(seen, [(next.message_id, proto::Role::User)]);
}

#[tokio::test]
async fn an_edit_below_a_boundary_brings_back_what_it_hid() {
    let (cluster, mut client) = cluster().await;
    let chat = client.create_chat("first").await.chat_id;
    let mut holder = Holder::open(&cluster).await;
    holder.finish("Hello.").await;
    client.send(&chat, "second").await.expect("it is sent");
    let mut holder = Holder::open(&cluster).await;
    holder.finish("Hello again.").await;
    clear(&mut client, &chat).await.expect("it is cleared");
    let messages = client.messages(&chat).await;

    let request = proto::EditMessageRequest {
        chat_id: chat.clone(),
        message_id: messages[2].message_id,
        parts: vec![text("better")],
        ..Default::default()
    };
    let edited = client.chats.edit_message(request).await.expect("it is edited").into_inner();

    let holder = Holder::open(&cluster).await;
    let mut seen = seen(&holder);
    seen.retain(|(_, role)| *role != proto::Role::System);
    let ids: Vec<i64> = seen.into_iter().map(|(id, _)| id).collect();
    let replacement = edited.message.expect("a message").message_id;
    assert_eq!(ids, [messages[0].message_id, messages[1].message_id, replacement]);
    assert_eq!(client.messages(&chat).await.len(), 3);
}

#[tokio::test]
async fn the_last_turn_is_told_in_a_line() {
    let (cluster, mut client) = cluster().await;
    let chat = client.create_chat("first").await;
    assert_eq!(chat.last_turn_summary, "");
    let mut holder = Holder::open(&cluster).await;

    holder.finish("\n## All **done**\nMore of it.").await;
    let finished = client.chat(&chat.chat_id).await.expect("it is there");
    client.send(&chat.chat_id, "second").await.expect("it is sent");
    let stopped = crate::interrupt(&mut client, &chat.chat_id).await;

    assert_eq!(finished.last_turn_summary, "All done");
    assert_eq!(stopped.last_turn_summary, "Interrupted");
    let listed = client.chats.list_chats(proto::ListChatsRequest::default()).await.expect("listed");
    let listed = listed.into_inner().chats[0].chat.clone().expect("a chat");
    assert_eq!(listed.last_turn_summary, "Interrupted");
}

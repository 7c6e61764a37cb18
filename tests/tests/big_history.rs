//! A history of 20 MiB through clients with their default limits.

use std::fs;

use chatplane_proto::{
    MESSAGE_BYTES_MAX,
    chat::v1::{self as proto, part::Kind, watch_chat_response::Event},
};
use chatplane_tests::{
    Client, Cluster, Options, eventually,
    model_server::{ModelServer, call_tools, say},
    text,
};
use prost::Message;
use serde_json::json;

const MEBIBYTE: usize = 1024 * 1024;

/// A user message of 2 MiB, so that ten make 20.
fn large(number: usize) -> Vec<proto::Part> {
    let letter = char::from(b'a' + u8::try_from(number).expect("few messages"));
    vec![text(&letter.to_string().repeat(256 * 1024)); 8]
}

async fn waiting(client: &mut Client, chat: &str) {
    eventually("the chat waits", async || {
        let chat = client.chat(chat).await.ok()?;
        (chat.state() == proto::ChatState::Waiting).then_some(())
    })
    .await;
}

#[tokio::test]
async fn twenty_mebibytes_of_history_pass_every_wire_in_pieces() {
    let model = ModelServer::start(|_| say("Noted.")).await;
    let options = Options { model_url: model.url(), workers: 1, ..Options::default() };
    let cluster = Cluster::start(options).await;
    let mut client = cluster.client();
    let request = proto::CreateChatRequest { parts: large(0), ..Default::default() };
    let created = client.chats.create_chat(request).await.expect("created").into_inner();
    let chat = created.chat.expect("a chat").chat_id;
    waiting(&mut client, &chat).await;
    for number in 1..10 {
        let request =
            proto::SendMessageRequest { chat_id: chat.clone(), parts: large(number), ..Default::default() };
        client.chats.send_message(request).await.expect("sent");
        waiting(&mut client, &chat).await;
    }

    // The last call of the model had everything, through lease and GetTurn.
    let asked = model.requests();
    let last = asked.last().expect("the model was called");
    assert_eq!(last.user_texts().iter().map(|text| text.len()).sum::<usize>(), 20 * MEBIBYTE);

    // Listing pages by bytes.
    let mut listed = Vec::new();
    let mut before_id = 0;
    loop {
        let request = proto::ListMessagesRequest {
            chat_id: chat.clone(),
            page_size: 200,
            before_id,
            ..Default::default()
        };
        let page = client.chats.list_messages(request).await.expect("listed").into_inner();
        assert!(page.encoded_len() <= MESSAGE_BYTES_MAX, "a page fits every wire");
        before_id = page.messages.last().expect("a page has messages").message_id;
        listed.extend(page.messages);
        if !page.has_more {
            break;
        }
    }
    assert_eq!(listed.len(), 20);

    // Watching splits the snapshot into events.
    let mut stream = client.watch(&chat, "").await.expect("the chat can be watched");
    let mut watched = Vec::new();
    while let Some(event) = stream.message().await.expect("the stream goes on") {
        assert!(event.encoded_len() <= MESSAGE_BYTES_MAX, "an event fits every wire");
        match event.event {
            Some(Event::Message(message)) => watched.push(message),
            Some(Event::State(_)) => break,
            _ => {}
        }
    }
    listed.reverse();
    assert_eq!(watched, listed);
}

#[tokio::test]
async fn a_large_file_comes_back_cut_and_the_answer_about_it_arrives() {
    let model = ModelServer::start(|request| {
        if request.new_tool_results().is_empty() {
            call_tools(&[("read_file", json!({"path": "big.txt"}))])
        } else {
            say("It is big.")
        }
    })
    .await;
    let options = Options { model_url: model.url(), workers: 1, workspace: true, ..Options::default() };
    let cluster = Cluster::start(options).await;
    fs::write(cluster.directory.path().join("big.txt"), "0123456789\n".repeat(MEBIBYTE))
        .expect("it is written");
    let mut client = cluster.client();

    let request = proto::CreateChatRequest {
        parts: vec![text("Read.")],
        workspace_id: cluster.workspace.to_string(),
        ..Default::default()
    };
    let created = client.chats.create_chat(request).await.expect("created").into_inner();
    let chat = created.chat.expect("a chat").chat_id;
    waiting(&mut client, &chat).await;

    let messages = client.messages(&chat).await;
    let Some(Kind::ToolResult(result)) = &messages[2].parts[0].kind else { panic!("a result: {messages:?}") };
    assert!(!result.is_error && result.output.len() <= MEBIBYTE);
    assert!(result.output.contains("go on with offset"));
}

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::*;
use crate::wait::eventually;

/// Sends a call that says `text`.
async fn send(server: &ModelServer, text: &str) -> TcpStream {
    send_under(server, &[], text).await
}

/// The same under instructions.
async fn send_under(server: &ModelServer, system: &[&str], text: &str) -> TcpStream {
    let blocks = |texts: &[&str]| {
        json!(texts.iter().map(|text| json!({"type": "text", "text": text})).collect::<Vec<_>>())
    };
    let messages = json!([{"role": "user", "content": blocks(&[text])}]);
    let body = json!({"model": "m", "system": blocks(system), "messages": messages}).to_string();
    let mut connection = TcpStream::connect(server.address).await.unwrap();
    let head = format!(
        "POST /v1/messages HTTP/1.1\r\nhost: x\r\nx-api-key: k\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    connection.write_all(head.as_bytes()).await.unwrap();
    connection.write_all(body.as_bytes()).await.unwrap();
    connection
}

async fn ask(server: &ModelServer, text: &str) -> String {
    read_all(send(server, text).await).await
}

async fn read_all(mut connection: TcpStream) -> String {
    let mut response = Vec::new();
    let _ = connection.read_to_end(&mut response).await;
    String::from_utf8_lossy(&response).into_owned()
}

/// The text deltas of a response, put together.
fn text_deltas(response: &str) -> String {
    let data = response.lines().filter_map(|line| line.strip_prefix("data: "));
    let events = data.map(|data| serde_json::from_str::<serde_json::Value>(data).unwrap());
    events.filter_map(|event| event["delta"]["text"].as_str().map(str::to_owned)).collect()
}

#[tokio::test]
async fn chats_are_told_apart_and_the_journal_has_what_was_asked_and_sent() {
    let server = ModelServer::start(|request| say(&format!("You said {}.", request.last_user_text()))).await;

    let first = ask(&server, "one").await;
    let second = ask(&server, "two").await;

    assert_eq!((text_deltas(&first), text_deltas(&second)), ("You said one.".into(), "You said two.".into()));
    let calls = server.calls();
    assert_eq!((calls[0].text(), calls[1].text()), ("You said one.".into(), "You said two.".into()));
    assert_eq!((calls[0].end, calls[1].end), (Some(End::Played), Some(End::Played)));
    let requests = server.requests();
    assert_eq!((requests[0].number, requests[1].number), (0, 1));
    assert_eq!(requests[0].target, "POST /v1/messages");
    assert_eq!(requests[0].headers["x-api-key"], "k");
    assert_eq!(requests[1].first_user_text(), "two");
}

#[tokio::test]
async fn every_kind_of_block_is_sent_and_written_down() {
    let script = vec![
        Action::thinking("hm", "c2ln"),
        Action::RedactedThinking { data: "ZW5j".into() },
        Action::DeltaBytes(3),
        Action::text("h\u{e9}\u{1f600}"),
        Action::text("llo"),
        Action::ToolUse { id: "t".into(), name: "list_dir".into(), arguments: "{\"path\":".into() },
        Action::stop_for_tools(),
    ];
    let server = ModelServer::start_queue([script]).await;

    let response = ask(&server, "x").await;
    let too_many = ask(&server, "y").await;

    let part = |kind, sent: &str| Part { kind, sent: sent.to_owned() };
    let call = PartKind::ToolCall { tool_name: "list_dir".to_owned() };
    assert_eq!(
        server.calls()[0].parts,
        [
            part(PartKind::Reasoning, "hm"),
            part(PartKind::Reasoning, ""),
            part(PartKind::Text, "h\u{e9}\u{1f600}llo"),
            part(call, "{\"path\":"),
        ]
    );
    assert_eq!(text_deltas(&response), "h\u{e9}\u{1f600}llo");
    assert!(response.contains("\"signature\":\"c2ln\"") && response.contains("\"stop_reason\":\"tool_use\""));
    assert!(too_many.starts_with("HTTP/1.1 400 "));
}

#[tokio::test]
async fn a_gate_holds_a_script_until_the_test_opens_it() {
    let gate = Gate::new();
    let held = gate.clone();
    let server = ModelServer::start(move |_| {
        vec![Action::text("one "), held.wait(), Action::text("two"), Action::stop()]
    })
    .await;
    let mut connection = send(&server, "x").await;

    gate.reached().await;
    assert_eq!(server.calls()[0].text(), "one ");
    assert_eq!(server.calls()[0].end, None);
    gate.open();

    let mut response = String::new();
    connection.read_to_string(&mut response).await.unwrap();
    assert_eq!(text_deltas(&response), "one two");
}

#[tokio::test]
async fn a_client_that_leaves_is_written_down_and_others_go_on() {
    let server = ModelServer::start(|request| match request.last_user_text() {
        "hang" => vec![Action::Hang],
        "stall" => vec![Action::text("half"), Action::Hang],
        "endless" => vec![Action::TextForever("more ".into())],
        _ => say("fine"),
    })
    .await;

    for (number, text) in ["hang", "stall", "endless"].into_iter().enumerate() {
        let connection = send(&server, text).await;
        eventually("the call comes", async || server.calls().get(number).map(|_| ())).await;
        drop(connection);
        let left = async || server.calls()[number].end.filter(|end| *end == End::ClientLeft);
        eventually("the server sees the client leave", left).await;
    }

    assert_eq!(text_deltas(&ask(&server, "x").await), "fine");
}

#[tokio::test]
async fn errors_garbage_and_cuts_are_sent_as_they_are() {
    let server = ModelServer::start_queue([
        vec![Action::error_status(429, "rate_limit_error", "slow").with_header("retry-after", "3")],
        vec![Action::html("<html></html>")],
        vec![Action::Begin, Action::error_event("overloaded_error", "busy")],
        vec![Action::PieceBytes(1), Action::Bytes(b"data: {\"type\":\n\n".to_vec())],
        vec![Action::text("half"), Action::Cut],
    ])
    .await;

    let limited = ask(&server, "x").await;
    assert!(limited.starts_with("HTTP/1.1 429 ") && limited.contains("retry-after: 3\r\n"), "{limited}");
    assert!(ask(&server, "x").await.contains("content-type: text/html\r\n"));
    let error = ask(&server, "x").await;
    assert!(error.contains("event: error\n") && !error.contains("message_stop"), "{error}");
    assert!(ask(&server, "x").await.contains("\r\n1\r\nd\r\n1\r\na\r\n"));
    let cut = ask(&server, "x").await;
    assert!(cut.contains("half") && !cut.ends_with("0\r\n\r\n"), "{cut}");
}

#[tokio::test]
async fn titles_and_summaries_are_told_from_turns_and_take_no_reply_of_theirs() {
    let server = ModelServer::start_turns([say("first"), say_with_context("second", 900)], |request| {
        match request.purpose() {
            Purpose::Title => say("A title"),
            Purpose::Summary => say("A summary"),
            Purpose::Turn => panic!("turns have replies of their own"),
        }
    })
    .await;
    let title = ["You write titles for conversations. You get an excerpt."];
    let summary = "Write a summary of this conversation. It will take its place.";

    let told = [
        read_all(send_under(&server, &title, "Write the title.").await).await,
        ask(&server, "one").await,
        ask(&server, summary).await,
        ask(&server, "two").await,
    ];

    let texts: Vec<String> = told.iter().map(|response| text_deltas(response)).collect();
    assert_eq!(texts, ["A title", "first", "A summary", "second"]);
    assert!(told[3].contains("\"input_tokens\":900"), "{}", told[3]);
    let numbers = |purpose| -> Vec<usize> {
        server.calls_for(purpose).iter().map(|call| call.request.number).collect()
    };
    assert_eq!(
        [Purpose::Title, Purpose::Turn, Purpose::Summary].map(numbers),
        [vec![0], vec![1, 3], vec![2]]
    );
    assert_eq!(server.requests()[0].system_texts(), title);
}

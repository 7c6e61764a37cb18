//! Turns, end to end: a scripted model, real workers, a real workspace.

use std::fs;

use chatplane_proto::chat::v1::{self as proto, part::Kind, watch_chat_response::Event};
use chatplane_tests::{
    Client, Cluster, Options, eventually,
    model_server::{Action, Gate, ModelServer, call_tools, say},
    text,
};
use serde_json::json;

async fn cluster(model: &ModelServer, workspace: bool) -> (Cluster, Client) {
    let options = Options { model_url: model.url(), workers: 1, workspace, ..Options::default() };
    let cluster = Cluster::start(options).await;
    let client = cluster.client();
    (cluster, client)
}

async fn until(client: &mut Client, chat: &str, state: proto::ChatState) -> proto::Chat {
    eventually("the chat comes to that state", async || {
        let chat = client.chat(chat).await.ok()?;
        (chat.state() == state && chat.queue_length == 0).then_some(chat)
    })
    .await
}

/// What a message says, in a line.
fn line(message: &proto::Message) -> String {
    let parts = message.parts.iter().map(|part| match &part.kind {
        Some(Kind::Text(text)) => text.text.clone(),
        Some(Kind::Reasoning(reasoning)) => format!("({})", reasoning.text),
        Some(Kind::ToolCall(call)) => {
            format!("{}#{}{}", call.tool_name, call.call_index, call.arguments_json)
        }
        Some(Kind::ToolResult(result)) => {
            format!("{}#{}={}", result.tool_name, result.call_index, result.output)
        }
        Some(Kind::File(_) | Kind::FileReference(_) | Kind::DiffComment(_)) | None => "?".to_owned(),
    });
    let parts: Vec<String> = parts.collect();
    let stop = if message.interrupted { " [interrupted]" } else { "" };
    format!("{}: {}{stop}", message.role().as_str_name().trim_start_matches("ROLE_"), parts.join(" | "))
}

async fn lines(client: &mut Client, chat: &str) -> Vec<String> {
    client.messages(chat).await.iter().map(line).collect()
}

#[tokio::test]
async fn a_message_is_answered_with_the_models_words_usage_and_key() {
    let model = ModelServer::start(|_| say("Hello, world.")).await;
    let (_cluster, mut client) = cluster(&model, false).await;

    let chat = client.create_chat("Say hello.").await;
    let events = client.watch_to_rest(&chat.chat_id).await;

    assert_eq!(lines(&mut client, &chat.chat_id).await, ["USER: Say hello.", "ASSISTANT: Hello, world."]);
    let answer = client.messages(&chat.chat_id).await.remove(1);
    assert_eq!(answer.model, "test");
    let usage = answer.usage.expect("answers have usage");
    assert!(usage.input_tokens > 0 && usage.output_tokens > 0, "{usage:?}");
    let request = model.requests().remove(0);
    assert_eq!(request.headers["x-api-key"], "test-key");
    let messages = events.iter().filter(|event| matches!(event.event, Some(Event::Message(_)))).count();
    assert_eq!(messages, 2, "each message arrives once");
}

#[tokio::test]
async fn tools_of_the_workspace_run_and_their_results_reach_the_model() {
    let model = ModelServer::start(|request| {
        if request.last_user_text() == "Look." && request.new_tool_results().is_empty() {
            call_tools(&[("list_dir", json!({"path": "."})), ("read_file", json!({"path": "fish.txt"}))])
        } else {
            let seen: Vec<&str> = request.new_tool_results().iter().map(|(_, output)| *output).collect();
            say(&format!("I saw {}", seen.join(" and ")))
        }
    })
    .await;
    let (cluster, mut client) = cluster(&model, true).await;
    fs::write(cluster.directory.path().join("fish.txt"), "salmon\ntrout\n").expect("the file is written");

    let request = proto::CreateChatRequest {
        parts: vec![text("Look.")],
        workspace_id: cluster.workspace.to_string(),
        ..Default::default()
    };
    let chat = client.chats.create_chat(request).await.expect("created").into_inner().chat.expect("a chat");
    client.watch_to_rest(&chat.chat_id).await;

    let lines = lines(&mut client, &chat.chat_id).await;
    assert_eq!(lines.len(), 5, "{lines:#?}");
    assert!(lines[1].contains("list_dir#0") && lines[1].contains("read_file#1"), "{lines:#?}");
    let answer = lines.last().expect("an answer");
    assert!(answer.contains("fish.txt") && answer.contains("salmon"), "{lines:#?}");
    let results: Vec<bool> = client.messages(&chat.chat_id).await[2..4]
        .iter()
        .filter_map(|message| match &message.parts[0].kind {
            Some(Kind::ToolResult(result)) => Some(result.is_error),
            _ => None,
        })
        .collect();
    assert_eq!(results, [false, false]);
}

#[tokio::test]
async fn unknown_tools_and_malformed_arguments_become_results_the_model_can_act_on() {
    let model = ModelServer::start(|request| {
        if request.new_tool_results().is_empty() {
            vec![
                Action::tool_use("toolu_1", "teleport", &json!({})),
                Action::ToolUse {
                    id: "toolu_2".into(),
                    name: "read_file".into(),
                    arguments: "{\"path\": ".into(),
                },
                Action::tool_use("toolu_3", "read_file", &json!({"path": "../../etc/passwd"})),
                Action::stop_for_tools(),
            ]
        } else {
            say("I see.")
        }
    })
    .await;
    let (cluster, mut client) = cluster(&model, true).await;

    let request = proto::CreateChatRequest {
        parts: vec![text("Try.")],
        workspace_id: cluster.workspace.to_string(),
        ..Default::default()
    };
    let chat = client.chats.create_chat(request).await.expect("created").into_inner().chat.expect("a chat");
    client.watch_to_rest(&chat.chat_id).await;

    let messages = client.messages(&chat.chat_id).await;
    let results: Vec<_> = messages
        .iter()
        .filter_map(|message| match message.parts.first().and_then(|part| part.kind.as_ref()) {
            Some(Kind::ToolResult(result)) => Some(result),
            _ => None,
        })
        .collect();
    assert_eq!(results.len(), 3);
    assert!(results.iter().all(|result| result.is_error), "{results:#?}");
    let of = |index| results.iter().find(|result| result.call_index == index).expect("a result");
    assert!(of(0).output.contains("read_file"), "it names the tools there are: {}", of(0).output);
    let replayed = &model.requests()[1].body["messages"][1]["content"];
    assert_eq!(replayed[1]["input"], json!({}), "an empty object is replayed");
    assert_eq!(lines(&mut client, &chat.chat_id).await.last().expect("an answer"), "ASSISTANT: I see.");
}

#[tokio::test]
async fn an_interrupt_keeps_the_partial_answer_and_lets_the_next_message_in() {
    let gate = Gate::new();
    let held = gate.clone();
    let model = ModelServer::start(move |request| match request.last_user_text() {
        "Count." => vec![Action::text("one two "), held.wait(), Action::text("three"), Action::stop()],
        _ => say("Done."),
    })
    .await;
    let (_cluster, mut client) = cluster(&model, false).await;
    let chat = client.create_chat("Count.").await;
    gate.reached().await;
    seen_live(&mut client, &chat.chat_id, "one two ").await;

    client.send(&chat.chat_id, "And now?").await.expect("queued");
    let request = proto::InterruptChatRequest { chat_id: chat.chat_id.clone(), ..Default::default() };
    client.chats.interrupt_chat(request).await.expect("interrupted");
    until(&mut client, &chat.chat_id, proto::ChatState::Waiting).await;

    assert_eq!(
        lines(&mut client, &chat.chat_id).await,
        ["USER: Count.", "ASSISTANT: one two  [interrupted]", "USER: And now?", "ASSISTANT: Done."]
    );
    assert_eq!(model.requests().len(), 2);
}

#[tokio::test]
async fn an_interrupt_waits_for_the_end_of_a_running_tool_and_keeps_what_it_wrote() {
    let model = ModelServer::start(|request| match request.new_tool_results().is_empty() {
        true => call_tools(&[("execute", json!({"command": "echo $((6 * 7)) so far; sleep 1000"}))]),
        false => say("Done."),
    })
    .await;
    let (cluster, mut client) = cluster(&model, true).await;
    let request = proto::CreateChatRequest {
        parts: vec![text("Go.")],
        workspace_id: cluster.workspace.to_string(),
        ..Default::default()
    };
    let chat = client.chats.create_chat(request).await.expect("created").into_inner().chat.expect("a chat");
    seen_live(&mut client, &chat.chat_id, "42 so far").await;

    let request = proto::InterruptChatRequest { chat_id: chat.chat_id.clone(), ..Default::default() };
    client.chats.interrupt_chat(request).await.expect("interrupted");
    until(&mut client, &chat.chat_id, proto::ChatState::Waiting).await;

    let lines = lines(&mut client, &chat.chat_id).await;
    assert!(lines[2].contains("42 so far") && lines[2].contains("cancelled"), "{lines:#?}");
}

/// Watches until the live answer has these words.
async fn seen_live(client: &mut Client, chat: &str, words: &str) {
    let mut stream = client.watch(chat, "").await.expect("the chat can be watched");
    let mut seen = Vec::new();
    while !String::from_utf8_lossy(&seen).contains(words) {
        let event = stream.message().await.expect("the stream goes on").expect("the stream goes on");
        match event.event {
            Some(Event::PartAppend(append)) => seen.extend_from_slice(&append.data),
            Some(Event::PreviewReset(_)) => seen.clear(),
            _ => {}
        }
    }
}

#[tokio::test]
async fn queued_messages_are_answered_one_turn_after_the_other() {
    let gate = Gate::new();
    let held = gate.clone();
    let model = ModelServer::start(move |request| match request.last_user_text() {
        "1" => vec![held.wait(), Action::text("one"), Action::stop()],
        other => say(&format!("re {other}")),
    })
    .await;
    let (_cluster, mut client) = cluster(&model, false).await;
    let chat = client.create_chat("1").await;
    gate.reached().await;
    client.send(&chat.chat_id, "2").await.expect("queued");
    client.send(&chat.chat_id, "3").await.expect("queued");

    gate.open();
    until(&mut client, &chat.chat_id, proto::ChatState::Waiting).await;

    assert_eq!(
        lines(&mut client, &chat.chat_id).await,
        ["USER: 1", "ASSISTANT: one", "USER: 2", "ASSISTANT: re 2", "USER: 3", "ASSISTANT: re 3"]
    );
}

#[tokio::test]
async fn thinking_goes_back_byte_exactly_and_its_signature_never_to_clients() {
    let model = ModelServer::start(|request| match request.last_user_text() {
        "Think." => {
            vec![Action::thinking("hmm \u{0}é", "SIGNATURE=="), Action::text("Thought."), Action::stop()]
        }
        _ => say("Again."),
    })
    .await;
    let (_cluster, mut client) = cluster(&model, false).await;
    let chat = client.create_chat("Think.").await;
    let events = client.watch_to_rest(&chat.chat_id).await;

    client.send(&chat.chat_id, "More.").await.expect("sent");
    until(&mut client, &chat.chat_id, proto::ChatState::Waiting).await;

    let replayed = &model.requests()[1].body["messages"][1]["content"][0];
    assert_eq!(replayed["type"], "thinking");
    assert_eq!(replayed["thinking"], "hmm \u{0}é");
    assert_eq!(replayed["signature"], "SIGNATURE==");
    let shown = format!("{events:?} {:?}", client.messages(&chat.chat_id).await);
    assert!(!shown.contains("SIGNATURE"), "neither streamed nor listed");
    assert!(shown.contains("hmm"));
}

#[tokio::test]
async fn a_failed_call_is_shown_repeated_and_counted() {
    let model = ModelServer::start_queue([
        vec![Action::error_status(529, "overloaded_error", "busy").with_header("retry-after", "0")],
        say("Better."),
    ])
    .await;
    let (_cluster, mut client) = cluster(&model, false).await;

    let chat = client.create_chat("Try.").await;
    let events = client.watch_to_rest(&chat.chat_id).await;

    let retries: Vec<_> = events
        .iter()
        .filter_map(|event| match &event.event {
            Some(Event::Retry(changed)) => changed.retry.as_ref(),
            _ => None,
        })
        .collect();
    assert!(!retries.is_empty(), "{events:#?}");
    let error = retries[0].error.as_ref().expect("a retry has an error");
    assert_eq!((error.kind(), error.status_code, error.retryable), (proto::ErrorKind::Overloaded, 529, true));
    assert_eq!(retries[0].attempt, 2);
    assert_eq!(lines(&mut client, &chat.chat_id).await, ["USER: Try.", "ASSISTANT: Better."]);
}

#[tokio::test]
async fn a_refused_key_ends_the_turn_with_a_typed_error_and_a_message_starts_it_again() {
    let model = ModelServer::start_queue([
        vec![Action::error_status(401, "authentication_error", "invalid x-api-key")],
        say("Welcome back."),
    ])
    .await;
    let (_cluster, mut client) = cluster(&model, false).await;
    let chat = client.create_chat("Hello?").await;
    client.watch_to_rest(&chat.chat_id).await;

    let failed = client.chat(&chat.chat_id).await.expect("it is there");
    let error = failed.last_error.expect("an error");
    assert_eq!((error.kind(), error.status_code), (proto::ErrorKind::Authentication, 401));
    assert!(!error.retryable);
    client.send(&chat.chat_id, "Once more.").await.expect("sent");
    let chat = until(&mut client, &chat.chat_id, proto::ChatState::Waiting).await;

    assert_eq!(chat.last_error, None);
    assert_eq!(
        lines(&mut client, &chat.chat_id).await.last().expect("an answer"),
        "ASSISTANT: Welcome back."
    );
}

#[tokio::test]
async fn an_endpoint_that_is_no_provider_is_told_at_once() {
    let model = ModelServer::start(|_| vec![Action::html("<html>surprise</html>")]).await;
    let (_cluster, mut client) = cluster(&model, false).await;

    let chat = client.create_chat("Go.").await;
    client.watch_to_rest(&chat.chat_id).await;

    let failed = client.chat(&chat.chat_id).await.expect("it is there");
    let error = failed.last_error.expect("an error");
    assert_eq!(error.kind(), proto::ErrorKind::MalformedResponse);
    assert!(!error.retryable && error.message.contains("endpoint"), "{error:?}");
    assert_eq!(model.calls().len(), 1);
}

#[tokio::test]
async fn hostile_providers_end_in_typed_errors_or_retries_never_in_a_stuck_chat() {
    let hostile = [
        vec![Action::text("half an ans"), Action::Cut],
        vec![Action::Bytes("event: message_start\ndata: {not json\n\n".into())],
        vec![Action::error_event("api_error", "broken in mid-stream")],
    ];
    for actions in hostile {
        let shown = format!("{actions:?}");
        let model = ModelServer::start_queue([actions, say("Fine.")]).await;
        let (_cluster, mut client) = cluster(&model, false).await;

        let chat = client.create_chat("Go.").await;
        client.watch_to_rest(&chat.chat_id).await;

        let lines = lines(&mut client, &chat.chat_id).await;
        assert_eq!(lines, ["USER: Go.", "ASSISTANT: Fine."], "after {shown}");
    }
}

//! Fields that are wrong are named by their path, and nothing is stored.

use chatplane_proto::chat::v1 as proto;
use chatplane_tests::text;
use prost_types::FieldMask;
use tonic::{Code, Status};

use crate::{
    calls::{Target, changes},
    cluster, field,
    holder::Holder,
    new_id, reason,
    stage::TOOL,
};

/// Whether a call was refused for this field.
fn refuses<T: std::fmt::Debug>(outcome: Result<T, Status>, expected: &str) {
    let refused = outcome.expect_err(expected);
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::InvalidArgument, "FIELD_INVALID"));
    assert_eq!(field(&refused), expected, "{}", refused.message());
    assert!(refused.message().starts_with(expected), "{}", refused.message());
}

fn tool(name: &str, description: &str, schema: &str) -> proto::ToolDefinition {
    proto::ToolDefinition {
        name: name.to_owned(),
        description: description.to_owned(),
        input_schema_json: schema.to_owned(),
    }
}

/// Sets of tools that are refused, each with the field that is named.
fn wrong_tools() -> Vec<(&'static str, Vec<proto::ToolDefinition>)> {
    let good = |name: &str| tool(name, "", "{}");
    let large =
        |number: usize| tool(&format!("tool-{number}"), "", &format!("{{\"a\":\"{}\"}}", "x".repeat(40_000)));
    vec![
        ("client_tools", (0..65).map(|number| good(&format!("tool_{number}"))).collect()),
        ("client_tools", (0..53).map(large).collect()),
        ("client_tools[0].name", vec![good("")]),
        ("client_tools[1].name", vec![good("fine"), good("with space")]),
        ("client_tools[0].name", vec![good("ünïcode")]),
        ("client_tools[0].name", vec![good(&"x".repeat(65))]),
        ("client_tools[2].name", vec![good("a"), good("b"), good("a")]),
        ("client_tools[0].description", vec![tool("a", &"x".repeat(16 * 1024 + 1), "{}")]),
        ("client_tools[0].description", vec![tool("a", "\0", "{}")]),
        ("client_tools[0].input_schema_json", vec![tool("a", "", "")]),
        ("client_tools[0].input_schema_json", vec![tool("a", "", "[]")]),
        ("client_tools[0].input_schema_json", vec![tool("a", "", "{\"type\": }")]),
        ("client_tools[0]", vec![tool("a", "", &format!("{{\"a\":\"{}\"}}", "x".repeat(65_530)))]),
    ]
}

#[tokio::test]
async fn a_new_chat_refuses_tools_and_timeouts_that_are_wrong() {
    let (_cluster, mut client) = cluster().await;
    let valid = || proto::CreateChatRequest { parts: vec![text("hello")], ..Default::default() };

    for (expected, client_tools) in wrong_tools() {
        let request = proto::CreateChatRequest { client_tools, ..valid() };
        refuses(client.chats.create_chat(request).await, expected);
    }
    for action_timeout_ms in [-1, 1, 999, 86_400_001, i64::MAX] {
        let request = proto::CreateChatRequest { action_timeout_ms, ..valid() };
        refuses(client.chats.create_chat(request).await, "action_timeout_ms");
    }

    let listed = client.chats.list_chats(proto::ListChatsRequest::default()).await.expect("listed");
    assert!(listed.into_inner().chats.is_empty());
}

#[tokio::test]
async fn settings_that_are_wrong_change_nothing() {
    let (_cluster, mut client) = cluster().await;
    let before = client.create_chat("hello").await;
    let request = |paths: &[&str]| proto::ConfigureChatRequest {
        chat_id: before.chat_id.clone(),
        update_mask: Some(FieldMask { paths: paths.iter().map(|path| (*path).to_owned()).collect() }),
        ..Default::default()
    };

    let without_mask = proto::ConfigureChatRequest { update_mask: None, ..request(&[]) };
    refuses(client.chats.configure_chat(without_mask).await, "update_mask");
    for paths in [&[][..], &["title"], &["model", "client_tools.name"], &["*"]] {
        refuses(client.chats.configure_chat(request(paths)).await, "update_mask");
    }
    for (expected, client_tools) in wrong_tools() {
        let request = proto::ConfigureChatRequest { client_tools, ..request(&["client_tools"]) };
        refuses(client.chats.configure_chat(request).await, expected);
    }
    let wrong = [
        ("chat_id", proto::ConfigureChatRequest { chat_id: "seven".to_owned(), ..request(&["effort"]) }),
        ("request_id", proto::ConfigureChatRequest { request_id: "7".to_owned(), ..request(&["effort"]) }),
        ("effort", proto::ConfigureChatRequest { effort: 77, ..request(&["effort"]) }),
        (
            "workspace_id",
            proto::ConfigureChatRequest { workspace_id: "seven".to_owned(), ..request(&["workspace_id"]) },
        ),
        (
            "system_prompt",
            proto::ConfigureChatRequest { system_prompt: "x".repeat(65_537), ..request(&["system_prompt"]) },
        ),
        (
            "action_timeout_ms",
            proto::ConfigureChatRequest { action_timeout_ms: 999, ..request(&["action_timeout_ms"]) },
        ),
    ];
    for (expected, request) in wrong {
        refuses(client.chats.configure_chat(request).await, expected);
    }

    assert_eq!(client.chat(&before.chat_id).await.expect("it is there"), before);
}

/// Contents of a message that are refused, each with the field that is named.
fn wrong_parts() -> Vec<(&'static str, Vec<proto::Part>)> {
    vec![
        ("parts", vec![]),
        ("parts", vec![text("x"); 101]),
        ("parts", vec![text(&"x".repeat(262_144)); 11]),
        ("parts[0].text", vec![text(" \n ")]),
        ("parts[1].text", vec![text("a"), text(&"x".repeat(262_145))]),
        ("parts[1]", vec![text("a"), proto::Part { kind: None }]),
    ]
}

#[tokio::test]
async fn messages_that_are_wrong_are_refused_by_every_call_that_takes_one() {
    let (_cluster, mut client) = cluster().await;
    let chat = client.create_chat("hello").await.chat_id;
    let queued = client.send(&chat, "queued").await.expect("it is queued").queued_message.expect("queued");
    let before = client.chat(&chat).await.expect("it is there");

    for (expected, parts) in wrong_parts() {
        let request = proto::SendMessageRequest {
            chat_id: chat.clone(),
            parts: parts.clone(),
            busy_behavior: proto::BusyBehavior::Steer.into(),
            ..Default::default()
        };
        refuses(client.chats.send_message(request).await, expected);
        let request = proto::EditMessageRequest {
            chat_id: chat.clone(),
            message_id: 1,
            parts: parts.clone(),
            ..Default::default()
        };
        refuses(client.chats.edit_message(request).await, expected);
        let request = proto::EditQueuedMessageRequest {
            chat_id: chat.clone(),
            queued_message_id: queued.queued_message_id.clone(),
            parts,
            ..Default::default()
        };
        refuses(client.chats.edit_queued_message(request).await, expected);
    }
    let unknown = proto::SendMessageRequest {
        chat_id: chat.clone(),
        parts: vec![text("x")],
        busy_behavior: 77,
        ..Default::default()
    };
    refuses(client.chats.send_message(unknown).await, "busy_behavior");

    assert_eq!(client.chat(&chat).await.expect("it is there"), before);
}

#[tokio::test]
async fn results_that_are_wrong_are_refused_and_none_is_stored() {
    let (cluster, mut client) = cluster().await;
    let chat = client.create_chat("hello").await.chat_id;
    let mut holder = Holder::open(&cluster).await;
    let asked = holder.suspend(&[TOOL, TOOL]).await.committed_message_ids[0];
    let before = client.chat(&chat).await.expect("it is there");
    let result = |message_id: i64, call_index: i32, output: &str| proto::SubmittedResult {
        call: Some(proto::CallId { message_id, call_index }),
        output: output.to_owned(),
        is_error: false,
    };
    let good = || result(asked, 0, "42");

    let nameless = proto::SubmittedResult { call: None, ..good() };
    let cases = [
        ("results", vec![]),
        ("results", vec![good(); 101]),
        ("results[1].call", vec![good(), nameless]),
        ("results[1].call", vec![good(), good()]),
        ("results[0].call.message_id", vec![result(0, 0, "42")]),
        ("results[1].call.call_index", vec![good(), result(asked, -1, "42")]),
        ("results[0].output", vec![result(asked, 1, &"x".repeat(1_048_577))]),
        // The second has no pending call, so the first is not stored.
        ("results", vec![good(), result(asked, 2, "42")]),
        ("results", vec![good(), result(1, 0, "42")]),
    ];
    for (expected, results) in cases {
        let request =
            proto::SubmitToolResultsRequest { chat_id: chat.clone(), results, ..Default::default() };
        refuses(client.chats.submit_tool_results(request).await, expected);
    }
    let large: Vec<proto::SubmittedResult> =
        (0..3).map(|index| result(asked, index, &"x".repeat(1_000_000))).collect();
    let request =
        proto::SubmitToolResultsRequest { chat_id: chat.clone(), results: large, ..Default::default() };
    refuses(client.chats.submit_tool_results(request).await, "results");

    assert_eq!(client.chat(&chat).await.expect("it is there"), before);
}

#[tokio::test]
async fn ids_places_and_limits_that_are_wrong_are_refused() {
    let (_cluster, mut client) = cluster().await;
    let chat = client.create_chat("hello").await.chat_id;
    let chat_id = || chat.clone();

    for message_id in [0, -1] {
        let parts = vec![text("x")];
        let request =
            proto::EditMessageRequest { chat_id: chat_id(), message_id, parts, ..Default::default() };
        refuses(client.chats.edit_message(request).await, "message_id");
        let request = proto::ForkChatRequest { chat_id: chat_id(), message_id, ..Default::default() };
        refuses(client.chats.fork_chat(request).await, "message_id");
    }
    let queued_message_id = "seven".to_owned();
    let request =
        proto::DeleteQueuedMessageRequest { chat_id: chat_id(), queued_message_id, ..Default::default() };
    refuses(client.chats.delete_queued_message(request).await, "queued_message_id");
    let request = proto::PromoteQueuedMessageRequest { chat_id: chat_id(), ..Default::default() };
    refuses(client.chats.promote_queued_message(request).await, "queued_message_id");
    let request = proto::MoveQueuedMessageRequest {
        chat_id: chat_id(),
        queued_message_id: new_id(),
        index: -1,
        ..Default::default()
    };
    refuses(client.chats.move_queued_message(request).await, "index");
    for limit in [-1, 2001] {
        let request = proto::ListPromptsRequest { chat_id: chat_id(), limit, before_id: 0 };
        refuses(client.chats.list_prompts(request).await, "limit");
    }
    let request = proto::ListPromptsRequest { chat_id: chat_id(), limit: 1, before_id: -1 };
    refuses(client.chats.list_prompts(request).await, "before_id");
    let request =
        proto::ListQueuedMessagesRequest { chat_id: chat_id(), page_size: -1, ..Default::default() };
    refuses(client.chats.list_queued_messages(request).await, "page_size");
    for page_token in ["nonsense", "e30"] {
        let page_token = page_token.to_owned();
        let request =
            proto::ListQueuedMessagesRequest { chat_id: chat_id(), page_token, ..Default::default() };
        refuses(client.chats.list_queued_messages(request).await, "page_token");
    }
}

#[tokio::test]
async fn a_model_a_message_or_a_workspace_that_is_not_there_is_not_found() {
    let (_cluster, mut client) = cluster().await;
    let chat = client.create_chat("hello").await.chat_id;
    let before = client.chat(&chat).await.expect("it is there");
    let not_found = |outcome: Result<(), Status>, expected: &str| {
        let refused = outcome.expect_err(expected);
        assert_eq!((refused.code(), reason(&refused).as_str()), (Code::NotFound, expected));
    };

    let edit = |model: &str, message_id: i64| proto::EditMessageRequest {
        chat_id: chat.clone(),
        message_id,
        parts: vec![text("x")],
        model: model.to_owned(),
        ..Default::default()
    };
    not_found(client.chats.edit_message(edit("none", 1)).await.map(drop), "MODEL_NOT_FOUND");
    not_found(client.chats.edit_message(edit("", 999)).await.map(drop), "MESSAGE_NOT_FOUND");
    let fork = proto::ForkChatRequest { chat_id: chat.clone(), message_id: 999, ..Default::default() };
    not_found(client.chats.fork_chat(fork).await.map(drop), "MESSAGE_NOT_FOUND");
    for (path, expected) in [("model", "MODEL_NOT_FOUND"), ("workspace_id", "WORKSPACE_NOT_FOUND")] {
        let request = proto::ConfigureChatRequest {
            chat_id: chat.clone(),
            update_mask: Some(FieldMask { paths: vec![path.to_owned()] }),
            model: "none".to_owned(),
            workspace_id: new_id(),
            ..Default::default()
        };
        not_found(client.chats.configure_chat(request).await.map(drop), expected);
    }

    assert_eq!(client.chat(&chat).await.expect("it is there"), before);
}

#[tokio::test]
async fn a_queued_message_that_is_not_there_is_not_found() {
    let (_cluster, mut client) = cluster().await;
    let chat = client.create_chat("hello").await.chat_id;
    client.send(&chat, "queued").await.expect("it is queued");
    let before = client.chat(&chat).await.expect("it is there");

    let target = Target { chat: chat.clone(), queued: new_id(), ..Target::default() };
    for call in changes(&target).iter().filter(|call| call.name.ends_with("queued_message")) {
        let refused = call.run(&client, "").await.expect_err(call.name);
        assert_eq!(reason(&refused), "QUEUED_MESSAGE_NOT_FOUND", "{}", call.name);
    }

    assert_eq!(client.chat(&chat).await.expect("it is there"), before);
}

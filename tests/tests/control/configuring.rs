//! Changing a chat's settings.

use chatplane_proto::chat::v1 as proto;
use chatplane_tests::{Client, text};
use prost_types::FieldMask;

use crate::{cluster, holder::Holder, interrupt, stage::TOOL};

async fn configure(client: &mut Client, request: proto::ConfigureChatRequest) -> proto::Chat {
    let configured = client.chats.configure_chat(request).await.expect("it is configured");
    configured.into_inner().chat.expect("a chat")
}

fn request(chat: &str, paths: &[&str]) -> proto::ConfigureChatRequest {
    proto::ConfigureChatRequest {
        chat_id: chat.to_owned(),
        update_mask: Some(FieldMask { paths: paths.iter().map(|path| (*path).to_owned()).collect() }),
        ..Default::default()
    }
}

fn tool() -> proto::ToolDefinition {
    proto::ToolDefinition {
        name: TOOL.to_owned(),
        description: "Asks the user.".to_owned(),
        input_schema_json: "{\"type\":\"object\"}".to_owned(),
    }
}

#[tokio::test]
async fn exactly_what_the_mask_names_changes() {
    let (cluster, mut client) = cluster().await;
    let before = client.create_chat("first").await;
    let all = |paths: &[&str]| proto::ConfigureChatRequest {
        model: "test".to_owned(),
        effort: proto::Effort::Low.into(),
        client_tools: vec![tool()],
        workspace_id: cluster.workspace.to_string(),
        action_timeout_ms: 5000,
        ..request(&before.chat_id, paths)
    };

    let effort = configure(&mut client, all(&["effort"])).await;
    let rest =
        configure(&mut client, all(&["model", "client_tools", "workspace_id", "action_timeout_ms"])).await;

    let expected = proto::Chat {
        effort: proto::Effort::Low.into(),
        snapshot_version: before.snapshot_version + 1,
        update_time: effort.update_time,
        ..before.clone()
    };
    assert_eq!(effort, expected);
    assert_eq!(rest.client_tool_names, [TOOL]);
    assert_eq!((rest.workspace_id.as_str(), rest.action_timeout_ms), (&*cluster.workspace.to_string(), 5000));
    assert_eq!(rest.history_version, before.history_version);
    let holder = Holder::open(&cluster).await;
    assert_eq!(holder.header.client_tools, vec![tool()]);
    assert_eq!(holder.header.workspace_id, cluster.workspace.to_string());
}

#[tokio::test]
async fn what_is_given_empty_goes_back_to_none_or_the_default() {
    let (cluster, mut client) = cluster().await;
    let create = proto::CreateChatRequest {
        parts: vec![text("first")],
        client_tools: vec![tool()],
        workspace_id: cluster.workspace.to_string(),
        effort: proto::Effort::High.into(),
        action_timeout_ms: 1000,
        ..Default::default()
    };
    let created = client.chats.create_chat(create).await.expect("created").into_inner().chat.expect("a chat");
    assert_eq!((created.client_tool_names.len(), created.action_timeout_ms), (1, 1000));

    let paths = ["model", "effort", "client_tools", "workspace_id", "action_timeout_ms"];
    let chat = configure(&mut client, request(&created.chat_id, &paths)).await;

    assert_eq!((chat.model.as_str(), chat.effort()), ("test", proto::Effort::Unspecified));
    assert_eq!((chat.client_tool_names.len(), chat.workspace_id.as_str()), (0, ""));
    assert_eq!(chat.action_timeout_ms, 300_000);
    let holder = Holder::open(&cluster).await;
    assert!(holder.header.client_tools.is_empty());
}

#[tokio::test]
async fn settings_that_are_what_they_were_change_nothing() {
    let (_cluster, mut client) = cluster().await;
    let created = client.create_chat("first").await;

    let paths = ["model", "effort", "client_tools", "workspace_id", "action_timeout_ms"];
    let chat = configure(&mut client, request(&created.chat_id, &paths)).await;

    assert_eq!(chat, created);
}

#[tokio::test]
async fn the_model_reads_the_system_prompt_that_was_set_last() {
    let (cluster, mut client) = cluster().await;
    let create = proto::CreateChatRequest {
        parts: vec![text("first")],
        system_prompt: "Be long.".to_owned(),
        ..Default::default()
    };
    let chat = client.chats.create_chat(create).await.expect("created").into_inner().chat.expect("a chat");
    interrupt(&mut client, &chat.chat_id).await;
    let configured = proto::ConfigureChatRequest {
        system_prompt: "Be brief.".to_owned(),
        ..request(&chat.chat_id, &["system_prompt"])
    };

    configure(&mut client, configured.clone()).await;
    configure(&mut client, request(&chat.chat_id, &["system_prompt"])).await;
    configure(&mut client, configured).await;
    client.send(&chat.chat_id, "second").await.expect("it is sent");

    let holder = Holder::open(&cluster).await;
    let messages: Vec<&proto::Message> =
        holder.messages.iter().filter_map(|message| message.message.as_ref()).collect();
    let prompts: Vec<&Vec<proto::Part>> = messages
        .iter()
        .filter(|message| message.role() == proto::Role::System)
        .map(|message| &message.parts)
        .collect();
    assert_eq!(prompts.last(), Some(&&vec![text("Be brief.")]));
    assert!(!prompts.contains(&&vec![text("Be long.")]));
    assert_eq!(client.messages(&chat.chat_id).await.len(), 2, "prompts are never listed");
}

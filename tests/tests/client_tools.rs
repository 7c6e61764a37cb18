//! Tools that the client runs, end to end.

use std::{collections::BTreeMap, fs};

use chatplane_proto::chat::v1::{self as proto, ChatState, SyntheticReason, part::Kind};
use chatplane_tests::{
    Client, Cluster, Options, Role, eventually,
    model_server::{ModelServer, call_tools, say},
    text,
};
use serde_json::json;
use tempfile::TempDir;

struct World {
    cluster: Cluster,
    client: Client,
    model: ModelServer,
}

fn tool(name: &str) -> proto::ToolDefinition {
    proto::ToolDefinition {
        name: name.to_owned(),
        description: "Asks the user.".to_owned(),
        input_schema_json: r#"{"type": "object"}"#.to_owned(),
    }
}

impl World {
    async fn start(model: ModelServer, options: Options) -> Self {
        let cluster = Cluster::start(Options { model_url: model.url(), ..options }).await;
        let client = cluster.client();
        World { cluster, client, model }
    }

    /// Creates a chat whose client runs `ask_user`, in the workspace if there is an agent.
    async fn chat(&mut self, action_timeout_ms: i64) -> String {
        let workspace_id =
            self.cluster.agent.as_ref().map(|_| self.cluster.workspace.to_string()).unwrap_or_default();
        let request = proto::CreateChatRequest {
            parts: vec![text("Go.")],
            workspace_id,
            client_tools: vec![tool("ask_user")],
            action_timeout_ms,
            ..Default::default()
        };
        let created = self.client.chats.create_chat(request).await.expect("the chat is created");
        created.into_inner().chat.expect("a chat").chat_id
    }

    async fn until(&mut self, chat: &str, state: ChatState) -> proto::Chat {
        eventually("the chat comes to that state", async || {
            let chat = self.client.chat(chat).await.ok()?;
            (chat.state() == state).then_some(chat)
        })
        .await
    }

    async fn submit(&mut self, chat: &str, call: proto::CallId, output: &str) -> proto::Chat {
        let result = proto::SubmittedResult { call: Some(call), output: output.to_owned(), is_error: false };
        let request = proto::SubmitToolResultsRequest {
            chat_id: chat.to_owned(),
            results: vec![result],
            ..Default::default()
        };
        let submitted = self.client.chats.submit_tool_results(request).await.expect("it is submitted");
        submitted.into_inner().chat.expect("a chat")
    }

    /// Results of the chat's calls.
    async fn results(&mut self, chat: &str) -> Vec<proto::ToolResultPart> {
        let messages = self.client.messages(chat).await;
        let kinds = messages.into_iter().flat_map(|message| message.parts).filter_map(|part| part.kind);
        let result = |kind| match kind {
            Kind::ToolResult(result) => Some(result),
            _ => None,
        };
        kinds.filter_map(result).collect()
    }
}

/// A worker and nothing else.
fn worker() -> Options {
    Options { workers: 1, ..Options::default() }
}

/// The same with a workspace.
fn with_workspace() -> Options {
    Options { workspace: true, ..worker() }
}

/// The calls that a suspended chat waits for.
fn pending(chat: &proto::Chat) -> Vec<proto::CallId> {
    let required = chat.action_required.as_ref().expect("something is required");
    required.calls.iter().map(|pending| pending.call.expect("a call")).collect()
}

/// A model that asks the user, and then says that it has.
async fn model_that_asks() -> ModelServer {
    ModelServer::start(|request| match request.new_tool_results()[..] {
        [] if request.last_user_text() == "Go." => call_tools(&[("ask_user", json!({"question": "May I?"}))]),
        [] => say("Hello."),
        [(_, answer), ..] => say(&format!("You said {answer}")),
    })
    .await
}

#[tokio::test]
async fn a_call_of_a_clients_tool_suspends_the_chat_and_goes_on_with_its_result() {
    let mut world = World::start(model_that_asks().await, worker()).await;
    let chat = world.chat(0).await;

    let suspended = world.until(&chat, ChatState::Suspended).await;
    assert!(world.model.requests()[0].has_tool("ask_user"));
    let calls = pending(&suspended);
    assert_eq!(calls.len(), 1);
    let running = world.submit(&chat, calls[0], "yes").await;
    assert_eq!(running.state(), ChatState::Running);
    world.until(&chat, ChatState::Waiting).await;

    let results = world.results(&chat).await;
    assert_eq!((results[0].output.as_str(), results[0].is_error), ("yes", false));
    let replayed = world.model.requests().remove(1);
    assert_eq!(replayed.new_tool_results().iter().map(|(_, output)| *output).collect::<Vec<_>>(), ["yes"]);
}

#[tokio::test]
async fn a_suspended_chat_holds_no_slot_of_a_worker() {
    let mut world = World::start(model_that_asks().await, Options { workers: 0, ..worker() }).await;
    let logs = TempDir::new().expect("a directory for logs");
    let variables = BTreeMap::from([
        ("CHATPLANE_CONTROL_PLANE", world.cluster.url()),
        ("CHATPLANE_WORKER_TOKEN", world.cluster.tokens.worker.clone()),
        ("CHATPLANE_WORKER_SLOTS", "1".to_owned()),
    ]);
    let worker = Role::start("worker-with-one-slot", &["worker"], &variables, logs.path());
    world.cluster.workers.push(worker);
    let chat = world.chat(0).await;
    let suspended = world.until(&chat, ChatState::Suspended).await;

    let other = world.client.create_chat("Hi.").await.chat_id;
    world.until(&other, ChatState::Waiting).await;

    assert_eq!(world.client.messages(&other).await.len(), 2, "it has its answer");
    world.submit(&chat, pending(&suspended)[0], "yes").await;
    world.until(&chat, ChatState::Waiting).await;
    world.cluster.workers.clear();
}

#[tokio::test]
async fn calls_that_nobody_settles_in_time_get_results_that_say_so() {
    let mut world = World::start(model_that_asks().await, worker()).await;

    let chat = world.chat(1000).await;
    world.until(&chat, ChatState::Waiting).await;

    let results = world.results(&chat).await;
    assert_eq!(results.len(), 1);
    assert!(results[0].is_error);
    assert_eq!(results[0].synthetic_reason(), SyntheticReason::TimedOut);
    let messages = world.client.messages(&chat).await;
    let Some(Kind::Text(last)) = &messages.last().expect("an answer").parts[0].kind else { panic!() };
    assert!(last.text.starts_with("You said "), "the turn went on: {}", last.text);
}

/// A model that looks and asks in one step.
async fn model_that_does_both(command: &'static str) -> ModelServer {
    let calls = [("ask_user", json!({})), ("execute", json!({"command": command}))];
    ModelServer::start(move |request| match request.new_tool_results().is_empty() {
        true => call_tools(&calls),
        false => say("Done."),
    })
    .await
}

#[tokio::test]
async fn a_step_with_both_kinds_runs_the_workers_before_it_waits_for_the_client() {
    let mut world = World::start(model_that_does_both("echo done").await, with_workspace()).await;
    let chat = world.chat(0).await;

    let suspended = world.until(&chat, ChatState::Suspended).await;
    let before = world.results(&chat).await;
    assert_eq!(before.iter().map(|result| result.call_index).collect::<Vec<_>>(), [1]);
    world.submit(&chat, pending(&suspended)[0], "yes").await;
    world.until(&chat, ChatState::Waiting).await;

    let request = world.model.requests().remove(1);
    let results = request.new_tool_results();
    assert_eq!(results[0].1, "yes", "in the order of the calls");
    assert!(results[1].1.contains("done"), "{results:?}");
}

#[tokio::test]
async fn a_worker_killed_in_a_step_with_both_kinds_is_replaced_and_the_chat_waits_all_the_same() {
    let until_there = "echo began > began; until test -e go; do sleep 0.01; done; echo once >> runs";
    let mut world = World::start(model_that_does_both(until_there).await, with_workspace()).await;
    let chat = world.chat(0).await;
    let path = |name: &str| world.cluster.directory.path().join(name);
    let (began, go, runs) = (path("began"), path("go"), path("runs"));
    eventually("the command begins", async || began.exists().then_some(())).await;

    world.cluster.add_worker();
    world.cluster.workers[0].kill();
    fs::write(&go, "").expect("the workspace can be written");
    let suspended = world.until(&chat, ChatState::Suspended).await;
    world.submit(&chat, pending(&suspended)[0], "yes").await;
    world.until(&chat, ChatState::Waiting).await;

    assert_eq!(fs::read_to_string(&runs).expect("the command has run"), "once\n");
    assert_eq!(world.model.requests().len(), 2);
}

#[tokio::test]
async fn what_is_put_in_while_the_chat_waits_is_read_with_the_clients_result() {
    let mut world = World::start(model_that_asks().await, worker()).await;
    let chat = world.chat(0).await;
    let suspended = world.until(&chat, ChatState::Suspended).await;

    let request = proto::SendMessageRequest {
        chat_id: chat.clone(),
        parts: vec![text("And be quick.")],
        busy_behavior: proto::BusyBehavior::Steer.into(),
        ..Default::default()
    };
    world.client.chats.send_message(request).await.expect("it is sent");
    world.submit(&chat, pending(&suspended)[0], "yes").await;
    world.until(&chat, ChatState::Waiting).await;

    let request = world.model.requests().remove(1);
    let last = request.messages().last().expect("a message")["content"].clone();
    assert_eq!((&last[0]["content"], &last[1]["text"]), (&json!("yes"), &json!("And be quick.")));
}

#[tokio::test]
async fn a_clients_tool_takes_the_place_of_the_workspaces_with_its_name() {
    let model = ModelServer::start(|request| match request.new_tool_results()[..] {
        [] => call_tools(&[("list_dir", json!({"path": "."}))]),
        [(_, output), ..] => say(output),
    })
    .await;
    let mut world = World::start(model, with_workspace()).await;
    let request = proto::CreateChatRequest {
        parts: vec![text("Go.")],
        workspace_id: world.cluster.workspace.to_string(),
        client_tools: vec![tool("list_dir")],
        ..Default::default()
    };
    let created = world.client.chats.create_chat(request).await.expect("the chat is created");
    let chat = created.into_inner().chat.expect("a chat").chat_id;

    let suspended = world.until(&chat, ChatState::Suspended).await;
    world.submit(&chat, pending(&suspended)[0], "the client's").await;
    world.until(&chat, ChatState::Waiting).await;

    let offered = world.model.requests()[0].body["tools"].clone();
    let of_that_name = offered.as_array().expect("tools").iter().filter(|tool| tool["name"] == "list_dir");
    assert_eq!(of_that_name.map(|tool| &tool["description"]).collect::<Vec<_>>(), ["Asks the user."]);
    assert_eq!(world.results(&chat).await[0].output, "the client's");
}

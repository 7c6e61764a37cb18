//! What users put into a turn that runs, end to end.

use std::fs;

use chatplane_proto::chat::v1::{self as proto, ChatState, part::Kind};
use chatplane_tests::{
    Client, Cluster, Options, eventually,
    model_server::{Action, Gate, ModelServer, call_tools, say},
    text,
};
use serde_json::json;

/// Runs until a file is there, which the test creates.
const UNTIL_THERE: &str = "echo began > began; until test -e go; do sleep 0.01; done; echo ended";

struct World {
    cluster: Cluster,
    client: Client,
    model: ModelServer,
}

impl World {
    async fn start(model: ModelServer, options: Options) -> Self {
        let cluster = Cluster::start(Options { model_url: model.url(), ..options }).await;
        let client = cluster.client();
        World { cluster, client, model }
    }

    /// Creates a chat that uses the workspace.
    async fn chat(&mut self) -> String {
        let request = proto::CreateChatRequest {
            parts: vec![text("Go.")],
            workspace_id: self.cluster.workspace.to_string(),
            ..Default::default()
        };
        let created = self.client.chats.create_chat(request).await.expect("the chat is created");
        created.into_inner().chat.expect("a chat").chat_id
    }

    async fn steer(&mut self, chat: &str, words: &str) -> proto::SendMessageResponse {
        let request = proto::SendMessageRequest {
            chat_id: chat.to_owned(),
            parts: vec![text(words)],
            busy_behavior: proto::BusyBehavior::Steer.into(),
            ..Default::default()
        };
        self.client.chats.send_message(request).await.expect("it is sent").into_inner()
    }

    async fn at_rest(&mut self, chat: &str) {
        eventually("the chat comes to rest", async || {
            let chat = self.client.chat(chat).await.ok()?;
            (chat.state() == ChatState::Waiting).then_some(())
        })
        .await;
    }

    /// Who spoke, in order, with the words of users and the model.
    async fn told(&mut self, chat: &str) -> Vec<String> {
        let messages = self.client.messages(chat).await;
        let told = messages.iter().map(|message| match &message.parts[0].kind {
            Some(Kind::Text(text)) => text.text.clone(),
            Some(Kind::ToolCall(_)) => "calls".to_owned(),
            Some(Kind::ToolResult(_)) => "result".to_owned(),
            other => panic!("{other:?}"),
        });
        told.collect()
    }

    async fn queue(&mut self, chat: &str) -> Vec<proto::QueuedMessage> {
        let request = proto::ListQueuedMessagesRequest { chat_id: chat.to_owned(), ..Default::default() };
        let response = self.client.chats.list_queued_messages(request).await.expect("the queue is listed");
        response.into_inner().queued_messages
    }

    /// The result of the chat's only call.
    async fn result(&mut self, chat: &str) -> proto::ToolResultPart {
        let messages = self.client.messages(chat).await;
        let kinds = messages.into_iter().flat_map(|message| message.parts).filter_map(|part| part.kind);
        let mut results = kinds.filter_map(|kind| match kind {
            Kind::ToolResult(result) => Some(result),
            _ => None,
        });
        let result = results.next().expect("a result");
        assert!(results.next().is_none(), "one call has one result");
        result
    }

    /// The command has begun.
    async fn began(&self) {
        let path = self.cluster.directory.path().join("began");
        eventually("the command begins", async || {
            fs::read_to_string(&path).is_ok_and(|content| content.ends_with('\n')).then_some(())
        })
        .await;
    }

    /// The command may end.
    fn go(&self) {
        fs::write(self.cluster.directory.path().join("go"), "").expect("the workspace can be written");
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

/// A model that runs a command which ends when the test lets it, and then says what it saw.
async fn model_that_waits() -> ModelServer {
    ModelServer::start(|request| match request.new_tool_results().is_empty() {
        true => call_tools(&[("execute", json!({"command": UNTIL_THERE}))]),
        false => say("Done."),
    })
    .await
}

#[tokio::test]
async fn what_is_put_in_while_tools_run_is_read_together_with_their_results() {
    let mut world = World::start(model_that_waits().await, with_workspace()).await;
    let chat = world.chat().await;
    world.began().await;

    let first = world.steer(&chat, "Rather so.").await;
    world.steer(&chat, "And quickly.").await;
    world.go();
    world.at_rest(&chat).await;

    assert!(first.queued_message.is_some_and(|queued| queued.steering));
    let request = world.model.requests().remove(1);
    let last = request.messages().last().expect("a message")["content"].clone();
    assert_eq!(last[0]["type"], "tool_result");
    assert_eq!((&last[1]["text"], &last[2]["text"]), (&json!("Rather so."), &json!("And quickly.")));
    let told = ["Go.", "calls", "result", "Rather so.", "And quickly.", "Done."];
    assert_eq!(world.told(&chat).await, told);
}

#[tokio::test]
async fn what_is_put_in_during_the_last_answer_extends_the_turn_before_the_queue() {
    let gate = Gate::new();
    let held = gate.clone();
    let model = ModelServer::start(move |request| match request.last_user_text() {
        "Go." => vec![Action::text("First."), held.wait(), Action::stop()],
        words => say(&format!("To {words}")),
    })
    .await;
    let mut world = World::start(model, worker()).await;
    let chat = world.client.create_chat("Go.").await.chat_id;
    gate.reached().await;

    world.client.send(&chat, "Later.").await.expect("it is queued");
    world.steer(&chat, "Now.").await;
    gate.open();
    world.at_rest(&chat).await;

    let told = ["Go.", "First.", "Now.", "To Now.", "Later.", "To Later."];
    assert_eq!(world.told(&chat).await, told);
}

#[tokio::test]
async fn what_was_put_in_enters_once_when_the_worker_dies_in_the_middle() {
    let mut world = World::start(model_that_waits().await, with_workspace()).await;
    let chat = world.chat().await;
    world.began().await;
    world.steer(&chat, "Rather so.").await;

    world.cluster.add_worker();
    world.cluster.workers[0].kill();
    world.go();
    world.at_rest(&chat).await;

    assert_eq!(world.told(&chat).await, ["Go.", "calls", "result", "Rather so.", "Done."]);
    assert_eq!(world.model.requests().len(), 2, "the command ran on, and its step was not made again");
}

#[tokio::test]
async fn a_stop_makes_what_was_put_in_an_ordinary_message_of_the_next_turn() {
    let gate = Gate::new();
    let held = gate.clone();
    let model = ModelServer::start(move |request| match request.last_user_text() {
        "Go." => call_tools(&[("execute", json!({"command": UNTIL_THERE}))]),
        words => vec![Action::text(&format!("To {words}")), held.wait(), Action::stop()],
    })
    .await;
    let mut world = World::start(model, with_workspace()).await;
    let chat = world.chat().await;
    world.began().await;
    world.steer(&chat, "Rather so.").await;
    let queued = world.steer(&chat, "And quickly.").await.queued_message.expect("it is queued");
    assert!(queued.steering);

    // The command ends with the stop and with nothing else: nobody lets it go on.
    let request = proto::InterruptChatRequest { chat_id: chat.clone(), ..Default::default() };
    world.client.chats.interrupt_chat(request).await.expect("it is interrupted");
    gate.reached().await;

    let next = world.model.requests().remove(1);
    assert_eq!(next.user_texts(), ["Go.", "Rather so."], "the next turn begins with the first alone");
    let queue = world.queue(&chat).await;
    let [last] = &queue[..] else { panic!("{queue:?}") };
    assert_eq!((&last.queued_message_id, last.steering), (&queued.queued_message_id, false));
    let result = world.result(&chat).await;
    assert!(result.is_error && !result.output.contains("ended"), "the command was stopped: {result:?}");
    gate.open();
    world.at_rest(&chat).await;
    let told = ["Go.", "calls", "result", "Rather so.", "To Rather so.", "And quickly.", "To And quickly."];
    assert_eq!(world.told(&chat).await, told);
}

#[tokio::test]
async fn a_turn_keeps_the_instructions_that_its_owner_had_when_it_began() {
    let gate = Gate::new();
    let held = gate.clone();
    let model = ModelServer::start(move |request| match request.last_user_text() {
        "Go." if request.new_tool_results().is_empty() => {
            [vec![held.wait()], call_tools(&[("nothing", json!({}))])].concat()
        }
        words => say(&format!("To {words}")),
    })
    .await;
    let mut world = World::start(model, worker()).await;
    let chat = world.client.create_chat("Go.").await.chat_id;
    gate.reached().await;

    let request = proto::UpdateUserInstructionsRequest { text: "Be brief.".to_owned(), ..Default::default() };
    world.client.settings.update_user_instructions(request).await.expect("they are stored");
    world.client.send(&chat, "Later.").await.expect("it is queued");
    gate.open();
    world.at_rest(&chat).await;

    let requests = world.model.requests();
    let has =
        |request: &chatplane_tests::model_server::Request| request.system_texts().contains(&"Be brief.");
    assert_eq!(requests.iter().map(has).collect::<Vec<_>>(), [false, false, true]);
    let last = requests[2].system_texts();
    assert_eq!(last.last(), Some(&"Be brief."), "they come after everything else: {last:?}");
}

//! Histories that grow too long, end to end: a scripted model with a small context, real
//! workers, and what watchers see of it.

use chatplane_proto::chat::v1::{self as proto, ChatState, part::Kind, watch_chat_response::Event};
use chatplane_tests::{
    Client, Cluster, DEADLINE, Options, eventually,
    model_server::{Action, Gate, ModelServer, Purpose, Request, call_tools, say, say_with_context},
};
use serde_json::{Value, json};
use tokio::time::timeout;

/// What fits the model's context; at 70 percent the history is summarized.
const CONTEXT_TOKENS: &str = "1000";
const SUMMARY: &str = "All of it, in short.";

struct World {
    cluster: Cluster,
    client: Client,
    model: ModelServer,
}

impl World {
    async fn start(model: ModelServer) -> Self {
        let mut options = Options { model_url: model.url(), workers: 1, ..Options::default() };
        options.serve.insert("CHATPLANE_MODEL_CONTEXT_TOKENS", CONTEXT_TOKENS.to_owned());
        let cluster = Cluster::start(options).await;
        let client = cluster.client();
        World { cluster, client, model }
    }

    async fn at_rest(&mut self, chat: &str) -> proto::Chat {
        eventually("the chat comes to rest", async || {
            let chat = self.client.chat(chat).await.ok()?;
            matches!(chat.state(), ChatState::Waiting | ChatState::Error).then_some(chat)
        })
        .await
    }

    async fn ask(&mut self, chat: &str, words: &str) -> proto::Chat {
        self.client.send(chat, words).await.expect("it is sent");
        self.at_rest(chat).await
    }

    async fn compact(&mut self, chat: &str) -> Result<proto::Chat, tonic::Status> {
        let request = proto::CompactChatRequest { chat_id: chat.to_owned(), ..Default::default() };
        let response = self.client.chats.compact_chat(request).await?.into_inner();
        Ok(response.chat.expect("a chat"))
    }

    /// The summaries of a chat: where each came from, and what it says.
    async fn boundaries(&mut self, chat: &str) -> Vec<(Value, String)> {
        let messages = self.client.messages(chat).await;
        let rows: Vec<_> = messages.into_iter().filter(|message| message.covers_through > 0).collect();
        let kinds = rows.iter().flat_map(|message| &message.parts).filter_map(|part| part.kind.as_ref());
        let (mut calls, mut results) = (Vec::new(), Vec::new());
        for kind in kinds {
            match kind {
                Kind::ToolCall(call) if call.tool_name == "chat_summarized" => {
                    calls.push(serde_json::from_str(&call.arguments_json).expect("arguments are JSON"));
                }
                Kind::ToolResult(result) => results.push(result.output.clone()),
                other => panic!("no part of a boundary: {other:?}"),
            }
        }
        assert_eq!(calls.len(), results.len());
        calls.into_iter().zip(results).collect()
    }

    /// Every model call is paid for once, whatever became of what it said.
    async fn all_is_paid(&mut self) {
        let mut database = self.cluster.database.connection().await;
        let calls = i64::try_from(self.model.calls().len()).expect("a few calls");
        eventually("all calls are accounted for", async || {
            let query = sqlx::query_scalar::<_, i64>("select count(*) from model_calls");
            let paid = query.fetch_one(&mut database).await.expect("the database answers");
            assert!(paid <= calls, "{paid} of {calls}");
            (paid == calls).then_some(())
        })
        .await;
    }

    /// The texts of a chat that its users see.
    async fn texts(&mut self, chat: &str) -> Vec<String> {
        let messages = self.client.messages(chat).await;
        let parts = messages.into_iter().flat_map(|message| message.parts);
        let text = |part: proto::Part| match part.kind {
            Some(Kind::Text(text)) => Some(text.text),
            _ => None,
        };
        parts.filter_map(text).collect()
    }

    /// Watches until the chat shows these words of a summary live.
    async fn summary_seen(&mut self, chat: &str, words: &str) {
        let mut stream = self.client.watch(chat, "").await.expect("the chat can be watched");
        let seen = async {
            let mut summary = None;
            let mut seen = Vec::new();
            while !String::from_utf8_lossy(&seen).contains(words) {
                match stream.message().await.expect("the stream goes on").expect("the stream goes on").event {
                    Some(Event::PartStarted(started)) if started.kind() == proto::PartKind::Summary => {
                        summary = started.stream;
                    }
                    Some(Event::PartAppend(append)) if append.stream == summary => {
                        seen.extend_from_slice(&append.data);
                    }
                    _ => {}
                }
            }
        };
        timeout(DEADLINE, seen).await.expect("the words are shown in time");
    }
}

/// An answer that calls a tool which nobody has, after which the context is so full: the
/// shortest way to another step.
fn step(input_tokens: u64) -> Vec<Action> {
    let usage = Action::Usage { input_tokens, output_tokens: 5 };
    [vec![usage], call_tools(&[("nothing", json!({}))])].concat()
}

fn has_summary(request: &Request) -> bool {
    request.user_texts().contains(&SUMMARY)
}

fn too_long() -> Vec<Action> {
    vec![Action::error_status(400, "invalid_request_error", "prompt is too long: 1001 tokens > 1000")]
}

/// Answers the request of a summary half, and the rest once the gate is open.
fn slow_summary(gate: &Gate) -> Vec<Action> {
    vec![Action::text("All of it, "), gate.wait(), Action::text("in short."), Action::stop()]
}

/// Makes step after step until a summary has come with one of them. All steps but the first
/// wait at the gate, like the summary.
async fn steps_until_a_summary_comes(gate: &Gate) -> ModelServer {
    let held = gate.clone();
    ModelServer::start(move |request| match request.purpose() {
        Purpose::Summary => slow_summary(&held),
        _ if request.first_user_text() != "Go." => say("Done."),
        _ if request.messages().len() == 1 => step(800),
        _ => [vec![held.wait()], step(810)].concat(),
    })
    .await
}

/// What summaries a model was asked for.
fn summaries(model: &ModelServer) -> usize {
    model.calls_for(Purpose::Summary).len()
}

#[tokio::test]
async fn a_summary_is_made_beside_the_turn_and_rides_on_a_commit() {
    let gate = Gate::new();
    let mut world = World::start(steps_until_a_summary_comes(&gate).await).await;
    let chat = world.client.create_chat("Go.").await.chat_id;

    world.summary_seen(&chat, "All of it, ").await;
    gate.reached_times(2).await;
    gate.open();
    let rested = world.at_rest(&chat).await;

    assert_eq!(rested.state(), ChatState::Waiting, "{:?}", rested.last_error);
    let boundaries = world.boundaries(&chat).await;
    let facts = json!({"source": "automatic", "percent": 80, "tokens": 800});
    assert_eq!(boundaries, [(facts, SUMMARY.to_owned())]);
    let last = world.model.calls_for(Purpose::Turn).pop().expect("a call").request;
    assert!(has_summary(&last) && !last.user_texts().contains(&"Go."), "{:?}", last.user_texts());
    assert_eq!(world.texts(&chat).await, ["Go.", "Done."], "everything stays readable");
    assert_eq!(summaries(&world.model), 1);
    world.all_is_paid().await;
}

#[tokio::test]
async fn a_summary_that_is_not_ready_when_the_turn_ends_is_dropped_and_paid_for() {
    let (gate, never) = (Gate::new(), Gate::new());
    let (held, hangs) = (gate.clone(), never.clone());
    let model = ModelServer::start(move |request| match request.purpose() {
        Purpose::Summary => slow_summary(&hangs),
        _ if request.messages().len() == 1 => step(800),
        _ => [vec![held.wait()], say("Done.")].concat(),
    })
    .await;
    let mut world = World::start(model).await;
    let chat = world.client.create_chat("Go.").await.chat_id;
    world.summary_seen(&chat, "All of it, ").await;

    gate.open();
    world.at_rest(&chat).await;

    world.all_is_paid().await;
    assert!(world.boundaries(&chat).await.is_empty());
    assert_eq!(world.texts(&chat).await, ["Go.", "Done."]);
    never.open();
}

#[tokio::test]
async fn a_chat_of_single_steps_pays_for_one_summary_and_goes_on_from_it() {
    let model = ModelServer::start(|request| match request.purpose() {
        Purpose::Summary => say(SUMMARY),
        _ if has_summary(request) => say("Third."),
        _ if request.last_user_text() == "Two." => say_with_context("Second.", 810),
        _ => say_with_context("First.", 800),
    })
    .await;
    let mut world = World::start(model).await;
    let chat = world.client.create_chat("One.").await.chat_id;
    world.at_rest(&chat).await;

    world.ask(&chat, "Two.").await;
    world.ask(&chat, "Three.").await;

    let facts = json!({"source": "automatic", "percent": 80, "tokens": 800});
    assert_eq!(world.boundaries(&chat).await, [(facts, SUMMARY.to_owned())]);
    assert_eq!(summaries(&world.model), 1);
    let last = world.model.calls_for(Purpose::Turn).pop().expect("a call").request;
    assert_eq!(last.user_texts()[1..], [SUMMARY, "Two.", "Three."]);
    world.all_is_paid().await;
}

#[tokio::test]
async fn the_request_of_a_summary_has_the_instructions_the_tools_and_the_messages_of_the_turn() {
    let model = ModelServer::start(|request| match request.purpose() {
        Purpose::Summary => say(SUMMARY),
        _ if request.messages().len() < 7 => step(720),
        _ => say("Done."),
    })
    .await;
    let mut world = World::start(model).await;
    let request = proto::CreateChatRequest {
        parts: vec![chatplane_tests::text("Go.")],
        system_prompt: "Be brief.".to_owned(),
        client_tools: vec![proto::ToolDefinition {
            name: "ask_user".to_owned(),
            description: "Asks the user.".to_owned(),
            input_schema_json: "{}".to_owned(),
        }],
        ..Default::default()
    };
    let created = world.client.chats.create_chat(request).await.expect("the chat is created");
    let chat = created.into_inner().chat.expect("a chat").chat_id;
    world.at_rest(&chat).await;

    let mut asked = world.model.calls_for(Purpose::Summary).remove(0).request.body;
    let turns = world.model.calls_for(Purpose::Turn);
    let mut second = turns[1].request.body.clone();
    assert!(asked["system"].to_string().contains("Be brief."), "{}", asked["system"]);
    assert!(asked["tools"].to_string().contains("ask_user"), "{}", asked["tools"]);
    assert_eq!((&second["system"], &second["tools"]), (&asked["system"], &asked["tools"]));
    let before = strip(&mut asked);
    let turn = strip(&mut second);
    // What was sent before it, and the message that asks for it within the user's turn.
    assert_eq!(before.len(), turn.len());
    assert_eq!(before[..before.len() - 1], turn[..turn.len() - 1]);
    let (asked, sent) = (before.last().expect("one"), turn.last().expect("one"));
    assert_eq!(asked["content"][0], sent["content"][0], "the results of the last step");
    assert_eq!(asked["content"].as_array().map(Vec::len), Some(2));
}

/// The messages of a request without the marks where the cache ends.
fn strip(body: &mut Value) -> Vec<Value> {
    let messages = body["messages"].as_array_mut().expect("messages");
    for block in messages.iter_mut().filter_map(|message| message["content"].as_array_mut()).flatten() {
        block.as_object_mut().expect("a block").remove("cache_control");
    }
    std::mem::take(messages)
}

#[tokio::test]
async fn at_the_hard_limit_the_turn_waits_for_its_summary() {
    let gate = Gate::new();
    let held = gate.clone();
    let model = ModelServer::start(move |request| match request.purpose() {
        Purpose::Summary => slow_summary(&held),
        _ if has_summary(request) => say("Second."),
        _ => say_with_context("First.", 960),
    })
    .await;
    let mut world = World::start(model).await;
    let chat = world.client.create_chat("One.").await.chat_id;
    world.at_rest(&chat).await;

    world.client.send(&chat, "Two.").await.expect("it is sent");
    world.summary_seen(&chat, "All of it, ").await;
    assert_eq!(world.model.calls_for(Purpose::Turn).len(), 1, "the turn waits");
    gate.open();
    world.at_rest(&chat).await;

    let last = world.model.calls_for(Purpose::Turn).pop().expect("a call").request;
    assert_eq!(last.user_texts()[1..], [SUMMARY, "Two."]);
    let facts = json!({"source": "automatic", "percent": 96, "tokens": 960});
    assert_eq!(world.boundaries(&chat).await, [(facts, SUMMARY.to_owned())]);
    assert_eq!(world.texts(&chat).await, ["One.", "First.", "Two.", "Second."]);
}

#[tokio::test]
async fn a_prompt_that_the_provider_finds_too_long_is_summarized_and_sent_again() {
    let model = ModelServer::start(|request| match request.purpose() {
        Purpose::Summary => say(SUMMARY),
        _ if has_summary(request) => say("Second."),
        _ if request.user_texts().contains(&"Two.") => too_long(),
        _ => say_with_context("First.", 100),
    })
    .await;
    let mut world = World::start(model).await;
    let chat = world.client.create_chat("One.").await.chat_id;
    world.at_rest(&chat).await;

    let rested = world.ask(&chat, "Two.").await;

    assert_eq!(rested.state(), ChatState::Waiting, "{:?}", rested.last_error);
    assert_eq!(world.texts(&chat).await, ["One.", "First.", "Two.", "Second."]);
}

#[tokio::test]
async fn a_chat_that_is_too_long_even_so_says_what_to_do() {
    let model = ModelServer::start(|request| match request.purpose() {
        Purpose::Summary => say(SUMMARY),
        _ if request.user_texts().contains(&"Two.") => too_long(),
        _ => say_with_context("First.", 100),
    })
    .await;
    let mut world = World::start(model).await;
    let chat = world.client.create_chat("One.").await.chat_id;
    world.at_rest(&chat).await;

    let rested = world.ask(&chat, "Two.").await;

    let error = rested.last_error.expect("an error");
    assert_eq!(error.kind(), proto::ErrorKind::CompactionFailed);
    assert!(error.message.contains("clear the context"), "{}", error.message);
}

#[tokio::test]
async fn an_empty_summary_is_an_error_of_a_summary_that_was_asked_for() {
    let model = ModelServer::start(|request| match request.purpose() {
        Purpose::Summary => say("  \n"),
        _ => say("First."),
    })
    .await;
    let mut world = World::start(model).await;
    let chat = world.client.create_chat("One.").await.chat_id;
    world.at_rest(&chat).await;

    world.compact(&chat).await.expect("it is asked for");
    let mut stream = world.client.watch(&chat, "").await.expect("the chat can be watched");
    let retried = async {
        loop {
            let event = stream.message().await.expect("the stream goes on").expect("the stream goes on");
            if let Some(Event::Retry(retry)) = event.event
                && let Some(retry) = retry.retry
            {
                return retry.error.expect("an error");
            }
        }
    };
    let error = timeout(DEADLINE, retried).await.expect("it is tried again");

    assert_eq!(error.kind(), proto::ErrorKind::CompactionFailed);
    let request = proto::InterruptChatRequest { chat_id: chat.clone(), ..Default::default() };
    world.client.chats.interrupt_chat(request).await.expect("it is interrupted");
    world.at_rest(&chat).await;
    assert!(world.boundaries(&chat).await.is_empty());
}

#[tokio::test]
async fn compact_chat_makes_one_summary_and_the_next_turn_goes_on_from_it() {
    let model = ModelServer::start(|request| match request.purpose() {
        Purpose::Summary => say(SUMMARY),
        _ if request.last_user_text() == "Two." => say("Second."),
        _ => say_with_context("First.", 300),
    })
    .await;
    let mut world = World::start(model).await;
    let chat = world.client.create_chat("One.").await.chat_id;
    world.at_rest(&chat).await;

    let asked = world.compact(&chat).await.expect("it is asked for");
    assert_eq!((asked.state(), asked.compact_requested), (ChatState::Running, true));
    let rested = world.at_rest(&chat).await;
    assert!(!rested.compact_requested);
    let facts = json!({"source": "manual", "percent": 30, "tokens": 300});
    assert_eq!(world.boundaries(&chat).await, [(facts, SUMMARY.to_owned())]);
    let again = world.compact(&chat).await.expect_err("there is no answer since");
    assert_eq!(again.code(), tonic::Code::FailedPrecondition);
    world.ask(&chat, "Two.").await;

    let last = world.model.calls().pop().expect("a call").request;
    assert_eq!(last.user_texts()[1..], [SUMMARY, "Two."]);
    assert_eq!(world.texts(&chat).await, ["One.", "First.", "Two.", "Second."]);
}

/// A worker is killed while it waits for a summary, of which another one makes a new one.
async fn killed_while_a_summary_is_made(world: &mut World, chat: &str, gate: &Gate) -> proto::Chat {
    world.summary_seen(chat, "All of it, ").await;
    world.cluster.add_worker();
    world.cluster.workers[0].kill();
    gate.reached_times(2).await;
    gate.open();
    world.at_rest(chat).await
}

#[tokio::test]
async fn a_worker_killed_at_the_hard_limit_is_replaced_and_there_is_one_summary() {
    let gate = Gate::new();
    let held = gate.clone();
    let model = ModelServer::start(move |request| match request.purpose() {
        Purpose::Summary => slow_summary(&held),
        _ if has_summary(request) => say("Second."),
        _ => say_with_context("First.", 960),
    })
    .await;
    let mut world = World::start(model).await;
    let chat = world.client.create_chat("One.").await.chat_id;
    world.at_rest(&chat).await;
    world.client.send(&chat, "Two.").await.expect("it is sent");

    let rested = killed_while_a_summary_is_made(&mut world, &chat, &gate).await;

    assert_eq!(rested.state(), ChatState::Waiting, "{:?}", rested.last_error);
    assert_eq!(world.boundaries(&chat).await.len(), 1);
    assert_eq!(world.texts(&chat).await, ["One.", "First.", "Two.", "Second."]);
}

#[tokio::test]
async fn a_worker_killed_in_a_summary_that_was_asked_for_is_replaced_too() {
    let gate = Gate::new();
    let held = gate.clone();
    let model = ModelServer::start(move |request| match request.purpose() {
        Purpose::Summary => slow_summary(&held),
        _ => say("First."),
    })
    .await;
    let mut world = World::start(model).await;
    let chat = world.client.create_chat("One.").await.chat_id;
    world.at_rest(&chat).await;
    world.compact(&chat).await.expect("it is asked for");

    let rested = killed_while_a_summary_is_made(&mut world, &chat, &gate).await;

    assert_eq!((rested.state(), rested.compact_requested), (ChatState::Waiting, false));
    assert_eq!(world.boundaries(&chat).await.len(), 1);
    assert_eq!(world.model.calls_for(Purpose::Turn).len(), 1);
}

#[tokio::test]
async fn a_worker_killed_with_a_summary_beside_its_turn_is_replaced_and_the_turn_goes_on() {
    let gate = Gate::new();
    let mut world = World::start(steps_until_a_summary_comes(&gate).await).await;
    let chat = world.client.create_chat("Go.").await.chat_id;
    world.summary_seen(&chat, "All of it, ").await;
    gate.reached_times(2).await;

    world.cluster.add_worker();
    world.cluster.workers[0].kill();
    gate.reached_times(4).await;
    gate.open();
    let rested = world.at_rest(&chat).await;

    assert_eq!(rested.state(), ChatState::Waiting, "{:?}", rested.last_error);
    assert_eq!(world.boundaries(&chat).await.len(), 1);
    assert_eq!(world.texts(&chat).await, ["Go.", "Done."]);
}

#[tokio::test]
async fn a_stop_ends_a_summary_and_leaves_the_history_as_it_is() {
    let gate = Gate::new();
    let held = gate.clone();
    let model = ModelServer::start(move |request| match request.purpose() {
        Purpose::Summary => slow_summary(&held),
        _ => say("First."),
    })
    .await;
    let mut world = World::start(model).await;
    let chat = world.client.create_chat("One.").await.chat_id;
    world.at_rest(&chat).await;
    world.compact(&chat).await.expect("it is asked for");
    world.summary_seen(&chat, "All of it, ").await;

    let request = proto::InterruptChatRequest { chat_id: chat.clone(), ..Default::default() };
    world.client.chats.interrupt_chat(request).await.expect("it is interrupted");
    let rested = world.at_rest(&chat).await;

    assert!(!rested.compact_requested);
    assert!(world.boundaries(&chat).await.is_empty());
    world.all_is_paid().await;
    eventually("the provider's stream is closed", async || {
        let call = world.model.calls_for(Purpose::Summary).remove(0);
        call.end.map(|_| ())
    })
    .await;
}

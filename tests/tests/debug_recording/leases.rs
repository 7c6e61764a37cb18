//! Turns that another worker goes on with: one run each, whatever that worker knows of them.

use chatplane_proto::chat::v1 as proto;
use chatplane_tests::{
    Client, Cluster, Options,
    model_server::{Action, Gate, ModelServer, call_tools, say},
    text,
};
use serde_json::json;

use super::{in_state, json, runs, set_policy, steps};

/// What fits the model's context.
const CONTEXT_TOKENS: &str = "1000";

async fn recorded(model: &ModelServer) -> (Cluster, Client) {
    let mut options = Options { model_url: model.url(), workers: 1, ..Options::default() };
    options.serve.insert("CHATPLANE_MODEL_CONTEXT_TOKENS", CONTEXT_TOKENS.to_owned());
    let cluster = Cluster::start(options).await;
    set_policy(&cluster, proto::DebugPolicy::Forced).await;
    let client = cluster.client();
    (cluster, client)
}

/// The chat's worker dies, and another one finishes its turn.
async fn taken_over(cluster: &mut Cluster, client: &mut Client, chat: &str) {
    cluster.add_worker();
    cluster.workers[0].kill();
    in_state(client, chat, proto::ChatState::Waiting).await;
}

/// A step of a tool that nobody has, which is over at once.
fn step() -> Vec<Action> {
    call_tools(&[("nothing", json!({}))])
}

#[tokio::test]
async fn a_turn_that_was_steered_stays_one_run_when_its_worker_dies() {
    let (steering, dying) = (Gate::new(), Gate::new());
    let (steered, held) = (steering.clone(), dying.clone());
    let model = ModelServer::start(move |request| match request.number {
        0 => [vec![steered.wait()], step()].concat(),
        1 => vec![Action::text("half "), held.wait(), Action::stop()],
        _ => say("whole"),
    })
    .await;
    let (mut cluster, mut client) = recorded(&model).await;
    let chat = client.create_chat("Go.").await.chat_id;
    steering.reached().await;
    let request = proto::SendMessageRequest {
        chat_id: chat.clone(),
        parts: vec![text("Rather so.")],
        busy_behavior: proto::BusyBehavior::Steer.into(),
        ..Default::default()
    };
    client.chats.send_message(request).await.expect("it is sent");
    steering.open();
    dying.reached().await;
    runs(&mut client, &chat, 1).await;

    taken_over(&mut cluster, &mut client, &chat).await;

    let runs = runs(&mut client, &chat, 2).await;
    let [run] = &runs[..] else { panic!("{runs:?}") };
    let messages = client.messages(&chat).await;
    assert_eq!(run.trigger_message_id, messages[0].message_id);
    let steps = steps(&mut client, run).await;
    assert!(steps[1].request_json.contains("Rather so."), "{steps:?}");
    assert_eq!(json(&steps[1].response_json)["parts"][0]["text"], "whole");
}

#[tokio::test]
async fn a_turn_whose_beginning_was_summarized_stays_one_run_when_its_worker_dies() {
    let gate = Gate::new();
    let held = gate.clone();
    let model = ModelServer::start(move |request| match request.number {
        0 => [vec![Action::Usage { input_tokens: 960, output_tokens: 5 }], step()].concat(),
        1 => say("All of it, in short."),
        2 => vec![Action::text("half "), held.wait(), Action::stop()],
        _ => say("whole"),
    })
    .await;
    let (mut cluster, mut client) = recorded(&model).await;
    let chat = client.create_chat("Go.").await.chat_id;
    gate.reached().await;
    runs(&mut client, &chat, 2).await;

    taken_over(&mut cluster, &mut client, &chat).await;

    let runs = runs(&mut client, &chat, 3).await;
    let [run] = &runs[..] else { panic!("{runs:?}") };
    let messages = client.messages(&chat).await;
    assert_eq!(run.trigger_message_id, messages[0].message_id);
    let steps = steps(&mut client, run).await;
    let purposes: Vec<_> = steps.iter().map(|step| json(&step.request_json)["purpose"].clone()).collect();
    assert_eq!(purposes, ["answer", "summary", "answer"]);
    assert!(!steps[2].request_json.contains("Go."), "the summary stands for it: {steps:?}");
}

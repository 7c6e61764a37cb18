//! Steps of calls that answer, fail, are stopped, and lose their worker.

use chatplane_proto::chat::v1 as proto;
use chatplane_tests::{
    Client, Cluster, Options, file_part,
    model_server::{Action, Gate, ModelServer, call_tools, say},
    text,
};
use serde_json::json;

use super::{KEY, cluster, in_state, json, runs, set_policy, steps};

async fn recorded(model: &ModelServer) -> (Cluster, Client) {
    let cluster = cluster(model, false).await;
    set_policy(&cluster, proto::DebugPolicy::Forced).await;
    let client = cluster.client();
    (cluster, client)
}

#[tokio::test]
async fn the_steps_of_a_turn_are_one_run_without_key_and_without_bytes_of_files() {
    let model = ModelServer::start_queue([
        call_tools(&[("execute", json!({"command": format!("echo {KEY}")}))]),
        say("That is it."),
    ])
    .await;
    let cluster = cluster(&model, true).await;
    set_policy(&cluster, proto::DebugPolicy::Forced).await;
    let mut client = cluster.client();
    let image = b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR\0\0\0\x01\0\0\0\x01\x08\x06\0\0\0\x1f\x15\xc4\x89";
    let file = client.upload("a.png", image).await.expect("the file is stored");
    let request = proto::CreateChatRequest {
        parts: vec![text("Look."), file_part(&file)],
        workspace_id: cluster.workspace.to_string(),
        ..Default::default()
    };
    let created = client.chats.create_chat(request).await.expect("created").into_inner();
    let chat = created.chat.expect("a chat").chat_id;
    in_state(&mut client, &chat, proto::ChatState::Waiting).await;

    let runs = runs(&mut client, &chat, 2).await;
    let [run] = &runs[..] else { panic!("{runs:?}") };
    let steps = steps(&mut client, run).await;

    let messages = client.messages(&chat).await;
    let ids = |role: proto::Role| -> Vec<i64> {
        let of_role = messages.iter().filter(|message| message.role() == role);
        of_role.map(|message| message.message_id).collect()
    };
    let (users, answers, results) =
        (ids(proto::Role::User), ids(proto::Role::Assistant), ids(proto::Role::Tool));
    assert_eq!((run.trigger_message_id, run.history_tip_message_id), (users[0], users[0]));
    assert_eq!(steps.iter().map(|step| step.step).collect::<Vec<_>>(), [1, 2]);
    assert_eq!(steps.iter().map(|step| step.assistant_message_id).collect::<Vec<_>>(), answers);
    assert_eq!(
        steps.iter().map(|step| step.history_tip_message_id).collect::<Vec<_>>(),
        [users[0], results[0]]
    );
    assert_eq!(run.usage.map(|usage| usage.output_tokens), Some(10));
    let everything = format!("{steps:?}");
    assert!(!everything.contains(KEY), "{everything}");
    assert!(!everything.contains("iVBORw0KGgo"), "no bytes of the image: {everything}");
    let request = json(&steps[1].request_json);
    assert_eq!(request["messages"][0]["parts"][2]["type"], "image");
    assert_eq!(
        request["messages"][2]["results"][0]["output"].as_str().map(|told| told.contains("[key]")),
        Some(true)
    );
    assert_eq!(json(&steps[1].response_json)["parts"][0]["text"], "That is it.");
    assert!(steps.iter().all(|step| step.error.is_none() && step.attempts.len() == 1 && !step.truncated));
}

#[tokio::test]
async fn a_call_that_fails_at_first_has_its_attempts_and_one_that_fails_for_good_its_error() {
    let model = ModelServer::start_queue([
        vec![Action::error_status(529, "overloaded_error", "busy").with_header("retry-after-ms", "1")],
        say("At last."),
        vec![Action::error_status(400, "invalid_request_error", "no")],
    ])
    .await;
    let (_cluster, mut client) = recorded(&model).await;
    let chat = client.create_chat("Go.").await.chat_id;
    in_state(&mut client, &chat, proto::ChatState::Waiting).await;
    client.send(&chat, "And on.").await.expect("sent");
    in_state(&mut client, &chat, proto::ChatState::Error).await;

    let runs = runs(&mut client, &chat, 2).await;
    let [failed, answered] = &runs[..] else { panic!("{runs:?}") };
    let (failed, answered) = (steps(&mut client, failed).await, steps(&mut client, answered).await);

    let kinds = |step: &proto::DebugStep| -> Vec<Option<proto::ErrorKind>> {
        step.attempts.iter().map(|attempt| attempt.error.as_ref().map(proto::ChatError::kind)).collect()
    };
    assert_eq!(kinds(&answered[0]), [Some(proto::ErrorKind::Overloaded), None]);
    assert_eq!(answered[0].error, None);
    assert!(answered[0].assistant_message_id > 0);
    assert_eq!(kinds(&failed[0]), [Some(proto::ErrorKind::InvalidRequest)]);
    assert_eq!(failed[0].error.as_ref().map(proto::ChatError::kind), Some(proto::ErrorKind::InvalidRequest));
    assert_eq!((failed[0].assistant_message_id, failed[0].response_json.as_str()), (0, ""));
}

#[tokio::test]
async fn a_call_that_breaks_off_has_its_error_and_what_it_had_said() {
    let broken = vec![Action::text("half "), Action::error_event("invalid_request_error", "no")];
    let model = ModelServer::start_queue([broken]).await;
    let (_cluster, mut client) = recorded(&model).await;
    let chat = client.create_chat("Go.").await.chat_id;
    in_state(&mut client, &chat, proto::ChatState::Error).await;

    let runs = runs(&mut client, &chat, 1).await;
    let steps = steps(&mut client, &runs[0]).await;

    assert_eq!(steps[0].error.as_ref().map(proto::ChatError::kind), Some(proto::ErrorKind::InvalidRequest));
    assert_eq!(steps[0].assistant_message_id, 0);
    assert_eq!(json(&steps[0].response_json)["parts"][0]["text"], "half ");
}

#[tokio::test]
async fn a_call_that_is_stopped_is_recorded_as_far_as_it_came() {
    let gate = Gate::new();
    let held = gate.clone();
    let model = ModelServer::start_queue([vec![Action::text("half "), held.wait(), Action::stop()]]).await;
    let (_cluster, mut client) = recorded(&model).await;
    let chat = client.create_chat("Go.").await.chat_id;
    let mut stream = client.watch(&chat, "").await.expect("the chat can be watched");
    loop {
        let event = stream.message().await.expect("the stream goes on").expect("the stream goes on");
        if matches!(event.event, Some(proto::watch_chat_response::Event::PartAppend(_))) {
            break;
        }
    }

    let request = proto::InterruptChatRequest { chat_id: chat.clone(), ..Default::default() };
    client.chats.interrupt_chat(request).await.expect("it is stopped");
    in_state(&mut client, &chat, proto::ChatState::Waiting).await;

    let runs = runs(&mut client, &chat, 1).await;
    let steps = steps(&mut client, &runs[0]).await;
    let messages = client.messages(&chat).await;
    assert_eq!(steps[0].assistant_message_id, messages.last().expect("an answer").message_id);
    assert_eq!(json(&steps[0].response_json)["parts"][0]["text"], "half ");
    assert_eq!(steps[0].error, None);
}

#[tokio::test]
async fn a_turn_that_another_worker_goes_on_with_stays_one_run() {
    let gate = Gate::new();
    let held = gate.clone();
    let model = ModelServer::start(move |request| match request.number {
        0 => call_tools(&[("list_dir", json!({"path": "."}))]),
        1 => vec![Action::text("half "), held.wait(), Action::stop()],
        _ => say("whole"),
    })
    .await;
    let options = Options { model_url: model.url(), workers: 1, workspace: true, ..Options::default() };
    let mut cluster = Cluster::start(options).await;
    set_policy(&cluster, proto::DebugPolicy::Forced).await;
    let mut client = cluster.client();
    let request = proto::CreateChatRequest {
        parts: vec![text("Go.")],
        workspace_id: cluster.workspace.to_string(),
        ..Default::default()
    };
    let created = client.chats.create_chat(request).await.expect("created").into_inner();
    let chat = created.chat.expect("a chat").chat_id;
    gate.reached().await;
    runs(&mut client, &chat, 1).await;

    cluster.add_worker();
    cluster.workers[0].kill();
    in_state(&mut client, &chat, proto::ChatState::Waiting).await;

    let runs = runs(&mut client, &chat, 2).await;
    let [run] = &runs[..] else { panic!("{runs:?}") };
    let steps = steps(&mut client, run).await;
    assert_eq!(json(&steps[1].response_json)["parts"][0]["text"], "whole");
}

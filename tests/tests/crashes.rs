//! Killing things in mid-stream: nothing is lost, nothing doubled, nothing stuck.

use chatplane_proto::chat::v1::{self as proto, part::Kind, watch_chat_response::Event};
use chatplane_tests::{
    Client, Cluster, Options, eventually,
    model_server::{Action, Gate, ModelServer, say},
};

async fn cluster(model: &ModelServer, workers: usize) -> (Cluster, Client) {
    let cluster = Cluster::start(Options { model_url: model.url(), workers, ..Options::default() }).await;
    let client = cluster.client();
    (cluster, client)
}

/// The first call stops half-way at the gate; every later one says it all.
async fn half_way(gate: &Gate) -> ModelServer {
    let held = gate.clone();
    ModelServer::start(move |request| {
        if request.number == 0 {
            vec![Action::text("half "), held.wait(), Action::text("and half"), Action::stop()]
        } else {
            say("half and half")
        }
    })
    .await
}

async fn at_rest(client: &mut Client, chat: &str) -> Vec<String> {
    eventually("the chat comes to rest", async || {
        let chat = client.chat(chat).await.ok()?;
        (chat.state() == proto::ChatState::Waiting).then_some(())
    })
    .await;
    let messages = client.messages(chat).await;
    messages
        .iter()
        .map(|message| match message.parts.first().and_then(|part| part.kind.as_ref()) {
            Some(Kind::Text(text)) => text.text.clone(),
            other => format!("{other:?}"),
        })
        .collect()
}

#[tokio::test]
async fn a_worker_killed_in_mid_stream_is_replaced_and_no_message_comes_twice() {
    let gate = Gate::new();
    let model = half_way(&gate).await;
    let (mut cluster, mut client) = cluster(&model, 1).await;
    let chat = client.create_chat("Go.").await;
    gate.reached().await;

    cluster.add_worker();
    cluster.workers[0].kill();
    let messages = at_rest(&mut client, &chat.chat_id).await;

    assert_eq!(messages, ["Go.", "half and half"]);
    assert_eq!(model.requests().len(), 2);
}

#[tokio::test]
async fn a_silent_worker_loses_its_chat_and_what_it_writes_later_is_refused() {
    let gate = Gate::new();
    let model = half_way(&gate).await;
    let (mut cluster, mut client) = cluster(&model, 1).await;
    let chat = client.create_chat("Go.").await;
    gate.reached().await;

    cluster.workers[0].pause();
    cluster.add_worker();
    let messages = at_rest(&mut client, &chat.chat_id).await;
    assert_eq!(messages, ["Go.", "half and half"]);
    let before = client.chat(&chat.chat_id).await.expect("it is there");
    gate.open();
    cluster.workers[0].resume();
    client.send(&chat.chat_id, "Again.").await.expect("sent");
    let messages = at_rest(&mut client, &chat.chat_id).await;

    assert_eq!(messages, ["Go.", "half and half", "Again.", "half and half"]);
    let after = client.chat(&chat.chat_id).await.expect("it is there");
    assert_eq!(after.snapshot_version, before.snapshot_version + 2, "the send that leases, and the commit");
}

#[tokio::test]
async fn a_control_plane_killed_in_mid_stream_loses_nothing_and_the_watcher_resumes() {
    let gate = Gate::new();
    let model = half_way(&gate).await;
    let (mut cluster, mut client) = cluster(&model, 1).await;
    let chat = client.create_chat("Go.").await.chat_id;
    gate.reached().await;
    let mut stream = client.watch(&chat, "").await.expect("the chat can be watched");
    let mut events = Vec::new();
    let mut cursor = String::new();
    while !live_text(&events).contains("half ") {
        let event = stream.message().await.expect("the stream goes on").expect("the stream goes on");
        cursor.clone_from(&event.cursor);
        events.push(event);
    }

    cluster.restart_control_plane().await;
    let mut stream =
        eventually("the watcher resumes", async || client.watch(&chat, &cursor).await.ok()).await;
    let mut resumed = Vec::new();
    while !live_text(&resumed).contains("half ") {
        resumed.push(stream.message().await.expect("the stream goes on").expect("the stream goes on"));
    }
    gate.open();
    let messages = at_rest(&mut client, &chat).await;

    assert_eq!(messages, ["Go.", "half and half"]);
    assert_eq!(model.requests().len(), 1, "the worker kept its model stream");
    loop {
        let event = stream.message().await.expect("the stream goes on").expect("the stream goes on");
        let done =
            matches!(&event.event, Some(Event::State(state)) if state.state() == proto::ChatState::Waiting);
        resumed.push(event);
        if done {
            break;
        }
    }
    let again = resumed.iter().filter(|event| matches!(event.event, Some(Event::Message(_)))).count();
    assert_eq!(again, 1, "only the answer is new to the watcher");
}

/// The live text since the last reset.
fn live_text(events: &[proto::WatchChatResponse]) -> String {
    let mut bytes = Vec::new();
    for event in events {
        match &event.event {
            Some(Event::PartAppend(append)) => bytes.extend_from_slice(&append.data),
            Some(Event::PreviewReset(_)) => bytes.clear(),
            _ => {}
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[tokio::test]
async fn a_message_accepted_while_no_worker_is_there_is_answered_when_one_comes() {
    let model = ModelServer::start(|_| say("At last.")).await;
    let (mut cluster, mut client) = cluster(&model, 0).await;
    let chat = client.create_chat("Anybody?").await.chat_id;
    cluster.restart_control_plane().await;

    cluster.add_worker();
    let messages = at_rest(&mut client, &chat).await;

    assert_eq!(messages, ["Anybody?", "At last."]);
}

#[tokio::test]
async fn a_stopped_worker_gives_its_chat_back_and_ends_cleanly() {
    let gate = Gate::new();
    let model = half_way(&gate).await;
    let (mut cluster, mut client) = cluster(&model, 1).await;
    let chat = client.create_chat("Go.").await.chat_id;
    gate.reached().await;

    cluster.workers[0].terminate();
    gate.open();
    let code = eventually("the worker ends", async || cluster.workers[0].exit_code()).await;

    assert_eq!(code, 0);
    assert_eq!(at_rest(&mut client, &chat).await, ["Go.", "half and half"]);
}

#[tokio::test]
async fn a_stopped_control_plane_ends_its_streams_and_its_process() {
    let gate = Gate::new();
    let model = half_way(&gate).await;
    let (mut cluster, mut client) = cluster(&model, 1).await;
    let chat = client.create_chat("Go.").await.chat_id;
    gate.reached().await;
    let mut stream = client.watch(&chat, "").await.expect("the chat can be watched");

    cluster.control_plane.terminate();
    let ended = loop {
        match stream.message().await {
            Ok(Some(_)) => {}
            Ok(None) => panic!("the stream ends with a reason"),
            Err(status) => break status,
        }
    };
    let code = eventually("the control plane ends", async || cluster.control_plane.exit_code()).await;

    assert_eq!(ended.code(), tonic::Code::Unavailable);
    assert_eq!(code, 0);
    cluster.start_control_plane().await;
    gate.open();
    assert_eq!(at_rest(&mut client, &chat).await, ["Go.", "half and half"]);
}

//! What changes hands in the middle of a turn, as its watcher sees it: a session that goes to
//! another replica, a chat that goes to another worker.

use chatplane_proto::chat::v1 as proto;
use chatplane_tests::{
    Client, Cluster, DEADLINE, Options, Role, eventually,
    fold::Fold,
    model_server::{Action, Gate, ModelServer, call_tools, say},
    text,
};
use serde_json::json;
use tokio::time::timeout;
use tonic::Streaming;

/// A client that watches a chat, from replica to replica, and is shown no failure.
struct Watcher {
    client: Client,
    chat_id: String,
    events: Streaming<proto::WatchChatResponse>,
    fold: Fold,
}

impl Watcher {
    async fn open(mut client: Client, chat_id: &str) -> Self {
        let events = client.watch(chat_id, "").await.expect("the chat can be watched");
        Self { client, chat_id: chat_id.to_owned(), events, fold: Fold::default() }
    }

    /// Goes on at another replica.
    async fn go_to(&mut self, url: &str, token: &str) {
        self.client = Client::new(url, token);
        let watched = self.client.watch(&self.chat_id, &self.fold.cursor).await;
        self.events = watched.expect("the chat can be watched");
        self.fold.reconnected();
    }

    /// Reads until this holds of what it knows.
    async fn until(&mut self, what: &str, holds: impl Fn(&Fold) -> bool) {
        let seen = async {
            while self.fold.has_stale_previews() || !holds(&self.fold) {
                let event =
                    self.events.message().await.expect("the stream goes on").expect("the stream goes on");
                self.fold.apply(&event).expect("the stream is right");
                let failure = (&self.fold.durable.error, &self.fold.durable.retry);
                assert_eq!(failure, (&None, &None), "a failure is shown");
            }
        };
        timeout(DEADLINE, seen).await.unwrap_or_else(|_| panic!("{what} is seen"));
    }

    /// Reads until the answer that is under way has come so far.
    async fn shows(&mut self, words: &str) {
        let is_shown = |fold: &Fold| {
            let parts = fold.previews.values().flat_map(|preview| &preview.parts);
            parts.flat_map(|part| &part.bytes).eq(words.as_bytes())
        };
        self.until(words, is_shown).await;
    }

    /// Reads until the chat is at rest, and answers its texts, which are what everybody reads.
    async fn texts_at_rest(mut self) -> Vec<String> {
        let state = |fold: &Fold| fold.durable.state.map(|state| state.state());
        self.until("the end", |fold| state(fold) == Some(proto::ChatState::Waiting)).await;
        let chat = self.client.chat(&self.chat_id).await.expect("the chat is there");
        let messages = self.client.messages(&self.chat_id).await;
        self.fold.matches(&chat, &messages, &[]).expect("what was told is what is");
        let parts = messages.into_iter().flat_map(|message| message.parts);
        parts
            .filter_map(|part| match part.kind {
                Some(proto::part::Kind::Text(text)) => Some(text.text),
                _ => None,
            })
            .collect()
    }
}

async fn logs(role: &Role, words: &str) {
    eventually(words, async || role.log().contains(words).then_some(())).await;
}

#[tokio::test]
async fn a_worker_takes_its_session_and_its_answer_to_another_replica_when_its_own_is_killed() {
    let gate = Gate::new();
    let held = gate.clone();
    let model = ModelServer::start(move |_| {
        vec![Action::text("half "), held.wait(), Action::text("and half"), Action::stop()]
    })
    .await;
    let mut cluster = Cluster::start(Options { model_url: model.url(), ..Options::default() }).await;
    let elsewhere = cluster.add_replica().await;
    cluster.add_worker();
    let chat_id = cluster.client().create_chat("Go.").await.chat_id;
    let mut watcher = Watcher::open(cluster.client(), &chat_id).await;
    gate.reached().await;
    watcher.shows("half ").await;

    cluster.control_plane.kill();
    watcher.go_to(&elsewhere, &cluster.tokens.user).await;
    watcher.shows("half ").await;
    let mut late = Watcher::open(Client::new(&elsewhere, &cluster.tokens.user), &chat_id).await;
    late.shows("half ").await;
    gate.open();

    assert_eq!(watcher.texts_at_rest().await, ["Go.", "half and half"]);
    assert_eq!(late.texts_at_rest().await, ["Go.", "half and half"]);
    assert_eq!(model.requests().len(), 1, "the worker kept its model stream");
}

#[tokio::test]
async fn a_worker_that_is_told_to_stop_hands_its_turn_over_between_two_steps() {
    let gates = [Gate::new(), Gate::new()];
    let [first, second] = gates.clone();
    let model = ModelServer::start(move |request| match request.new_tool_results().is_empty() {
        true => [vec![first.wait()], call_tools(&[("list_dir", json!({"path": "."}))])].concat(),
        false => [vec![second.wait()], say("Done.")].concat(),
    })
    .await;
    let options = Options { model_url: model.url(), workers: 1, workspace: true, ..Options::default() };
    let mut cluster = Cluster::start(options).await;
    let chat_id = chat_in_workspace(&cluster).await;
    let watching = tokio::spawn(Watcher::open(cluster.client(), &chat_id).await.texts_at_rest());
    gates[0].reached().await;

    logs(cluster.add_worker(), "the session is open").await;
    cluster.workers[0].terminate();
    logs(&cluster.workers[0], "the worker stops when its steps have ended").await;
    gates[0].open();
    // Nobody but the other worker is left to make the second step.
    let code = eventually("the worker ends", async || cluster.workers[0].exit_code()).await;
    gates[1].reached().await;
    gates[1].open();

    assert_eq!(code, 0);
    assert_eq!(watching.await.expect("it sees no failure"), ["Go.", "Done."]);
    assert_eq!(model.requests().len(), 2, "no step was made twice");
}

async fn chat_in_workspace(cluster: &Cluster) -> String {
    let request = proto::CreateChatRequest {
        parts: vec![text("Go.")],
        workspace_id: cluster.workspace.to_string(),
        ..Default::default()
    };
    let created = cluster.client().chats.create_chat(request).await.expect("the chat is created");
    created.into_inner().chat.expect("a chat").chat_id
}

//! A cluster, a model that calls tools, and a chat that uses the workspace.

use std::{fs, path::PathBuf};

use chatplane_proto::chat::v1::{self as proto, ChatState, part::Kind, watch_chat_response::Event};
use chatplane_tests::{
    Client, Cluster, DEADLINE, Options, eventually,
    model_server::{ModelServer, call_tools, say},
    text,
};
use serde_json::{Value, json};
use tokio::time::timeout;

pub(crate) struct World {
    pub(crate) cluster: Cluster,
    pub(crate) client: Client,
    pub(crate) model: ModelServer,
}

/// A model that calls `execute` with this command, and is content with what comes back.
pub(crate) async fn model_that_runs(command: &str) -> ModelServer {
    model_that_calls(vec![("execute", json!({"command": command}))]).await
}

/// A model that makes these calls together, and is content with what comes back.
pub(crate) async fn model_that_calls(calls: Vec<(&'static str, Value)>) -> ModelServer {
    ModelServer::start(move |request| match request.new_tool_results().is_empty() {
        true => call_tools(&calls),
        false => say("Done."),
    })
    .await
}

impl World {
    /// With one worker.
    pub(crate) async fn start(model: ModelServer) -> Self {
        Self::start_with(model, Options::default()).await
    }

    pub(crate) async fn start_with(model: ModelServer, options: Options) -> Self {
        let options = Options { model_url: model.url(), workers: 1, workspace: true, ..options };
        let cluster = Cluster::start(options).await;
        let client = cluster.client();
        Self { cluster, client, model }
    }

    /// Creates a chat that uses the workspace, and answers its id.
    pub(crate) async fn chat(&mut self) -> String {
        let request = proto::CreateChatRequest {
            parts: vec![text("Go.")],
            workspace_id: self.cluster.workspace.to_string(),
            ..Default::default()
        };
        let created = self.client.chats.create_chat(request).await.expect("the chat is created");
        created.into_inner().chat.expect("a chat").chat_id
    }

    pub(crate) async fn interrupt(&mut self, chat: &str) {
        let request = proto::InterruptChatRequest { chat_id: chat.to_owned(), ..Default::default() };
        self.client.chats.interrupt_chat(request).await.expect("it is interrupted");
    }

    /// Waits until the chat waits, and answers the results of its calls.
    pub(crate) async fn results(&mut self, chat: &str) -> Vec<proto::ToolResultPart> {
        eventually("the chat comes to rest", async || {
            let chat = self.client.chat(chat).await.ok()?;
            (chat.state() == ChatState::Waiting).then_some(())
        })
        .await;
        let messages = self.client.messages(chat).await;
        let kinds = messages.into_iter().flat_map(|message| message.parts).filter_map(|part| part.kind);
        let result = |kind| match kind {
            Kind::ToolResult(result) => Some(result),
            _ => None,
        };
        kinds.filter_map(result).collect()
    }

    /// The one result of the chat.
    pub(crate) async fn result(&mut self, chat: &str) -> proto::ToolResultPart {
        let results = self.results(chat).await;
        let [result] = <[_; 1]>::try_from(results).expect("one call has one result");
        result
    }

    /// Watches until the chat shows these words live.
    pub(crate) async fn seen_live(&mut self, chat: &str, words: &str) {
        let mut stream =
            eventually("the chat can be watched", async || self.client.watch(chat, "").await.ok()).await;
        let seen = async {
            let mut seen = Vec::new();
            while !String::from_utf8_lossy(&seen).contains(words) {
                let event = stream.message().await.expect("the stream goes on").expect("the stream goes on");
                match event.event {
                    Some(Event::PartAppend(append)) => seen.extend_from_slice(&append.data),
                    Some(Event::PreviewReset(_)) => seen.clear(),
                    _ => {}
                }
            }
        };
        timeout(DEADLINE, seen).await.expect("the words are shown in time");
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.cluster.directory.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, content: &str) {
        fs::write(self.path(name), content).expect("the workspace can be written");
    }

    pub(crate) fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    /// Waits until a file has lines, which tells how far a command has come.
    pub(crate) async fn written(&self, name: &str) {
        eventually("the command writes its file", async || {
            fs::read_to_string(self.path(name)).is_ok_and(|content| content.ends_with('\n')).then_some(())
        })
        .await;
    }
}

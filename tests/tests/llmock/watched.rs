//! A chat, as a client that watches it sees it.

use chatplane_proto::chat::v1::{self as proto, ChatState, part::Kind, watch_chat_response::Event};
use chatplane_tests::{Client, Cluster, DEADLINE, fold::Fold, text};
use tokio::time::timeout;
use tonic::Streaming;

/// A chat in the workspace, watched from its beginning.
pub(crate) struct Watched {
    pub(crate) client: Client,
    pub(crate) chat: String,
    stream: Streaming<proto::WatchChatResponse>,
    fold: Fold,
    pub(crate) retries: Vec<proto::RetryState>,
}

impl Watched {
    pub(crate) async fn create(cluster: &Cluster, prompt: &str) -> Self {
        let mut client = cluster.client();
        let request = proto::CreateChatRequest {
            parts: vec![text(prompt)],
            workspace_id: cluster.workspace.to_string(),
            ..Default::default()
        };
        let created = client.chats.create_chat(request).await.expect("the chat is created").into_inner();
        let chat = created.chat.expect("a chat").chat_id;
        let stream = client.watch(&chat, "").await.expect("the chat can be watched");
        let mut watched = Self { client, chat, stream, fold: Fold::default(), retries: Vec::new() };
        watched.rest_after(0).await;
        watched
    }

    /// Sends a message, to be answered by the chat's model, and waits for the answer.
    pub(crate) async fn send(&mut self, prompt: &str) {
        self.send_to("", prompt).await;
    }

    /// The same with another model from here on.
    pub(crate) async fn send_to(&mut self, model: &str, prompt: &str) {
        let request = proto::SendMessageRequest {
            chat_id: self.chat.clone(),
            parts: vec![text(prompt)],
            model: model.to_owned(),
            ..Default::default()
        };
        let sent = self.client.chats.send_message(request).await.expect("the message is sent").into_inner();
        self.rest_after(sent.chat.expect("a chat").snapshot_version).await;
    }

    /// Watches until the chat rests, and holds what was told against what is.
    async fn rest_after(&mut self, snapshot_version: i64) {
        timeout(DEADLINE, self.watch_until_rest(snapshot_version)).await.expect("the chat comes to rest");
        let chat = self.client.chat(&self.chat).await.expect("the chat is there");
        let messages = self.client.messages(&self.chat).await;
        self.fold.matches(&chat, &messages, &[]).expect("what was told is what is");
    }

    async fn watch_until_rest(&mut self, snapshot_version: i64) {
        loop {
            let event = self.stream.message().await.expect("the stream goes on").expect("the stream goes on");
            self.fold.apply(&event).expect("the events make sense");
            match event.event {
                Some(Event::Retry(changed)) => self.retries.extend(changed.retry),
                Some(Event::State(state)) if state.snapshot_version > snapshot_version => {
                    if matches!(state.state(), ChatState::Waiting | ChatState::Error) {
                        return;
                    }
                }
                _ => {}
            }
        }
    }

    pub(crate) fn messages(&self) -> impl Iterator<Item = &proto::Message> {
        self.fold.durable.messages.values()
    }

    pub(crate) fn lines(&self) -> Vec<String> {
        self.messages().map(line).collect()
    }
}

/// A message in a line, without what tools wrote.
fn line(message: &proto::Message) -> String {
    let parts = message.parts.iter().map(|part| match &part.kind {
        Some(Kind::Text(text)) => text.text.clone(),
        Some(Kind::Reasoning(reasoning)) => format!("({})", reasoning.text),
        Some(Kind::ToolCall(call)) => format!("{}{}", call.tool_name, call.arguments_json),
        Some(Kind::ToolResult(result)) if result.is_error => format!("{} failed", result.tool_name),
        Some(Kind::ToolResult(result)) => result.tool_name.clone(),
        Some(Kind::File(_) | Kind::FileReference(_) | Kind::DiffComment(_)) | None => "?".to_owned(),
    });
    let role = message.role().as_str_name().trim_start_matches("ROLE_").to_lowercase();
    format!("{role}: {}", parts.collect::<Vec<_>>().join(" | "))
}

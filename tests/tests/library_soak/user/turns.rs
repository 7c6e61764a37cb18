//! What keeps chats busy.

use chatplane_proto::chat::v1 as proto;
use chatplane_tests::{file_part, text};
use prost_types::FieldMask;
use rand::{Rng, seq::IndexedRandom as _};

use super::{Hand, locked};
use crate::CLIENT_TOOL;

impl Hand {
    pub(super) async fn create(&mut self) {
        if !self.has_room() {
            return;
        }
        let request = proto::CreateChatRequest {
            parts: self.parts(),
            client_tools: vec![tool()],
            action_timeout_ms: 1_000,
            labels: [("made".to_owned(), "here".to_owned())].into(),
            ..Default::default()
        };
        let replied = self.client().chats.create_chat(request).await;
        if let Some(created) = self.taken("", replied).and_then(|created| created.chat) {
            locked(&self.desk.chats).push(created.chat_id);
        }
    }

    /// Words, and now and then a file.
    fn parts(&mut self) -> Vec<proto::Part> {
        let words = text(&format!("words {}", self.random.random_range(0..1_000)));
        let file = locked(&self.desk.files).choose(&mut self.random).map(file_part);
        match file {
            Some(file) if self.random.random_bool(0.3) => vec![words, file],
            Some(_) | None => vec![words],
        }
    }

    pub(super) async fn send(&mut self, chat: &str) {
        let behaviors =
            [proto::BusyBehavior::Queue, proto::BusyBehavior::Steer, proto::BusyBehavior::Interrupt];
        let behavior = *behaviors.choose(&mut self.random).expect("there are some");
        let request = proto::SendMessageRequest {
            chat_id: chat.to_owned(),
            parts: self.parts(),
            busy_behavior: behavior.into(),
            ..Default::default()
        };
        let replied = self.client().chats.send_message(request).await;
        self.taken(chat, replied);
    }

    pub(super) async fn interrupt(&mut self, chat: &str) {
        let request = proto::InterruptChatRequest { chat_id: chat.to_owned(), ..Default::default() };
        let replied = self.client().chats.interrupt_chat(request).await;
        self.taken(chat, replied);
    }

    pub(super) async fn edit(&mut self, chat: &str) {
        let Some(message_id) = self.any_message(chat, proto::Role::User).await else { return };
        let request = proto::EditMessageRequest {
            chat_id: chat.to_owned(),
            message_id,
            parts: self.parts(),
            ..Default::default()
        };
        let replied = self.client().chats.edit_message(request).await;
        self.taken(chat, replied);
    }

    pub(super) async fn fork(&mut self, chat: &str) {
        if !self.has_room() {
            return;
        }
        let Some(message_id) = self.any_message(chat, proto::Role::Assistant).await else { return };
        let request = proto::ForkChatRequest { chat_id: chat.to_owned(), message_id, ..Default::default() };
        let replied = self.client().chats.fork_chat(request).await;
        if let Some(forked) = self.taken(chat, replied).and_then(|forked| forked.chat) {
            locked(&self.desk.chats).push(forked.chat_id);
        }
    }

    async fn any_message(&mut self, chat: &str, role: proto::Role) -> Option<i64> {
        let request =
            proto::ListMessagesRequest { chat_id: chat.to_owned(), page_size: 50, ..Default::default() };
        let replied = self.client().chats.list_messages(request).await;
        let messages = self.taken(chat, replied)?.messages;
        let of_role: Vec<i64> = messages
            .iter()
            .filter(|message| message.role() == role && message.covers_through == 0)
            .map(|message| message.message_id)
            .collect();
        of_role.choose(&mut self.random).copied()
    }

    pub(super) async fn submit(&mut self, chat: &str) {
        let request = proto::GetChatRequest { chat_id: chat.to_owned() };
        let replied = self.client().chats.get_chat(request).await;
        let read = self.taken(chat, replied).and_then(|read| read.chat);
        let Some(required) = read.and_then(|chat| chat.action_required) else { return };
        let most = if self.random.random_bool(0.5) { 1 } else { required.calls.len() };
        let results = required.calls.iter().take(most).map(|pending| proto::SubmittedResult {
            call: pending.call,
            output: "the user says so".to_owned(),
            is_error: false,
        });
        let request = proto::SubmitToolResultsRequest {
            chat_id: chat.to_owned(),
            results: results.collect(),
            ..Default::default()
        };
        let replied = self.client().chats.submit_tool_results(request).await;
        self.taken(chat, replied);
    }

    pub(super) async fn configure(&mut self, chat: &str) {
        let is_on = self.random.random_bool(0.7);
        let request = proto::ConfigureChatRequest {
            chat_id: chat.to_owned(),
            update_mask: Some(FieldMask { paths: vec!["client_tools".to_owned()] }),
            client_tools: if is_on { vec![tool()] } else { Vec::new() },
            ..Default::default()
        };
        let replied = self.client().chats.configure_chat(request).await;
        self.taken(chat, replied);
    }

    pub(super) async fn clear(&mut self, chat: &str) {
        let request = proto::ClearContextRequest { chat_id: chat.to_owned(), ..Default::default() };
        let replied = self.client().chats.clear_context(request).await;
        self.taken(chat, replied);
    }

    pub(super) async fn compact(&mut self, chat: &str) {
        let request = proto::CompactChatRequest { chat_id: chat.to_owned(), ..Default::default() };
        let replied = self.client().chats.compact_chat(request).await;
        self.taken(chat, replied);
    }
}

fn tool() -> proto::ToolDefinition {
    proto::ToolDefinition {
        name: CLIENT_TOOL.to_owned(),
        description: "Asks the user.".to_owned(),
        input_schema_json: r#"{"type": "object"}"#.to_owned(),
    }
}

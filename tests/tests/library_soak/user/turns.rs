//! What keeps chats busy.

use chatplane_proto::chat::v1 as proto;
use chatplane_tests::{file_part, text};
use prost_types::FieldMask;
use rand::{Rng, seq::IndexedRandom as _};

use super::{Ask, Hand, Operation, locked};
use crate::CLIENT_TOOL;

impl Hand {
    pub(super) async fn create(&mut self) {
        if !self.has_room() {
            return;
        }
        let (parts, files) = self.parts();
        let ask = Ask { files, ..Ask::new(Operation::CreateChat, "") };
        let request = proto::CreateChatRequest {
            parts,
            client_tools: vec![tool()],
            action_timeout_ms: 1_000,
            labels: [("made".to_owned(), "here".to_owned())].into(),
            ..Default::default()
        };
        let replied = self.client().chats.create_chat(request).await;
        if let Some(created) = self.taken(ask, replied).and_then(|created| created.chat) {
            locked(&self.desk.chats).push(created.chat_id);
        }
    }

    /// Words, and now and then a file, with the ids of the files.
    pub(super) fn parts(&mut self) -> (Vec<proto::Part>, Vec<String>) {
        let words = text(&format!("words {}", self.random.random_range(0..1_000)));
        let file = locked(&self.desk.files).choose(&mut self.random).cloned();
        match file {
            Some(file) if self.random.random_bool(0.3) => (vec![words, file_part(&file)], vec![file.file_id]),
            Some(_) | None => (vec![words], Vec::new()),
        }
    }

    pub(super) async fn send(&mut self, chat: &str) {
        let behaviors =
            [proto::BusyBehavior::Queue, proto::BusyBehavior::Steer, proto::BusyBehavior::Interrupt];
        let behavior = *behaviors.choose(&mut self.random).expect("there are some");
        self.send_with(chat, behavior).await;
    }

    pub(super) async fn send_when_it_is_its_turn(&mut self, chat: &str) {
        self.send_with(chat, proto::BusyBehavior::Queue).await;
    }

    async fn send_with(&mut self, chat: &str, behavior: proto::BusyBehavior) {
        let (parts, files) = self.parts();
        let ask = Ask { files, ..Ask::new(Operation::SendMessage, chat) };
        let request = proto::SendMessageRequest {
            chat_id: chat.to_owned(),
            parts,
            busy_behavior: behavior.into(),
            ..Default::default()
        };
        let replied = self.client().chats.send_message(request).await;
        self.taken(ask, replied);
    }

    pub(super) async fn interrupt(&mut self, chat: &str) {
        let request = proto::InterruptChatRequest { chat_id: chat.to_owned(), ..Default::default() };
        let replied = self.client().chats.interrupt_chat(request).await;
        self.taken(Ask::new(Operation::InterruptChat, chat), replied);
    }

    pub(super) async fn edit(&mut self, chat: &str) {
        let Some(message_id) = self.any_message(chat, proto::Role::User).await else { return };
        let (parts, files) = self.parts();
        let ask = Ask { message_id: Some(message_id), files, ..Ask::new(Operation::EditMessage, chat) };
        let request =
            proto::EditMessageRequest { chat_id: chat.to_owned(), message_id, parts, ..Default::default() };
        let replied = self.client().chats.edit_message(request).await;
        self.taken(ask, replied);
    }

    pub(super) async fn fork(&mut self, chat: &str) {
        if !self.has_room() {
            return;
        }
        let Some(message_id) = self.any_message(chat, proto::Role::Assistant).await else { return };
        let ask = Ask { message_id: Some(message_id), ..Ask::new(Operation::ForkChat, chat) };
        let request = proto::ForkChatRequest { chat_id: chat.to_owned(), message_id, ..Default::default() };
        let replied = self.client().chats.fork_chat(request).await;
        if let Some(forked) = self.taken(ask, replied).and_then(|forked| forked.chat) {
            locked(&self.desk.chats).push(forked.chat_id);
        }
    }

    async fn any_message(&mut self, chat: &str, role: proto::Role) -> Option<i64> {
        let request =
            proto::ListMessagesRequest { chat_id: chat.to_owned(), page_size: 50, ..Default::default() };
        let replied = self.client().chats.list_messages(request).await;
        let messages = self.taken(Ask::new(Operation::ListMessages, chat), replied)?.messages;
        let of_role: Vec<i64> = messages
            .iter()
            .filter(|message| message.role() == role && message.covers_through == 0)
            .map(|message| message.message_id)
            .collect();
        of_role.choose(&mut self.random).copied()
    }

    pub(super) async fn submit(&mut self, chat: &str) {
        let Some(required) = self.read(chat).await.and_then(|chat| chat.action_required) else { return };
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
        let ask = || Ask::new(Operation::SubmitToolResults, chat);
        let replied = self.client().chats.submit_tool_results(request.clone()).await;
        if self.taken(ask(), replied).is_some() && self.random.random_ratio(1, 4) {
            let replied = self.client().chats.submit_tool_results(request).await;
            assert_eq!(self.taken(ask(), replied), None, "a call has one result");
        }
    }

    pub(super) async fn configure(&mut self, chat: &str) {
        let is_on = self.random.random_bool(0.7);
        let paths: &[&str] = match self.desk.workspace {
            Some(_) => &["client_tools", "effort", "workspace_id"],
            None => &["client_tools", "effort"],
        };
        let path = (*paths.choose(&mut self.random).expect("there are some")).to_owned();
        let efforts = [proto::Effort::Low, proto::Effort::Medium, proto::Effort::High];
        let request = proto::ConfigureChatRequest {
            chat_id: chat.to_owned(),
            update_mask: Some(FieldMask { paths: vec![path] }),
            client_tools: if is_on { vec![tool()] } else { Vec::new() },
            effort: (*efforts.choose(&mut self.random).expect("there are some")).into(),
            workspace_id: self.desk.workspace.clone().filter(|_| is_on).unwrap_or_default(),
            ..Default::default()
        };
        let replied = self.client().chats.configure_chat(request).await;
        self.taken(Ask::new(Operation::ConfigureChat, chat), replied);
    }

    pub(super) async fn clear(&mut self, chat: &str) {
        let request = proto::ClearContextRequest { chat_id: chat.to_owned(), ..Default::default() };
        let replied = self.client().chats.clear_context(request).await;
        self.taken(Ask::new(Operation::ClearContext, chat), replied);
    }

    pub(super) async fn compact(&mut self, chat: &str) {
        let request = proto::CompactChatRequest { chat_id: chat.to_owned(), ..Default::default() };
        let replied = self.client().chats.compact_chat(request).await;
        self.taken(Ask::new(Operation::CompactChat, chat), replied);
    }
}

fn tool() -> proto::ToolDefinition {
    proto::ToolDefinition {
        name: CLIENT_TOOL.to_owned(),
        description: "Asks the user.".to_owned(),
        input_schema_json: r#"{"type": "object"}"#.to_owned(),
    }
}

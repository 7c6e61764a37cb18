//! Sending, editing, copying, forgetting.

use chatplane_proto::chat::v1 as proto;
use rand::{Rng, seq::IndexedRandom as _};

use super::{FORKS_MAX, User};
use crate::{CHATS, CLIENT_TOOL};

impl User {
    /// Begins a chat, as `number` says: with a workspace, a tool of the client, both, or none.
    pub(crate) async fn create(&mut self, number: usize) -> String {
        let (words, part) = self.words("begin");
        let request_id = self.request_id();
        let tool = proto::ToolDefinition {
            name: CLIENT_TOOL.to_owned(),
            description: "Asks the user.".to_owned(),
            input_schema_json: r#"{"type": "object"}"#.to_owned(),
        };
        let request = proto::CreateChatRequest {
            request_id: request_id.clone(),
            parts: vec![part],
            workspace_id: if number.is_multiple_of(2) { self.storm.workspace.clone() } else { String::new() },
            client_tools: if number % 4 < 2 { vec![tool] } else { Vec::new() },
            // Some clients are too slow.
            action_timeout_ms: if number.is_multiple_of(3) { 1_000 } else { 0 },
            ..Default::default()
        };
        let created = self
            .ask(
                &request_id,
                |reply: &proto::CreateChatResponse| reply.chat.as_ref(),
                async |client| client.chats.create_chat(request.clone()).await,
            )
            .await;
        let chat = created
            .and_then(|created| created.chat)
            .expect("nothing stands in the way of a new chat")
            .chat_id;
        self.storm.records.wrote(&chat, &words);
        self.storm.add(&chat);
        chat
    }

    pub(super) async fn send(&mut self, chat: &str) {
        use proto::BusyBehavior::{Interrupt, Queue, Steer};
        let (words, part) = self.words("send");
        let request_id = self.request_id();
        let busy = [Queue, Queue, Steer, Steer, Interrupt].choose(&mut self.random).expect("there are some");
        let request = proto::SendMessageRequest {
            chat_id: chat.to_owned(),
            request_id: request_id.clone(),
            parts: vec![part],
            busy_behavior: (*busy).into(),
            ..Default::default()
        };
        let sent = self
            .ask(
                &request_id,
                |reply: &proto::SendMessageResponse| reply.chat.as_ref(),
                async |client| client.chats.send_message(request.clone()).await,
            )
            .await;
        let Some(sent) = sent else { return };
        assert!(!sent.messages.is_empty() || sent.queued_message.is_some(), "a message goes somewhere");
        self.storm.records.wrote(chat, &words);
    }

    pub(super) async fn edit(&mut self, chat: &str) {
        let listed = self.newest(chat).await;
        let of_users: Vec<_> = listed.iter().filter(|message| message.role() == proto::Role::User).collect();
        let Some(target) = of_users.choose(&mut self.random) else { return };
        let (words, part) = self.words("edit");
        let request_id = self.request_id();
        let request = proto::EditMessageRequest {
            chat_id: chat.to_owned(),
            request_id: request_id.clone(),
            message_id: target.message_id,
            parts: vec![part],
            ..Default::default()
        };
        let edited = self
            .ask(
                &request_id,
                |reply: &proto::EditMessageResponse| reply.chat.as_ref(),
                async |client| client.chats.edit_message(request.clone()).await,
            )
            .await;
        if edited.is_some() {
            self.storm.records.wrote(chat, &words);
        }
    }

    pub(super) async fn interrupt(&mut self, chat: &str) {
        let request_id = self.request_id();
        let request =
            proto::InterruptChatRequest { chat_id: chat.to_owned(), request_id: request_id.clone() };
        self.ask(
            &request_id,
            |reply: &proto::InterruptChatResponse| reply.chat.as_ref(),
            async |client| client.chats.interrupt_chat(request.clone()).await,
        )
        .await;
    }

    pub(super) async fn fork(&mut self, chat: &str) {
        if self.storm.chats.borrow().len() >= CHATS + FORKS_MAX {
            return;
        }
        let listed = self.newest(chat).await;
        let Some(target) = listed.choose(&mut self.random) else { return };
        let request_id = self.request_id();
        let request = proto::ForkChatRequest {
            chat_id: chat.to_owned(),
            request_id: request_id.clone(),
            message_id: target.message_id,
        };
        let forked = self
            .ask(
                &request_id,
                |reply: &proto::ForkChatResponse| reply.chat.as_ref(),
                async |client| client.chats.fork_chat(request.clone()).await,
            )
            .await;
        if let Some(copy) = forked.and_then(|forked| forked.chat) {
            assert_eq!(copy.state(), proto::ChatState::Waiting);
            self.storm.records.forked(&copy.chat_id);
            self.storm.add(&copy.chat_id);
        }
    }

    pub(super) async fn compact(&mut self, chat: &str) {
        let request_id = self.request_id();
        let request = proto::CompactChatRequest { chat_id: chat.to_owned(), request_id: request_id.clone() };
        self.ask(
            &request_id,
            |reply: &proto::CompactChatResponse| reply.chat.as_ref(),
            async |client| client.chats.compact_chat(request.clone()).await,
        )
        .await;
    }

    pub(super) async fn clear(&mut self, chat: &str) {
        let request_id = self.request_id();
        let request = proto::ClearContextRequest { chat_id: chat.to_owned(), request_id: request_id.clone() };
        self.ask(
            &request_id,
            |reply: &proto::ClearContextResponse| reply.chat.as_ref(),
            async |client| client.chats.clear_context(request.clone()).await,
        )
        .await;
    }

    /// Some of the last messages of a chat.
    async fn newest(&mut self, chat: &str) -> Vec<proto::Message> {
        let page_size = self.random.random_range(1..30);
        let request =
            proto::ListMessagesRequest { chat_id: chat.to_owned(), page_size, ..Default::default() };
        let listed = self.client.chats.list_messages(request).await.expect("a chat can always be read");
        listed.into_inner().messages
    }
}

//! Sending, editing, copying, forgetting.

use chatplane_proto::chat::v1 as proto;
use rand::{Rng, seq::IndexedRandom as _};

use super::{FORKS_MAX, Operation, Outcome, User};
use crate::{CHATS, CLIENT_TOOL, records::Fork};

/// Counted when an interrupt finds somebody at work.
pub(crate) const INTERRUPTED_WORK: &str = "an interrupt stopped what ran";

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
            .ask(Operation::CreateChat, &request_id, async |client| {
                client.chats.create_chat(request.clone()).await
            })
            .await;
        let created = created.accepted().and_then(|created| created.chat);
        let chat = created.expect("nothing stands in the way of a new chat").chat_id;
        self.storm.records.entered(&chat, words);
        self.add(&chat);
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
            .ask(Operation::SendMessage, &request_id, async |client| {
                client.chats.send_message(request.clone()).await
            })
            .await;
        let records = &self.storm.records;
        match sent {
            Outcome::Accepted(proto::SendMessageResponse {
                chat: after,
                queued_message: Some(queued),
                ..
            }) => {
                let snapshot = after.expect("a chat").snapshot_version;
                records.queued(&queued.queued_message_id, snapshot, words);
            }
            Outcome::Accepted(sent) => {
                let said = sent.messages.iter().filter(|message| message.parts == request.parts);
                assert_eq!(said.count(), 1, "a message goes somewhere: {:?}", sent.messages);
                records.entered(chat, words);
            }
            Outcome::Unknown => records.may_be_said(chat, words),
            Outcome::Refused => {}
        }
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
            .ask(Operation::EditMessage, &request_id, async |client| {
                client.chats.edit_message(request.clone()).await
            })
            .await;
        let records = &self.storm.records;
        match edited {
            Outcome::Accepted(edited) => {
                records.edited(chat, edited.chat.expect("a chat").snapshot_version);
                records.entered(chat, words);
            }
            Outcome::Unknown => {
                records.may_be_edited(chat);
                records.may_be_said(chat, words);
            }
            Outcome::Refused => {}
        }
    }

    pub(super) async fn interrupt(&mut self, chat: &str) {
        let request_id = self.request_id();
        let request =
            proto::InterruptChatRequest { chat_id: chat.to_owned(), request_id: request_id.clone() };
        let interrupted = self
            .ask(Operation::InterruptChat, &request_id, async |client| {
                client.chats.interrupt_chat(request.clone()).await
            })
            .await;
        let after = interrupted.accepted().and_then(|interrupted| interrupted.chat);
        if after.is_some_and(|after| after.state() == proto::ChatState::Interrupting) {
            self.storm.tally.count(INTERRUPTED_WORK);
        }
    }

    pub(super) async fn fork(&mut self, chat: &str) {
        if self.storm.chats.borrow().len() >= CHATS + FORKS_MAX {
            return;
        }
        let history_before = self.history_version(chat).await;
        let listed = self.newest(chat).await;
        let Some(target) = listed.choose(&mut self.random) else { return };
        let request_id = self.request_id();
        let request = proto::ForkChatRequest {
            chat_id: chat.to_owned(),
            request_id: request_id.clone(),
            message_id: target.message_id,
        };
        let forked = self
            .ask(Operation::ForkChat, &request_id, async |client| {
                client.chats.fork_chat(request.clone()).await
            })
            .await;
        let Some(copy) = forked.accepted().and_then(|forked| forked.chat) else { return };
        assert_eq!(
            (copy.state(), copy.snapshot_version, copy.history_version, copy.queue_length),
            (proto::ChatState::Waiting, 1, 1, 0),
            "a copy waits for its user"
        );
        self.add(&copy.chat_id);
        let history_after = self.history_version(chat).await;
        self.storm.records.forked(Fork {
            copy: copy.chat_id,
            source: chat.to_owned(),
            target: target.message_id,
            history_before,
            history_after,
        });
    }

    pub(super) async fn compact(&mut self, chat: &str) {
        let request_id = self.request_id();
        let request = proto::CompactChatRequest { chat_id: chat.to_owned(), request_id: request_id.clone() };
        self.ask(Operation::CompactChat, &request_id, async |client| {
            client.chats.compact_chat(request.clone()).await
        })
        .await;
    }

    pub(super) async fn clear(&mut self, chat: &str) {
        let request_id = self.request_id();
        let request = proto::ClearContextRequest { chat_id: chat.to_owned(), request_id: request_id.clone() };
        self.ask(Operation::ClearContext, &request_id, async |client| {
            client.chats.clear_context(request.clone()).await
        })
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

    async fn history_version(&mut self, chat: &str) -> i64 {
        self.client.chat(chat).await.expect("a chat can always be read").history_version
    }

    /// From now on, everybody uses a chat, and somebody watches it.
    fn add(&mut self, chat: &str) {
        let seed = self.random.random();
        self.storm.add(chat, self.client.clone(), seed);
    }
}

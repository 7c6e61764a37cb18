//! What users do to messages that wait.

use chatplane_proto::chat::v1 as proto;
use rand::{Rng, seq::IndexedRandom as _};

use super::{Operation, Outcome, User};

impl User {
    pub(super) async fn change_queue(&mut self, chat: &str) {
        let request = proto::ListQueuedMessagesRequest { chat_id: chat.to_owned(), ..Default::default() };
        let listed =
            self.client.chats.list_queued_messages(request).await.expect("a queue can always be read");
        let queue = listed.into_inner().queued_messages;
        let Some(queued) = queue.choose(&mut self.random) else { return };
        let id = queued.queued_message_id.clone();
        match self.random.random_range(0..4) {
            0 => self.edit_queued(chat, id).await,
            1 => self.delete_queued(chat, id).await,
            2 => self.promote_queued(chat, id).await,
            _ => self.move_queued(chat, id).await,
        }
    }

    async fn edit_queued(&mut self, chat: &str, queued_message_id: String) {
        let (words, part) = self.words("edit queued");
        let request_id = self.request_id();
        let request = proto::EditQueuedMessageRequest {
            chat_id: chat.to_owned(),
            request_id: request_id.clone(),
            queued_message_id: queued_message_id.clone(),
            parts: vec![part],
        };
        let edited = self
            .ask(Operation::EditQueuedMessage, &request_id, async |client| {
                client.chats.edit_queued_message(request.clone()).await
            })
            .await;
        let records = &self.storm.records;
        match edited {
            Outcome::Accepted(edited) => {
                let snapshot = edited.chat.expect("a chat").snapshot_version;
                records.queued(&queued_message_id, snapshot, words);
            }
            Outcome::Unknown => records.may_be_queued(&queued_message_id, words),
            Outcome::Refused => {}
        }
    }

    async fn delete_queued(&mut self, chat: &str, queued_message_id: String) {
        let request_id = self.request_id();
        let request = proto::DeleteQueuedMessageRequest {
            chat_id: chat.to_owned(),
            request_id: request_id.clone(),
            queued_message_id: queued_message_id.clone(),
        };
        let deleted = self
            .ask(Operation::DeleteQueuedMessage, &request_id, async |client| {
                client.chats.delete_queued_message(request.clone()).await
            })
            .await;
        let records = &self.storm.records;
        match deleted {
            Outcome::Accepted(deleted) => {
                records.deleted(&queued_message_id, deleted.chat.expect("a chat").snapshot_version);
            }
            Outcome::Unknown => records.may_be_deleted(&queued_message_id),
            Outcome::Refused => {}
        }
    }

    async fn promote_queued(&mut self, chat: &str, queued_message_id: String) {
        let request_id = self.request_id();
        let request = proto::PromoteQueuedMessageRequest {
            chat_id: chat.to_owned(),
            request_id: request_id.clone(),
            queued_message_id,
        };
        let promoted = self
            .ask(Operation::PromoteQueuedMessage, &request_id, async |client| {
                client.chats.promote_queued_message(request.clone()).await
            })
            .await;
        if let Some(promoted) = promoted.accepted() {
            let entered = !promoted.messages.is_empty();
            assert_ne!(entered, promoted.queued_message.is_some(), "it has entered, or it waits");
        }
    }

    async fn move_queued(&mut self, chat: &str, queued_message_id: String) {
        let request_id = self.request_id();
        let request = proto::MoveQueuedMessageRequest {
            chat_id: chat.to_owned(),
            request_id: request_id.clone(),
            queued_message_id,
            index: self.random.random_range(0..6),
        };
        self.ask(Operation::MoveQueuedMessage, &request_id, async |client| {
            client.chats.move_queued_message(request.clone()).await
        })
        .await;
    }
}

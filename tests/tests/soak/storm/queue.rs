//! What users do to messages that wait.

use chatplane_proto::chat::v1 as proto;
use rand::{Rng, seq::IndexedRandom as _};

use super::User;

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
        let (_, part) = self.words("edit queued");
        let request_id = self.request_id();
        let request = proto::EditQueuedMessageRequest {
            chat_id: chat.to_owned(),
            request_id: request_id.clone(),
            queued_message_id: queued_message_id.clone(),
            parts: vec![part],
        };
        let edited = self
            .ask(
                &request_id,
                |reply: &proto::EditQueuedMessageResponse| reply.chat.as_ref(),
                async |client| client.chats.edit_queued_message(request.clone()).await,
            )
            .await;
        if edited.is_some() {
            self.storm.records.rewrote(&queued_message_id);
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
            .ask(
                &request_id,
                |reply: &proto::DeleteQueuedMessageResponse| reply.chat.as_ref(),
                async |client| client.chats.delete_queued_message(request.clone()).await,
            )
            .await;
        if deleted.is_some() {
            self.storm.records.deleted(&queued_message_id);
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
            .ask(
                &request_id,
                |reply: &proto::PromoteQueuedMessageResponse| reply.chat.as_ref(),
                async |client| client.chats.promote_queued_message(request.clone()).await,
            )
            .await;
        if let Some(promoted) = promoted {
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
        self.ask(
            &request_id,
            |reply: &proto::MoveQueuedMessageResponse| reply.chat.as_ref(),
            async |client| client.chats.move_queued_message(request.clone()).await,
        )
        .await;
    }
}

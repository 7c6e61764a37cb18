//! What users do to messages that wait.

use chatplane_proto::chat::v1 as proto;
use rand::{Rng, seq::IndexedRandom as _};
use uuid::Uuid;

use super::{
    Ask, Hand,
    Operation::{
        DeleteQueuedMessage, EditQueuedMessage, ListQueuedMessages, MoveQueuedMessage, PromoteQueuedMessage,
    },
};

impl Hand {
    /// Changes a message that waits. Often there is none, so some are queued first: the first
    /// of them keeps the chat busy.
    pub(super) async fn change_queue(&mut self, chat: &str) {
        if self.random.random_ratio(1, 8) {
            return self.edit_what_never_was_queued(chat).await;
        }
        for _ in 0..self.random.random_range(0..4) {
            self.send_when_it_is_its_turn(chat).await;
        }
        let request = proto::ListQueuedMessagesRequest { chat_id: chat.to_owned(), ..Default::default() };
        let replied = self.client().chats.list_queued_messages(request).await;
        let Some(listed) = self.taken(Ask::new(ListQueuedMessages, chat), replied) else { return };
        let Some(queued) = listed.queued_messages.choose(&mut self.random) else { return };
        let id = queued.queued_message_id.clone();
        match self.random.random_range(0..5) {
            0 | 1 => self.edit_queued(chat, id).await,
            2 => self.delete_queued(chat, id).await,
            3 => self.promote_queued(chat, id).await,
            _ => self.move_queued(chat, id).await,
        }
    }

    async fn edit_queued(&mut self, chat: &str, queued_message_id: String) {
        let (parts, files) = self.parts();
        let queued = Some(queued_message_id.clone());
        let ask = Ask { queued_message_id: queued, files, ..Ask::new(EditQueuedMessage, chat) };
        let request = proto::EditQueuedMessageRequest {
            chat_id: chat.to_owned(),
            queued_message_id,
            parts,
            ..Default::default()
        };
        let replied = self.client().chats.edit_queued_message(request).await;
        self.taken(ask, replied);
    }

    async fn edit_what_never_was_queued(&mut self, chat: &str) {
        let queued_message_id = Uuid::now_v7().to_string();
        let queued = Some(queued_message_id.clone());
        let ask = Ask { queued_message_id: queued, ..Ask::new(EditQueuedMessage, chat) };
        let request = proto::EditQueuedMessageRequest {
            chat_id: chat.to_owned(),
            queued_message_id,
            parts: vec![chatplane_tests::text("words for nobody")],
            ..Default::default()
        };
        let replied = self.client().chats.edit_queued_message(request).await;
        let edited = self.taken(ask, replied);
        assert_eq!(edited, None, "what never was in the queue cannot be edited");
    }

    async fn delete_queued(&mut self, chat: &str, queued_message_id: String) {
        let queued = Some(queued_message_id.clone());
        let ask = Ask { queued_message_id: queued, ..Ask::new(DeleteQueuedMessage, chat) };
        let request = proto::DeleteQueuedMessageRequest {
            chat_id: chat.to_owned(),
            queued_message_id,
            ..Default::default()
        };
        let replied = self.client().chats.delete_queued_message(request).await;
        self.taken(ask, replied);
    }

    async fn promote_queued(&mut self, chat: &str, queued_message_id: String) {
        let queued = Some(queued_message_id.clone());
        let ask = Ask { queued_message_id: queued, ..Ask::new(PromoteQueuedMessage, chat) };
        let request = proto::PromoteQueuedMessageRequest {
            chat_id: chat.to_owned(),
            queued_message_id,
            ..Default::default()
        };
        let replied = self.client().chats.promote_queued_message(request).await;
        self.taken(ask, replied);
    }

    async fn move_queued(&mut self, chat: &str, queued_message_id: String) {
        let queued = Some(queued_message_id.clone());
        let ask = Ask { queued_message_id: queued, ..Ask::new(MoveQueuedMessage, chat) };
        let request = proto::MoveQueuedMessageRequest {
            chat_id: chat.to_owned(),
            queued_message_id,
            index: self.random.random_range(0..4),
            ..Default::default()
        };
        let replied = self.client().chats.move_queued_message(request).await;
        self.taken(ask, replied);
    }
}

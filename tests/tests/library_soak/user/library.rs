//! What users do with chats beside talking.

use chatplane_proto::chat::v1 as proto;
use prost_types::FieldMask;
use rand::{Rng, seq::IndexedRandom as _};

use super::{Hand, locked};

/// What lists are asked for.
const QUERIES: [&str; 8] = [
    "",
    "archived:any",
    "archived:true",
    "has_unread:true",
    "state:waiting",
    "label:made=here",
    "title:name",
    "search:\"answer words\"",
];

impl Hand {
    fn update(&self, chat: &str, path: &str) -> proto::UpdateChatRequest {
        proto::UpdateChatRequest {
            chat_id: chat.to_owned(),
            update_mask: Some(FieldMask { paths: vec![path.to_owned()] }),
            ..Default::default()
        }
    }

    async fn updated(&mut self, request: proto::UpdateChatRequest) {
        let chat = request.chat_id.clone();
        let replied = self.client().chats.update_chat(request).await;
        self.taken(&chat, replied);
    }

    pub(super) async fn title(&mut self, chat: &str) {
        let title = format!("A name {}", self.random.random_range(0..1_000));
        // Half of all name the version that they have seen; it may be an old one.
        let expected_version = match self.random.random_bool(0.5) {
            true => {
                let request = proto::GetChatRequest { chat_id: chat.to_owned() };
                let replied = self.client().chats.get_chat(request).await;
                let read = self.taken(chat, replied).and_then(|read| read.chat);
                read.map(|chat| chat.metadata_version)
            }
            false => None,
        };
        self.updated(proto::UpdateChatRequest { title, expected_version, ..self.update(chat, "title") })
            .await;
    }

    pub(super) async fn labels(&mut self, chat: &str) {
        let (key, value) = (format!("key-{}", self.random.random_range(0..5)), "value".to_owned());
        let request = match self.random.random_range(0..3) {
            0 => proto::UpdateChatRequest { labels: [(key, value)].into(), ..self.update(chat, "labels") },
            1 => proto::UpdateChatRequest {
                set_labels: [(key, value)].into(),
                ..self.update(chat, "set_labels")
            },
            _ => proto::UpdateChatRequest { remove_labels: vec![key], ..self.update(chat, "remove_labels") },
        };
        self.updated(request).await;
    }

    pub(super) async fn pin(&mut self, chat: &str) {
        let pin_order = self.random.random_range(0..6);
        self.updated(proto::UpdateChatRequest { pin_order, ..self.update(chat, "pin_order") }).await;
    }

    pub(super) async fn mark_read(&mut self, chat: &str) {
        let message_id = if self.random.random_bool(0.5) { 0 } else { self.random.random_range(1..20) };
        let request = proto::MarkReadRequest { chat_id: chat.to_owned(), message_id };
        let replied = self.client().chats.mark_read(request).await;
        self.taken(chat, replied);
    }

    /// Looks at a chat for a moment, by which it is read.
    pub(super) async fn glance(&mut self, chat: &str) {
        let events = self.random.random_range(1..8);
        let request = proto::WatchChatRequest { chat_id: chat.to_owned(), ..Default::default() };
        let replied = self.client().chats.watch_chat(request).await;
        let Some(mut stream) = self.taken(chat, replied) else { return };
        for _ in 0..events {
            match stream.message().await {
                Ok(Some(event)) => {
                    // Of a chat at rest there is nothing more to see.
                    if matches!(event.event, Some(proto::watch_chat_response::Event::State(_))) {
                        return;
                    }
                }
                // The chat was deleted.
                Ok(None) | Err(_) => return,
            }
        }
    }

    pub(super) async fn regenerate_title(&mut self, chat: &str) {
        let request = proto::RegenerateTitleRequest { chat_id: chat.to_owned(), ..Default::default() };
        let replied = self.client().chats.regenerate_title(request).await;
        self.taken(chat, replied);
    }

    pub(super) async fn archive(&mut self, chat: &str) {
        let request = proto::ArchiveChatRequest { chat_id: chat.to_owned(), ..Default::default() };
        let replied = self.client().chats.archive_chat(request).await;
        self.taken(chat, replied);
    }

    pub(super) async fn unarchive(&mut self, chat: &str) {
        let request = proto::UnarchiveChatRequest { chat_id: chat.to_owned(), ..Default::default() };
        let replied = self.client().chats.unarchive_chat(request).await;
        self.taken(chat, replied);
    }

    pub(super) async fn upload(&mut self) {
        let number = self.random.random_range(0..20);
        let name = format!("notes {number}.txt");
        let uploaded = self.client().upload(&name, format!("notes, number {number}").as_bytes()).await;
        let file = uploaded.expect("a file is taken");
        locked(&self.desk.files).push(file);
    }

    pub(super) async fn list(&mut self) {
        let q = (*QUERIES.choose(&mut self.random).expect("there are some")).to_owned();
        let request = proto::ListChatsRequest { page_size: 5, page_token: String::new(), q };
        let replied = self.client().chats.list_chats(request).await;
        self.taken("", replied);
    }
}

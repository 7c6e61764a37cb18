//! What users do with chats beside talking.

use chatplane_proto::chat::v1 as proto;
use prost_types::FieldMask;
use rand::{Rng, seq::IndexedRandom as _};
use tonic::Response;

use super::{Ask, Hand, Operation, locked};

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

/// More than a run brings a chat's metadata to.
const VERSIONS_MAX: i64 = 1_000_000;

impl Hand {
    fn update(&self, chat: &str, path: &str) -> proto::UpdateChatRequest {
        proto::UpdateChatRequest {
            chat_id: chat.to_owned(),
            update_mask: Some(FieldMask { paths: vec![path.to_owned()] }),
            ..Default::default()
        }
    }

    async fn updated(&mut self, operation: Operation, request: proto::UpdateChatRequest) -> bool {
        let expected_version = request.expected_version;
        let ask = Ask { expected_version, ..Ask::new(operation, &request.chat_id) };
        let replied = self.client().chats.update_chat(request).await;
        self.taken(ask, replied).is_some()
    }

    pub(super) async fn read(&mut self, chat: &str) -> Option<proto::Chat> {
        let request = proto::GetChatRequest { chat_id: chat.to_owned() };
        let replied = self.client().chats.get_chat(request).await;
        self.taken(Ask::new(Operation::GetChat, chat), replied).and_then(|read| read.chat)
    }

    pub(super) async fn title(&mut self, chat: &str) {
        let title = format!("A name {}", self.random.random_range(0..1_000));
        // Half of all name the version that they have seen, which may be an old one; and some a
        // version that will not be.
        let seen = match self.random.random_bool(0.5) {
            true => self.read(chat).await.map(|chat| chat.metadata_version),
            false => None,
        };
        let is_never = seen.is_some() && self.random.random_ratio(1, 8);
        let expected_version = if is_never { seen.map(|seen| seen + VERSIONS_MAX) } else { seen };
        let request = proto::UpdateChatRequest { title, expected_version, ..self.update(chat, "title") };
        let is_done = self.updated(Operation::UpdateTitle, request).await;
        assert!(!(is_done && is_never), "a version that was not there was taken");
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
        self.updated(Operation::UpdateLabels, request).await;
    }

    pub(super) async fn pin(&mut self, chat: &str) {
        let pin_order = self.random.random_range(0..6);
        let request = proto::UpdateChatRequest { pin_order, ..self.update(chat, "pin_order") };
        self.updated(Operation::UpdatePin, request).await;
    }

    pub(super) async fn mark_read(&mut self, chat: &str) {
        let message_id = if self.random.random_bool(0.5) { 0 } else { self.random.random_range(1..20) };
        let request = proto::MarkReadRequest { chat_id: chat.to_owned(), message_id };
        let replied = self.client().chats.mark_read(request).await;
        self.taken(Ask::new(Operation::MarkRead, chat), replied);
    }

    /// Looks at a chat for a moment, by which it is read.
    pub(super) async fn glance(&mut self, chat: &str) {
        let events = self.random.random_range(1..8);
        let request = proto::WatchChatRequest { chat_id: chat.to_owned(), ..Default::default() };
        let replied = self.client().chats.watch_chat(request).await;
        let Some(mut stream) = self.taken(Ask::new(Operation::WatchChat, chat), replied) else { return };
        for _ in 0..events {
            match stream.message().await {
                Ok(Some(event)) => {
                    // Of a chat at rest there is nothing more to see.
                    if matches!(event.event, Some(proto::watch_chat_response::Event::State(_))) {
                        return;
                    }
                }
                // The chat was deleted, or nobody knows why.
                Err(status) => return self.refused(Ask::new(Operation::WatchChat, chat), &status),
                Ok(None) => panic!("a watch ends without a word"),
            }
        }
    }

    pub(super) async fn regenerate_title(&mut self, chat: &str) {
        let request = proto::RegenerateTitleRequest { chat_id: chat.to_owned(), ..Default::default() };
        let replied = self.client().chats.regenerate_title(request).await;
        self.taken(Ask::new(Operation::RegenerateTitle, chat), replied);
    }

    pub(super) async fn archive(&mut self, chat: &str) {
        let request = proto::ArchiveChatRequest { chat_id: chat.to_owned(), ..Default::default() };
        let replied = self.client().chats.archive_chat(request).await;
        self.taken(Ask::new(Operation::ArchiveChat, chat), replied);
    }

    pub(super) async fn unarchive(&mut self, chat: &str) {
        let request = proto::UnarchiveChatRequest { chat_id: chat.to_owned(), ..Default::default() };
        let replied = self.client().chats.unarchive_chat(request).await;
        self.taken(Ask::new(Operation::UnarchiveChat, chat), replied);
    }

    pub(super) async fn upload(&mut self) {
        let number = self.random.random_range(0..20);
        let name = format!("notes {number}.txt");
        let uploaded = self.client().upload(&name, format!("notes, number {number}").as_bytes()).await;
        let file = self.taken(Ask::new(Operation::UploadFile, ""), uploaded.map(Response::new));
        locked(&self.desk.files).extend(file);
    }

    pub(super) async fn list(&mut self) {
        let q = (*QUERIES.choose(&mut self.random).expect("there are some")).to_owned();
        let request = proto::ListChatsRequest { page_size: 5, page_token: String::new(), q };
        let replied = self.client().chats.list_chats(request).await;
        self.taken(Ask::new(Operation::ListChats, ""), replied);
    }
}

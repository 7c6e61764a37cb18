//! A client that watches all its chats.

use std::collections::BTreeMap;

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use chatplane_proto::chat::v1::{self as proto, ChatChange, WatchChatsResponse, watch_chats_response::Event};
use chatplane_tests::{Client, DEADLINE};
use tokio::time::timeout;
use tonic::{Status, Streaming};
use tonic_types::StatusExt as _;

/// A stream and what was made of it.
pub(crate) struct Watcher {
    stream: Streaming<WatchChatsResponse>,
    /// Of the last event.
    pub(crate) cursor: String,
    /// The last picture of each chat.
    pub(crate) chats: BTreeMap<String, proto::Chat>,
    /// What was told of each chat.
    pub(crate) changes: BTreeMap<String, Vec<ChatChange>>,
    /// Chats that were deleted.
    pub(crate) deleted: Vec<String>,
    pub(crate) events: usize,
}

impl Watcher {
    /// Watches from a cursor, or from now.
    pub(crate) async fn open(client: &mut Client, cursor: &str) -> Result<Self, Status> {
        let request = proto::WatchChatsRequest { cursor: cursor.to_owned() };
        let stream = client.chats.watch_chats(request).await?.into_inner();
        Ok(Self {
            stream,
            cursor: cursor.to_owned(),
            chats: BTreeMap::new(),
            changes: BTreeMap::new(),
            deleted: Vec::new(),
            events: 0,
        })
    }

    /// The same, where it is expected to begin: with progress.
    pub(crate) async fn begin(client: &mut Client, cursor: &str) -> Self {
        let mut watcher = Self::open(client, cursor).await.expect("the chats can be watched");
        assert!(matches!(watcher.next().await, Event::Progress(_)), "the first event comes at once");
        watcher
    }

    /// The next event, folded.
    pub(crate) async fn next(&mut self) -> Event {
        self.try_next().await.expect("the stream goes on")
    }

    /// The same, or why the stream has ended.
    pub(crate) async fn try_next(&mut self) -> Result<Event, Status> {
        let message = timeout(DEADLINE, self.stream.message()).await.expect("an event comes");
        let response = message?.ok_or_else(|| Status::ok("the stream has ended"))?;
        assert!(bytes(&response.cursor) >= bytes(&self.cursor), "cursors never fall");
        self.cursor = response.cursor;
        self.events += 1;
        let event = response.event.expect("an event says something");
        match &event {
            Event::ChatChanged(changed) => {
                let chat = changed.chat.clone().expect("the chat is complete");
                assert!(!changed.changes.is_empty(), "something changed");
                self.changes.entry(chat.chat_id.clone()).or_default().extend(changed.changes());
                self.chats.insert(chat.chat_id.clone(), chat);
            }
            Event::ChatDeleted(deleted) => {
                self.chats.remove(&deleted.chat_id);
                self.deleted.push(deleted.chat_id.clone());
            }
            Event::Progress(_) => {}
        }
        Ok(event)
    }

    /// Reads until a chat is as wanted; answers what changed of it meanwhile.
    pub(crate) async fn until(
        &mut self,
        chat: &str,
        is_wanted: impl Fn(&proto::Chat) -> bool,
    ) -> Vec<ChatChange> {
        while !self.chats.get(chat).is_some_and(&is_wanted) {
            self.next().await;
        }
        self.changes.remove(chat).unwrap_or_default()
    }

    /// The status with which the stream ends.
    pub(crate) async fn end(&mut self) -> Status {
        loop {
            if let Err(status) = self.try_next().await {
                return status;
            }
        }
    }
}

/// What is in a cursor compares like what it stands for.
pub(crate) fn bytes(cursor: &str) -> Vec<u8> {
    BASE64_URL_SAFE_NO_PAD.decode(cursor).expect("a cursor can be put into a URL")
}

/// Why a watch was refused, at once or with its first event.
pub(crate) async fn refused(client: &mut Client, cursor: &str) -> String {
    let status = match Watcher::open(client, cursor).await {
        Err(status) => status,
        Ok(mut watcher) => watcher.try_next().await.expect_err("it is refused"),
    };
    assert!(!status.message().is_empty());
    status.get_details_error_info().expect("a reason").reason
}

//! What a client asks of all its chats.

use std::{collections::BTreeMap, time::Instant};

use chatplane_proto::chat::v1::{self as proto, watch_chats_response::Event};
use prost_types::FieldMask;
use tonic::Streaming;
use uuid::Uuid;

use super::Client;
use crate::{
    error::{Error, OrFailed as _, Result},
    wait::in_time,
};

/// A page that is asked for.
#[derive(Clone, Debug, Default)]
pub(crate) struct Page {
    pub(crate) q: String,
    pub(crate) token: String,
    /// 0 for as many as a client gets that does not say.
    pub(crate) size: i32,
}

impl Page {
    /// The first one of the chats that pass a filter.
    pub(crate) fn of(q: impl Into<String>) -> Self {
        Self { q: q.into(), ..Self::default() }
    }
}

impl Client {
    pub(crate) async fn list(&mut self, page: &Page) -> Result<proto::ListChatsResponse> {
        let request = proto::ListChatsRequest {
            page_size: page.size,
            page_token: page.token.clone(),
            q: page.q.clone(),
        };
        let response = self.chats.list_chats(request).await;
        Ok(response.or_failed(format!("list chats by {:?}", page.q))?.into_inner())
    }

    /// How many of these workspaces have a chat.
    pub(crate) async fn latest(&mut self, workspaces: &[Uuid]) -> Result<usize> {
        let workspace_ids = workspaces.iter().map(Uuid::to_string).collect();
        let request = proto::ListChatsByWorkspaceRequest { workspace_ids };
        let response = self.chats.list_chats_by_workspace(request).await.or_failed("list by workspace")?;
        Ok(response.into_inner().chats.len())
    }

    /// Marks a chat as read.
    pub(crate) async fn mark_read(&mut self, chat: &str) -> Result<()> {
        let request = proto::MarkReadRequest { chat_id: chat.to_owned(), message_id: 0 };
        let response = self.chats.mark_read(request).await.or_failed("mark a chat as read")?.into_inner();
        match response.chat {
            Some(chat) if !chat.has_unread => Ok(()),
            _ => Err(Error::wrong("a chat is unread that was marked as read")),
        }
    }

    /// Gives a chat another title, and answers when that was acknowledged.
    pub(crate) async fn rename(&mut self, chat: &str, title: &str) -> Result<Instant> {
        let request = proto::UpdateChatRequest {
            chat_id: chat.to_owned(),
            request_id: Uuid::now_v7().to_string(),
            update_mask: Some(FieldMask { paths: vec!["title".to_owned()] }),
            title: title.to_owned(),
            ..Default::default()
        };
        self.chats.update_chat(request).await.or_failed("rename a chat")?;
        Ok(Instant::now())
    }

    /// Watches all chats, from a cursor on, or from the present.
    pub(crate) async fn watch_all(&mut self, cursor: &str) -> Result<WatchAll> {
        let request = proto::WatchChatsRequest { cursor: cursor.to_owned() };
        let response = self.chats.watch_chats(request).await.or_failed("watch all chats")?;
        Ok(WatchAll { stream: response.into_inner() })
    }
}

/// All chats of a user, watched.
#[derive(Debug)]
pub(crate) struct WatchAll {
    stream: Streaming<proto::WatchChatsResponse>,
}

impl WatchAll {
    /// Waits for the first event, which comes at once.
    pub(crate) async fn begun(&mut self) -> Result<()> {
        self.next().await.map(|_| ())
    }

    /// Waits until these chats have these titles.
    pub(crate) async fn titles(&mut self, mut awaited: BTreeMap<&str, &str>) -> Result<Instant> {
        loop {
            let (event, at) = self.next().await?;
            let Event::ChatChanged(changed) = event else { continue };
            let chat = changed.chat.ok_or_else(|| Error::wrong("an event of a chat without the chat"))?;
            if awaited.get(chat.chat_id.as_str()).is_some_and(|title| *title == chat.title) {
                awaited.remove(chat.chat_id.as_str());
            }
            if awaited.is_empty() {
                return Ok(at);
            }
        }
    }

    async fn next(&mut self) -> Result<(Event, Instant)> {
        let next = in_time("an event of all chats", self.stream.message()).await?;
        let at = Instant::now();
        let event = next.or_failed("go on watching all chats")?.and_then(|response| response.event);
        Ok((event.ok_or_else(|| Error::wrong("the stream of all chats has ended"))?, at))
    }
}

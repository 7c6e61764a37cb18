//! A client of `ChatService`, as a program would write it.

use std::time::Instant;

use chatplane_proto::chat::v1::{
    self as proto, ChatState, PartAppend, chat_service_client::ChatServiceClient, watch_chat_response::Event,
};
use tonic::{
    Request, Status, Streaming,
    metadata::{Ascii, MetadataValue},
    service::{Interceptor, interceptor::InterceptedService},
    transport::Channel,
};
use uuid::Uuid;

use crate::{
    error::{Error, OrFailed as _, Result},
    wait::in_time,
};

pub(crate) mod library;

/// Adds the token to every call.
#[derive(Clone, Debug)]
pub(crate) struct Bearer(MetadataValue<Ascii>);

impl Bearer {
    pub(crate) fn new(token: &str) -> Result<Self> {
        Ok(Self(format!("Bearer {token}").parse().or_failed("put a token into a header")?))
    }
}

impl Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> std::result::Result<Request<()>, Status> {
        request.metadata_mut().insert("authorization", self.0.clone());
        Ok(request)
    }
}

/// A user's client.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    chats: ChatServiceClient<InterceptedService<Channel, Bearer>>,
}

impl Client {
    pub(crate) fn new(channel: Channel, token: &str) -> Result<Self> {
        Ok(Self { chats: ChatServiceClient::with_interceptor(channel, Bearer::new(token)?) })
    }

    /// Creates a chat with a first message, and answers its id.
    pub(crate) async fn create_chat(&mut self, words: &str) -> Result<String> {
        let request = proto::CreateChatRequest {
            request_id: Uuid::now_v7().to_string(),
            parts: vec![text(words)],
            ..Default::default()
        };
        let response = self.chats.create_chat(request).await.or_failed("create a chat")?;
        let chat = response.into_inner().chat.ok_or_else(|| Error::wrong("an answer without a chat"))?;
        Ok(chat.chat_id)
    }

    /// Sends a message to an idle chat, and answers the chat's version with it.
    pub(crate) async fn send(&mut self, chat: &str, words: &str) -> Result<i64> {
        let request = proto::SendMessageRequest {
            chat_id: chat.to_owned(),
            request_id: Uuid::now_v7().to_string(),
            parts: vec![text(words)],
            ..Default::default()
        };
        let response = self.chats.send_message(request).await.or_failed("send a message")?.into_inner();
        match (response.chat, response.queued_message) {
            (Some(chat), None) => Ok(chat.snapshot_version),
            (_, Some(_)) => Err(Error::wrong("a message was queued although its chat was idle")),
            (None, None) => Err(Error::wrong("an answer without a chat")),
        }
    }

    /// Stops the running turn, and answers the chat's version with that.
    pub(crate) async fn interrupt(&mut self, chat: &str) -> Result<i64> {
        let request =
            proto::InterruptChatRequest { chat_id: chat.to_owned(), request_id: Uuid::now_v7().to_string() };
        let response = self.chats.interrupt_chat(request).await.or_failed("interrupt a chat")?.into_inner();
        match response.chat {
            Some(chat) if chat.state() == ChatState::Interrupting => Ok(chat.snapshot_version),
            Some(chat) => Err(Error::wrong(format!("an interrupt found a chat {:?}", chat.state()))),
            None => Err(Error::wrong("an answer without a chat")),
        }
    }

    /// Lists what the user wrote in a chat, and answers how much that is.
    pub(crate) async fn prompts(&mut self, chat: &str) -> Result<usize> {
        let request = proto::ListPromptsRequest { chat_id: chat.to_owned(), ..Default::default() };
        let response = self.chats.list_prompts(request).await.or_failed("list prompts")?.into_inner();
        Ok(response.prompts.len())
    }

    /// Watches a chat from the present, and waits until it is at rest.
    pub(crate) async fn watch(&mut self, chat: &str) -> Result<Watch> {
        let mut watch = self.watch_from(chat, "").await?;
        watch.rest(0).await?;
        Ok(watch)
    }

    /// Watches a chat from a cursor on, or without one from the present.
    pub(crate) async fn watch_from(&mut self, chat: &str, cursor: &str) -> Result<Watch> {
        let request = proto::WatchChatRequest {
            chat_id: chat.to_owned(),
            cursor: cursor.to_owned(),
            ..Default::default()
        };
        let response = self.chats.watch_chat(request).await.or_failed("watch a chat")?;
        Ok(Watch { stream: response.into_inner(), cursor: cursor.to_owned() })
    }

    /// Creates a chat and lets its first turn end.
    pub(crate) async fn idle_chat(&mut self, words: &str) -> Result<(String, Watch)> {
        let chat = self.create_chat(words).await?;
        let watch = self.watch(&chat).await?;
        Ok((chat, watch))
    }
}

/// A chat that is watched. A turn that fails or has to be repeated is an error: its time
/// would be that of something else.
#[derive(Debug)]
pub(crate) struct Watch {
    stream: Streaming<proto::WatchChatResponse>,
    cursor: String,
}

impl Watch {
    /// Where another stream goes on: that of the last event.
    pub(crate) fn cursor(&self) -> &str {
        &self.cursor
    }

    /// The next event, and when it had come.
    pub(crate) async fn next(&mut self) -> Result<(Event, Instant)> {
        let next = in_time("an event of a watched chat", self.stream.message()).await?;
        let at = Instant::now();
        let response = next.or_failed("go on watching a chat")?;
        let response = response.ok_or_else(|| Error::wrong("the stream of a watched chat has ended"))?;
        self.cursor = response.cursor;
        let event = response.event.ok_or_else(|| Error::wrong("an answer without an event"))?;
        match &event {
            Event::Error(changed) if changed.error.is_some() => {
                let error = changed.error.as_ref().map(|error| error.message.as_str()).unwrap_or_default();
                Err(Error::wrong(format!("a turn has failed: {error}")))
            }
            Event::Retry(changed) if changed.retry.is_some() => {
                Err(Error::wrong("a model call has failed and is repeated"))
            }
            _ => Ok((event, at)),
        }
    }

    /// Waits for live bytes of a turn.
    pub(crate) async fn append(&mut self) -> Result<(PartAppend, Instant)> {
        loop {
            match self.next().await? {
                (Event::PartAppend(append), at) => return Ok((append, at)),
                (Event::State(state), _) if state.state() == ChatState::Waiting => {
                    return Err(Error::wrong("a turn has ended before all its parts were seen"));
                }
                _ => {}
            }
        }
    }

    /// Waits until the chat waits for its user, in this version or a later one.
    pub(crate) async fn rest(&mut self, version: i64) -> Result<Instant> {
        loop {
            if let (Event::State(state), at) = self.next().await?
                && state.state() == ChatState::Waiting
                && state.snapshot_version >= version
            {
                return Ok(at);
            }
        }
    }
}

/// A text part.
pub(crate) fn text(words: &str) -> proto::Part {
    proto::Part { kind: Some(proto::part::Kind::Text(proto::TextPart { text: words.to_owned() })) }
}

//! A client of `ChatService` as a program would write it.

use chatplane_proto::chat::v1::{
    self as proto, chat_service_client::ChatServiceClient, file_service_client::FileServiceClient,
    settings_service_client::SettingsServiceClient, upload_file_request::Piece, watch_chat_response::Event,
};
use futures::{StreamExt, stream};
use tonic::{
    Request, Status,
    metadata::MetadataValue,
    service::{Interceptor, interceptor::InterceptedService},
    transport::{Channel, Endpoint},
};

use crate::wait::DEADLINE;

/// An upload is sent in pieces of this size, as a careful client would.
const UPLOAD_PIECE_BYTES: usize = 256 * 1024;

/// Adds the token to every call.
#[derive(Clone, Debug)]
pub struct Bearer(MetadataValue<tonic::metadata::Ascii>);

impl Bearer {
    /// Sends this token.
    ///
    /// # Panics
    ///
    /// When the token is no header value.
    #[must_use]
    pub fn new(token: &str) -> Self {
        Self(format!("Bearer {token}").parse().expect("tokens are ASCII"))
    }
}

impl Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        request.metadata_mut().insert("authorization", self.0.clone());
        Ok(request)
    }
}

/// A client with a token.
#[derive(Clone, Debug)]
pub struct Client {
    /// The generated client.
    pub chats: ChatServiceClient<InterceptedService<Channel, Bearer>>,
    /// The generated client of files.
    pub files: FileServiceClient<InterceptedService<Channel, Bearer>>,
    /// The generated client of settings.
    pub settings: SettingsServiceClient<InterceptedService<Channel, Bearer>>,
}

impl Client {
    /// A client of the server at this URL; it connects when it is first used.
    ///
    /// # Panics
    ///
    /// When the URL is none.
    #[must_use]
    pub fn new(url: &str, token: &str) -> Self {
        Self::over(Endpoint::from_shared(url.to_owned()).expect("the URL is one").connect_lazy(), token)
    }

    /// A client over a channel that is there.
    #[must_use]
    pub fn over(channel: Channel, token: &str) -> Self {
        let bearer = Bearer::new(token);
        Self {
            chats: ChatServiceClient::with_interceptor(channel.clone(), bearer.clone()),
            files: FileServiceClient::with_interceptor(channel.clone(), bearer.clone()),
            settings: SettingsServiceClient::with_interceptor(channel, bearer),
        }
    }

    /// Creates a chat with a first message.
    ///
    /// # Panics
    ///
    /// When the server refuses.
    pub async fn create_chat(&mut self, prompt: &str) -> proto::Chat {
        let request = proto::CreateChatRequest { parts: vec![text(prompt)], ..Default::default() };
        self.chats.create_chat(request).await.expect("the chat is created").into_inner().chat.expect("a chat")
    }

    /// Sends a message with the default behaviour.
    ///
    /// # Errors
    ///
    /// What the server says.
    pub async fn send(&mut self, chat: &str, prompt: &str) -> Result<proto::SendMessageResponse, Status> {
        let request = proto::SendMessageRequest {
            chat_id: chat.to_owned(),
            parts: vec![text(prompt)],
            ..Default::default()
        };
        Ok(self.chats.send_message(request).await?.into_inner())
    }

    /// Uploads a file.
    ///
    /// # Errors
    ///
    /// What the server says.
    pub async fn upload(&mut self, name: &str, content: &[u8]) -> Result<proto::File, Status> {
        let header = proto::UploadFileHeader { name: name.to_owned() };
        let data = content.chunks(UPLOAD_PIECE_BYTES).map(|piece| Piece::Data(piece.to_vec().into()));
        let pieces: Vec<_> = [Piece::Header(header)].into_iter().chain(data).collect();
        let requests = pieces.into_iter().map(|piece| proto::UploadFileRequest { piece: Some(piece) });
        let response = self.files.upload_file(stream::iter(requests)).await?.into_inner();
        response.file.ok_or_else(|| Status::internal("an answer without a file"))
    }

    /// The chat.
    ///
    /// # Errors
    ///
    /// What the server says.
    pub async fn chat(&mut self, chat: &str) -> Result<proto::Chat, Status> {
        let request = proto::GetChatRequest { chat_id: chat.to_owned() };
        let response = self.chats.get_chat(request).await?.into_inner();
        response.chat.ok_or_else(|| Status::internal("an answer without a chat"))
    }

    /// The last 200 messages, oldest first.
    ///
    /// # Panics
    ///
    /// When the server refuses.
    pub async fn messages(&mut self, chat: &str) -> Vec<proto::Message> {
        let request =
            proto::ListMessagesRequest { chat_id: chat.to_owned(), page_size: 200, ..Default::default() };
        let response = self.chats.list_messages(request).await.expect("the messages are listed");
        let mut messages = response.into_inner().messages;
        messages.reverse();
        messages
    }

    /// Watches from a cursor, or from the present.
    ///
    /// # Errors
    ///
    /// What the server says.
    pub async fn watch(
        &mut self,
        chat: &str,
        cursor: &str,
    ) -> Result<tonic::Streaming<proto::WatchChatResponse>, Status> {
        let request = proto::WatchChatRequest {
            chat_id: chat.to_owned(),
            cursor: cursor.to_owned(),
            history_limit: Some(-1),
        };
        Ok(self.chats.watch_chat(request).await?.into_inner())
    }

    /// Watches until the chat is at rest, and answers every event.
    ///
    /// # Panics
    ///
    /// When it never comes to rest.
    pub async fn watch_to_rest(&mut self, chat: &str) -> Vec<proto::WatchChatResponse> {
        let mut events = Vec::new();
        let mut stream = self.watch(chat, "").await.expect("the chat can be watched");
        let watching = async {
            while let Some(event) = stream.next().await {
                let event = event.expect("the stream goes on");
                let rest = is_at_rest(&event);
                events.push(event);
                if rest {
                    return;
                }
            }
        };
        tokio::time::timeout(DEADLINE, watching).await.expect("the chat comes to rest");
        events
    }
}

/// Whether the event says that the chat waits or has failed.
fn is_at_rest(event: &proto::WatchChatResponse) -> bool {
    match &event.event {
        Some(Event::State(state)) => {
            matches!(state.state(), proto::ChatState::Waiting | proto::ChatState::Error)
        }
        _ => false,
    }
}

/// A part that refers to a file.
#[must_use]
pub fn file_part(file: &proto::File) -> proto::Part {
    let part = proto::FilePart { file_id: file.file_id.clone(), ..Default::default() };
    proto::Part { kind: Some(proto::part::Kind::File(part)) }
}

/// A text part.
#[must_use]
pub fn text(text: &str) -> proto::Part {
    proto::Part { kind: Some(proto::part::Kind::Text(proto::TextPart { text: text.to_owned() })) }
}

//! A control plane that keeps what it was asked for, and whose chats do what a test says.
//!
//! A chat that was made runs until the test tells otherwise. What is watched is silent but for what the test
//! tells: a watch may be late by any time.

use std::{
    collections::{BTreeMap, VecDeque},
    convert::Infallible,
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use chatplane_proto::chat::v1::{
    Chat, ChatState, CreateChatResponse, DeleteQueuedMessageRequest, DeleteQueuedMessageResponse,
    ForkChatResponse, InterruptChatRequest, InterruptChatResponse, ListQueuedMessagesRequest,
    ListQueuedMessagesResponse, QueuedMessage, SendMessageRequest, SendMessageResponse, WatchChatRequest,
    WatchChatResponse, chat_service_server::SERVICE_NAME, watch_chat_response::Event,
};
use futures::{StreamExt as _, stream};
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::Frame;
use prost::Message;
use tokio::{net::TcpListener, sync::mpsc, task::JoinHandle};
use tonic::{
    Status,
    body::Body,
    codegen::{BoxFuture, Context, Poll, Service, http},
    server::NamedService,
    transport::{Server, server::TcpIncoming},
};

use crate::client::connection::{Bearer, ChatClient, Plaintext, Server as Address, chat_client};

/// Events of one chat that wait to be watched.
const EVENTS_MAX: usize = 16;

/// The control plane, which ends when this is dropped.
pub(super) struct ControlPlane {
    address: SocketAddr,
    chats: Chats,
    task: JoinHandle<()>,
}

impl ControlPlane {
    pub(super) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let chats = Chats::default();
        let serving = Server::builder().add_service(chats.clone());
        let task = tokio::spawn(async move {
            serving.serve_with_incoming(TcpIncoming::from(listener)).await.unwrap();
        });
        Self { address, chats, task }
    }

    pub(super) fn client(&self) -> ChatClient {
        let address = format!("http://{}", self.address);
        let server = Address { address, ca_cert: None, plaintext: Plaintext::OnThisHost };
        chat_client(server.channel().unwrap(), Bearer::new("any", "a test").unwrap())
    }

    /// What was asked for and of which chat or message, but watches, and is not repeated by the next call.
    pub(super) fn take_calls(&self) -> Vec<String> {
        std::mem::take(&mut self.chats.0.lock().unwrap().calls)
    }

    /// From here on this method is refused.
    pub(super) fn refuse(&self, method: &'static str) {
        self.chats.0.lock().unwrap().refused = Some(method);
    }

    /// Tells whoever watches the chat, now or later.
    pub(super) fn tell(&self, chat_id: &str, event: Event) {
        let response = WatchChatResponse { event: Some(event), ..Default::default() };
        self.chats.0.lock().unwrap().watch(chat_id).0.try_send(frame(&response)).unwrap();
    }
}

impl Drop for ControlPlane {
    fn drop(&mut self) {
        self.task.abort();
    }
}

type Watching = (mpsc::Sender<Bytes>, Option<mpsc::Receiver<Bytes>>);

#[derive(Default)]
struct State {
    calls: Vec<String>,
    refused: Option<&'static str>,
    chats_made: usize,
    messages_queued: usize,
    queue: VecDeque<QueuedMessage>,
    watches: BTreeMap<String, Watching>,
}

impl State {
    fn watch(&mut self, chat_id: &str) -> &mut Watching {
        self.watches.entry(chat_id.to_owned()).or_insert_with(|| {
            let (sender, receiver) = mpsc::channel(EVENTS_MAX);
            (sender, Some(receiver))
        })
    }

    /// A new chat in this state.
    fn make(&mut self, state: ChatState) -> Option<Chat> {
        self.chats_made += 1;
        chat(&format!("chat-{}", self.chats_made), state)
    }

    fn called(&mut self, method: &str, what: &str) {
        self.calls.push(format!("{method} {what}"));
    }

    fn enqueue(&mut self) -> QueuedMessage {
        self.messages_queued += 1;
        let queued_message_id = format!("queued-{}", self.messages_queued);
        let queued = QueuedMessage { queued_message_id, ..Default::default() };
        self.queue.push_back(queued.clone());
        queued
    }

    /// One message, so that there are as many pages. The token is the id of the one before.
    fn queue_page(&self, page_token: &str) -> ListQueuedMessagesResponse {
        let mut rest = self.queue.iter().filter(|queued| queued.queued_message_id.as_str() > page_token);
        let first = rest.next().cloned();
        let next_page_token = match (&first, rest.next()) {
            (Some(first), Some(_)) => first.queued_message_id.clone(),
            _ => String::new(),
        };
        ListQueuedMessagesResponse { queued_messages: first.into_iter().collect(), next_page_token }
    }

    fn answer(&mut self, method: &str, request: &Bytes) -> Result<Reply, Status> {
        if self.refused == Some(method) {
            return Err(Status::failed_precondition("it is not the time for it"));
        }
        let reply = match method {
            "CreateChat" => {
                let chat = self.make(ChatState::Running);
                self.called(method, &chat.as_ref().unwrap().chat_id);
                Reply::of(&CreateChatResponse { chat, message: None })
            }
            "ForkChat" => {
                let chat = self.make(ChatState::Waiting);
                self.called(method, &chat.as_ref().unwrap().chat_id);
                Reply::of(&ForkChatResponse { chat })
            }
            "SendMessage" => {
                let SendMessageRequest { chat_id, .. } = read(request);
                self.called(method, &chat_id);
                let (chat, queued_message) = (chat(&chat_id, ChatState::Running), Some(self.enqueue()));
                Reply::of(&SendMessageResponse { chat, queued_message, ..Default::default() })
            }
            "ListQueuedMessages" => {
                let ListQueuedMessagesRequest { chat_id, page_token, .. } = read(request);
                self.called(method, &chat_id);
                Reply::of(&self.queue_page(&page_token))
            }
            "DeleteQueuedMessage" => {
                let DeleteQueuedMessageRequest { queued_message_id, .. } = read(request);
                self.called(method, &queued_message_id);
                self.queue.retain(|queued| queued.queued_message_id != queued_message_id);
                Reply::of(&DeleteQueuedMessageResponse::default())
            }
            "InterruptChat" => {
                let InterruptChatRequest { chat_id, .. } = read(request);
                self.called(method, &chat_id);
                Reply::of(&InterruptChatResponse::default())
            }
            "WatchChat" => {
                let WatchChatRequest { chat_id, .. } = read(request);
                Reply::Watched(self.watch(&chat_id).1.take().expect("a chat is watched once"))
            }
            _ => return Err(Status::unimplemented(method.to_owned())),
        };
        Ok(reply)
    }
}

fn chat(chat_id: &str, state: ChatState) -> Option<Chat> {
    let chat_id = chat_id.to_owned();
    Some(Chat { chat_id, state: state.into(), snapshot_version: 1, ..Default::default() })
}

enum Reply {
    Unary(Bytes),
    Watched(mpsc::Receiver<Bytes>),
}

impl Reply {
    fn of(message: &impl Message) -> Self {
        Self::Unary(frame(message))
    }

    fn into_body(self) -> Body {
        match self {
            Self::Unary(bytes) => {
                let trailers = http::HeaderMap::from_iter([(
                    http::HeaderName::from_static("grpc-status"),
                    http::HeaderValue::from_static("0"),
                )]);
                Body::new(StreamBody::new(
                    stream::iter([Frame::data(bytes), Frame::trailers(trailers)]).map(Ok::<_, Status>),
                ))
            }
            Self::Watched(events) => {
                let frames = stream::unfold(events, |mut events| async move {
                    let bytes = events.recv().await?;
                    Some((Ok::<_, Status>(Frame::data(bytes)), events))
                });
                Body::new(StreamBody::new(frames))
            }
        }
    }
}

/// A message as it crosses the wire: a byte for no compression, four for the length, and itself.
fn frame(message: &impl Message) -> Bytes {
    let length = u32::try_from(message.encoded_len()).unwrap();
    let header = [&[0][..], &length.to_be_bytes()].concat();
    [header, message.encode_to_vec()].concat().into()
}

fn read<T: Message + Default>(frame: &Bytes) -> T {
    T::decode(frame.slice(5..)).unwrap()
}

#[derive(Clone, Default)]
struct Chats(Arc<Mutex<State>>);

impl NamedService for Chats {
    const NAME: &'static str = SERVICE_NAME;
}

impl Service<http::Request<Body>> for Chats {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Infallible>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let chats = self.clone();
        Box::pin(async move {
            let method = request.uri().path().rsplit('/').next().unwrap_or_default().to_owned();
            let body = request.into_body().collect().await.unwrap().to_bytes();
            let answer = chats.0.lock().unwrap().answer(&method, &body);
            Ok(match answer {
                Ok(reply) => {
                    let mut response = http::Response::new(reply.into_body());
                    let grpc = http::HeaderValue::from_static("application/grpc");
                    response.headers_mut().insert(http::header::CONTENT_TYPE, grpc);
                    response
                }
                Err(status) => status.into_http(),
            })
        })
    }
}

//! A scripted model server: speaks Anthropic's Messages wire format and does what a
//! test says. Of Chat Completions it knows whole answers, [`say_in_chunks`].
//!
//! A script answers each call with a list of [`Action`]s. The server keeps a journal
//! of what it was asked and of exactly what it sent, so that a test can hold what
//! watchers saw against it. Tests steer it with [`Gate`]s, never with time.
//!
//! ```no_run
//! # use chatplane_tests::model_server::{Action, Gate, ModelServer, say};
//! # async fn example() {
//! let gate = Gate::new();
//! let held = gate.clone();
//! let server = ModelServer::start(move |request| match request.last_user_text() {
//!     "slow" => vec![Action::text("one "), held.wait(), Action::text("two"), Action::stop()],
//!     _ => say("hello"),
//! })
//! .await;
//! // … a chat calls `server.url()`, the test looks, and then:
//! gate.reached().await;
//! gate.open();
//! assert_eq!(server.calls()[0].text(), "one two");
//! # }
//! ```
//!
//! Titles and summaries are asked for beside the turns, when it suits the system: a script
//! tells them apart by [`Request::purpose`], and [`ModelServer::start_turns`] answers turns
//! from a queue and the others by a script of their own.

mod action;
mod gate;
mod journal;
mod player;
mod request;

use std::collections::VecDeque;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use http_body_util::{BodyExt, Collected, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::header::{HeaderName, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::task::AbortOnDropHandle;

pub use action::{Action, call_tools, say, say_in_chunks, say_with_context};
pub use gate::Gate;
pub use journal::{Call, End, Part, PartKind};
pub use request::{Purpose, Request};

use journal::Journal;
use player::{Cut, Player};

type Script = dyn Fn(&Request) -> Vec<Action> + Send + Sync;
type Frames = BoxStream<'static, Result<Frame<Bytes>, Cut>>;
type Response = hyper::Response<StreamBody<Frames>>;

/// The server; it stops when dropped, and its connections with it.
pub struct ModelServer {
    address: SocketAddr,
    journal: Journal,
    _task: AbortOnDropHandle<()>,
}

impl ModelServer {
    /// Starts a server on a free port of this machine. The script is asked once for
    /// every call, in the order in which they come, from any number of clients.
    pub async fn start(script: impl Fn(&Request) -> Vec<Action> + Send + Sync + 'static) -> Self {
        Self::start_with(Journal::default(), script).await
    }

    /// As [`ModelServer::start`], for so many calls that their requests would fill the memory:
    /// the journal keeps of a request no more than its number and its target.
    pub async fn start_lean(script: impl Fn(&Request) -> Vec<Action> + Send + Sync + 'static) -> Self {
        Self::start_with(Journal::lean(), script).await
    }

    async fn start_with(
        journal: Journal,
        script: impl Fn(&Request) -> Vec<Action> + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a loopback port is free");
        let address = listener.local_addr().expect("the listener has an address");
        let task = tokio::spawn(serve(listener, Arc::new(script), journal.clone()));
        Self { address, journal, _task: AbortOnDropHandle::new(task) }
    }

    /// Starts a server that answers calls in turn; a call too many is refused with
    /// a status that is not retried.
    pub async fn start_queue(replies: impl IntoIterator<Item = Vec<Action>>) -> Self {
        let next = queue(replies.into_iter().collect());
        Self::start(move |_| next()).await
    }

    /// Starts a server that answers the calls of turns in turn, like [`ModelServer::start_queue`],
    /// and calls for titles and summaries, which may come at any time between them, as the
    /// script `beside` says.
    pub async fn start_turns(
        replies: impl IntoIterator<Item = Vec<Action>>,
        beside: impl Fn(&Request) -> Vec<Action> + Send + Sync + 'static,
    ) -> Self {
        let next = queue(replies.into_iter().collect());
        Self::start(move |request| match request.purpose() {
            Purpose::Turn => next(),
            Purpose::Title | Purpose::Summary => beside(request),
        })
        .await
    }

    /// The base URL of the provider.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The requests so far, in the order in which they came.
    #[must_use]
    pub fn requests(&self) -> Vec<Request> {
        self.calls().into_iter().map(|call| call.request).collect()
    }

    /// What was asked and sent so far, one entry a call, in the order of the calls.
    #[must_use]
    pub fn calls(&self) -> Vec<Call> {
        self.journal.calls()
    }

    /// What was sent so far of one block of a call, if it has begun.
    #[must_use]
    pub fn part(&self, call: usize, block: usize) -> Option<Part> {
        self.journal.part(call, block)
    }

    /// The same of calls for one purpose.
    #[must_use]
    pub fn calls_for(&self, purpose: Purpose) -> Vec<Call> {
        self.calls().into_iter().filter(|call| call.request.purpose() == purpose).collect()
    }
}

/// The replies one after the other, and then a status that is not retried.
fn queue(replies: VecDeque<Vec<Action>>) -> impl Fn() -> Vec<Action> + Send + Sync {
    let replies = Mutex::new(replies);
    move || {
        let reply = replies.lock().expect("no script panics while it holds the queue").pop_front();
        reply.unwrap_or_else(|| {
            vec![Action::error_status(400, "invalid_request_error", "the script has ended")]
        })
    }
}

async fn serve(listener: TcpListener, script: Arc<Script>, journal: Journal) {
    let mut connections = JoinSet::new();
    loop {
        let connection = tokio::select! {
            Some(_) = connections.join_next() => continue,
            accepted = listener.accept() => accepted,
        };
        let Ok((connection, _)) = connection else { continue };
        let (script, journal) = (Arc::clone(&script), journal.clone());
        connections.spawn(async move {
            let service =
                service_fn(async |request| Ok::<_, Infallible>(respond(request, &*script, &journal).await));
            // A client may leave, and an action may cut the connection.
            let _ = http1::Builder::new().serve_connection(TokioIo::new(connection), service).await;
        });
    }
}

async fn respond(request: hyper::Request<Incoming>, script: &Script, journal: &Journal) -> Response {
    let (entry, request) = journal.open(read(request).await);
    let mut player = Player::new(script(&request), entry, &request);
    match player.head().await {
        Some((code, headers, body)) => {
            let body = stream::iter([Ok(Frame::data(Bytes::from(body)))]).boxed();
            response(code, &headers, body)
        }
        None => {
            let headers = [("content-type".to_owned(), "text/event-stream".to_owned())];
            let frames = stream::unfold(player, async |mut player| {
                Some((player.next().await?.map(Frame::data), player))
            });
            response(200, &headers, frames.boxed())
        }
    }
}

fn response(code: u16, headers: &[(String, String)], body: Frames) -> Response {
    let mut builder = hyper::Response::builder().status(code);
    for (name, value) in headers {
        builder = builder.header(name, value);
    }
    builder.body(StreamBody::new(body)).expect("a script has valid statuses and headers")
}

async fn read(request: hyper::Request<Incoming>) -> Request {
    let target = format!("{} {}", request.method(), request.uri());
    let header = |(name, value): (&HeaderName, &HeaderValue)| {
        (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned())
    };
    let headers = request.headers().iter().map(header).collect();
    let body = request.into_body().collect().await.map(Collected::to_bytes).unwrap_or_default();
    let json = serde_json::from_slice(&body).unwrap_or_default();
    Request { number: 0, target, headers, body: json, bytes: body }
}

#[cfg(test)]
mod tests;

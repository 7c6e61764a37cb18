//! A model server that streams at a set pace, in this process, so that one clock sees
//! what it writes and what comes of it.
//!
//! It speaks as much of Anthropic's wire format as a worker reads. It looks into no
//! request beyond the mark that the benchmark put into its last message, and makes its
//! answer once, so that it costs next to nothing.
//!
//! - `script`: what it answers, and how fast;
//! - `journal`: when it was asked, and when it wrote what.

mod journal;
mod script;

use std::{
    collections::VecDeque,
    convert::Infallible,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures::{Stream, stream};
use http_body_util::{BodyExt as _, StreamBody};
use hyper::{
    Request, Response,
    body::{Frame, Incoming},
    header::CONTENT_TYPE,
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    task::JoinSet,
    time::sleep_until,
};
use tokio_util::task::AbortOnDropHandle;

pub(crate) use journal::{Call, Journal};
pub(crate) use script::{End, Hold, Script, mark};

use crate::error::{OrFailed as _, Result};
use script::{Due, Piece};

/// Clients at a time: more than all slots of all workers.
const CONNECTIONS_MAX: usize = 1024;

/// A model server. It ends when it is dropped.
pub(crate) struct ModelServer {
    address: SocketAddr,
    chunks: u32,
    journal: Arc<Journal>,
    _serving: AbortOnDropHandle<()>,
}

impl ModelServer {
    pub(crate) async fn start(script: Script) -> Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.or_failed("listen as a model server")?;
        let address = listener.local_addr().or_failed("listen as a model server")?;
        let journal = Arc::new(Journal::default());
        let play =
            Arc::new(Play { hold: script.hold, pieces: script.pieces(), journal: Arc::clone(&journal) });
        let serving = tokio::spawn(serve(listener, play));
        Ok(Self { address, chunks: script.chunks, journal, _serving: AbortOnDropHandle::new(serving) })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many chunks an answer has.
    pub(crate) fn chunks(&self) -> u32 {
        self.chunks
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn journal(&self) -> &Journal {
        &self.journal
    }
}

/// What every call is answered with.
struct Play {
    hold: Hold,
    pieces: Vec<Piece>,
    journal: Arc<Journal>,
}

async fn serve(listener: TcpListener, play: Arc<Play>) {
    let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    // Dropping the set ends the connections with it.
    let mut connections = JoinSet::new();
    loop {
        let Ok(permit) = Arc::clone(&room).acquire_owned().await else { return };
        tokio::select! {
            Some(_) = connections.join_next() => {}
            accepted = listener.accept() => match accepted {
                Ok((connection, _)) => {
                    let play = Arc::clone(&play);
                    connections.spawn(async move {
                        serve_connection(connection, play).await;
                        drop(permit);
                    });
                }
                // Without descriptors the measurement fails by itself.
                Err(_) => return,
            },
        }
    }
}

async fn serve_connection(connection: TcpStream, play: Arc<Play>) {
    // Small writes must leave at once. Where this fails, the figures would show it.
    let _ = connection.set_nodelay(true);
    let service = service_fn(move |request| respond(request, Arc::clone(&play)));
    // An error means that the client has gone, which is its right.
    let _ = http1::Builder::new().serve_connection(TokioIo::new(connection), service).await;
}

type Body = StreamBody<std::pin::Pin<Box<dyn Stream<Item = Frames> + Send>>>;
type Frames = std::result::Result<Frame<Bytes>, Infallible>;

async fn respond(
    request: Request<Incoming>,
    play: Arc<Play>,
) -> std::result::Result<Response<Body>, hyper::Error> {
    let body = request.into_body().collect().await?.to_bytes();
    // The model's own time begins here, with the whole request.
    let received = Instant::now();
    let call = script::find_mark(&body).map(|mark| play.journal.received(mark, received));
    let is_first = call.is_some_and(Call::is_first);
    let mut pieces = VecDeque::new();
    if play.hold == Hold::Nothing || !is_first {
        pieces.extend(play.pieces.iter().cloned());
    }
    let playing = Playing { play, pieces, call, received, has_ended: false };
    let events = stream::unfold(playing, Playing::next);
    let body: Body = StreamBody::new(Box::pin(events));
    let mut response = Response::new(body);
    response.headers_mut().insert(CONTENT_TYPE, hyper::header::HeaderValue::from_static("text/event-stream"));
    Ok(response)
}

/// An answer that is being written. Nothing runs ahead: a piece is made when the one
/// before has been taken. Dropped before its end: the client has left.
struct Playing {
    play: Arc<Play>,
    pieces: VecDeque<Piece>,
    call: Option<Call>,
    received: Instant,
    has_ended: bool,
}

impl Drop for Playing {
    fn drop(&mut self) {
        let at = Instant::now();
        if let Some(call) = self.call.filter(|_| !self.has_ended) {
            self.play.journal.left(call, at);
        }
    }
}

impl Playing {
    async fn next(mut self) -> Option<(Frames, Self)> {
        let Some(piece) = self.pieces.pop_front() else {
            if self.play.hold == Hold::FirstCalls && self.call.is_some_and(Call::is_first) {
                // Until the client leaves, which drops this.
                std::future::pending::<()>().await;
            }
            self.has_ended = true;
            return None;
        };
        match (piece.due, self.call) {
            (Due::After(Duration::ZERO), _) | (Due::Seen, None) => {}
            (Due::After(after), _) => sleep_until((self.received + after).into()).await,
            (Due::Seen, Some(call)) => self.play.journal.wait_until_seen(call).await,
        }
        if let Some(call) = self.call {
            self.play.journal.wrote(call, piece.chunks, Instant::now());
        }
        Some((Ok(Frame::data(piece.bytes)), self))
    }
}

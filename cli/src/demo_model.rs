//! The demo model: answers when there is no key for a real one.
//!
//! A local HTTP server that speaks Anthropic's Messages wire format with real
//! streaming, so that everything behind it works as it would with a real model. It
//! is no language model: it lists the directory, reads a few files of what came
//! back, runs a harmless command if it may, and says what it found. It knows nothing
//! beforehand.
//!
//! - `conversation`: what a request says;
//! - `listing`: what a listed directory holds;
//! - `reply`: what to do next;
//! - `wire`: the reply as events.

mod conversation;
mod listing;
mod reply;
mod wire;

use std::{convert::Infallible, io, sync::Arc, time::Duration};

use bytes::Bytes;
use futures::{Stream, stream};
use http_body_util::{BodyExt, Either, Full, LengthLimitError, Limited, StreamBody};
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Body, Frame, Incoming},
    header::CONTENT_TYPE,
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;

/// What a request may have, as with the real provider.
const REQUEST_BYTES_MAX: usize = 32 * 1024 * 1024;
/// Clients served at a time; others wait to be accepted.
const CONNECTIONS_MAX: usize = 256;
/// Time to let others close files when the process has no descriptor left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Between two words: reads like a model that answers fast.
const WORD_PAUSE: Duration = Duration::from_millis(8);

/// Serves the demo model until `shutdown`; answers under way are then cut.
pub(crate) async fn serve(listener: TcpListener, shutdown: CancellationToken) -> io::Result<()> {
    let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    // Dropping the set ends the connections with it.
    let mut connections = JoinSet::new();
    loop {
        let accept = async {
            let permit = Arc::clone(&room).acquire_owned().await.map_err(io::Error::other)?;
            Ok::<_, io::Error>((listener.accept().await?.0, permit))
        };
        tokio::select! {
            () = shutdown.cancelled() => return Ok(()),
            Some(_) = connections.join_next() => {}
            accepted = accept => match accepted {
                Ok((connection, permit)) => {
                    connections.spawn(serve_connection(connection, permit));
                }
                Err(error) => {
                    tracing::warn!(%error, "the demo model could not accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
        }
    }
}

async fn serve_connection(connection: TcpStream, _permit: OwnedSemaphorePermit) {
    let service = service_fn(async |request| Ok::<_, Infallible>(respond(request).await));
    // An error means that the client has gone, which is its right.
    let _ = http1::Builder::new().serve_connection(TokioIo::new(connection), service).await;
}

type ResponseBody = Either<Full<Bytes>, StreamBody<EventStream>>;
type EventStream = std::pin::Pin<Box<dyn Stream<Item = Result<Frame<Bytes>, Infallible>> + Send>>;

async fn respond(request: Request<Incoming>) -> Response<ResponseBody> {
    match answer(request).await {
        Ok(events) => {
            let body = StreamBody::new(Box::pin(paced(events)) as EventStream);
            response(StatusCode::OK, "text/event-stream", Either::Right(body))
        }
        Err((status, error_type, message)) => {
            let body = wire::error(error_type, message);
            response(status, "application/json", Either::Left(Full::from(body)))
        }
    }
}

fn response(status: StatusCode, content_type: &'static str, body: ResponseBody) -> Response<ResponseBody> {
    let builder = Response::builder().status(status).header(CONTENT_TYPE, content_type);
    builder.body(body).expect("status and header are constants")
}

type Refusal = (StatusCode, &'static str, &'static str);

async fn answer(request: Request<Incoming>) -> Result<Vec<wire::Event>, Refusal> {
    if request.uri().path() != "/v1/messages" || request.method() != Method::POST {
        return Err((StatusCode::NOT_FOUND, "not_found_error", "The demo model only has POST /v1/messages."));
    }
    let body = read(request.into_body()).await?;
    let invalid = |message| (StatusCode::BAD_REQUEST, "invalid_request_error", message);
    let json: Value = serde_json::from_slice(&body).map_err(|_| invalid("The body is not JSON."))?;
    if json["stream"] != true {
        return Err(invalid("The demo model only streams."));
    }
    let conversation = conversation::Conversation::read(&json);
    Ok(wire::events(&reply::decide(&conversation), conversation.model, body.len()))
}

async fn read(body: impl Body<Data = Bytes, Error = hyper::Error>) -> Result<Bytes, Refusal> {
    let too_large =
        (StatusCode::PAYLOAD_TOO_LARGE, "request_too_large", "The request is larger than 32 MiB.");
    // A length that is known beforehand is refused before it is read.
    if body.size_hint().lower() > REQUEST_BYTES_MAX as u64 {
        return Err(too_large);
    }
    match Limited::new(body, REQUEST_BYTES_MAX).collect().await {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(too_large),
        Err(_) => Err((StatusCode::BAD_REQUEST, "invalid_request_error", "The body ended too early.")),
    }
}

/// Lets the events out at the pace at which they would be written. Nothing runs
/// ahead: when the client leaves, the stream is dropped and the rest never made.
fn paced(events: Vec<wire::Event>) -> impl Stream<Item = Result<Frame<Bytes>, Infallible>> + Send {
    stream::unfold(events.into_iter(), async |mut events| {
        let event = events.next()?;
        if event.is_word {
            tokio::time::sleep(WORD_PAUSE).await;
        }
        Some((Ok(Frame::data(Bytes::from(event.bytes))), events))
    })
}

#[cfg(test)]
mod tests;

//! The model server as a plain HTTP client sees it: the hop that every worker has too,
//! and what the server can do at most.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures::future::try_join_all;
use http_body_util::{BodyExt as _, Full};
use hyper::{Request, body::Incoming, client::conn::http1, header::HOST};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio_util::task::AbortOnDropHandle;

use super::database::per_second;
use crate::{
    error::{Error, OrFailed as _, Result},
    model_server::{ModelServer, mark},
    samples::median,
    wait::{in_time, milliseconds},
};

/// A client with one connection, which it keeps.
struct HttpClient {
    sender: http1::SendRequest<Full<Bytes>>,
    address: SocketAddr,
    _connection: AbortOnDropHandle<()>,
}

impl HttpClient {
    async fn connect(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(address).await.or_failed("connect to the model server")?;
        stream.set_nodelay(true).or_failed("set up a connection")?;
        let (sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.or_failed("speak HTTP with the model server")?;
        let connection = tokio::spawn(async move {
            // Its end is seen by whoever reads a response.
            let _ = connection.await;
        });
        Ok(Self { sender, address, _connection: AbortOnDropHandle::new(connection) })
    }

    async fn post(&mut self, body: String) -> Result<Incoming> {
        let request = Request::post("/v1/messages")
            .header(HOST, self.address.to_string())
            .body(Full::from(body))
            .or_failed("make a request")?;
        self.sender.ready().await.or_failed("keep a connection")?;
        let response = self.sender.send_request(request).await.or_failed("call the model server")?;
        Ok(response.into_body())
    }

    /// Calls, and answers when each chunk had come. Who calls hears how many have come by now.
    async fn chunk_times(&mut self, body: String, mut come: impl FnMut(usize)) -> Result<Vec<Instant>> {
        let mut body = self.post(body).await?;
        let mut times = Vec::new();
        let mut text = Vec::new();
        while let Some(frame) = in_time("a piece of an answer", body.frame()).await? {
            let frame = frame.or_failed("read an answer")?;
            let at = Instant::now();
            text.extend_from_slice(frame.data_ref().map(AsRef::as_ref).unwrap_or_default());
            times.extend(take_deltas(&mut text).map(|()| at));
            come(times.len());
        }
        Ok(times)
    }
}

/// Takes the whole events out of the text, and answers one for each that is a chunk.
fn take_deltas(text: &mut Vec<u8>) -> impl Iterator<Item = ()> + use<> {
    const END: &[u8] = b"\n\n";
    const DELTA: &[u8] = b"event: content_block_delta\n";
    let end = text.windows(END.len()).rposition(|window| window == END).map_or(0, |end| end + END.len());
    let whole: Vec<u8> = text.drain(..end).collect();
    let count = whole.windows(DELTA.len()).filter(|window| *window == DELTA).count();
    std::iter::repeat_n((), count)
}

/// What a hop to the model server takes.
pub(crate) struct Hop {
    /// From the call to the first chunk, without the server's own time: the median, in
    /// milliseconds.
    pub(crate) first_chunk_ms: f64,
    /// From each chunk's writing to its arrival: the median, in milliseconds.
    pub(crate) chunk_ms: f64,
}

/// How often the model server is called.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Calls {
    /// Before the first that counts.
    pub(crate) warm_up: usize,
    pub(crate) counted: usize,
}

/// Calls the model server as a worker would, with marks from here on where it counts.
pub(crate) async fn hop(model: &ModelServer, calls: Calls, first_mark: u64) -> Result<Hop> {
    let mut client = HttpClient::connect(model.address()).await?;
    for _ in 0..calls.warm_up {
        client.chunk_times(String::new(), |_| {}).await?;
    }
    let chunks_all = usize::try_from(model.chunks()).unwrap_or(usize::MAX);
    let mut first_chunks = Vec::new();
    let mut chunks = Vec::new();
    for mark_number in (first_mark..).take(calls.counted) {
        let start = Instant::now();
        let see = |count| {
            if count == chunks_all {
                model.journal().saw(mark_number);
            }
        };
        let come = client.chunk_times(mark(mark_number), see).await?;
        let written = model.journal().written(mark_number)?;
        let Some(first) = come.first().filter(|_| come.len() == written.len()) else {
            return Err(Error::wrong("the model server has not answered in chunks"));
        };
        let own_time = model.journal().own_time(mark_number)?;
        first_chunks.push(milliseconds(first.duration_since(start).saturating_sub(own_time)));
        chunks.extend(come.iter().zip(&written).map(|(come, written)| milliseconds(*come - *written)));
    }
    let none = || Error::wrong("the model server was not called");
    Ok(Hop {
        first_chunk_ms: median(first_chunks).ok_or_else(none)?,
        chunk_ms: median(chunks).ok_or_else(none)?,
    })
}

/// Closes connections in the middle of an answer, and answers how long the model server takes to
/// see that: the median, in milliseconds. Its answers end when their chunks were seen, so these
/// do not end.
pub(crate) async fn close_ms(model: &ModelServer, calls: Calls, first_mark: u64) -> Result<f64> {
    let mut times = Vec::with_capacity(calls.counted);
    for (number, mark_number) in (first_mark..).take(calls.warm_up + calls.counted).enumerate() {
        let mut client = HttpClient::connect(model.address()).await?;
        let mut body = client.post(mark(mark_number)).await?;
        let first = in_time("a piece of an answer", body.frame()).await?;
        first
            .ok_or_else(|| Error::wrong("the model server has not answered"))?
            .or_failed("read an answer")?;
        let start = Instant::now();
        drop(body);
        drop(client);
        let left = model.journal().wait_until_left(mark_number).await?;
        if number >= calls.warm_up {
            times.push(milliseconds(left.saturating_duration_since(start)));
        }
    }
    median(times).ok_or_else(|| Error::wrong("the model server was not called"))
}

/// How many answers a second the model server gives to so many clients at once.
pub(crate) async fn calls_per_second(model: &ModelServer, clients: usize, time: Duration) -> Result<f64> {
    let clients = try_join_all((0..clients).map(|_| HttpClient::connect(model.address()))).await?;
    let until = Instant::now() + time;
    let calls = clients.into_iter().map(|client| tokio::spawn(call_until(client, until)));
    let counts = try_join_all(calls).await.or_failed("drive the model server")?;
    Ok(per_second(counts.into_iter().sum::<Result<u64>>()?, time))
}

async fn call_until(mut client: HttpClient, until: Instant) -> Result<u64> {
    let mut count = 0;
    while Instant::now() < until {
        client.chunk_times(String::new(), |_| {}).await?;
        count += 1;
    }
    Ok(count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_are_counted_when_their_events_are_whole() {
        let event = b"event: content_block_delta\ndata: {}\n\n";
        let mut text = [event.as_slice(), event, b"event: content_bl"].concat();

        assert_eq!(take_deltas(&mut text).count(), 2);
        assert_eq!(take_deltas(&mut text).count(), 0);
        text.extend_from_slice(b"ock_delta\ndata: {}\n\nevent: ping\n\n");
        assert_eq!(take_deltas(&mut text).count(), 1);
        assert!(text.is_empty());
    }
}

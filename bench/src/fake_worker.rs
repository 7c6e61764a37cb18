//! A worker that is the benchmark itself, so that one clock sees both ends.
//!
//! It keeps to the protocol of a real one: it answers pings, lists its leases whenever
//! they change, and commits what it has taken. A `Lost` is no surprise once a lease's last
//! step is on its way: the replica's renewal may find the lease gone before the worker's list
//! without it has come. While the work still runs it is one, and ends the measurement.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use chatplane_proto::{
    chat::v1 as chat,
    worker::v1::{
        self as proto, session_request::Message as Up, session_response::Message as Down,
        worker_service_client::WorkerServiceClient,
    },
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::task::AbortOnDropHandle;
use tonic::{Streaming, service::interceptor::InterceptedService, transport::Channel};

use crate::{
    client::{Bearer, text},
    error::{Error, OrFailed as _, Result},
    wait::in_time,
};

/// Far more than is under way at a time.
const MESSAGES_MAX: usize = 1024;
/// More than any measurement keeps busy.
const SLOTS: i32 = 128;

type Key = (String, i64);
type Leases = BTreeMap<Key, Standing>;
type Held = Arc<Mutex<Leases>>;

/// How far a lease is that the worker holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    Running,
    /// Its last step is on its way: it ends at the replica before the reply tells so.
    Committing,
}

/// A connected worker. Its session breaks when it is dropped.
pub(crate) struct FakeWorker {
    calls: WorkerServiceClient<InterceptedService<Channel, Bearer>>,
    session: String,
    up: mpsc::Sender<proto::SessionRequest>,
    down: mpsc::Receiver<Result<Arrived>>,
    held: Held,
    _reader: AbortOnDropHandle<()>,
}

/// A lease, and when it had come.
pub(crate) struct Arrived {
    key: Key,
    history_version: i64,
    pub(crate) at: Instant,
}

impl Arrived {
    pub(crate) fn chat(&self) -> &str {
        &self.key.0
    }
}

impl FakeWorker {
    /// Opens a session.
    pub(crate) async fn open(channel: Channel, token: &str) -> Result<Self> {
        let mut calls = WorkerServiceClient::with_interceptor(channel, Bearer::new(token)?);
        let (up, requests) = mpsc::channel(MESSAGES_MAX);
        let open = proto::Open { worker_name: "bench".to_owned(), slots_total: SLOTS, ..Default::default() };
        send(&up, Up::Open(open))?;
        let response = calls.session(ReceiverStream::new(requests)).await.or_failed("open a session")?;
        let mut stream = response.into_inner();
        let first = in_time("an answer to Open", stream.message()).await?.or_failed("open a session")?;
        let Some(Down::Opened(opened)) = first.and_then(|response| response.message) else {
            return Err(Error::wrong("a session did not begin with Opened"));
        };
        let held = Held::default();
        let (told, down) = mpsc::channel(MESSAGES_MAX);
        let reader = tokio::spawn(read(stream, up.clone(), told, Arc::clone(&held)));
        let _reader = AbortOnDropHandle::new(reader);
        Ok(Self { calls, session: opened.session_id, up, down, held, _reader })
    }

    /// The next lease.
    pub(crate) async fn lease(&mut self) -> Result<Arrived> {
        let lease = in_time("a lease", self.down.recv()).await?;
        lease.ok_or_else(|| Error::wrong("the session of the benchmark's worker has ended"))?
    }

    /// Commits a short answer that ends the turn.
    pub(crate) async fn finish(&mut self, lease: Arrived) -> Result<()> {
        let (chat_id, fence) = lease.key.clone();
        lock(&self.held).insert(lease.key.clone(), Standing::Committing);
        let answer = proto::NewMessage {
            parts: vec![text("Done.")],
            model: "bench".to_owned(),
            usage: Some(chat::Usage { input_tokens: 3, output_tokens: 2, ..Default::default() }),
            runtime_ms: 1,
            ..Default::default()
        };
        let request = proto::CommitStepRequest {
            header: Some(proto::WriteHeader {
                session_id: self.session.clone(),
                chat_id,
                fence,
                write_no: 1,
                history_version: lease.history_version,
            }),
            answer: Some(answer),
            next: proto::NextStep::Finish.into(),
            model_call: 1,
            summary: None,
        };
        let response = self.calls.commit_step(request).await.or_failed("commit a step")?.into_inner();
        let disposition = response.outcome.unwrap_or_default().disposition();
        if disposition != proto::Disposition::Released {
            return Err(Error::wrong("a turn has not ended with its last step"));
        }
        let mut held = lock(&self.held);
        held.remove(&lease.key);
        tell(&self.up, &held)
    }

    /// Takes and finishes so many turns.
    pub(crate) async fn finish_turns(&mut self, count: usize) -> Result<()> {
        for _ in 0..count {
            let lease = self.lease().await?;
            self.finish(lease).await?;
        }
        Ok(())
    }
}

fn lock(held: &Held) -> std::sync::MutexGuard<'_, Leases> {
    // Nothing panics while it holds the map.
    held.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn read(
    mut stream: Streaming<proto::SessionResponse>,
    up: mpsc::Sender<proto::SessionRequest>,
    told: mpsc::Sender<Result<Arrived>>,
    held: Held,
) {
    loop {
        let message = stream.message().await.or_failed("read a session");
        let at = Instant::now();
        let Some(answer) = answer(message, at, &up, &held) else { continue };
        let is_over = answer.is_err();
        // Nobody listening is nobody measuring.
        if told.send(answer).await.is_err() || is_over {
            return;
        }
    }
}

/// What the measurement gets to hear of a message: a lease, or what must not be.
fn answer(
    message: Result<Option<proto::SessionResponse>>,
    at: Instant,
    up: &mpsc::Sender<proto::SessionRequest>,
    held: &Held,
) -> Option<Result<Arrived>> {
    let message = match message {
        Ok(message) => message.and_then(|response| response.message),
        Err(error) => return Some(Err(error)),
    };
    match message {
        Some(Down::Ping(ping)) => {
            let held = lock(held);
            let pong = proto::Pong { ping_no: ping.ping_no, leases: keys(&held) };
            send(up, Up::Pong(pong)).err().map(Err)
        }
        Some(Down::Lease(lease)) => {
            let (Some(key), Some(header)) = (lease.lease, lease.header) else {
                return Some(Err(Error::wrong("a lease without its key or header")));
            };
            let key = (key.chat_id, key.fence);
            let mut held = lock(held);
            // Delivery may be repeated.
            if held.contains_key(&key) {
                return None;
            }
            held.insert(key.clone(), Standing::Running);
            let arrived = Arrived { key, history_version: header.history_version, at };
            Some(tell(up, &held).map(|()| arrived))
        }
        Some(Down::Lost(lost)) if !is_running(&lock(held), &lost) => None,
        Some(other) => Some(Err(Error::wrong(format!("a worker was told what it must not be: {other:?}")))),
        None => Some(Err(Error::wrong("the session of the benchmark's worker has ended"))),
    }
}

fn is_running(held: &Leases, lost: &proto::Lost) -> bool {
    let key = lost.lease.as_ref().map(|key| (key.chat_id.clone(), key.fence));
    key.is_some_and(|key| held.get(&key) == Some(&Standing::Running))
}

/// Lists the leases. Under their lock, so that an older list never follows a newer one.
fn tell(up: &mpsc::Sender<proto::SessionRequest>, held: &Leases) -> Result<()> {
    send(up, Up::LeasesChanged(proto::LeasesChanged { leases: keys(held) }))
}

/// A full queue is an error: the replica has then read nothing for very long.
fn send(up: &mpsc::Sender<proto::SessionRequest>, message: Up) -> Result<()> {
    up.try_send(proto::SessionRequest { message: Some(message) }).or_failed("send up a session")
}

fn keys(held: &Leases) -> Vec<proto::LeaseKey> {
    held.keys().map(|(chat, fence)| proto::LeaseKey { chat_id: chat.clone(), fence: *fence }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_loss_of_a_lease_that_still_runs_is_a_surprise() {
        let key = |fence| ("chat".to_owned(), fence);
        let held = Leases::from([(key(1), Standing::Running), (key(2), Standing::Committing)]);

        let lost = [1, 2, 3].map(|fence| {
            let lease = Some(proto::LeaseKey { chat_id: "chat".to_owned(), fence });
            is_running(&held, &proto::Lost { lease })
        });

        assert_eq!(lost, [true, false, false]);
    }
}

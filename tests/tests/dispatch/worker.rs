//! A worker whose every step is the test's.

use std::{
    collections::BTreeSet,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
};

use chatplane_proto::{
    chat::v1 as chat,
    worker::v1::{
        self as proto, session_request::Message as Up, session_response::Message as Down,
        worker_service_client::WorkerServiceClient,
    },
};
use chatplane_tests::{DEADLINE, text};
use futures::StreamExt;
use tokio::{sync::mpsc, task::JoinHandle, time::timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{
    Request, Status, Streaming,
    metadata::{Ascii, MetadataValue},
    service::{Interceptor, interceptor::InterceptedService},
    transport::{Channel, Endpoint},
};

use crate::replica::Replica;

/// Adds the token to every call.
#[derive(Clone)]
pub(crate) struct Bearer(MetadataValue<Ascii>);

impl Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        request.metadata_mut().insert("authorization", self.0.clone());
        Ok(request)
    }
}

/// The generated client with a token.
pub(crate) type Calls = WorkerServiceClient<InterceptedService<Channel, Bearer>>;

/// More than any test sends.
const MESSAGES_MAX: usize = 1024;

/// A lease by chat and fence.
pub(crate) type Key = (String, i64);

/// What the worker's own stream does with pings and leases.
#[derive(Default)]
struct Habits {
    held: Mutex<BTreeSet<Key>>,
    is_silent: AtomicBool,
}

/// A connected worker. Its stream breaks when it is dropped.
pub(crate) struct Worker {
    pub(crate) calls: Calls,
    pub(crate) session: String,
    pub(crate) resumed: Vec<proto::ResumedLease>,
    up: mpsc::Sender<proto::SessionRequest>,
    down: mpsc::Receiver<Result<Down, Status>>,
    habits: Arc<Habits>,
    /// Leases it has or had.
    taken: BTreeSet<Key>,
    reader: JoinHandle<()>,
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

pub(crate) fn calls(replica: &Replica, token: &str) -> Calls {
    let channel = Endpoint::from_shared(replica.url()).expect("the URL is one").connect_lazy();
    let bearer = Bearer(format!("Bearer {token}").parse().expect("tokens are ASCII"));
    WorkerServiceClient::with_interceptor(channel, bearer)
}

impl Worker {
    pub(crate) async fn open(replica: &Replica, token: &str, slots: i32) -> Self {
        Self::try_open(replica, token, slots, "", &[]).await.expect("the session opens")
    }

    pub(crate) async fn try_open(
        replica: &Replica,
        token: &str,
        slots: i32,
        session: &str,
        held: &[Key],
    ) -> Result<Self, Status> {
        let mut calls = calls(replica, token);
        let (up, requests) = mpsc::channel(MESSAGES_MAX);
        let habits =
            Arc::new(Habits { held: Mutex::new(held.iter().cloned().collect()), ..Habits::default() });
        let open = proto::Open {
            session_id: session.to_owned(),
            worker_name: "test".to_owned(),
            slots_total: slots,
            leases: leases(&habits),
        };
        send(&up, Up::Open(open)).await;
        let mut stream = calls.session(ReceiverStream::new(requests)).await?.into_inner();
        let first = timeout(DEADLINE, stream.next()).await.expect("an answer").expect("an answer")?;
        let Some(Down::Opened(opened)) = first.message else { panic!("not opened: {first:?}") };
        let (told, down) = mpsc::channel(MESSAGES_MAX);
        let reader = tokio::spawn(read(stream, up.clone(), told, Arc::clone(&habits)));
        let (session, resumed) = (opened.session_id, opened.leases);
        let taken = held.iter().cloned().collect();
        Ok(Self { calls, session, resumed, up, down, habits, taken, reader })
    }

    /// What comes next, pings aside, and leases that it has taken before: one that was not listed in time is
    /// sent again.
    pub(crate) async fn next(&mut self) -> Result<Down, Status> {
        loop {
            let next = timeout(DEADLINE, self.down.recv()).await.expect("something comes in time");
            match next.expect("the stream goes on or ends with a word") {
                Ok(Down::Lease(lease)) if self.taken.contains(&key_of(lease.lease.as_ref())) => {}
                other => return other,
            }
        }
    }

    /// The next lease, which the worker does not take yet.
    pub(crate) async fn leave_lease(&mut self) -> proto::Lease {
        loop {
            match self.next().await {
                Ok(Down::Lease(lease)) => return lease,
                // A renewal may see that a lease has ended before the worker says it has left it.
                Ok(Down::Lost(lost)) if !self.holds(lost.lease.as_ref()) => {}
                other => panic!("not a lease: {other:?}"),
            }
        }
    }

    fn holds(&self, key: Option<&proto::LeaseKey>) -> bool {
        self.habits.held.lock().expect("no test panics with it").contains(&key_of(key))
    }

    /// The next lease, taken.
    pub(crate) async fn lease(&mut self) -> Held {
        let lease = self.leave_lease().await;
        self.take(lease).await
    }

    pub(crate) async fn take(&mut self, lease: proto::Lease) -> Held {
        let held = Held::new(&self.session, lease);
        self.taken.insert(held.key());
        self.habits.held.lock().expect("no test panics with it").insert(held.key());
        self.tell().await;
        held
    }

    /// Says that it holds a lease that is another's, now and with every pong.
    pub(crate) async fn claim(&self, held: &Held) {
        self.habits.held.lock().expect("no test panics with it").insert(held.key());
        self.tell().await;
    }

    /// Stops listing a lease.
    pub(crate) async fn forget(&mut self, held: &Held) {
        self.habits.held.lock().expect("no test panics with it").remove(&held.key());
        self.tell().await;
    }

    /// Answers no ping from now on.
    pub(crate) fn fall_silent(&self) {
        self.habits.is_silent.store(true, SeqCst);
    }

    pub(crate) async fn send(&self, message: Up) {
        send(&self.up, message).await;
    }

    async fn tell(&self) {
        let leases = leases(&self.habits);
        self.send(Up::LeasesChanged(proto::LeasesChanged { leases })).await;
    }

    pub(crate) async fn commit(
        &mut self,
        held: &mut Held,
        answer: proto::NewMessage,
        next: proto::NextStep,
    ) -> Result<proto::WriteOutcome, Status> {
        let request = commit_of(held, answer, next);
        let outcome = self.calls.commit_step(request).await?.into_inner().outcome.expect("an outcome");
        held.written(&outcome);
        Ok(outcome)
    }

    /// Answers and ends the turn.
    pub(crate) async fn finish(&mut self, held: &mut Held) -> proto::WriteOutcome {
        self.commit(held, answer("Done."), proto::NextStep::Finish).await.expect("it is committed")
    }
}

fn key_of(key: Option<&proto::LeaseKey>) -> Key {
    let key = key.expect("a lease has a key");
    (key.chat_id.clone(), key.fence)
}

async fn read(
    mut stream: Streaming<proto::SessionResponse>,
    up: mpsc::Sender<proto::SessionRequest>,
    told: mpsc::Sender<Result<Down, Status>>,
    habits: Arc<Habits>,
) {
    while let Some(response) = stream.next().await {
        match response.map(|response| response.message.expect("a known message")) {
            Ok(Down::Ping(_)) if habits.is_silent.load(SeqCst) => {}
            Ok(Down::Ping(ping)) => {
                send(&up, Up::Pong(proto::Pong { ping_no: ping.ping_no, leases: leases(&habits) })).await;
            }
            other => told.send(other).await.expect("the test listens"),
        }
    }
}

async fn send(up: &mpsc::Sender<proto::SessionRequest>, message: Up) {
    // A stream that has ended takes nothing; its end is told on the way down.
    let _ = up.send(proto::SessionRequest { message: Some(message) }).await;
}

fn leases(habits: &Habits) -> Vec<proto::LeaseKey> {
    let held = habits.held.lock().expect("no test panics with it");
    held.iter().map(|(chat, fence)| proto::LeaseKey { chat_id: chat.clone(), fence: *fence }).collect()
}

/// A lease that the worker has taken.
#[derive(Clone, Debug)]
pub(crate) struct Held {
    pub(crate) session: String,
    pub(crate) chat: String,
    pub(crate) fence: i64,
    pub(crate) write_no: i64,
    pub(crate) header: proto::TurnHeader,
    pub(crate) complete: bool,
    pub(crate) messages: Vec<proto::TurnMessage>,
}

impl Held {
    fn new(session: &str, lease: proto::Lease) -> Self {
        let key = lease.lease.expect("a lease has a key");
        Self {
            session: session.to_owned(),
            chat: key.chat_id,
            fence: key.fence,
            write_no: 0,
            header: lease.header.expect("a lease has a header"),
            complete: lease.complete,
            messages: lease.messages,
        }
    }

    pub(crate) fn key(&self) -> Key {
        (self.chat.clone(), self.fence)
    }

    pub(crate) fn lease_key(&self) -> proto::LeaseKey {
        proto::LeaseKey { chat_id: self.chat.clone(), fence: self.fence }
    }

    /// The header of the next write.
    pub(crate) fn write(&self) -> Option<proto::WriteHeader> {
        Some(proto::WriteHeader {
            session_id: self.session.clone(),
            chat_id: self.chat.clone(),
            fence: self.fence,
            write_no: self.write_no + 1,
            history_version: self.header.history_version,
        })
    }

    pub(crate) fn written(&mut self, outcome: &proto::WriteOutcome) {
        self.write_no += 1;
        self.header.snapshot_version = outcome.snapshot_version;
        self.header.history_version = outcome.history_version;
    }

    pub(crate) fn get(&self, after_revision: i64) -> proto::GetTurnRequest {
        proto::GetTurnRequest {
            session_id: self.session.clone(),
            chat_id: self.chat.clone(),
            fence: self.fence,
            after_revision,
        }
    }
}

pub(crate) fn commit_of(
    held: &Held,
    answer: proto::NewMessage,
    next: proto::NextStep,
) -> proto::CommitStepRequest {
    proto::CommitStepRequest {
        header: held.write(),
        answer: Some(answer),
        next: next.into(),
        model_call: held.write_no + 1,
        summary: None,
    }
}

/// An answer in words.
pub(crate) fn answer(words: &str) -> proto::NewMessage {
    proto::NewMessage {
        parts: vec![text(words)],
        model: "test".to_owned(),
        usage: Some(chat::Usage { input_tokens: 3, output_tokens: 2, ..Default::default() }),
        runtime_ms: 7,
        ..Default::default()
    }
}

/// An answer that asks for a tool of the worker's.
pub(crate) fn call(tool: &str) -> proto::NewMessage {
    calls_of(&[(tool, chat::CallKind::Unspecified)])
}

/// An answer that asks for tools, the worker's and the client's.
pub(crate) fn calls_of(tools: &[(&str, chat::CallKind)]) -> proto::NewMessage {
    let part = |(call_index, (tool, kind)): (i32, &(&str, chat::CallKind))| {
        let call = chat::ToolCallPart {
            call_index,
            tool_name: (*tool).to_owned(),
            arguments_json: "{}".to_owned(),
            kind: (*kind).into(),
        };
        chat::Part { kind: Some(chat::part::Kind::ToolCall(call)) }
    };
    proto::NewMessage { parts: (0..).zip(tools).map(part).collect(), ..answer("") }
}

/// The result of an answer's first call.
pub(crate) fn result(message_id: i64, output: &str) -> proto::ToolResult {
    proto::ToolResult {
        call: Some(chat::CallId { message_id, call_index: 0 }),
        output: output.to_owned(),
        is_error: false,
        runtime_ms: 5,
    }
}

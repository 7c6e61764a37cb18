//! A worker with one slot, whose every step is the test's.

use chatplane_proto::{
    chat::v1 as chat,
    worker::v1::{
        self as proto, session_request::Message as Up, session_response::Message as Down,
        worker_service_client::WorkerServiceClient,
    },
};
use chatplane_tests::{Cluster, DEADLINE, text};
use tokio::{
    sync::{mpsc, watch},
    task::JoinHandle,
    time::timeout,
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{
    Request, Status, Streaming,
    transport::{Channel, Endpoint},
};

/// More than any test sends.
const MESSAGES_MAX: usize = 1024;

/// The holder of one lease, which takes no other after it. Its session breaks when it is dropped.
pub(crate) struct Holder {
    pub(crate) chat: String,
    pub(crate) header: proto::TurnHeader,
    pub(crate) messages: Vec<proto::TurnMessage>,
    fence: i64,
    write_no: i64,
    session: String,
    service: WorkerServiceClient<Channel>,
    token: String,
    reader: JoinHandle<()>,
}

impl Drop for Holder {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

impl Holder {
    /// Opens a session with one slot and waits for the chat that is runnable.
    pub(crate) async fn open(cluster: &Cluster) -> Self {
        let channel = Endpoint::from_shared(cluster.url()).expect("the URL is one").connect_lazy();
        let mut service = WorkerServiceClient::new(channel);
        let (up, requests) = mpsc::channel(MESSAGES_MAX);
        let open = proto::Open { worker_name: "test".to_owned(), slots_total: 1, ..Default::default() };
        send(&up, Up::Open(open)).await;
        let request = with_token(ReceiverStream::new(requests), &cluster.tokens.worker);
        let mut stream = service.session(request).await.expect("the session opens").into_inner();
        let Some(Down::Opened(opened)) = next(&mut stream).await else { panic!("it is not opened") };
        let (leased, mut lease) = watch::channel(None);
        let reader = tokio::spawn(keep(stream, up, leased));
        let lease = timeout(DEADLINE, lease.wait_for(Option::is_some)).await.expect("a lease comes in time");
        let lease = lease.expect("the session goes on").clone().expect("a lease");
        let key = lease.lease.expect("a lease has a key");
        Self {
            chat: key.chat_id,
            header: lease.header.expect("a lease has a header"),
            messages: lease.messages,
            fence: key.fence,
            write_no: 0,
            session: opened.session_id,
            service,
            token: cluster.tokens.worker.clone(),
            reader,
        }
    }

    fn write(&mut self) -> Option<proto::WriteHeader> {
        self.write_no += 1;
        Some(proto::WriteHeader {
            session_id: self.session.clone(),
            chat_id: self.chat.clone(),
            fence: self.fence,
            write_no: self.write_no,
            history_version: self.header.history_version,
        })
    }

    fn written(&mut self, outcome: Option<proto::WriteOutcome>) -> proto::WriteOutcome {
        let outcome = outcome.expect("a write has an outcome");
        self.header.snapshot_version = outcome.snapshot_version;
        self.header.history_version = outcome.history_version;
        outcome
    }

    /// Commits a step.
    pub(crate) async fn commit(
        &mut self,
        answer: Option<proto::NewMessage>,
        summary: Option<proto::Summary>,
        next: proto::NextStep,
    ) -> proto::WriteOutcome {
        self.try_commit(answer, summary, next).await.expect("the step is committed")
    }

    /// The same, which may be refused. A refused write does not use up its number.
    pub(crate) async fn try_commit(
        &mut self,
        answer: Option<proto::NewMessage>,
        summary: Option<proto::Summary>,
        next: proto::NextStep,
    ) -> Result<proto::WriteOutcome, Status> {
        let header = self.write();
        let model_call = self.write_no;
        let request = proto::CommitStepRequest { header, answer, next: next.into(), model_call, summary };
        let committed = self.service.commit_step(with_token(request, &self.token)).await;
        match committed {
            Ok(committed) => Ok(self.written(committed.into_inner().outcome)),
            Err(refused) => {
                self.write_no -= 1;
                Err(refused)
            }
        }
    }

    /// Answers in words, and the turn is over.
    pub(crate) async fn finish(&mut self, words: &str) -> proto::WriteOutcome {
        self.commit(Some(answer(words)), None, proto::NextStep::Finish).await
    }

    /// Calls tools of the client, and the chat waits for them.
    pub(crate) async fn suspend(&mut self, tools: &[&str]) -> proto::WriteOutcome {
        self.commit(Some(calls(tools, chat::CallKind::Client)), None, proto::NextStep::Suspend).await
    }

    /// Ends the turn with an error.
    pub(crate) async fn fail(&mut self) -> proto::WriteOutcome {
        let error = chat::ChatError {
            kind: chat::ErrorKind::Refused.into(),
            message: "The model refused; send another message.".to_owned(),
            ..Default::default()
        };
        let request = proto::FailRequest { header: self.write(), error: Some(error) };
        let request = with_token(request, &self.token);
        let failed = self.service.fail(request).await.expect("the turn ends");
        self.written(failed.into_inner().outcome)
    }

    /// Hands in what an interrupted step has.
    pub(crate) async fn finish_interruption(&mut self) -> proto::WriteOutcome {
        let request = proto::FinishInterruptionRequest { header: self.write(), ..Default::default() };
        let request = with_token(request, &self.token);
        let finished = self.service.finish_interruption(request).await.expect("the interruption ends");
        self.written(finished.into_inner().outcome)
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

/// An answer that calls tools.
pub(crate) fn calls(tools: &[&str], kind: chat::CallKind) -> proto::NewMessage {
    let part = |(call_index, tool): (i32, &&str)| {
        let call = chat::ToolCallPart {
            call_index,
            tool_name: (*tool).to_owned(),
            arguments_json: "{}".to_owned(),
            kind: kind.into(),
        };
        chat::Part { kind: Some(chat::part::Kind::ToolCall(call)) }
    };
    proto::NewMessage { parts: (0..).zip(tools).map(part).collect(), ..answer("") }
}

async fn send(up: &mpsc::Sender<proto::SessionRequest>, message: Up) {
    // A stream that has ended takes nothing; its end is told on the way down.
    let _ = up.send(proto::SessionRequest { message: Some(message) }).await;
}

async fn next(stream: &mut Streaming<proto::SessionResponse>) -> Option<Down> {
    let response = timeout(DEADLINE, stream.message()).await.expect("an answer comes in time");
    response.expect("the stream goes on")?.message
}

/// Takes one lease, and answers pings until the stream ends.
async fn keep(
    mut stream: Streaming<proto::SessionResponse>,
    up: mpsc::Sender<proto::SessionRequest>,
    leased: watch::Sender<Option<proto::Lease>>,
) {
    let mut held = Vec::new();
    loop {
        let response: Result<_, Status> = stream.message().await;
        match response.ok().flatten().and_then(|response| response.message) {
            Some(Down::Ping(ping)) => {
                let pong = proto::Pong { ping_no: ping.ping_no, leases: held.clone() };
                send(&up, Up::Pong(pong)).await;
            }
            Some(Down::Lease(lease)) if held.is_empty() => {
                held.extend(lease.lease.clone());
                send(&up, Up::LeasesChanged(proto::LeasesChanged { leases: held.clone() })).await;
                // One lease is all that this worker ever takes: the next chat is for the next one.
                send(&up, Up::Draining(proto::Draining {})).await;
                leased.send_replace(Some(lease));
            }
            Some(_) => {}
            None => return,
        }
    }
}

/// A request with a token.
fn with_token<M>(message: M, token: &str) -> Request<M> {
    let mut request = Request::new(message);
    let value = format!("Bearer {token}").parse().expect("tokens are ASCII");
    request.metadata_mut().insert("authorization", value);
    request
}

//! A worker with one slot, which reads files and ends turns.

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
    pub(crate) fence: i64,
    pub(crate) session: String,
    pub(crate) messages: Vec<proto::TurnMessage>,
    history_version: i64,
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
        let first = timeout(DEADLINE, stream.message()).await.expect("an answer comes in time");
        let first = first.expect("the stream goes on").and_then(|first| first.message);
        let Some(Down::Opened(opened)) = first else { panic!("it is not opened") };
        let (leased, mut lease) = watch::channel(None);
        let reader = tokio::spawn(keep(stream, up, leased));
        let lease = timeout(DEADLINE, lease.wait_for(Option::is_some)).await.expect("a lease comes in time");
        let lease = lease.expect("the session goes on").clone().expect("a lease");
        let key = lease.lease.expect("a lease has a key");
        Self {
            chat: key.chat_id,
            fence: key.fence,
            session: opened.session_id,
            messages: lease.messages,
            history_version: lease.header.expect("a lease has a header").history_version,
            service,
            token: cluster.tokens.worker.clone(),
            reader,
        }
    }

    /// Answers, and the turn is over.
    pub(crate) async fn finish(&mut self) {
        let header = proto::WriteHeader {
            session_id: self.session.clone(),
            chat_id: self.chat.clone(),
            fence: self.fence,
            write_no: 1,
            history_version: self.history_version,
        };
        let answer = proto::NewMessage {
            parts: vec![text("Done.")],
            model: "test".to_owned(),
            usage: Some(chat::Usage::default()),
            ..Default::default()
        };
        let request = proto::CommitStepRequest {
            header: Some(header),
            answer: Some(answer),
            next: proto::NextStep::Finish.into(),
            model_call: 1,
            summary: None,
        };
        self.service.commit_step(with_token(request, &self.token)).await.expect("the step is committed");
    }

    /// What a file's bytes are asked for with.
    pub(crate) fn ask(&self, file_id: &str) -> proto::ReadFileRequest {
        proto::ReadFileRequest {
            session_id: self.session.clone(),
            chat_id: self.chat.clone(),
            fence: self.fence,
            file_id: file_id.to_owned(),
        }
    }

    /// A file's bytes in their pieces.
    pub(crate) async fn read(&self, request: proto::ReadFileRequest) -> Result<Vec<Vec<u8>>, Status> {
        let mut service = self.service.clone();
        let mut stream = service.read_file(with_token(request, &self.token)).await?.into_inner();
        let mut pieces = Vec::new();
        while let Some(response) = stream.message().await? {
            pieces.push(response.data.to_vec());
        }
        Ok(pieces)
    }
}

async fn send(up: &mpsc::Sender<proto::SessionRequest>, message: Up) {
    // A stream that has ended takes nothing; its end is told on the way down.
    let _ = up.send(proto::SessionRequest { message: Some(message) }).await;
}

/// Takes one lease, and answers pings until the stream ends.
async fn keep(
    mut stream: Streaming<proto::SessionResponse>,
    up: mpsc::Sender<proto::SessionRequest>,
    leased: watch::Sender<Option<proto::Lease>>,
) {
    let mut held = Vec::new();
    while let Ok(Some(response)) = stream.message().await {
        match response.message {
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
            Some(_) | None => {}
        }
    }
}

/// A request with a token.
pub(crate) fn with_token<M>(message: M, token: &str) -> Request<M> {
    let mut request = Request::new(message);
    let value = format!("Bearer {token}").parse().expect("tokens are ASCII");
    request.metadata_mut().insert("authorization", value);
    request
}

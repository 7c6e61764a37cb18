//! A worker that holds one chat and has committed one tool call.

use chatplane_proto::{
    chat::v1 as chat,
    worker::v1::{
        self as proto, CallToolRequest, call_tool_response::Piece, session_request::Message as Up,
        session_response::Message as Down, worker_service_client::WorkerServiceClient,
    },
};
use chatplane_tests::DEADLINE;
use tokio::{
    sync::{mpsc, watch},
    task::JoinHandle,
    time::timeout,
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming, transport::Channel};

use crate::world::{World, with_token};

/// More than any test sends.
const MESSAGES_MAX: usize = 1024;

/// A lease holder. Its session breaks when it is dropped.
pub(crate) struct Holder {
    pub(crate) chat: String,
    pub(crate) call: chat::CallId,
    pub(crate) fence: i64,
    session: String,
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
    /// Opens a session, waits for the one chat there is, and commits an answer that calls `read_file`.
    pub(crate) async fn of_a_call(world: &World) -> Self {
        let mut holder = Self::of_the_chat(world).await;
        holder.commit_call().await;
        holder
    }

    /// Opens a session, waits for the one chat there is, and goes on with the call of an earlier holder.
    pub(crate) async fn after(world: &World, call: chat::CallId) -> Self {
        let mut holder = Self::of_the_chat(world).await;
        holder.call = call;
        holder
    }

    async fn of_the_chat(world: &World) -> Self {
        let mut service = WorkerServiceClient::new(world.channel());
        let (up, requests) = mpsc::channel(MESSAGES_MAX);
        let open = proto::Open { worker_name: "test".to_owned(), slots_total: 1, ..Default::default() };
        send(&up, Up::Open(open)).await;
        let request = with_token(ReceiverStream::new(requests), &world.worker_token);
        let mut stream = service.session(request).await.expect("the session opens").into_inner();
        let Some(Down::Opened(opened)) = next(&mut stream).await else { panic!("it is not opened") };
        let (leased, mut lease) = watch::channel(None);
        let reader = tokio::spawn(keep(stream, up, leased));
        let leased = timeout(DEADLINE, lease.wait_for(Option::is_some)).await.expect("a lease comes in time");
        let lease = leased.expect("the session goes on").clone().expect("a lease");
        let key = lease.lease.expect("a lease has a key");
        Self {
            chat: key.chat_id,
            call: chat::CallId::default(),
            fence: key.fence,
            session: opened.session_id,
            history_version: lease.header.expect("a lease has a header").history_version,
            service,
            token: world.worker_token.clone(),
            reader,
        }
    }

    async fn commit_call(&mut self) {
        let call = chat::ToolCallPart {
            tool_name: "read_file".to_owned(),
            arguments_json: "{}".to_owned(),
            ..Default::default()
        };
        let answer = proto::NewMessage {
            parts: vec![chat::Part { kind: Some(chat::part::Kind::ToolCall(call)) }],
            provider_states: vec![Vec::new().into()],
            model: "test".to_owned(),
            ..Default::default()
        };
        let request = proto::CommitStepRequest {
            header: Some(self.write(1)),
            answer: Some(answer),
            next: proto::NextStep::Continue.into(),
            model_call: 1,
            summary: None,
        };
        let request = with_token(request, &self.token);
        let committed = self.service.commit_step(request).await.expect("the call is committed").into_inner();
        let outcome = committed.outcome.expect("an outcome");
        self.history_version = outcome.history_version;
        self.call = chat::CallId { message_id: outcome.committed_message_ids[0], call_index: 0 };
    }

    /// Commits a result that no tool has written.
    pub(crate) async fn commit_result(&mut self, output: &str) {
        let result = proto::ToolResult {
            call: Some(self.call),
            output: output.to_owned(),
            is_error: true,
            ..Default::default()
        };
        let request = proto::CommitToolResultsRequest { header: Some(self.write(2)), results: vec![result] };
        let request = with_token(request, &self.token);
        self.service.commit_tool_results(request).await.expect("the result is committed");
    }

    /// Ends an interruption with nothing in hand.
    pub(crate) async fn finish_interruption(&mut self) {
        let request = proto::FinishInterruptionRequest { header: Some(self.write(2)), ..Default::default() };
        let request = with_token(request, &self.token);
        self.service.finish_interruption(request).await.expect("the interruption ends");
    }

    fn write(&self, write_no: i64) -> proto::WriteHeader {
        proto::WriteHeader {
            session_id: self.session.clone(),
            chat_id: self.chat.clone(),
            fence: self.fence,
            write_no,
            history_version: self.history_version,
        }
    }

    /// The request that asks for the call.
    pub(crate) fn request(&self) -> CallToolRequest {
        CallToolRequest {
            session_id: self.session.clone(),
            chat_id: self.chat.clone(),
            fence: self.fence,
            history_version: self.history_version,
            call: Some(self.call),
            tool_name: "read_file".to_owned(),
            arguments_json: "{}".to_owned(),
        }
    }

    pub(crate) async fn try_call(&self, request: CallToolRequest) -> Result<Call, Status> {
        let mut service = self.service.clone();
        Ok(Call(service.call_tool(with_token(request, &self.token)).await?.into_inner()))
    }

    pub(crate) async fn call(&self) -> Call {
        self.try_call(self.request()).await.expect("the call is taken")
    }
}

/// A call on its way. Dropping it lets go of it.
pub(crate) struct Call(Streaming<proto::CallToolResponse>);

impl Call {
    pub(crate) async fn next(&mut self) -> Result<Option<Piece>, Status> {
        let next = timeout(DEADLINE, self.0.message()).await.expect("something comes in time")?;
        Ok(next.map(|response| response.piece.expect("a known piece")))
    }

    /// The result, which has to be next and last.
    pub(crate) async fn result(mut self) -> proto::CallToolResult {
        let Ok(Some(Piece::Result(result))) = self.next().await else { panic!("it is not the result") };
        assert_eq!(self.next().await.expect("a good end"), None);
        result
    }

    /// An error result's sentence.
    pub(crate) async fn error(self) -> String {
        let result = self.result().await;
        assert!(result.is_error, "{result:?}");
        result.output
    }
}

/// Answers pings for ever, and tells of the first lease.
async fn keep(
    mut stream: Streaming<proto::SessionResponse>,
    up: mpsc::Sender<proto::SessionRequest>,
    leased: watch::Sender<Option<proto::Lease>>,
) {
    let mut leases = Vec::new();
    while let Ok(Some(response)) = stream.message().await {
        match response.message {
            Some(Down::Ping(ping)) => {
                let pong = proto::Pong { ping_no: ping.ping_no, leases: leases.clone() };
                send(&up, Up::Pong(pong)).await;
            }
            Some(Down::Lease(lease)) => {
                leases = lease.lease.clone().into_iter().collect();
                send(&up, Up::LeasesChanged(proto::LeasesChanged { leases: leases.clone() })).await;
                leased.send_replace(Some(lease));
            }
            Some(_) | None => {}
        }
    }
}

async fn next(stream: &mut Streaming<proto::SessionResponse>) -> Option<Down> {
    let next = timeout(DEADLINE, stream.message()).await.expect("something comes in time");
    next.expect("the stream goes on").and_then(|response| response.message)
}

async fn send(up: &mpsc::Sender<proto::SessionRequest>, message: Up) {
    // A stream that has ended takes nothing; its end is told on the way down.
    let _ = up.send(proto::SessionRequest { message: Some(message) }).await;
}

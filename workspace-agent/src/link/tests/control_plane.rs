//! A control plane made of channels: the test reads what an agent sends and answers by hand.

use std::{collections::VecDeque, net::SocketAddr, pin::Pin};

use chatplane_proto::{
    chat::v1::CallId,
    workspace::v1::{
        AttachRequest, AttachResponse, CallTool, CancelTool, JournalDisposition, JournalVerdict,
        JournalVerdicts, Ping, Pong, Register, Registered, ToolCallId, ToolEnded,
        attach_request::Message as FromAgent,
        attach_response::Message as ToAgent,
        workspace_service_server::{WorkspaceService, WorkspaceServiceServer},
    },
};
use futures::Stream;
use tokio::{net::TcpListener, sync::mpsc, task::JoinHandle};
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::{Request, Response, Status, Streaming, transport::Server};

use super::soon;

const CHAT: &str = "01890000-0000-7000-8000-000000000001";

/// The workspace that the agent is registered for, unless a test says another.
const WORKSPACE: &str = "01890000-0000-7000-8000-000000000002";

/// One stream of an agent, as the control plane sees it.
pub(super) struct Attached {
    pub(super) authorization: String,
    pub(super) from_agent: Streaming<AttachRequest>,
    to_agent: mpsc::Sender<Result<AttachResponse, Status>>,
    /// The journal that the agent registered.
    pub(super) journal_id: String,
    /// Listings that came among other messages.
    listings: VecDeque<Vec<ToolCallId>>,
}

impl Attached {
    async fn receive(&mut self) -> FromAgent {
        let message = soon("a message of the agent", self.from_agent.message()).await;
        message.unwrap().expect("the agent ended the stream").message.unwrap()
    }

    /// The next message that is no listing.
    pub(super) async fn next(&mut self) -> FromAgent {
        loop {
            match self.receive().await {
                FromAgent::JournalEntries(entries) => self.listings.push_back(entries.call_ids),
                other => return other,
            }
        }
    }

    /// The next listing, or part of one. Nothing else may come before it.
    pub(super) async fn listed(&mut self) -> Vec<ToolCallId> {
        if let Some(listing) = self.listings.pop_front() {
            return listing;
        }
        match self.receive().await {
            FromAgent::JournalEntries(entries) => entries.call_ids,
            other => panic!("no listing: {other:?}"),
        }
    }

    /// What the tool has written next.
    pub(super) async fn output(&mut self) -> (ToolCallId, Vec<u8>) {
        match self.next().await {
            FromAgent::ToolOutput(output) => (output.call_id.unwrap(), output.data.into()),
            other => panic!("no output: {other:?}"),
        }
    }

    pub(super) async fn ended(&mut self) -> ToolEnded {
        match self.next().await {
            FromAgent::ToolEnded(ended) => ended,
            other => panic!("not an end: {other:?}"),
        }
    }

    /// The end of a call that may have been joined while it ran.
    pub(super) async fn ended_after_output(&mut self) -> ToolEnded {
        loop {
            match self.next().await {
                FromAgent::ToolEnded(ended) => return ended,
                FromAgent::ToolOutput(_) => {}
                other => panic!("not an end: {other:?}"),
            }
        }
    }

    pub(super) async fn send(&self, message: ToAgent) {
        self.to_agent.send(Ok(AttachResponse { message: Some(message) })).await.unwrap();
    }

    pub(super) async fn fail(self, status: Status) {
        self.to_agent.send(Err(status)).await.unwrap();
    }

    /// Takes the registration and accepts it.
    pub(super) async fn register(&mut self) -> Register {
        self.register_for(WORKSPACE).await
    }

    /// The same, for a workspace that the test names.
    pub(super) async fn register_for(&mut self, workspace_id: &str) -> Register {
        let FromAgent::Register(register) = self.next().await else { panic!("the first message registers") };
        self.journal_id.clone_from(&register.journal_id);
        self.send(ToAgent::Registered(Registered { workspace_id: workspace_id.to_owned() })).await;
        register
    }

    pub(super) async fn call(&self, call_index: i32, fence: i64, tool_name: &str, arguments_json: &str) {
        let call = CallTool {
            call_id: Some(call_id(call_index)),
            fence,
            journal_id: self.journal_id.clone(),
            tool_name: tool_name.to_owned(),
            arguments_json: arguments_json.to_owned(),
        };
        self.send(ToAgent::CallTool(call)).await;
    }

    pub(super) async fn cancel(&self, call_index: i32) {
        self.send(ToAgent::CancelTool(CancelTool { call_id: Some(call_id(call_index)) })).await;
    }

    pub(super) async fn verdict(&self, call_index: i32, disposition: JournalDisposition) {
        let verdict = JournalVerdict { call_id: Some(call_id(call_index)), disposition: disposition.into() };
        self.send(ToAgent::JournalVerdicts(JournalVerdicts { verdicts: vec![verdict] })).await;
    }

    /// Everything sent before this has been handled when it returns.
    pub(super) async fn ping(&mut self, ping_no: i64) {
        self.send(ToAgent::Ping(Ping { ping_no })).await;
        assert_eq!(self.next().await, FromAgent::Pong(Pong { ping_no }));
    }
}

pub(super) fn call_id(call_index: i32) -> ToolCallId {
    ToolCallId { chat_id: CHAT.to_owned(), call: Some(CallId { message_id: 7, call_index }) }
}

pub(super) fn ended(call_index: i32, output: &str, is_error: bool) -> ToolEnded {
    ToolEnded { call_id: Some(call_id(call_index)), output: output.to_owned(), is_error }
}

pub(super) struct Service {
    attached: mpsc::Sender<Attached>,
}

#[tonic::async_trait]
impl WorkspaceService for Service {
    type AttachStream = Pin<Box<dyn Stream<Item = Result<AttachResponse, Status>> + Send>>;

    async fn attach(
        &self,
        request: Request<Streaming<AttachRequest>>,
    ) -> Result<Response<Self::AttachStream>, Status> {
        let authorization = request.metadata().get("authorization").unwrap().to_str().unwrap().to_owned();
        if authorization.ends_with("wrong") {
            return Err(Status::unauthenticated("no such token"));
        }
        let (to_agent, answers) = mpsc::channel(100);
        let attached = Attached {
            authorization,
            from_agent: request.into_inner(),
            to_agent,
            journal_id: String::new(),
            listings: VecDeque::new(),
        };
        self.attached.send(attached).await.map_err(|_| Status::unavailable("the test is over"))?;
        Ok(Response::new(Box::pin(ReceiverStream::new(answers))))
    }
}

pub(super) struct ControlPlane {
    pub(super) address: SocketAddr,
    attached: mpsc::Receiver<Attached>,
    server: JoinHandle<()>,
}

impl ControlPlane {
    pub(super) async fn start() -> Self {
        Self::start_at("127.0.0.1:0".parse().unwrap()).await
    }

    pub(super) async fn start_at(address: SocketAddr) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (sender, attached) = mpsc::channel(10);
        let service = WorkspaceServiceServer::new(Service { attached: sender });
        let server = tokio::spawn(async move {
            let incoming = TcpListenerStream::new(listener);
            Server::builder().add_service(service).serve_with_incoming(incoming).await.unwrap();
        });
        Self { address, attached, server }
    }

    /// Afterwards its port is free.
    pub(super) async fn stop(mut self) {
        self.server.abort();
        assert!((&mut self.server).await.unwrap_err().is_cancelled());
    }

    pub(super) async fn attached(&mut self) -> Attached {
        soon("an agent's stream", self.attached.recv()).await.unwrap()
    }

    pub(super) async fn registered(&mut self) -> Attached {
        let mut attached = self.attached().await;
        attached.register().await;
        attached
    }
}

impl Drop for ControlPlane {
    fn drop(&mut self) {
        self.server.abort();
    }
}

//! A workspace agent whose every word is the test's.

use chatplane_proto::{
    chat::v1::{CallId, ToolDefinition},
    workspace::v1::{
        self as proto, AttachRequest, AttachResponse, attach_request::Message as Up,
        attach_response::Message as Down, workspace_service_client::WorkspaceServiceClient,
    },
};
use chatplane_tests::DEADLINE;
use tokio::{sync::mpsc, time::timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

use crate::world::{World, with_token};

/// More than any test sends.
const MESSAGES_MAX: usize = 1024;

/// An attached agent. It leaves when it is dropped.
pub(crate) struct Agent {
    up: mpsc::Sender<AttachRequest>,
    down: Streaming<AttachResponse>,
}

pub(crate) fn register() -> proto::Register {
    let tool = ToolDefinition {
        name: "read_file".to_owned(),
        description: "Reads a file.".to_owned(),
        input_schema_json: r#"{"type": "object"}"#.to_owned(),
    };
    proto::Register { agent_version: "test".to_owned(), tools: vec![tool], journal_id: String::new() }
}

impl Agent {
    pub(crate) async fn attach(world: &World) -> Self {
        let first = Up::Register(register());
        Self::try_attach(world, &world.agent_token, first).await.expect("the agent registers")
    }

    /// Sends a first message, which a well-behaved agent would choose to be `register`.
    pub(crate) async fn try_attach(world: &World, token: &str, first: Up) -> Result<Self, Status> {
        let (up, requests) = mpsc::channel(MESSAGES_MAX);
        send(&up, first).await;
        let mut service = WorkspaceServiceClient::new(world.channel());
        let request = with_token(ReceiverStream::new(requests), token);
        let mut agent = Self { up, down: service.attach(request).await?.into_inner() };
        let registered = proto::Registered { workspace_id: world.workspace.to_string() };
        assert_eq!(agent.message().await?, Some(Down::Registered(registered)));
        assert_eq!(agent.message().await?, Some(Down::Ping(proto::Ping { ping_no: 1 })));
        agent.pong(1).await;
        Ok(agent)
    }

    /// What comes next, pings included; none at a good end.
    async fn message(&mut self) -> Result<Option<Down>, Status> {
        let next = timeout(DEADLINE, self.down.message()).await.expect("something comes in time")?;
        Ok(next.map(|response| response.message.expect("a known message")))
    }

    /// What comes next but pings, which it answers.
    pub(crate) async fn next(&mut self) -> Result<Option<Down>, Status> {
        loop {
            match self.message().await? {
                Some(Down::Ping(ping)) => self.pong(ping.ping_no).await,
                other => return Ok(other),
            }
        }
    }

    /// Why its stream ends, which is next but for pings.
    pub(crate) async fn put_out(&mut self) -> Status {
        // Pings come for ever, so the end needs a deadline of its own.
        let end = timeout(DEADLINE, self.next()).await.expect("it ends in time");
        end.expect_err("it is asked for nothing")
    }

    pub(crate) async fn called(&mut self) -> proto::CallTool {
        // As for an end.
        let next = timeout(DEADLINE, self.next()).await.expect("a call comes in time");
        match next {
            Ok(Some(Down::CallTool(call))) => call,
            other => panic!("not a call: {other:?}"),
        }
    }

    pub(crate) async fn writes(&self, call: &proto::CallTool, data: &[u8]) {
        let output = proto::ToolOutput { call_id: call.call_id.clone(), data: data.to_vec().into() };
        send(&self.up, Up::ToolOutput(output)).await;
    }

    pub(crate) async fn ends(&self, call: &proto::CallTool, output: &str) {
        let ended =
            proto::ToolEnded { call_id: call.call_id.clone(), output: output.to_owned(), is_error: false };
        send(&self.up, Up::ToolEnded(ended)).await;
    }

    pub(crate) async fn says(&self, message: Up) {
        send(&self.up, message).await;
    }

    /// Lists its journal, and answers what becomes of it. What else comes meanwhile is lost.
    pub(crate) async fn lists(&mut self, call_ids: Vec<proto::ToolCallId>) -> Vec<proto::JournalVerdict> {
        self.list(call_ids).await.1
    }

    /// What it was sent until now but pings.
    pub(crate) async fn heard(&mut self) -> Vec<Down> {
        self.list(Vec::new()).await.0
    }

    async fn list(&mut self, call_ids: Vec<proto::ToolCallId>) -> (Vec<Down>, Vec<proto::JournalVerdict>) {
        self.says(Up::JournalEntries(proto::JournalEntries { call_ids })).await;
        let answered = async {
            let mut heard = Vec::new();
            loop {
                match self.next().await.expect("it goes on").expect("it goes on") {
                    Down::JournalVerdicts(verdicts) => return (heard, verdicts.verdicts),
                    other => heard.push(other),
                }
            }
        };
        // Pings come for ever, so the answer needs a deadline of its own.
        timeout(DEADLINE, answered).await.expect("the list is answered in time")
    }

    /// Lists its journal at each ping until a list is answered, as an agent does each 30 s.
    pub(crate) async fn keeps_listing(
        &mut self,
        call_ids: Vec<proto::ToolCallId>,
    ) -> Vec<proto::JournalVerdict> {
        let answered = async {
            loop {
                match self.message().await.expect("it goes on").expect("it goes on") {
                    Down::JournalVerdicts(verdicts) => return verdicts.verdicts,
                    Down::Ping(ping) => {
                        self.pong(ping.ping_no).await;
                        let entries = proto::JournalEntries { call_ids: call_ids.clone() };
                        self.says(Up::JournalEntries(entries)).await;
                    }
                    other => panic!("neither a ping nor verdicts: {other:?}"),
                }
            }
        };
        timeout(DEADLINE, answered).await.expect("a list is answered in time")
    }

    /// Waits for a ping, which has to be next, and answers it.
    pub(crate) async fn pinged(&mut self) {
        match self.message().await {
            Ok(Some(Down::Ping(ping))) => self.pong(ping.ping_no).await,
            other => panic!("not a ping: {other:?}"),
        }
    }

    async fn pong(&self, ping_no: i64) {
        send(&self.up, Up::Pong(proto::Pong { ping_no })).await;
    }
}

async fn send(up: &mpsc::Sender<AttachRequest>, message: Up) {
    // A stream that has ended takes nothing; its end is told on the way down.
    let _ = up.send(AttachRequest { message: Some(message) }).await;
}

pub(crate) fn call_id(chat: &str, call: CallId) -> proto::ToolCallId {
    proto::ToolCallId { chat_id: chat.to_owned(), call: Some(call) }
}

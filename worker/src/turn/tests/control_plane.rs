//! A control plane with one chat, in memory: it checks what holders write in the order
//! of the contract, and does to replies what a test asks for.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use chatplane_proto::{
    chat::v1 as chat,
    worker::v1::{
        self as proto, session_request::Message as Up, session_response::Message as Down,
        worker_service_server::WorkerServiceServer,
    },
};
use tokio::{
    net::TcpListener,
    sync::{Semaphore, mpsc, watch},
    task::JoinSet,
    time::timeout,
};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Code, Status, transport::Server};
use tonic_types::{ErrorDetails, StatusExt};

use super::{aside::Aside, service::Service};

pub(super) const CHAT_ID: &str = "0198c5a0-0000-7000-8000-000000000001";
pub(super) const TOKEN: &str = "cp_worker_token";
/// The key of its model.
pub(super) const KEY: &str = "sk-secret";
/// Tries of one model call, on both sides.
pub(super) const ATTEMPTS_MAX: i32 = 3;
/// What fits the model's context.
pub(super) const CONTEXT_TOKENS_MAX: i64 = 1000;

/// What happens to the next write.
pub(super) enum Fault {
    /// It is applied, but the reply is lost.
    LoseReply,
    /// It is not applied: nobody answers.
    Unreachable,
    /// It is refused.
    Refuse(Code, &'static str),
}

/// How a tool behaves.
#[derive(Clone)]
pub(super) enum Tool {
    /// Writes, and ends with what it wrote.
    Ends(&'static str),
    /// Writes, and does not end.
    Hangs(&'static str),
    /// Writes once the test lets it, and does not end.
    Waits(Arc<Semaphore>, &'static str),
    /// Writes, and ends once the test lets it.
    EndsAfter(Arc<Semaphore>, &'static str),
    /// Breaks off once, then ends.
    BreaksOnce(&'static str),
}

/// The chat, what was done to it, and what shall go wrong.
pub(super) struct State {
    pub(super) snapshot: i64,
    pub(super) history: i64,
    pub(super) fence: i64,
    pub(super) leased: bool,
    pub(super) interrupting: bool,
    pub(super) attempt: i32,
    pub(super) messages: Vec<proto::TurnMessage>,
    pub(super) next_id: i64,
    pub(super) queue: VecDeque<String>,
    /// What the user puts into the turn that runs.
    pub(super) steering: VecDeque<String>,
    pub(super) error: Option<chat::ChatError>,
    pub(super) model: String,
    pub(super) tools: HashMap<&'static str, Tool>,
    pub(super) client_tools: Vec<&'static str>,
    /// The chat waits for its client.
    pub(super) suspended: bool,
    pub(super) user_instructions: &'static str,
    pub(super) compaction_threshold_percent: i32,
    pub(super) compact_requested: bool,
    /// Summaries that came with steps.
    pub(super) summaries: Vec<proto::Summary>,
    /// The rows that they cover are not what they were made from.
    pub(super) summaries_ignored: bool,
    pub(super) faults: VecDeque<Fault>,
    /// Results are refused as if nobody were there.
    pub(super) results_unreachable: bool,
    pub(super) positions: Vec<proto::LivePosition>,
    /// Every write as it came in: its name and its number.
    pub(super) writes: Vec<(&'static str, i64)>,
    pub(super) retries: Vec<proto::RecordRetryRequest>,
    pub(super) usage: Vec<proto::ReportUsageRequest>,
    /// Reports of a model call that are still to be refused.
    pub(super) reports_refused: HashMap<i64, u32>,
    pub(super) tool_calls: Vec<proto::CallToolRequest>,
    /// Answers of jobs, repeats aside.
    pub(super) jobs: Vec<proto::FinishJobRequest>,
    /// What happens to the next answers of jobs.
    pub(super) job_faults: VecDeque<Fault>,
    pub(super) turns_read: usize,
    /// Reads of the turn get no answer.
    pub(super) reads_hang: bool,
    /// What the user writes instead of the first message, each in the middle of a read.
    pub(super) edits_during_reads: VecDeque<&'static str>,
    /// What came up each connection, the latest last.
    pub(super) connections: Vec<Vec<Up>>,
    pub(super) deleted_from: Option<(i64, i64)>,
    pub(super) last_write_no: i64,
    last_outcome: proto::WriteOutcome,
    pub(super) down: Option<mpsc::Sender<Result<proto::SessionResponse, Status>>>,
    /// What is read and handed in beside the turn.
    pub(super) aside: Aside,
}

pub(super) struct Shared {
    pub(super) state: Mutex<State>,
    pub(super) changed: watch::Sender<()>,
}

/// A handle of the control plane; dropped, it is gone.
pub(super) struct ControlPlane {
    pub(super) address: String,
    shared: Arc<Shared>,
    _server: JoinSet<()>,
}

impl ControlPlane {
    /// A control plane whose chat has one message of a user.
    pub(super) async fn start() -> Self {
        let state = State::new();
        let shared = Arc::new(Shared { state: Mutex::new(state), changed: watch::Sender::new(()) });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let service = WorkerServiceServer::new(Service(shared.clone()));
        let mut server = JoinSet::new();
        server.spawn(async move {
            let incoming = TcpListenerStream::new(listener);
            Server::builder().add_service(service).serve_with_incoming(incoming).await.unwrap();
        });
        ControlPlane { address, shared, _server: server }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock().unwrap()
    }

    /// Waits for a condition.
    pub(super) async fn until(&self, what: &str, mut condition: impl FnMut(&State) -> bool) {
        let mut changed = self.shared.changed.subscribe();
        let wait = async {
            while !condition(&self.state()) {
                changed.changed().await.unwrap();
            }
        };
        if timeout(Duration::from_secs(20), wait).await.is_err() {
            let state = self.state();
            panic!("not seen: {what}; writes {:?}, connections {:?}", state.writes, state.connections);
        }
    }

    /// Gives the chat to the worker, once it is there.
    pub(super) async fn lease(&self) {
        self.until("a session", |state| state.down.is_some()).await;
        self.state().lease();
    }

    /// The same, without the messages.
    pub(super) async fn lease_incomplete(&self) {
        self.until("a session", |state| state.down.is_some()).await;
        let mut state = self.state();
        state.take_lease();
        let (lease, header) = (state.key(), Some(state.header()));
        state.send(Down::Lease(proto::Lease { lease, header, complete: false, messages: Vec::new() }));
    }

    /// Delivers the lease once more.
    pub(super) fn deliver_again(&self) {
        self.state().deliver();
    }

    pub(super) fn send(&self, message: Down) {
        self.state().send(message);
    }

    /// The worker has heard of everything that was sent so far.
    pub(super) async fn heard(&self) {
        let connection = self.state().connections.len() - 1;
        let ping_no = 1000 * (connection as i64 + 1);
        self.send(Down::Ping(proto::Ping { ping_no, renewed_age_ms: 0 }));
        let is_pong = |message: &Up| matches!(message, Up::Pong(pong) if pong.ping_no == ping_no);
        self.until("the pong", |state| state.connections[connection].iter().any(is_pong)).await;
    }

    /// The user stops the turn; whether the message comes now is up to the test.
    pub(super) fn interrupt(&self) -> proto::Interrupt {
        let mut state = self.state();
        state.snapshot += 1;
        state.interrupting = true;
        proto::Interrupt { lease: state.key(), snapshot_version: state.snapshot }
    }

    /// The user replaces the history from a message on.
    pub(super) fn edit(&self, from_id: i64, text: &str) -> proto::Reload {
        let mut state = self.state();
        state.edit(from_id, text);
        proto::Reload { lease: state.key(), snapshot_version: state.snapshot }
    }

    /// The user chooses another model.
    pub(super) fn new_settings(&self, model: &str) -> proto::Reload {
        let mut state = self.state();
        state.snapshot += 1;
        state.model = model.to_owned();
        proto::Reload { lease: state.key(), snapshot_version: state.snapshot }
    }

    /// The stream breaks.
    pub(super) fn break_stream(&self) {
        self.state().down = None;
    }
}

impl State {
    fn new() -> Self {
        let mut state = State {
            snapshot: 1,
            history: 1,
            fence: 0,
            leased: false,
            interrupting: false,
            attempt: 0,
            messages: Vec::new(),
            next_id: 1,
            queue: VecDeque::new(),
            steering: VecDeque::new(),
            error: None,
            model: "smart".to_owned(),
            tools: HashMap::new(),
            client_tools: Vec::new(),
            suspended: false,
            user_instructions: "",
            compaction_threshold_percent: 100,
            compact_requested: false,
            summaries: Vec::new(),
            summaries_ignored: false,
            faults: VecDeque::new(),
            results_unreachable: false,
            positions: Vec::new(),
            writes: Vec::new(),
            retries: Vec::new(),
            usage: Vec::new(),
            reports_refused: HashMap::new(),
            tool_calls: Vec::new(),
            jobs: Vec::new(),
            job_faults: VecDeque::new(),
            turns_read: 0,
            reads_hang: false,
            edits_during_reads: VecDeque::new(),
            connections: Vec::new(),
            deleted_from: None,
            last_write_no: 0,
            last_outcome: proto::WriteOutcome::default(),
            down: None,
            aside: Aside::default(),
        };
        state.user("hi");
        state
    }

    pub(super) fn edit(&mut self, from_id: i64, text: &str) {
        self.snapshot += 1;
        self.messages.retain(|message| message.message.as_ref().unwrap().message_id < from_id);
        self.deleted_from = Some((self.snapshot, from_id));
        self.user(text);
        self.keep_trying();
    }

    /// Where a holder goes on, its next model call is under way.
    fn keep_trying(&mut self) {
        if self.leased && !self.interrupting {
            self.attempt = self.attempt.max(1);
        }
    }

    pub(super) fn lease(&mut self) {
        self.take_lease();
        self.deliver();
    }

    fn take_lease(&mut self) {
        self.snapshot += 1;
        self.fence += 1;
        self.attempt += 1;
        self.leased = true;
        self.last_write_no = 0;
        self.last_outcome = proto::WriteOutcome::default();
    }

    fn deliver(&self) {
        let header = Some(self.header());
        let messages = self.prompt_rows();
        self.send(Down::Lease(proto::Lease { lease: self.key(), header, complete: true, messages }));
    }

    /// The live streams of a connection, by what names them.
    pub(super) fn streams(&self, connection: usize) -> Vec<(i64, i64)> {
        let started = self.connections[connection].iter().filter_map(|message| match message {
            Up::LivePartStarted(started) if started.part_started.as_ref().unwrap().part == 0 => {
                let stream = started.part_started.as_ref().unwrap().stream.unwrap();
                Some((stream.base_version, stream.index))
            }
            _ => None,
        });
        started.collect()
    }

    /// Live appends of a connection, joined by part, and how streams ended.
    pub(super) fn live(&self, connection: usize) -> Vec<String> {
        let pieces = self.connections[connection].iter().filter_map(|message| match message {
            Up::LivePartStarted(started) => {
                let part = started.part_started.as_ref().unwrap();
                Some(format!("start {} {:?}", part.part, part.kind()))
            }
            Up::LivePartAppend(append) => {
                let part = append.part_append.as_ref().unwrap();
                let text = String::from_utf8_lossy(&part.data).into_owned();
                Some(format!("{}@{} {text}", part.part, part.offset))
            }
            Up::LiveStreamClosed(closed) => Some(format!("closed abandoned={}", closed.abandoned)),
            _ => None,
        });
        pieces.collect()
    }

    fn key(&self) -> Option<proto::LeaseKey> {
        Some(proto::LeaseKey { chat_id: CHAT_ID.to_owned(), fence: self.fence })
    }

    pub(super) fn send(&self, message: Down) {
        let response = proto::SessionResponse { message: Some(message) };
        self.down.as_ref().expect("a session").try_send(Ok(response)).unwrap();
    }

    pub(super) fn chat_state(&self) -> chat::ChatState {
        if self.interrupting { chat::ChatState::Interrupting } else { chat::ChatState::Running }
    }

    pub(super) fn header(&self) -> proto::TurnHeader {
        let tool = |name: &&'static str| chat::ToolDefinition {
            name: (*name).to_owned(),
            description: String::new(),
            input_schema_json: "{}".to_owned(),
        };
        proto::TurnHeader {
            state: self.chat_state().into(),
            snapshot_version: self.snapshot,
            history_version: self.history,
            last_write_no: self.last_write_no,
            attempt: self.attempt,
            model: Some(proto::ModelConfig {
                name: self.model.clone(),
                provider: "scripted".to_owned(),
                provider_model: self.model.clone(),
                api_key: KEY.to_owned(),
                first_token_timeout_ms: 1000,
                silence_timeout_ms: 1000,
                context_tokens_max: CONTEXT_TOKENS_MAX,
                output_tokens_max: 4096,
                ..proto::ModelConfig::default()
            }),
            effort: chat::Effort::High.into(),
            tools: self.tools.keys().map(tool).collect(),
            workspace_id: if self.tools.is_empty() { String::new() } else { CHAT_ID.to_owned() },
            client_tools: self.client_tools.iter().map(tool).collect(),
            workspace_notice: String::new(),
            user_instructions: self.user_instructions.to_owned(),
            compaction_threshold_percent: self.compaction_threshold_percent,
            compact_requested: self.compact_requested,
            debug_recording: self.aside.debug_recording,
        }
    }

    /// Ends the turn: the queue's head enters, or the lease ends.
    pub(super) fn finish_turn(&mut self, outcome: &mut proto::WriteOutcome) {
        let was_interrupting = std::mem::take(&mut self.interrupting);
        if !was_interrupting && !self.steering.is_empty() {
            return self.steer(outcome);
        }
        self.compact_requested = false;
        if let Some(text) = self.queue.pop_front() {
            outcome.added_message_ids.push(self.next_id);
            self.user(&text);
            outcome.set_disposition(proto::Disposition::NextTurn);
        } else {
            self.leased = false;
            outcome.set_disposition(proto::Disposition::Released);
        }
    }

    /// What the user put in enters the history.
    pub(super) fn steer(&mut self, outcome: &mut proto::WriteOutcome) {
        while let Some(text) = self.steering.pop_front() {
            outcome.added_message_ids.push(self.next_id);
            self.user(&text);
        }
    }

    /// The client hands in results of its calls, and the turn goes on.
    pub(super) fn submit(&mut self, results: Vec<proto::ToolResult>) {
        self.snapshot += 1;
        self.store_results(results);
        self.suspended = false;
    }

    /// The checks of a holder's write, in the order of the contract.
    pub(super) fn write(
        &mut self,
        name: &'static str,
        header: Option<proto::WriteHeader>,
        apply: impl FnOnce(&mut State, &mut proto::WriteOutcome),
    ) -> Result<Option<proto::WriteOutcome>, Status> {
        let header = header.unwrap();
        self.writes.push((name, header.write_no));
        let fault = self.faults.pop_front();
        match fault {
            Some(Fault::Unreachable) => return Err(Status::unavailable("connection refused")),
            Some(Fault::Refuse(code, reason)) => return Err(refusal(code, reason)),
            Some(Fault::LoseReply) | None => {}
        }
        assert_eq!((header.chat_id.as_str(), header.session_id.as_str()), (CHAT_ID, "session"));
        if header.fence != self.fence {
            return Err(refusal(Code::FailedPrecondition, "LEASE_LOST"));
        }
        if header.write_no == self.last_write_no {
            return Ok(Some(self.last_outcome.clone()));
        }
        assert_eq!(header.write_no, self.last_write_no + 1, "{name}");
        if !self.leased {
            return Err(refusal(Code::FailedPrecondition, "LEASE_LOST"));
        }
        if header.history_version != self.history {
            return Err(refusal(Code::Aborted, "SUPERSEDED"));
        }
        self.snapshot += 1;
        let mut outcome = proto::WriteOutcome::default();
        outcome.set_disposition(proto::Disposition::Continues);
        apply(self, &mut outcome);
        self.keep_trying();
        outcome.snapshot_version = self.snapshot;
        outcome.history_version = self.history;
        self.last_write_no = header.write_no;
        self.last_outcome = outcome.clone();
        if matches!(fault, Some(Fault::LoseReply)) {
            return Err(Status::unknown("transport error"));
        }
        Ok(Some(outcome))
    }
}

pub(super) fn refusal(code: Code, reason: &str) -> Status {
    Status::with_error_details(code, "no", ErrorDetails::with_error_info(reason, "chatplane", HashMap::new()))
}

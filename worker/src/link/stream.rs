//! The shell of the session: it gives the pure core its events, and does what it says.

use std::{
    collections::{BTreeMap, VecDeque},
    future::pending,
    sync::Arc,
    time::Duration,
};

use chatplane_proto::{
    chat::v1 as chat,
    worker::v1::{self as proto, session_request::Message as Up, session_response::Message as Down},
};
use futures::future::BoxFuture;
use tokio::{
    sync::mpsc,
    time::{Instant, sleep_until},
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status, Streaming};

use super::{
    client::Client,
    convert::{self, Malformed},
    jobs::{self, Job},
    live::{LiveMessage, LivePiece, LiveStreams},
    status::{CallError, classify},
    types::{Holder, LeaseInput, LivePosition},
};
use crate::session::{Action, Closed, Control, Event, LeaseKey, RunEnd, Session};

/// Messages on their way to the replica: little, so that what is newer can still
/// overtake, and live appends are made as late as possible.
const OUTGOING_MAX: usize = 8;

/// How a worker introduces itself.
#[derive(Clone, Debug)]
pub(crate) struct Worker {
    pub(crate) name: String,
    pub(crate) slots_total: u32,
}

/// What the owner of the session does.
pub(crate) enum Command {
    /// Runs a lease.
    Start(Holder, Box<LeaseInput>),
    /// Gives a lease back that is not run.
    GiveBack(Holder, Box<LeaseInput>),
    /// Hands new control to a running lease.
    Control(LeaseKey, Control),
    /// Stops a running lease and forgets it.
    Abandon(LeaseKey),
    /// Does a job.
    Job(Box<Job>),
    /// Stops: everything has ended.
    Stop,
    /// Stops: no replica will ever open the session.
    GiveUp(Refusal),
}

/// Why no replica will ever open the session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// Whether the token is to blame.
    pub(crate) token_refused: bool,
    /// The control plane's own words.
    pub(crate) message: String,
}

/// The session of a worker.
pub(crate) struct SessionStream {
    client: Client,
    live: LiveStreams,
    worker: Worker,
    core: Session,
    epoch: Instant,
    connection: Connection,
    outbox: Outbox,
    commands: VecDeque<Command>,
    delivered: Option<Box<LeaseInput>>,
    refusal: Refusal,
}

enum Connection {
    Apart,
    Opening {
        address: usize,
        attempt: BoxFuture<'static, Result<Streaming<proto::SessionResponse>, Status>>,
        outgoing: mpsc::Sender<proto::SessionRequest>,
    },
    Open {
        address: usize,
        incoming: Box<Streaming<proto::SessionResponse>>,
        outgoing: mpsc::Sender<proto::SessionRequest>,
        /// Whether the replica has answered `Open`.
        answered: bool,
    },
}

/// What waits to be sent. Only the newest of each kind matters, so it cannot grow.
#[derive(Default)]
struct Outbox {
    draining: bool,
    pong: Option<proto::Pong>,
    leases: Option<proto::LeasesChanged>,
}

enum Happening {
    Attempted(Box<Result<Streaming<proto::SessionResponse>, Status>>),
    Received(Box<Result<Option<proto::SessionResponse>, Status>>),
    CanSend,
    Due,
}

impl SessionStream {
    /// A session that connects when it is first asked for a command.
    pub(crate) fn new(client: Client, live: LiveStreams, worker: Worker, core: Session) -> Self {
        SessionStream {
            client,
            live,
            worker,
            core,
            epoch: Instant::now(),
            connection: Connection::Apart,
            outbox: Outbox::default(),
            commands: VecDeque::new(),
            delivered: None,
            refusal: Refusal { token_refused: false, message: String::new() },
        }
    }

    /// The next thing to do. May be dropped and asked again at any time.
    pub(crate) async fn next(&mut self) -> Command {
        loop {
            if let Some(command) = self.commands.pop_front() {
                return command;
            }
            match self.happening().await {
                Happening::Attempted(result) => self.attempted(*result),
                Happening::Received(result) => self.received(*result),
                Happening::CanSend => self.send_next(),
                Happening::Due => self.handle(Event::Tick),
            }
        }
    }

    /// The work of a lease has ended.
    pub(crate) fn run_ended(&mut self, key: LeaseKey, end: RunEnd) {
        self.handle(Event::RunEnded { key, end });
    }

    /// A lease that was not run was given back, or could not be.
    pub(crate) fn given_back(&mut self, key: LeaseKey, done: bool) {
        self.handle(Event::GivenBack { key, done });
    }

    /// The worker shall stop.
    pub(crate) fn shut_down(&mut self) {
        self.handle(Event::Shutdown);
    }

    async fn happening(&mut self) -> Happening {
        let deadline = self.core.deadline();
        let epoch = self.epoch;
        let due = async move {
            match deadline {
                Some(deadline) => sleep_until(epoch + deadline).await,
                None => pending().await,
            }
        };
        let has_control = !self.outbox.is_empty();
        match &mut self.connection {
            Connection::Apart => {
                due.await;
                Happening::Due
            }
            Connection::Opening { attempt, .. } => tokio::select! {
                result = attempt => Happening::Attempted(Box::new(result)),
                () = due => Happening::Due,
            },
            Connection::Open { incoming, outgoing, answered, .. } => {
                let can_send = async {
                    if !*answered {
                        pending::<()>().await;
                    }
                    if !has_control {
                        self.live.wait().await;
                    }
                    // Fails only when the stream is gone, which `incoming` tells better.
                    if outgoing.reserve().await.is_err() {
                        pending::<()>().await;
                    }
                };
                tokio::select! {
                    message = incoming.message() => Happening::Received(Box::new(message)),
                    () = due => Happening::Due,
                    () = can_send => Happening::CanSend,
                }
            }
        }
    }

    fn attempted(&mut self, result: Result<Streaming<proto::SessionResponse>, Status>) {
        let Connection::Opening { address, outgoing, .. } =
            std::mem::replace(&mut self.connection, Connection::Apart)
        else {
            return;
        };
        match result {
            Ok(incoming) => {
                let incoming = Box::new(incoming);
                self.connection = Connection::Open { address, incoming, outgoing, answered: false };
            }
            Err(status) => self.closed(&status),
        }
    }

    fn received(&mut self, result: Result<Option<proto::SessionResponse>, Status>) {
        match result {
            Ok(Some(response)) => {
                if let Some(message) = response.message
                    && let Err(error) = self.take(message)
                {
                    tracing::warn!(%error, "a message of the control plane was left unread");
                }
            }
            Ok(None) => self.closed(&Status::unavailable("the stream has ended")),
            Err(status) => self.closed(&status),
        }
    }

    fn take(&mut self, message: Down) -> Result<(), Malformed> {
        let event = match message {
            Down::Opened(opened) => return self.opened(opened),
            Down::Lease(lease) => {
                let (key, input) = convert::lease(lease)?;
                self.delivered = Some(Box::new(input));
                Event::Leased(key)
            }
            Down::Ping(ping) => {
                let renewed_age = Duration::from_millis(ping.renewed_age_ms.max(0).unsigned_abs());
                Event::Ping { ping_no: ping.ping_no, renewed_age }
            }
            Down::Interrupt(interrupt) => {
                let key = convert::lease_key(interrupt.lease.as_ref())?;
                Event::Interrupt { key, version: interrupt.snapshot_version }
            }
            Down::Reload(reload) => {
                let key = convert::lease_key(reload.lease.as_ref())?;
                Event::Reload { key, version: reload.snapshot_version }
            }
            Down::Lost(lost) => Event::Lost(convert::lease_key(lost.lease.as_ref())?),
            Down::Drain(proto::Drain {}) => Event::ReplicaDrains,
            // A job is no business of the session's core: it has no slot and no lease.
            Down::Job(job) => return self.job(job),
        };
        self.handle(event);
        self.delivered = None;
        Ok(())
    }

    fn job(&mut self, job: proto::Job) -> Result<(), Malformed> {
        if let Some(session_id) = self.core.id() {
            let job = jobs::job(job, session_id.into())?;
            self.commands.push_back(Command::Job(Box::new(job)));
        }
        Ok(())
    }

    fn opened(&mut self, opened: proto::Opened) -> Result<(), Malformed> {
        let Connection::Open { address, answered, .. } = &mut self.connection else {
            return Ok(());
        };
        *answered = true;
        self.client.prefer(*address);
        tracing::info!(leases = opened.leases.len(), "the session is open");
        let mut positions: BTreeMap<LeaseKey, Vec<LivePosition>> = BTreeMap::new();
        let mut leases = Vec::with_capacity(opened.leases.len());
        for lease in &opened.leases {
            let resumed = convert::resumed(lease)?;
            let held = lease.positions.iter().map(convert::position).collect::<Result<_, _>>()?;
            positions.insert(resumed.key, held);
            leases.push(resumed);
        }
        self.live.resume(&positions);
        self.handle(Event::Opened { session_id: opened.session_id, leases });
        Ok(())
    }

    fn closed(&mut self, status: &Status) {
        self.connection = Connection::Apart;
        self.outbox = Outbox::default();
        let error = classify(status);
        let closed = match &error {
            CallError::LeaseLost => Closed::SessionLost,
            CallError::Refused { code: Code::Unauthenticated | Code::InvalidArgument, .. } => Closed::Refused,
            CallError::Unavailable { .. } | CallError::Stale | CallError::Refused { .. } => Closed::Broken,
        };
        tracing::warn!(%error, message = status.message(), "the session's stream is closed");
        let token_refused = status.code() == Code::Unauthenticated;
        self.refusal = Refusal { token_refused, message: status.message().to_owned() };
        self.handle(Event::Closed(closed));
    }

    fn handle(&mut self, event: Event) {
        for action in self.core.handle(self.epoch.elapsed(), rand::random(), event) {
            self.act(action);
        }
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Dial { address, session_id, leases } => self.dial(address, session_id, &leases),
            Action::HangUp => {
                self.connection = Connection::Apart;
                self.outbox = Outbox::default();
            }
            Action::Pong { ping_no, leases } => {
                // A pong tells the leases too.
                self.outbox.leases = None;
                self.outbox.pong = Some(proto::Pong { ping_no, leases: from_keys(&leases) });
            }
            Action::LeasesChanged(leases) => {
                self.outbox.leases = Some(proto::LeasesChanged { leases: from_keys(&leases) });
            }
            Action::Draining => self.outbox.draining = true,
            Action::Start(key) => {
                if let Some((holder, input)) = self.delivered(key) {
                    self.commands.push_back(Command::Start(holder, input));
                }
            }
            Action::GiveBack(key) => {
                if let Some((holder, input)) = self.delivered(key) {
                    self.commands.push_back(Command::GiveBack(holder, input));
                }
            }
            Action::Control { key, control } => self.commands.push_back(Command::Control(key, control)),
            Action::Abandon(key) => self.commands.push_back(Command::Abandon(key)),
            Action::Stop => self.commands.push_back(Command::Stop),
            Action::GiveUp => self.commands.push_back(Command::GiveUp(self.refusal.clone())),
        }
    }

    /// The lease whose delivery is being handled, with the session that holds it.
    fn delivered(&mut self, key: LeaseKey) -> Option<(Holder, Box<LeaseInput>)> {
        let session_id: Arc<str> = self.core.id()?.into();
        Some((Holder { session_id, key }, self.delivered.take()?))
    }

    fn dial(&mut self, address: usize, session_id: Option<String>, leases: &[LeaseKey]) {
        let (outgoing, requests) = mpsc::channel(OUTGOING_MAX);
        let open = proto::Open {
            session_id: session_id.unwrap_or_default(),
            worker_name: self.worker.name.clone(),
            slots_total: self.worker.slots_total.try_into().unwrap_or(i32::MAX),
            leases: from_keys(leases),
        };
        // Always first, before anything can fill the channel.
        let _: Result<_, _> = outgoing.try_send(proto::SessionRequest { message: Some(Up::Open(open)) });
        let client = self.client.clone();
        let attempt = Box::pin(async move { client.session(address, ReceiverStream::new(requests)).await });
        self.connection = Connection::Opening { address, attempt, outgoing };
    }

    /// Control first: a pong that waits behind previews looks like a dead worker.
    fn send_next(&mut self) {
        let Connection::Open { outgoing, .. } = &self.connection else {
            return;
        };
        let Ok(permit) = outgoing.try_reserve() else {
            return;
        };
        let message = self.outbox.next().or_else(|| self.live.next_message().map(from_live));
        if let Some(message) = message {
            permit.send(proto::SessionRequest { message: Some(message) });
        }
    }
}

impl Outbox {
    fn is_empty(&self) -> bool {
        !self.draining && self.pong.is_none() && self.leases.is_none()
    }

    fn next(&mut self) -> Option<Up> {
        if std::mem::take(&mut self.draining) {
            return Some(Up::Draining(proto::Draining {}));
        }
        let pong = self.pong.take().map(Up::Pong);
        pong.or_else(|| self.leases.take().map(Up::LeasesChanged))
    }
}

fn from_keys(keys: &[LeaseKey]) -> Vec<proto::LeaseKey> {
    keys.iter().copied().map(convert::from_lease_key).collect()
}

fn from_live(message: LiveMessage) -> Up {
    let lease = Some(convert::from_lease_key(message.key));
    let stream = Some(convert::from_stream_id(message.stream));
    match message.piece {
        LivePiece::Started { part, kind } => {
            let part_started = Some(convert::from_live_part(message.stream, part, &kind));
            Up::LivePartStarted(proto::LivePartStarted { lease, part_started })
        }
        LivePiece::Append { part, offset, data } => {
            let part = part.try_into().unwrap_or(i32::MAX);
            let offset = offset.try_into().unwrap_or(i64::MAX);
            let part_append = Some(chat::PartAppend { stream, part, offset, data });
            Up::LivePartAppend(proto::LivePartAppend { lease, part_append })
        }
        LivePiece::Closed { abandoned } => {
            Up::LiveStreamClosed(proto::LiveStreamClosed { lease, stream, abandoned })
        }
    }
}

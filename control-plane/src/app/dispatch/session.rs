//! One connection of a session: the shell around its rules.
//!
//! The task owns the stream's two directions. It never waits for the worker to read: what
//! is to be sent waits here, one batch at a time, and the next batch stays in the rules,
//! where it is bounded. So a worker that does not read is still found to be silent.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use chatplane_domain::SessionId;
use futures::{Stream, StreamExt};
use tokio::{
    sync::{Notify, mpsc},
    task::JoinError,
    time,
};
use uuid::Uuid;

use super::{OpenSession, lease_row, reads::Reads};
use crate::{
    app::{
        App, Error,
        chain::chain,
        turn::{NoTurn, ReadTurn},
    },
    authz::{self, Action as Permission, Actor, Resource},
    scheduler::{
        Action, AliveLease, Event, FromWorker, HangUp, LeaseKey, Opened, Opening, ResumedLease, ToWorker,
    },
    store::{Resumed, SessionLease, SessionOpening},
};

/// Messages on their way to the transport. It has buffers of its own.
const DOWN_MESSAGES_MAX: usize = 16;

/// Between two tries to write a session's end: a database that restarts is back within a second.
const CLOSE_AGAIN: Duration = Duration::from_millis(250);
/// After some minutes of this, the sweeps end it by the clock.
const CLOSE_TRIES_MAX: usize = 480;

/// The way down to a worker.
type Down = mpsc::Sender<Result<ToWorker, Error>>;

impl App {
    /// Opens or resumes a session here. What the worker sends is handled until it ends;
    /// what is for the worker comes out of the channel. An error in either direction is
    /// the last that is said.
    ///
    /// # Errors
    ///
    /// `SessionLost`, `ShuttingDown`, or what the database says.
    pub(crate) async fn open_session<S>(
        &self,
        actor: &Actor,
        open: OpenSession,
        from_worker: S,
    ) -> Result<mpsc::Receiver<Result<ToWorker, Error>>, Error>
    where
        S: Stream<Item = Result<FromWorker, Error>> + Send + Unpin + 'static,
    {
        authz::may(actor, Permission::Dispatch, Resource::Deployment).map_err(Error::chat_denied)?;
        if self.inner.shutdown.is_cancelled() {
            return Err(Error::ShuttingDown);
        }
        let session = open.session.unwrap_or_else(new_session_id);
        let (connection, leases) = self.write_opening(session, &open).await?;
        let opened = self.opened(session, &open, &leases);
        // What others do is heard of from now on, and what they did was just read.
        self.inner.hub.want_runnable();
        leases.iter().for_each(|lease| self.inner.hub.want_chat(lease.chat));
        let opening = Opening {
            connection,
            slots_total: open.slots_total,
            listed: open.leases,
            rows: leases.iter().map(lease_row).collect(),
        };
        // A later connection of the same worker has come in between.
        let wake = self.inner.scheduler.open(session, opening).ok_or(Error::SessionLost)?;
        tracing::info!(worker = %open.worker_name, connection, slots = open.slots_total, "a worker is connected");
        let (down, receiver) = mpsc::channel(DOWN_MESSAGES_MAX);
        let task = Connection {
            app: self.clone(),
            session,
            connection,
            wake,
            reads: Reads::new(),
            waiting: VecDeque::from([ToWorker::Opened(opened)]),
        };
        self.inner.scheduler.tasks().spawn(task.run(down, from_worker));
        Ok(receiver)
    }

    async fn write_opening(
        &self,
        session: SessionId,
        open: &OpenSession,
    ) -> Result<(i64, Vec<SessionLease>), Error> {
        let opening = SessionOpening {
            session,
            replica: self.inner.replica,
            worker_name: &open.worker_name,
            slots_total: open.slots_total,
            ttl: self.inner.scheduler.limits().session_ttl,
        };
        if open.session.is_none() {
            self.inner.store.open_session(opening).await?;
            return Ok((1, Vec::new()));
        }
        match self.inner.store.resume_session(opening).await? {
            Resumed::Open { connection, leases } => {
                // What it streams comes from here now, which no write of the chats says.
                leases.iter().for_each(|lease| self.inner.hub.chat_changed(lease.chat));
                Ok((connection, leases))
            }
            Resumed::TooLate { closed_by } => {
                let total = self.inner.scheduler.came_too_late();
                tracing::warn!(
                    worker = %open.worker_name,
                    closed_here = closed_by == self.inner.replica,
                    total,
                    "a worker came back after the grace, when its session was closed"
                );
                Err(Error::SessionLost)
            }
            Resumed::Lost => Err(Error::SessionLost),
        }
    }

    /// What became of each lease that the worker named.
    fn opened(&self, session: SessionId, open: &OpenSession, leases: &[SessionLease]) -> Opened {
        let rows: HashMap<LeaseKey, &SessionLease> =
            leases.iter().map(|lease| (LeaseKey { chat: lease.chat, fence: lease.fence }, lease)).collect();
        let resumed = |key: &LeaseKey| ResumedLease {
            key: *key,
            alive: rows.get(key).map(|lease| AliveLease {
                state: lease.state,
                snapshot_version: lease.snapshot_version,
                history_version: lease.history_version,
                last_write_no: lease.last_write.map_or(0, |write| write.write_no),
                positions: self.inner.relay.resume(key.chat, key.fence),
            }),
        };
        Opened { session, leases: open.leases.iter().map(resumed).collect() }
    }
}

/// A session's id is a secret: all of it is random, unlike other ids.
fn new_session_id() -> SessionId {
    SessionId(Uuid::new_v4())
}

/// How a connection's task goes on.
enum Next {
    /// The stream is open.
    Connected,
    /// The stream has ended; the worker may come back.
    Broken,
    /// Nothing more will come of it.
    Over,
}

struct Connection {
    app: App,
    session: SessionId,
    connection: i64,
    wake: Arc<Notify>,
    reads: Reads<Result<ReadTurn, NoTurn>>,
    /// What is to be sent, in order.
    waiting: VecDeque<ToWorker>,
}

impl Connection {
    async fn run<S>(mut self, down: Down, from_worker: S)
    where
        S: Stream<Item = Result<FromWorker, Error>> + Send + Unpin,
    {
        match self.serve(down, from_worker).await {
            Next::Connected | Next::Over => {}
            Next::Broken => {
                tracing::info!(connection = self.connection, "a worker's stream has ended");
                self.waiting.clear();
                self.reads = Reads::new();
                self.handle(Event::StreamBroken);
                self.wait_for_return().await;
            }
        }
    }

    /// Serves the stream until it ends, from either side.
    async fn serve<S>(&mut self, down: Down, mut from_worker: S) -> Next
    where
        S: Stream<Item = Result<FromWorker, Error>> + Send + Unpin,
    {
        let scheduler = self.app.inner.scheduler.clone();
        let shutdown = self.app.inner.shutdown.clone();
        loop {
            if self.waiting.is_empty() || scheduler.is_ending(self.session, self.connection) {
                match self.act(&down) {
                    Next::Connected => {}
                    next @ (Next::Broken | Next::Over) => return next,
                }
            }
            self.begin_reads();
            let deadline = scheduler.deadline(self.session, self.connection);
            tokio::select! {
                biased;
                () = shutdown.cancelled() => {
                    // The session lives on: the worker takes it to another replica.
                    say_last(&down, Error::ShuttingDown);
                    return Next::Broken;
                }
                () = time::sleep_until(deadline.unwrap_or_else(time::Instant::now)) => self.handle(Event::Tick),
                permit = down.reserve(), if !self.waiting.is_empty() => match (permit, self.waiting.pop_front()) {
                    (Ok(permit), Some(message)) => permit.send(Ok(message)),
                    (Ok(_), None) => {}
                    (Err(_), _) => return Next::Broken,
                },
                () = down.closed(), if self.waiting.is_empty() => return Next::Broken,
                Some((key, read)) = self.reads.next(), if self.waiting.is_empty() => self.read(key, read),
                message = from_worker.next() => match message {
                    Some(Ok(message)) => self.receive(message),
                    Some(Err(error)) => {
                        say_last(&down, error);
                        return Next::Broken;
                    }
                    None => return Next::Broken,
                },
                () = self.wake.notified() => {}
            }
        }
    }

    /// Does what the rules say. Only called when nothing waits to be sent, or at the end.
    fn act(&mut self, down: &Down) -> Next {
        let scheduler = &self.app.inner.scheduler;
        let Some(actions) = scheduler.take_actions(self.session, self.connection) else {
            // Another connection of the session has taken over.
            say_last(down, Error::SessionLost);
            return Next::Over;
        };
        for action in actions {
            match action {
                Action::SendPing { ping_no, renewed_age } => {
                    self.waiting.push_back(ToWorker::Ping { ping_no, renewed_age });
                }
                Action::Deliver(key) => self.reads.add(key),
                Action::SendInterrupt { key, version } => {
                    self.waiting.push_back(ToWorker::Interrupt { key, version });
                }
                Action::SendReload { key, version } => {
                    self.waiting.push_back(ToWorker::Reload { key, version });
                }
                Action::SendLost(key) => self.waiting.push_back(ToWorker::Lost(key)),
                Action::SendDrain => self.waiting.push_back(ToWorker::Drain),
                Action::DropStreams(key) => self.app.inner.relay.end_lease(key.chat, key.fence),
                Action::HangUp(HangUp::SessionLost) => {
                    say_last(down, Error::SessionLost);
                    return Next::Over;
                }
                // Its session has passed its time, and the sweeps close it. A worker that
                // wakes before that may resume.
                Action::HangUp(HangUp::Silent) => return Next::Over,
                Action::Close => return Next::Broken,
            }
        }
        let jobs = scheduler.take_jobs(self.session, self.connection);
        self.waiting.extend(jobs.into_iter().map(|job| ToWorker::Job(Box::new(job))));
        Next::Connected
    }

    fn begin_reads(&mut self) {
        let (app, session, connection) = (&self.app, self.session, self.connection);
        let scheduler = &app.inner.scheduler;
        self.reads.begin(
            |key| scheduler.awaits(session, connection, key),
            |key| {
                let (app, prepared) = (app.clone(), scheduler.take_prepared(key));
                async move { app.turn_of(session, key, prepared).await }
            },
        );
    }

    fn read(&mut self, key: LeaseKey, read: Result<Result<ReadTurn, NoTurn>, JoinError>) {
        match read {
            Ok(Ok(ReadTurn { turn, settings })) => {
                if !self.app.inner.scheduler.awaits(self.session, self.connection, key) {
                    return;
                }
                let snapshot_version = turn.header.snapshot_version;
                self.waiting.push_back(ToWorker::Lease(turn));
                self.handle(Event::Sent { key, snapshot_version, settings });
            }
            Ok(Err(NoTurn::LeaseLost)) => self.handle(Event::Gone(key)),
            Ok(Err(NoTurn::Failed(error))) => {
                let cause = chain(&error);
                tracing::warn!(chat_id = %key.chat, %cause, "a lease could not be read; it is tried again");
                self.handle(Event::NotSent(key));
            }
            Err(error) => {
                tracing::error!(chat_id = %key.chat, %error, "the read of a lease ended by a defect");
                self.handle(Event::NotSent(key));
            }
        }
    }

    fn receive(&self, message: FromWorker) {
        let relay = &self.app.inner.relay;
        let refused = match message {
            FromWorker::Pong { ping_no, leases } => return self.handle(Event::Pong { ping_no, leases }),
            FromWorker::LeasesChanged(leases) => return self.handle(Event::LeasesChanged(leases)),
            FromWorker::Draining => return self.handle(Event::WorkerDrains),
            // A worker that names a lease it was not given is not heard.
            FromWorker::PartStarted { lease, .. }
            | FromWorker::PartAppend { lease, .. }
            | FromWorker::StreamClosed { lease, .. }
                if !self.has_lease(lease) =>
            {
                return;
            }
            FromWorker::PartStarted { lease, stream, stream_kind, part, header } => {
                let stream = crate::relay::StreamHeader { id: stream, fence: lease.fence, kind: stream_kind };
                relay.begin_part(lease.chat, stream, part, header)
            }
            FromWorker::PartAppend { lease, stream, at, data } => {
                relay.append(lease.chat, lease.fence, stream, at, &data)
            }
            FromWorker::StreamClosed { lease, stream } => relay.close(lease.chat, lease.fence, stream),
        };
        if let Err(refusal) = refused {
            tracing::debug!(%refusal, "a piece of a live stream was not taken");
        }
    }

    fn has_lease(&self, key: LeaseKey) -> bool {
        self.app.inner.scheduler.has_lease(self.session, self.connection, key)
    }

    fn handle(&self, event: Event) {
        self.app.inner.scheduler.handle(self.session, self.connection, event);
    }

    /// Waits out the grace, and closes the session if its worker has not come back.
    async fn wait_for_return(&mut self) {
        let scheduler = self.app.inner.scheduler.clone();
        loop {
            let Some(actions) = scheduler.take_actions(self.session, self.connection) else {
                return;
            };
            let mut must_close = false;
            for action in actions {
                match action {
                    Action::DropStreams(key) => self.app.inner.relay.end_lease(key.chat, key.fence),
                    Action::Close => must_close = true,
                    // A stream that is gone carries nothing.
                    Action::SendPing { .. }
                    | Action::Deliver(_)
                    | Action::SendInterrupt { .. }
                    | Action::SendReload { .. }
                    | Action::SendLost(_)
                    | Action::SendDrain
                    | Action::HangUp(_) => {}
                }
            }
            if must_close {
                return self.close().await;
            }
            let Some(deadline) = scheduler.deadline(self.session, self.connection) else {
                return;
            };
            tokio::select! {
                // The session outlives the replica; its worker resumes elsewhere.
                () = self.app.inner.shutdown.cancelled() => return,
                () = time::sleep_until(deadline) => self.handle(Event::Tick),
                () = self.wake.notified() => {}
            }
        }
    }

    /// Closes the session, and tries again while the database is away: nobody else knows that
    /// the worker is gone, and by the clock its chats would wait until long after the outage.
    /// It does no harm to one that has come back meanwhile, for its connection is another.
    async fn close(&self) {
        for _ in 0..CLOSE_TRIES_MAX {
            let Err(error) = self.app.close_session(self.session, self.connection).await else {
                return;
            };
            let cause = chain(&error);
            tracing::warn!(%cause, "a session's end was not written; it is tried again");
            tokio::select! {
                () = self.app.inner.shutdown.cancelled() => return,
                () = time::sleep(CLOSE_AGAIN) => {}
            }
        }
    }
}

/// The last word on a stream. When the worker does not read, the stream just ends.
fn say_last(down: &Down, error: Error) {
    drop(down.try_send(Err(error)));
}

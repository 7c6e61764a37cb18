//! The control plane's end of an agent's stream: registration, pings, and what the agent says.
//!
//! The stream's reading and writing are apart: this task reads, and what is sent waits in a bounded queue
//! that the transport empties. So an agent that is busy sending is always read, and one that does not read
//! holds up nobody but itself, until it is detached for its silence.

use std::{future::Future, time::Duration};

use chatplane_domain::{JournalId, WorkspaceId};
use futures::{Stream, StreamExt};
use tokio::{
    sync::mpsc,
    time::{self, Instant, MissedTickBehavior, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{
    FromAgent, ToAgent,
    journal::{self, Listings},
    registering::Turn,
    registry::{Attachment, OUTGOING_MAX},
};
use crate::{
    app::{App, Error, chain::chain},
    authz::{self, Action, Actor, Resource},
    peers::LinkMessage,
    store::ToolDefinition,
};

/// A stream has introduced itself by then: its first message needs no round trip.
const REGISTER_TIMEOUT: Duration = Duration::from_secs(10);
/// An agent that has gone without a word is noticed within some of these.
const PING_INTERVAL: Duration = Duration::from_secs(1);
/// Pings without a sign of life in between, after which the agent counts as gone: 5 s.
const UNANSWERED_MAX: u32 = 5;

/// Introduces an agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RegisterAgent {
    /// Version of its program, for the log.
    pub(crate) agent_version: String,
    /// Tools it runs.
    pub(crate) tools: Vec<ToolDefinition>,
    /// Its journal of calls, if it keeps one.
    pub(crate) journal: Option<JournalId>,
}

/// An agent that has registered. It leaves when this is dropped.
pub(crate) struct Attached {
    attachment: Attachment,
    listings: Listings,
    shutdown: CancellationToken,
    ping_interval: Duration,
    _leaving: Option<Leaving>,
}

/// Says in the row that the agent has left when it is dropped, unless it is elsewhere by then.
struct Leaving {
    app: App,
    workspace: WorkspaceId,
    registration: i64,
}

impl Drop for Leaving {
    fn drop(&mut self) {
        let (app, workspace, registration) = (self.app.clone(), self.workspace, self.registration);
        // It has the time of one statement; a row that stays as it is costs others a question.
        self.app.inner.scheduler.tasks().spawn(async move {
            let inner = &app.inner;
            let left = inner.store.detach_workspace(workspace, inner.replica, registration);
            if let Err(error) = app.in_time(left).await {
                tracing::debug!(%workspace, cause = %chain(&error), "that an agent left was not written");
            }
        });
    }
}

impl App {
    /// Puts an agent in its place once it has introduced itself, and gives the messages it is to be sent.
    ///
    /// # Errors
    ///
    /// `CredentialsInvalid`, `FieldInvalid`, `WorkspaceNotFound`, `ShuttingDown`, `SessionLost` after a defect,
    /// or what the database says.
    pub(crate) async fn attach_workspace(
        &self,
        actor: &Actor,
        introduction: impl Future<Output = Result<RegisterAgent, Error>> + Send,
    ) -> Result<(Attached, mpsc::Receiver<ToAgent>), Error> {
        authz::may(actor, Action::AttachWorkspace, Resource::Deployment).map_err(Error::workspace_denied)?;
        let Actor::WorkspaceAgent(workspace) = *actor else {
            return Err(Error::wrong_kind());
        };
        let inner = &self.inner;
        let introduced = tokio::select! {
            () = inner.shutdown.cancelled() => return Err(Error::ShuttingDown),
            introduced = timeout(REGISTER_TIMEOUT, introduction) => introduced,
        };
        let late = |_| Error::invalid("register", "it must come first, and within 10 seconds");
        let agent = introduced.map_err(late)??;
        let turn = tokio::select! {
            () = inner.shutdown.cancelled() => return Err(Error::ShuttingDown),
            turn = inner.workspaces.registering(workspace) => turn,
        };
        // It goes to its end also when the agent's stream breaks: a write that nobody waits for any more may
        // still be carried out, and the next agent's is to come after it.
        let app = self.clone();
        let registered = inner.scheduler.tasks().spawn(async move { app.register(turn, agent).await });
        // A panic is in the log; the agent registers anew.
        registered.await.unwrap_or(Err(Error::SessionLost))
    }

    /// Keeps what the agent declares and puts it in its place, so that the row is that of the agent in place.
    async fn register(
        &self,
        turn: Turn,
        agent: RegisterAgent,
    ) -> Result<(Attached, mpsc::Receiver<ToAgent>), Error> {
        let (inner, workspace) = (&self.inner, turn.workspace());
        let RegisterAgent { agent_version, tools, journal } = agent;
        let registered = inner.store.register_workspace(workspace, inner.replica, &tools, journal).await?;
        let registration = registered.ok_or(Error::WorkspaceNotFound)?;
        let (outgoing, messages) = mpsc::channel(OUTGOING_MAX);
        // Before anybody else has the sender: a call that waits for the agent follows at once.
        for first in [ToAgent::Registered(workspace), ToAgent::Ping(Heartbeat::FIRST_PING)] {
            outgoing.try_send(first).expect("the queue is new and its receiver is here");
        }
        let attachment = inner.workspaces.attach(turn, outgoing, registration);
        // An agent elsewhere is put out, and calls that wait for this one are sent to it.
        inner.peers.tell_all(&LinkMessage::WorkspaceAttached { workspace, attachment_no: registration });
        inner.hub.workspaces_changed();
        tracing::info!(%workspace, agent_version, tools = tools.len(), "a workspace agent has attached");
        let attached = Attached {
            attachment,
            listings: Listings::new(journal::in_store(inner.store.clone(), workspace)),
            shutdown: inner.shutdown.clone(),
            ping_interval: PING_INTERVAL,
            _leaving: Some(Leaving { app: self.clone(), workspace, registration }),
        };
        Ok((attached, messages))
    }
}

impl Attached {
    /// Serves the agent until its stream ends, or is to end.
    ///
    /// # Errors
    ///
    /// `WorkspaceReplaced`, `ShuttingDown`, `SessionLost` for an agent that is silent, or what is wrong with
    /// what it says.
    pub(crate) async fn serve(
        mut self,
        incoming: impl Stream<Item = Result<FromAgent, Error>> + Send,
    ) -> Result<(), Error> {
        let workspace = self.attachment.workspace();
        let served = self.serve_until_end(incoming).await;
        match &served {
            Ok(()) => tracing::info!(%workspace, "a workspace agent has left"),
            Err(cause) => tracing::info!(%workspace, %cause, "a workspace agent was detached"),
        }
        served
    }

    async fn serve_until_end(
        &mut self,
        incoming: impl Stream<Item = Result<FromAgent, Error>> + Send,
    ) -> Result<(), Error> {
        tokio::pin!(incoming);
        // The first ping went with the answer to the registration.
        let mut ticks = time::interval_at(Instant::now() + self.ping_interval, self.ping_interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut heartbeat = Heartbeat::after_first_ping();
        loop {
            tokio::select! {
                () = self.shutdown.cancelled() => return Err(Error::ShuttingDown),
                () = self.attachment.replaced() => return Err(Error::WorkspaceReplaced),
                message = incoming.next() => match message {
                    None => return Ok(()),
                    Some(message) => {
                        heartbeat.heard();
                        match message? {
                            FromAgent::JournalEntries(entries) => self.listings.listed(entries),
                            message => self.attachment.received(message),
                        }
                    }
                },
                verdicts = self.listings.next() => self.attachment.judge(verdicts),
                _ = ticks.tick() => {
                    let ping_no = heartbeat.next_ping().ok_or(Error::SessionLost)?;
                    self.attachment.ping(ping_no);
                }
            }
        }
    }
}

/// Whether the agent lives. It counts its own pings instead of looking at a clock, so that a pause of this
/// process is not taken for a silence of the agent.
#[derive(Debug)]
struct Heartbeat {
    last_ping: i64,
    unanswered: u32,
}

impl Heartbeat {
    const FIRST_PING: i64 = 1;

    fn after_first_ping() -> Self {
        Self { last_ping: Self::FIRST_PING, unanswered: 1 }
    }

    /// Whatever an agent says, it is alive.
    fn heard(&mut self) {
        self.unanswered = 0;
    }

    /// The number of the next ping; none when enough have gone unanswered.
    fn next_ping(&mut self) -> Option<i64> {
        if self.unanswered >= UNANSWERED_MAX {
            return None;
        }
        self.unanswered += 1;
        self.last_ping += 1;
        Some(self.last_ping)
    }
}

#[cfg(test)]
mod tests;

//! One stream, from the connection to its end.

use std::{convert::Infallible, time::Duration};

use chatplane_proto::{
    chat::v1::ToolDefinition,
    workspace::v1::{
        AttachRequest, AttachResponse, Ping, Pong, Register, Registered, attach_request::Message as Outgoing,
        attach_response::Message as Incoming, workspace_service_client::WorkspaceServiceClient,
    },
};
use tokio::{
    sync::mpsc,
    time::{Instant, MissedTickBehavior, interval, sleep_until, timeout, timeout_at},
};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Code, Request, Status, Streaming};
use uuid::Uuid;

use super::{Link, calls::Calls, silence::Silence};
use crate::tools::{Definition, shorten};

/// Messages that wait for the stream, of at most 1 MiB each. Who sends more waits.
const OUTGOING_MAX: usize = 16;

/// How a stream ended.
pub(super) enum End {
    /// By our own shutdown.
    Stopped,
    /// The control plane does not know the token: trying again changes nothing.
    TokenRefused { reason: String },
    /// Another agent registered. Two that push each other out would serve nobody.
    Replaced,
    /// Anything else: try again.
    Lost(Lost),
}

/// A stream that is to be opened again.
pub(super) struct Lost {
    /// How long the registration held; none when there was none.
    pub(super) registered_for: Option<Duration>,
    pub(super) cause: Cause,
}

/// Why there is no stream.
#[derive(Debug, thiserror::Error)]
pub(super) enum Cause {
    #[error("{}", connect_reason(.0))]
    Connect(tonic::transport::Error),
    #[error("no answer to the registration in time")]
    RegisterTimeout,
    #[error("the control plane ended the stream with {:?}: {}", .0.code(), shorten(.0.message()))]
    Status(Status),
    #[error("the control plane ended the stream")]
    Closed,
    #[error("no ping for too long")]
    PingSilence,
    #[error("the stream takes no more messages")]
    SendBlocked,
    #[error("the answer to the registration is not `registered`")]
    NotRegistered,
    #[error("the answer to the registration names no workspace")]
    NoWorkspace,
}

/// The innermost error says why; the outer ones only say "transport error".
fn connect_reason(error: &tonic::transport::Error) -> String {
    let mut reason: &dyn std::error::Error = error;
    while let Some(source) = reason.source() {
        reason = source;
    }
    format!("connecting failed: {reason}")
}

/// Connects, registers, and serves until the stream ends.
pub(super) async fn run(link: &mut Link, shutdown: &CancellationToken) -> End {
    let opened = tokio::select! {
        () = shutdown.cancelled() => return End::Stopped,
        opened = timeout(link.limits.register, open(link)) => opened,
    };
    let (outgoing, incoming, workspace) = match opened {
        Ok(Ok(opened)) => opened,
        Ok(Err(cause)) => return end_before_registration(cause),
        Err(_) => return end_before_registration(Cause::RegisterTimeout),
    };
    tracing::info!(workspace_id = %workspace, "registered with the control plane");
    link.journal.serve(workspace);
    let since = Instant::now();
    let calls = Calls::new(outgoing.clone());
    let mut session = Session { link, incoming, outgoing, calls };
    let served = tokio::select! {
        // A message that waits for a full stream at this moment is lost, as with any lost stream.
        () = shutdown.cancelled() => None,
        cause = session.serve() => Some(cause),
    };
    match served {
        None => {
            session.drain().await;
            End::Stopped
        }
        Some(cause) => end(cause, Some(since.elapsed())),
    }
}

/// What a registration gives: both ways of the stream, and the workspace that is served.
type Opened = (mpsc::Sender<AttachRequest>, Streaming<AttachResponse>, Uuid);

async fn open(link: &Link) -> Result<Opened, Cause> {
    let channel = link.dial.endpoint().connect().await.map_err(Cause::Connect)?;
    let (outgoing, messages) = mpsc::channel(OUTGOING_MAX);
    // It goes first whatever happens, since nobody else has the sender yet.
    outgoing.send(register(link)).await.expect("the receiver is here");
    let mut request = Request::new(ReceiverStream::new(messages));
    request.metadata_mut().insert("authorization", link.dial.authorization());
    let response = WorkspaceServiceClient::new(channel).attach(request).await.map_err(Cause::Status)?;
    let mut incoming = response.into_inner();
    match incoming.message().await.map_err(Cause::Status)?.map(|answer| answer.message) {
        Some(Some(Incoming::Registered(Registered { workspace_id }))) => {
            let workspace = Uuid::try_parse(&workspace_id).map_err(|_| Cause::NoWorkspace)?;
            Ok((outgoing, incoming, workspace))
        }
        Some(_) => Err(Cause::NotRegistered),
        None => Err(Cause::Closed),
    }
}

fn register(link: &Link) -> AttachRequest {
    let register = Register {
        agent_version: env!("CARGO_PKG_VERSION").to_owned(),
        tools: link.tools.definitions().map(definition).collect(),
        journal_id: link.journal.id().to_string(),
    };
    AttachRequest { message: Some(Outgoing::Register(register)) }
}

fn definition(tool: Definition) -> ToolDefinition {
    ToolDefinition {
        name: tool.name.to_owned(),
        description: tool.description.to_owned(),
        input_schema_json: tool.input_schema_json.to_owned(),
    }
}

fn end_before_registration(cause: Cause) -> End {
    match cause {
        Cause::Status(status) if matches!(status.code(), Code::Unauthenticated | Code::PermissionDenied) => {
            End::TokenRefused { reason: shorten(status.message()) }
        }
        cause => end(cause, None),
    }
}

fn end(cause: Cause, registered_for: Option<Duration>) -> End {
    match cause {
        // By this code the control plane says that a newer registration took our place.
        Cause::Status(status) if status.code() == Code::AlreadyExists => End::Replaced,
        // A token that was revoked in mid-stream is refused for good at the next registration.
        cause => End::Lost(Lost { registered_for, cause }),
    }
}

/// A registered stream.
pub(super) struct Session<'a> {
    pub(super) link: &'a mut Link,
    incoming: Streaming<AttachResponse>,
    outgoing: mpsc::Sender<AttachRequest>,
    pub(super) calls: Calls,
}

impl Session<'_> {
    /// Serves until the stream is lost, and says why it is.
    async fn serve(&mut self) -> Cause {
        let Err(cause) = self.try_serve().await;
        cause
    }

    async fn try_serve(&mut self) -> Result<Infallible, Cause> {
        let mut silence = Silence::begin(self.link.limits.ping_silence);
        let mut listing = interval(self.link.limits.listing);
        listing.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                // What has come in meanwhile is not looked at before the time is.
                biased;
                () = sleep_until(silence.deadline()) => return Err(Cause::PingSilence),
                Some(ended) = self.calls.next_ended() => self.send(ended).await?,
                _ = listing.tick() => self.list().await?,
                received = self.incoming.message() => {
                    let message = received.map_err(Cause::Status)?.ok_or(Cause::Closed)?.message;
                    // Not even a ping counts that may have been waiting for as long.
                    if silence.is_too_long() {
                        return Err(Cause::PingSilence);
                    }
                    if matches!(message, Some(Incoming::Ping(_))) {
                        silence.end();
                    }
                    self.answer(message).await?;
                }
            }
        }
    }

    /// Lets running calls end and their results leave, within a short time. Those that change something are
    /// asked to stop: nobody can ask for it once we are gone.
    async fn drain(self) {
        let Self { link, mut incoming, outgoing, mut calls } = self;
        let deadline = link.stop();
        let drained = async move {
            while let Some(ended) = calls.next_ended().await {
                if outgoing.send(ended).await.is_err() {
                    return;
                }
            }
            // Without senders our side of the stream ends, and the control plane then ends its own: by then
            // it has read everything.
            drop((calls, outgoing));
            while let Ok(Some(_)) = incoming.message().await {}
        };
        if timeout_at(deadline, drained).await.is_err() {
            tracing::warn!("stopped before every running call was reported");
        }
    }

    /// A stream that takes nothing for as long as it may be silent is dead too, and so no wait for it is
    /// longer than that.
    pub(super) async fn send(&self, message: AttachRequest) -> Result<(), Cause> {
        match timeout(self.link.limits.ping_silence, self.outgoing.send(message)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(Cause::Closed),
            Err(_) => Err(Cause::SendBlocked),
        }
    }

    async fn answer(&mut self, message: Option<Incoming>) -> Result<(), Cause> {
        match message {
            Some(Incoming::Ping(Ping { ping_no })) => {
                self.send(AttachRequest { message: Some(Outgoing::Pong(Pong { ping_no })) }).await
            }
            Some(Incoming::CallTool(call)) => self.call_tool(call).await,
            Some(Incoming::CancelTool(cancel)) => {
                cancel.call_id.iter().for_each(|call_id| self.cancel_tool(call_id));
                Ok(())
            }
            Some(Incoming::JournalVerdicts(verdicts)) => {
                self.apply(verdicts);
                Ok(())
            }
            // A newer control plane may know more messages than we do; the contract lets us ignore them.
            Some(Incoming::Registered(_)) | None => Ok(()),
        }
    }
}

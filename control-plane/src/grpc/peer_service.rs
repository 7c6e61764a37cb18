//! `chatplane.peer.v1.PeerService`: what other replicas call.

use std::time::Duration;

use chatplane_domain::ReplicaId;
use chatplane_proto::peer::v1::{
    self as proto, LinkRequest, LinkResponse, link_request::Message as Incoming,
    link_response::Message as Outgoing, peer_service_server::PeerService,
};
use futures::{Stream, StreamExt, stream, stream::BoxStream};
use tokio::{sync::mpsc, time::timeout};
use tokio_util::task::AbortOnDropHandle;
use tonic::{Request, Response, Status, Streaming};

use super::{chat_service::take, convert_peer as convert};
use crate::{
    app::{App, Error},
    authz::Actor,
    peers::{Broken, LinkMessage, PROOF_BYTES, UNSENT_MESSAGES_MAX},
};

/// A replica that has called says hello within this time.
const HELLO_TIMEOUT: Duration = Duration::from_secs(10);

/// The handlers.
pub(crate) struct PeerHandlers {
    app: App,
}

impl PeerHandlers {
    pub(crate) fn new(app: App) -> Self {
        Self { app }
    }
}

#[tonic::async_trait]
impl PeerService for PeerHandlers {
    type LinkStream = BoxStream<'static, Result<LinkResponse, Status>>;
    type CallToolStream = BoxStream<'static, Result<proto::CallToolResponse, Status>>;

    async fn link(
        &self,
        request: Request<Streaming<LinkRequest>>,
    ) -> Result<Response<Self::LinkStream>, Status> {
        let (actor, mut requests) = take(request)?;
        let nonce = hello(&mut requests).await?;
        let (peer, proof) = self.app.answer_peer(&actor, &nonce)?;
        let (outgoing, messages) = mpsc::channel(UNSENT_MESSAGES_MAX);
        let app = self.app.clone();
        let incoming = said(requests, peer);
        let serving = tokio::spawn(async move { app.serve_peer(peer, incoming, outgoing).await });
        let welcome = Outgoing::Welcome(proto::Welcome { proof: proof.to_vec().into() });
        let welcome = stream::iter([Ok(LinkResponse { message: Some(welcome) })]);
        Ok(Response::new(welcome.chain(responses(messages, AbortOnDropHandle::new(serving))).boxed()))
    }

    async fn call_tool(
        &self,
        request: Request<proto::CallToolRequest>,
    ) -> Result<Response<Self::CallToolStream>, Status> {
        let (actor, request): (Actor, _) = take(request)?;
        let pieces = self.app.call_tool_here(&actor, convert::call_tool(request)?).await?;
        let replies = pieces.map(|piece| piece.map(convert::tool_piece_of).map_err(Status::from));
        Ok(Response::new(replies.boxed()))
    }
}

/// The first message.
async fn hello(requests: &mut Streaming<LinkRequest>) -> Result<Vec<u8>, Error> {
    let missing = || Error::invalid("hello", "it must come first, with a nonce of 32 bytes");
    let first = timeout(HELLO_TIMEOUT, requests.message()).await.map_err(|_| missing())?;
    match first.ok().flatten().and_then(|request| request.message) {
        Some(Incoming::Hello(hello)) if hello.nonce.len() == PROOF_BYTES => Ok(hello.nonce.to_vec()),
        Some(_) | None => Err(missing()),
    }
}

/// What the other replica says after its hello, until its side ends or breaks.
fn said(
    requests: Streaming<LinkRequest>,
    peer: ReplicaId,
) -> impl Stream<Item = Result<LinkMessage, Broken>> + Send + 'static {
    let messages = requests.map(move |request| {
        let request = request.map_err(|_| Broken)?;
        match request.message {
            Some(Incoming::Said(said)) => understood(said, peer),
            // A message of a newer contract.
            None => Ok(None),
            Some(Incoming::Hello(_)) => Err(Broken),
        }
    });
    messages.filter_map(|message| async move { message.transpose() })
}

/// None for what this release does not know.
pub(super) fn understood(said: proto::LinkMessage, peer: ReplicaId) -> Result<Option<LinkMessage>, Broken> {
    convert::link_message(said).map_err(|cause| {
        tracing::warn!(%peer, %cause, "another replica said what cannot be understood");
        Broken
    })
}

/// What the other replica is told, until the link ends. Dropping it ends the link.
fn responses(
    messages: mpsc::Receiver<LinkMessage>,
    serving: AbortOnDropHandle<Result<(), Error>>,
) -> impl Stream<Item = Result<LinkResponse, Status>> + Send + 'static {
    stream::try_unfold((messages, Some(serving)), |(mut messages, mut serving)| async move {
        let message = next_message(&mut messages, &mut serving).await?;
        let response =
            |message| LinkResponse { message: Some(Outgoing::Said(convert::link_message_of(message))) };
        Ok(message.map(|message| (response(message), (messages, serving))))
    })
}

async fn next_message(
    messages: &mut mpsc::Receiver<LinkMessage>,
    serving: &mut Option<AbortOnDropHandle<Result<(), Error>>>,
) -> Result<Option<LinkMessage>, Error> {
    if let Some(task) = serving {
        tokio::select! {
            biased;
            // A panic is in the log; the other replica calls again.
            served = task => {
                *serving = None;
                served.unwrap_or(Err(Error::SessionLost))?;
                Ok(None)
            }
            message = messages.recv() => Ok(message),
        }
    } else {
        Ok(None)
    }
}

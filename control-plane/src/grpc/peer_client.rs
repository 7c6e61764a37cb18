//! Calls to other replicas.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use chatplane_domain::ReplicaId;
use chatplane_proto::peer::v1::{
    self as proto, LinkRequest, link_request::Message as Outgoing, link_response::Message as Incoming,
    peer_service_client::PeerServiceClient,
};
use futures::{FutureExt, StreamExt, future::BoxFuture, stream};
use tokio::{sync::mpsc, time::timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{
    Code, Request, Status, Streaming,
    metadata::{Ascii, MetadataValue},
    transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Uri},
};
use tonic_types::StatusExt;

use super::{convert_peer as convert, peer_service::understood};
use crate::{
    app::{CallTool, Error, PeerCallError, PeerToolStream, PeerTools, chain},
    peers::{DialError, Dialled, PEERS_MAX, PROOF_BYTES, Peer, Peers, Transport, UNSENT_MESSAGES_MAX},
};

/// How long it may take until a replica is connected to.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// A replica that carries a call is asked so often whether it is there, and has so long to say so: a
/// tool's call may be silent for an hour.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(2);
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(4);
/// How long it may take until a replica has proved itself. One that takes longer is no help
/// to a watcher, who has the durable events.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(3);
/// What a peer may send ahead: a few pieces, or a busy stream would wait for each round trip.
const WINDOW_BYTES: u32 = 1024 * 1024;
/// The same of one tool call, and of all of them: callers that do not read must not take from the others what
/// the connection may carry.
const CALL_WINDOW_BYTES: u32 = 256 * 1024;
const CALLS_WINDOW_BYTES: u32 = 256 * CALL_WINDOW_BYTES;
/// Larger messages are refused by the transport; ours stay under 3 MiB.
const DECODED_BYTES_MAX: usize = 4 * 1024 * 1024;

/// How other replicas are reached.
#[derive(Debug)]
pub(crate) struct PeerClient {
    tls: ClientTlsConfig,
    allow_plaintext: bool,
    /// A connection a replica for tool calls, made when it is first needed.
    channels: Mutex<HashMap<ReplicaId, (String, Channel)>>,
}

impl PeerClient {
    /// Trusts public authorities, or those of a file alone.
    pub(crate) fn new(ca_cert: Option<&str>, allow_plaintext: bool) -> Self {
        let tls = match ca_cert {
            Some(pem) => ClientTlsConfig::new().ca_certificate(Certificate::from_pem(pem)),
            None => ClientTlsConfig::new().with_webpki_roots(),
        };
        Self { tls, allow_plaintext, channels: Mutex::default() }
    }

    fn endpoint(&self, peer: &Peer) -> Result<Endpoint, DialError> {
        let address = peer.address.as_deref().ok_or(DialError::Address("it has none"))?;
        let uri: Uri = address.parse().map_err(|_| DialError::Address("it is no URL"))?;
        let host = uri.host().ok_or(DialError::Address("it names no host"))?.to_owned();
        let is_tls = match uri.scheme_str() {
            Some("https") => true,
            Some("http") if self.allow_plaintext || is_loopback(&host) => false,
            Some("http") => {
                return Err(DialError::Address(
                    "it is plaintext and not this host: advertise https://, or give --allow-plaintext",
                ));
            }
            Some(_) | None => return Err(DialError::Address("it is neither http:// nor https://")),
        };
        let endpoint = Endpoint::from(uri)
            .connect_timeout(CONNECT_TIMEOUT)
            .http2_keep_alive_interval(KEEP_ALIVE_INTERVAL)
            .keep_alive_timeout(KEEP_ALIVE_TIMEOUT)
            .tcp_nodelay(true)
            .initial_stream_window_size(WINDOW_BYTES)
            .initial_connection_window_size(4 * WINDOW_BYTES);
        if !is_tls {
            return Ok(endpoint);
        }
        endpoint
            .tls_config(self.tls.clone())
            .map_err(|_| DialError::Address("--peer-ca-cert does not fit it"))
    }

    /// The connection for tool calls to a replica.
    fn channel(&self, peer: &Peer) -> Result<Channel, DialError> {
        let address = peer.address.clone().unwrap_or_default();
        let mut channels = self.channels.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, channel)) = channels.get(&peer.replica).filter(|(known, _)| *known == address) {
            return Ok(channel.clone());
        }
        let endpoint = self.endpoint(peer)?.initial_stream_window_size(CALL_WINDOW_BYTES);
        let channel = endpoint.initial_connection_window_size(CALLS_WINDOW_BYTES).connect_lazy();
        // Those of replicas that are gone go with the others; they are made again.
        if channels.len() >= 2 * PEERS_MAX {
            channels.clear();
        }
        channels.insert(peer.replica, (address, channel.clone()));
        Ok(channel)
    }
}

impl Transport for PeerClient {
    fn dial(
        &self,
        peer: &Peer,
        token: String,
        nonce: [u8; PROOF_BYTES],
        answer: [u8; PROOF_BYTES],
    ) -> BoxFuture<'static, Result<Dialled, DialError>> {
        let endpoint = self.endpoint(peer);
        let replica = peer.replica;
        async move {
            let endpoint = endpoint?;
            let dialled = timeout(ANSWER_TIMEOUT, dial(endpoint, replica, token, nonce, answer)).await;
            dialled.unwrap_or_else(|_| Err(DialError::Unanswered("it took too long".to_owned())))
        }
        .boxed()
    }
}

async fn dial(
    endpoint: Endpoint,
    replica: ReplicaId,
    token: String,
    nonce: [u8; PROOF_BYTES],
    answer: [u8; PROOF_BYTES],
) -> Result<Dialled, DialError> {
    let unanswered = |cause: String| DialError::Unanswered(cause);
    let channel = endpoint.connect().await.map_err(|error| unanswered(chain(&error)))?;
    let (outgoing, messages) = mpsc::channel(UNSENT_MESSAGES_MAX);
    let hello = Outgoing::Hello(proto::Hello { nonce: nonce.to_vec().into() });
    let said = ReceiverStream::new(messages).map(|message| Outgoing::Said(convert::link_message_of(message)));
    let requests = stream::iter([hello]).chain(said).map(|message| LinkRequest { message: Some(message) });
    let mut client = PeerServiceClient::new(channel).max_decoding_message_size(DECODED_BYTES_MAX);
    let request = with_token(Request::new(requests), &token);
    let linked = client.link(request).await.map_err(|status| unanswered(status.message().to_owned()))?;
    let mut responses = linked.into_inner();
    let first = responses.message().await.map_err(|status| unanswered(status.message().to_owned()))?;
    match first.and_then(|response| response.message) {
        Some(Incoming::Welcome(welcome)) if Peers::is_answer(&answer, &welcome.proof) => {}
        Some(_) | None => return Err(DialError::Unproven),
    }
    let incoming = responses.map(move |response| {
        match response.map_err(|_| crate::peers::Broken)?.message {
            Some(Incoming::Said(said)) => understood(said, replica),
            // A message of a newer contract.
            None => Ok(None),
            Some(Incoming::Welcome(_)) => Err(crate::peers::Broken),
        }
    });
    let incoming = incoming.filter_map(|message| async move { message.transpose() });
    Ok(Dialled { incoming: incoming.boxed(), outgoing })
}

impl PeerTools for PeerClient {
    fn call_tool(
        &self,
        peer: &Peer,
        token: String,
        call: &CallTool,
    ) -> BoxFuture<'static, Result<PeerToolStream, PeerCallError>> {
        let channel = self.channel(peer);
        let request = convert::call_tool_of(call);
        async move {
            let channel = channel.map_err(|error| PeerCallError::Unreachable(error.to_string()))?;
            let mut client = PeerServiceClient::new(channel).max_decoding_message_size(DECODED_BYTES_MAX);
            let called = client.call_tool(with_token(Request::new(request), &token));
            let called = timeout(ANSWER_TIMEOUT, called).await;
            let called = called.map_err(|_| PeerCallError::Unreachable("it took too long".to_owned()))?;
            Ok(tool_pieces(called.map_err(|status| refused(&status))?.into_inner()))
        }
        .boxed()
    }
}

fn tool_pieces(responses: Streaming<proto::CallToolResponse>) -> PeerToolStream {
    let pieces = responses.map(|response| match response {
        Ok(response) => Ok(convert::tool_piece(response)),
        Err(status) => Err(refused(&status)),
    });
    pieces.filter_map(|piece| async move { piece.transpose() }).boxed()
}

/// What the other replica decided is this one's answer, too; whatever else went wrong says
/// nothing of the call.
fn refused(status: &Status) -> PeerCallError {
    let reason = status.get_details_error_info().map(|info| info.reason).unwrap_or_default();
    match (status.code(), reason.as_str()) {
        (Code::FailedPrecondition, "LEASE_LOST") => PeerCallError::Refused(Error::LeaseLost),
        (Code::Aborted, "SUPERSEDED") => PeerCallError::Refused(Error::Superseded),
        (Code::NotFound, "CHAT_NOT_FOUND") => PeerCallError::Refused(Error::ChatNotFound),
        _ => PeerCallError::Unreachable(status.message().to_owned()),
    }
}

fn with_token<T>(mut request: Request<T>, token: &str) -> Request<T> {
    let value: MetadataValue<Ascii> =
        format!("Bearer {token}").parse().expect("a replica's token is letters, digits and dashes");
    request.metadata_mut().insert("authorization", value);
    request
}

fn is_loopback(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    bare == "localhost" || bare.parse().is_ok_and(|address: IpAddr| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::peers::Secret;

    fn refusal(address: &str, allow_plaintext: bool) -> Option<String> {
        let client = PeerClient::new(None, allow_plaintext);
        let replica = ReplicaId(Uuid::from_u128(1));
        let peer = Peer { replica, address: Some(address.to_owned()), secret: Secret::random() };
        client.endpoint(&peer).err().map(|error| error.to_string())
    }

    #[test]
    fn plaintext_to_another_host_is_refused_with_what_to_do() {
        assert_eq!(refusal("http://127.0.0.1:1", false), None);
        assert_eq!(refusal("http://10.0.0.1:1", true), None);
        assert_eq!(refusal("https://10.0.0.1:1", false), None);
        let refused = refusal("http://10.0.0.1:1", false).expect("it is refused");
        assert!(refused.contains("--allow-plaintext"), "{refused}");
    }

    #[test]
    fn an_address_that_is_none_is_refused() {
        for address in ["nonsense", "ftp://host:1", ""] {
            assert!(refusal(address, true).is_some(), "{address}");
        }
    }
}

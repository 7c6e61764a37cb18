//! From an address and a token to a client of the control plane.

use std::{error::Error, io, net::IpAddr, path::PathBuf, time::Duration};

use chatplane_proto::chat::v1::{
    chat_service_client::ChatServiceClient, file_service_client::FileServiceClient,
};
use tonic::{
    Request, Status,
    metadata::{Ascii, MetadataValue},
    service::{Interceptor, interceptor::InterceptedService},
    transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Uri},
};
use uuid::Uuid;

/// A call that takes longer is taken for lost, and made again.
const REQUEST_TIME_MAX: Duration = Duration::from_secs(10);
pub(crate) const CONNECT_TIME_MAX: Duration = Duration::from_secs(5);
/// An open connection that is silent this long is asked whether it lives.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(20);
/// How long it has to answer.
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long it has where files go up: the question waits behind what is on its way, which is 1 MiB, and 32 s of
/// the slowest line that is taken.
const UPLOAD_KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(60);

/// The client of `ChatService`, which sends the user's token.
pub(crate) type ChatClient = ChatServiceClient<InterceptedService<Channel, Bearer>>;

/// The client of `FileService`, which sends the same token.
pub(crate) type FileClient = FileServiceClient<InterceptedService<Channel, Bearer>>;

/// A control plane, and how to talk to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Server {
    /// `http://host:port` or `https://host:port`.
    pub(crate) address: String,
    /// Certificates that it is checked against; those of the public authorities without it.
    pub(crate) ca_cert: Option<PathBuf>,
    pub(crate) plaintext: Plaintext,
}

/// Where a token may cross the wire readable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Plaintext {
    OnThisHost,
    Everywhere,
}

/// Why an address or a token cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectError {
    #[error("--server (CHATPLANE_SERVER) {0:?} is not an address like https://chat.example.org:7400")]
    AddressInvalid(String),
    #[error(
        "--server (CHATPLANE_SERVER) {0:?} is not on this host: use https://, or --allow-plaintext on a \
         trusted network"
    )]
    PlaintextRefused(String),
    #[error("--ca-cert (CHATPLANE_CA_CERT) {path:?} cannot be read")]
    CaCertUnreadable { path: PathBuf, source: io::Error },
    #[error("--ca-cert (CHATPLANE_CA_CERT) {path:?} holds no certificates that can be used")]
    CaCertInvalid { path: PathBuf, source: Option<Box<dyn Error + Send + Sync>> },
    #[error("the token from {origin} has characters that no token has")]
    TokenMalformed { origin: String },
}

impl Server {
    /// A connection that is made when it is first used, and again when it was lost.
    pub(crate) fn channel(&self) -> Result<Channel, ConnectError> {
        self.connect(KEEP_ALIVE_TIMEOUT)
    }

    /// One for files, which may take long on their way.
    pub(crate) fn file_channel(&self) -> Result<Channel, ConnectError> {
        self.connect(UPLOAD_KEEP_ALIVE_TIMEOUT)
    }

    fn connect(&self, keep_alive_timeout: Duration) -> Result<Channel, ConnectError> {
        let invalid = || ConnectError::AddressInvalid(self.address.clone());
        let uri: Uri = self.address.parse().map_err(|_| invalid())?;
        let host = uri.host().filter(|host| !host.is_empty()).ok_or_else(invalid)?.to_owned();
        let scheme = uri.scheme_str().unwrap_or_default().to_owned();
        let endpoint = Endpoint::from(uri)
            .connect_timeout(CONNECT_TIME_MAX)
            .http2_keep_alive_interval(KEEP_ALIVE_INTERVAL)
            .keep_alive_timeout(keep_alive_timeout);
        match (scheme.as_str(), self.plaintext) {
            ("http", Plaintext::Everywhere) => Ok(endpoint.connect_lazy()),
            ("http", Plaintext::OnThisHost) if is_loopback(&host) => Ok(endpoint.connect_lazy()),
            ("http", Plaintext::OnThisHost) => Err(ConnectError::PlaintextRefused(self.address.clone())),
            ("https", _) => Ok(self.with_tls(endpoint)?.connect_lazy()),
            _ => Err(invalid()),
        }
    }

    fn with_tls(&self, endpoint: Endpoint) -> Result<Endpoint, ConnectError> {
        let Some(path) = &self.ca_cert else {
            let tls = ClientTlsConfig::new().with_webpki_roots();
            // Only its name may be none that a certificate can be for.
            return endpoint.tls_config(tls).map_err(|_| ConnectError::AddressInvalid(self.address.clone()));
        };
        let pem = std::fs::read_to_string(path)
            .map_err(|source| ConnectError::CaCertUnreadable { path: path.clone(), source })?;
        // A file without any would be taken, and then no server be trusted.
        if !pem.contains("-----BEGIN CERTIFICATE-----") {
            return Err(ConnectError::CaCertInvalid { path: path.clone(), source: None });
        }
        let tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(pem));
        endpoint
            .tls_config(tls)
            .map_err(|error| ConnectError::CaCertInvalid { path: path.clone(), source: Some(error.into()) })
    }
}

fn is_loopback(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    bare == "localhost" || bare.parse().is_ok_and(|address: IpAddr| address.is_loopback())
}

/// The client of a user.
pub(crate) fn chat_client(channel: Channel, bearer: Bearer) -> ChatClient {
    ChatServiceClient::with_interceptor(channel, bearer)
}

/// The same user's, for files.
pub(crate) fn file_client(channel: Channel, bearer: Bearer) -> FileClient {
    FileServiceClient::with_interceptor(channel, bearer)
}

/// Adds the token to every request. It has no `Debug`, so that no log can hold it.
#[derive(Clone)]
pub(crate) struct Bearer(MetadataValue<Ascii>);

impl Bearer {
    /// `origin` says where the token is from, for whoever has to mend it.
    pub(crate) fn new(token: &str, origin: &str) -> Result<Self, ConnectError> {
        let mut value = MetadataValue::try_from(format!("Bearer {token}"))
            .map_err(|_| ConnectError::TokenMalformed { origin: origin.to_owned() })?;
        value.set_sensitive(true);
        Ok(Self(value))
    }
}

impl Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        request.metadata_mut().insert("authorization", self.0.clone());
        Ok(request)
    }
}

/// A request with the deadline of ordinary calls.
pub(crate) fn with_deadline<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(REQUEST_TIME_MAX);
    request
}

/// Makes a call harmless to repeat.
pub(crate) fn new_request_id() -> String {
    Uuid::now_v7().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn channel(address: &str, plaintext: Plaintext) -> Result<Channel, ConnectError> {
        Server { address: address.to_owned(), ca_cert: None, plaintext }.channel()
    }

    #[tokio::test]
    async fn a_token_crosses_a_network_readable_only_where_it_is_allowed() {
        for address in ["http://127.0.0.1:7400", "http://localhost:1", "http://[::1]:1", "https://e.test"] {
            assert!(channel(address, Plaintext::OnThisHost).is_ok(), "{address}");
        }
        let refused = channel("http://10.0.0.1:7400", Plaintext::OnThisHost);
        assert!(matches!(refused, Err(ConnectError::PlaintextRefused(_))));
        assert!(channel("http://10.0.0.1:7400", Plaintext::Everywhere).is_ok());
    }

    #[tokio::test]
    async fn an_address_that_is_none_is_refused_by_name() {
        for address in ["nonsense", "ftp://127.0.0.1", "http://", ""] {
            let refused = channel(address, Plaintext::Everywhere);
            assert!(matches!(refused, Err(ConnectError::AddressInvalid(named)) if named == address));
        }
    }

    #[tokio::test]
    async fn a_certificate_file_must_be_there_and_hold_a_certificate() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let server = |path: &std::path::Path| Server {
            address: "https://e.test".to_owned(),
            ca_cert: Some(path.to_owned()),
            plaintext: Plaintext::OnThisHost,
        };

        assert!(matches!(server(file.path()).channel(), Err(ConnectError::CaCertInvalid { .. })));
        let missing = file.path().join("none");
        assert!(matches!(server(&missing).channel(), Err(ConnectError::CaCertUnreadable { .. })));
    }

    #[test]
    fn a_token_is_what_a_header_can_carry() {
        assert!(Bearer::new("chatplane_user_abc", "a file").is_ok());
        let malformed = Bearer::new("two\nlines", "a file").err().unwrap();
        assert_eq!(malformed.to_string(), "the token from a file has characters that no token has");
    }
}

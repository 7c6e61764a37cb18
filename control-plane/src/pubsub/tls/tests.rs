//! A server that speaks TLS and then listens to what it is told first. The certificate is
//! for `localhost`, signed by itself, and good for a hundred years; its key is no secret.

use std::{net::SocketAddr, sync::Arc};

use rustls::{
    ServerConfig,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
    task::JoinHandle,
};
use tokio_rustls::TlsAcceptor;

use crate::pubsub::{Target, TargetError, connection::Connection};

/// With which a client asks for TLS.
const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 4, 210, 22, 47];

const CERTIFICATE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/pubsub/tls/test_certificate.pem");
const KEY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/pubsub/tls/test_key.pem");

/// What a client says first over TLS; none where there was no handshake.
async fn server() -> (SocketAddr, JoinHandle<Option<String>>) {
    let certificate = CertificateDer::from_pem_file(CERTIFICATE).expect("the fixture is there");
    let key = PrivateKeyDer::from_pem_file(KEY).expect("the fixture is there");
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(vec![certificate], key))
        .expect("the fixture fits");
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
    let address = listener.local_addr().expect("it is bound");
    let served = tokio::spawn(async move {
        let (mut socket, _) = listener.accept().await.expect("somebody connects");
        let mut request = [0; 8];
        socket.read_exact(&mut request).await.expect("it asks for TLS");
        assert_eq!(request, SSL_REQUEST);
        socket.write_all(b"S").await.expect("it hears the answer");
        let mut encrypted = TlsAcceptor::from(Arc::new(config)).accept(socket).await.ok()?;
        let mut first = vec![0; 1024];
        let read = encrypted.read(&mut first).await.ok()?;
        (read > 0).then(|| String::from_utf8_lossy(&first[..read]).into_owned())
    });
    (address, served)
}

/// Whether a client with these settings trusts the server enough to say who it is.
async fn trusts(host: &str, settings: &str) -> bool {
    let (address, served) = server().await;
    let url = format!("postgres://somebody@{host}:{}/name?{settings}", address.port());
    let target = Target::parse(&url).expect("the settings can be used");
    // The server says nothing more, so there never is a connection.
    assert!(Connection::open(&target).await.is_err());
    served.await.expect("the server does not panic").is_some_and(|first| first.contains("somebody"))
}

#[tokio::test]
async fn a_server_is_trusted_as_far_as_the_url_says() {
    let root = format!("sslrootcert={CERTIFICATE}");

    assert!(trusts("127.0.0.1", "sslmode=require").await);
    assert!(trusts("localhost", &format!("sslmode=verify-full&{root}")).await);
    assert!(trusts("127.0.0.1", &format!("sslmode=verify-ca&{root}")).await);
    assert!(!trusts("127.0.0.1", &format!("sslmode=verify-full&{root}")).await);
    assert!(!trusts("localhost", "sslmode=verify-ca").await);
    assert!(!trusts("localhost", "sslmode=verify-full").await);
}

#[test]
fn settings_that_cannot_be_used_are_said_at_once() {
    let unusable = |settings: &str| {
        let parsed = Target::parse(&format!("postgres://localhost/name?{settings}"));
        matches!(parsed, Err(TargetError::Tls(_)))
    };

    assert!(unusable("sslmode=verify-full&sslrootcert=/nowhere.pem"));
    assert!(unusable(&format!("sslcert={CERTIFICATE}")));
    assert!(!unusable(&format!("sslcert={CERTIFICATE}&sslkey={KEY}")));
}

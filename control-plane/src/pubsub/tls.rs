//! TLS for the connections of hints: what the pool does, so that one URL means the same to
//! both. `prefer` and `require` encrypt and take any certificate, `verify-ca` asks who has
//! signed it, `verify-full` also for whom.

use std::{
    fmt, fs, io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use futures::{FutureExt as _, future::BoxFuture};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature},
    pki_types::{
        CertificateDer, InvalidDnsNameError, PrivateKeyDer, ServerName, UnixTime, pem::PemObject as _,
    },
};
use sqlx::{
    ConnectOptions as _,
    postgres::{PgConnectOptions, PgSslMode},
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_postgres::{
    Socket,
    tls::{ChannelBinding, MakeTlsConnect, TlsConnect, TlsStream},
};
use tokio_rustls::TlsConnector;

/// How the options write a certificate that is in a file.
const FILE: &str = "file: ";

/// Why the TLS settings of a URL cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file that is named cannot be read.
    #[error("a certificate or key cannot be read")]
    Unreadable(#[source] io::Error),
    /// What is given is not in the form in which certificates and keys are.
    #[error("a certificate or key is no PEM")]
    Pem(#[source] rustls::pki_types::pem::Error),
    /// One of them is missing.
    #[error("sslcert and sslkey must be given together")]
    Halves,
    /// They do not fit each other, or are of a kind that is not known.
    #[error("a certificate or key cannot be used")]
    Unusable(#[from] rustls::Error),
    /// There are none to trust.
    #[error("the certificates to trust cannot be used")]
    Roots(#[from] rustls::client::VerifierBuilderError),
}

/// How connections are encrypted.
#[derive(Clone)]
pub(super) struct Tls(Arc<ClientConfig>);

impl Tls {
    /// What the options say.
    pub(super) fn of(options: &PgConnectOptions) -> Result<Self, TlsError> {
        let url = options.clone().username("none").host("none").to_url_lossy();
        let given = |key: &str| {
            let pair = url.query_pairs().find(|(name, _)| name == key);
            pair.map(|(_, value)| pem(&value)).transpose()
        };
        let provider = Arc::new(ring::default_provider());
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()?;
        let builder = match options.get_ssl_mode() {
            PgSslMode::VerifyFull => builder.with_root_certificates(roots(given("sslrootcert")?)?),
            PgSslMode::VerifyCa => {
                let roots = Arc::new(roots(given("sslrootcert")?)?);
                let chain =
                    WebPkiServerVerifier::builder_with_provider(roots, Arc::clone(&provider)).build()?;
                let verifier = AnyName { chain: Some(chain), provider };
                builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier))
            }
            PgSslMode::Disable | PgSslMode::Allow | PgSslMode::Prefer | PgSslMode::Require => {
                let verifier = AnyName { chain: None, provider };
                builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier))
            }
        };
        let config = match (given("sslcert")?, given("sslkey")?) {
            (None, None) => builder.with_no_client_auth(),
            (Some(chain), Some(key)) => {
                let chain = CertificateDer::pem_slice_iter(&chain).collect::<Result<Vec<_>, _>>();
                let key = PrivateKeyDer::from_pem_slice(&key).map_err(TlsError::Pem)?;
                builder.with_client_auth_cert(chain.map_err(TlsError::Pem)?, key)?
            }
            (Some(_), None) | (None, Some(_)) => return Err(TlsError::Halves),
        };
        Ok(Self(Arc::new(config)))
    }
}

/// A file, or what would be in one.
fn pem(value: &str) -> Result<Vec<u8>, TlsError> {
    match value.strip_prefix(FILE) {
        Some(path) => fs::read(path).map_err(TlsError::Unreadable),
        None => Ok(value.as_bytes().to_vec()),
    }
}

/// Those of the web, and those that are given.
fn roots(given: Option<Vec<u8>>) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::from_iter(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    for certificate in CertificateDer::pem_slice_iter(&given.unwrap_or_default()) {
        roots.add(certificate.map_err(TlsError::Pem)?)?;
    }
    Ok(roots)
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // It may hold a key.
        f.debug_struct("Tls").finish_non_exhaustive()
    }
}

/// Takes a certificate for any name, and where there is no chain to follow, any at all.
#[derive(Debug)]
struct AnyName {
    chain: Option<Arc<WebPkiServerVerifier>>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for AnyName {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let Some(chain) = &self.chain else { return Ok(ServerCertVerified::assertion()) };
        match chain.verify_server_cert(certificate, intermediates, name, ocsp_response, now) {
            // The name is looked at after the chain.
            Err(rustls::Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) => Ok(ServerCertVerified::assertion()),
            verified => verified,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

impl MakeTlsConnect<Socket> for Tls {
    type Stream = Encrypted;
    type TlsConnect = Handshake;
    type Error = InvalidDnsNameError;

    fn make_tls_connect(&mut self, host: &str) -> Result<Handshake, InvalidDnsNameError> {
        // A socket of the file system has no host, and is not encrypted.
        let host = if host.is_empty() { "localhost" } else { host };
        let name = ServerName::try_from(host.to_owned())?;
        Ok(Handshake { connector: TlsConnector::from(Arc::clone(&self.0)), name })
    }
}

/// A handshake that is to be made.
pub(super) struct Handshake {
    connector: TlsConnector,
    name: ServerName<'static>,
}

impl TlsConnect<Socket> for Handshake {
    type Stream = Encrypted;
    type Error = io::Error;
    type Future = BoxFuture<'static, io::Result<Encrypted>>;

    fn connect(self, socket: Socket) -> Self::Future {
        let handshake = self.connector.connect(self.name, socket);
        async move { Ok(Encrypted(Box::new(handshake.await?))) }.boxed()
    }
}

/// An encrypted stream.
pub(super) struct Encrypted(Box<tokio_rustls::client::TlsStream<Socket>>);

impl TlsStream for Encrypted {
    /// None: the pool has none either.
    fn channel_binding(&self) -> ChannelBinding {
        ChannelBinding::none()
    }
}

impl AsyncRead for Encrypted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, buffer)
    }
}

impl AsyncWrite for Encrypted {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests;

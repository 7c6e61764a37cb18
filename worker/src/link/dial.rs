//! From addresses to channels.

use std::{net::IpAddr, time::Duration};

use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Uri};

use crate::config::ConfigError;

/// An open connection that is silent this long is asked whether it lives.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(5);
/// How long it has to answer.
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(5);

/// What it takes to connect.
pub(crate) struct Dial<'a> {
    pub(crate) addresses: &'a [String],
    pub(crate) ca_cert: Option<&'a str>,
    pub(crate) allow_plaintext: bool,
    pub(crate) timeout: Duration,
}

impl Dial<'_> {
    /// A channel for each address; it connects when it is first used, and again when it breaks.
    pub(crate) fn channels(&self) -> Result<Vec<Channel>, ConfigError> {
        let addresses =
            self.addresses.iter().map(|address| address.trim()).filter(|address| !address.is_empty());
        let channels = addresses.map(|address| self.channel(address)).collect::<Result<Vec<_>, _>>()?;
        if channels.is_empty() { Err(ConfigError::AddressMissing) } else { Ok(channels) }
    }

    fn channel(&self, address: &str) -> Result<Channel, ConfigError> {
        let invalid = || ConfigError::AddressInvalid(address.to_owned());
        let uri: Uri = address.parse().map_err(|_| invalid())?;
        let host = uri.host().ok_or_else(invalid)?.to_owned();
        let scheme = uri.scheme_str().unwrap_or_default().to_owned();
        let endpoint = Endpoint::from(uri)
            .connect_timeout(self.timeout)
            .http2_keep_alive_interval(KEEP_ALIVE_INTERVAL)
            .keep_alive_timeout(KEEP_ALIVE_TIMEOUT);
        match scheme.as_str() {
            "http" if self.allow_plaintext || is_loopback(&host) => Ok(endpoint.connect_lazy()),
            "http" => Err(ConfigError::PlaintextRefused(address.to_owned())),
            "https" => Ok(self.with_tls(address, endpoint)?.connect_lazy()),
            _ => Err(invalid()),
        }
    }

    fn with_tls(&self, address: &str, endpoint: Endpoint) -> Result<Endpoint, ConfigError> {
        let Some(pem) = self.ca_cert else {
            let tls = ClientTlsConfig::new().with_webpki_roots();
            // Only its name may be none that a certificate can be for.
            return endpoint.tls_config(tls).map_err(|_| ConfigError::AddressInvalid(address.to_owned()));
        };
        // A file without any would be taken, and then no server be trusted.
        if !pem.contains("-----BEGIN CERTIFICATE-----") {
            return Err(ConfigError::CaCertInvalid("it holds no PEM certificate".into()));
        }
        let tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(pem));
        endpoint.tls_config(tls).map_err(|source| ConfigError::CaCertInvalid(Box::new(source)))
    }
}

fn is_loopback(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    bare == "localhost" || bare.parse().is_ok_and(|address: IpAddr| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dial(addresses: &[&str], allow_plaintext: bool) -> Result<usize, ConfigError> {
        dial_with(addresses, allow_plaintext, None)
    }

    fn dial_with(
        addresses: &[&str],
        allow_plaintext: bool,
        ca_cert: Option<&str>,
    ) -> Result<usize, ConfigError> {
        let addresses: Vec<String> = addresses.iter().map(|&address| address.to_owned()).collect();
        let timeout = Duration::from_secs(1);
        let dial = Dial { addresses: &addresses, ca_cert, allow_plaintext, timeout };
        dial.channels().map(|channels| channels.len())
    }

    #[tokio::test]
    async fn plaintext_is_for_this_host_only_unless_it_is_allowed() {
        assert_eq!(
            dial(&["http://127.0.0.1:7400", "http://localhost:1", "http://[::1]:1"], false).unwrap(),
            3
        );
        assert!(matches!(dial(&["http://10.0.0.1:7400"], false), Err(ConfigError::PlaintextRefused(_))));
        assert_eq!(dial(&["http://10.0.0.1:7400"], true).unwrap(), 1);
    }

    #[tokio::test]
    async fn an_address_that_is_none_is_refused_by_name() {
        for address in ["nonsense", "ftp://127.0.0.1", "http://"] {
            let refused = dial(&[address], true);
            assert!(matches!(refused, Err(ConfigError::AddressInvalid(named)) if named == address));
        }
        assert!(matches!(dial(&[" ", ""], true), Err(ConfigError::AddressMissing)));
    }

    #[tokio::test]
    async fn tls_is_checked_against_public_authorities_unless_others_are_named() {
        assert_eq!(dial(&["https://example.test", "https://127.0.0.1:1"], false).unwrap(), 2);
    }

    #[tokio::test]
    async fn a_certificate_file_must_hold_a_certificate() {
        let refused = dial_with(&["https://example.test"], false, Some("no certificate"));

        assert!(matches!(refused, Err(ConfigError::CaCertInvalid(_))));
    }
}

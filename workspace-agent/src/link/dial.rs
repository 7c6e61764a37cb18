//! How to reach the control plane.

use std::{
    fs, io,
    net::{IpAddr, Ipv6Addr},
};

use tonic::{
    metadata::{Ascii, MetadataValue},
    transport::{Certificate, ClientTlsConfig, Endpoint, Uri},
};

use super::Limits;
use crate::config::{Config, ConfigError, Token};

/// Sent as `user-agent`.
const USER_AGENT: &str = concat!("chatplane-workspace-agent/", env!("CARGO_PKG_VERSION"));

/// The checked address and the token.
pub(crate) struct Dial {
    endpoint: Endpoint,
    authorization: MetadataValue<Ascii>,
    given_by: &'static str,
}

impl Dial {
    /// Reads the token and certificate files; runs once, before anything else.
    pub(crate) fn new(config: &Config, limits: &Limits) -> Result<Self, ConfigError> {
        let Token { secret, given_by } = config.bearer()?;
        let endpoint = endpoint(config)?.connect_timeout(limits.register);
        Ok(Self { endpoint, authorization: authorization(&secret, given_by)?, given_by })
    }

    pub(super) fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    pub(super) fn authorization(&self) -> MetadataValue<Ascii> {
        self.authorization.clone()
    }

    /// The flag and the variable by which the token was given.
    pub(super) fn given_by(&self) -> &'static str {
        self.given_by
    }
}

/// The header's value, marked so that it is never indexed by a proxy nor shown by `Debug`.
fn authorization(secret: &str, given_by: &'static str) -> Result<MetadataValue<Ascii>, ConfigError> {
    let is_token = !secret.is_empty() && secret.bytes().all(|byte| byte.is_ascii_graphic());
    let value = is_token.then(|| format!("Bearer {secret}").parse::<MetadataValue<Ascii>>());
    let Some(Ok(mut value)) = value else {
        return Err(ConfigError::TokenMalformed { given_by });
    };
    value.set_sensitive(true);
    Ok(value)
}

fn endpoint(config: &Config) -> Result<Endpoint, ConfigError> {
    let uri: Uri = config.control_plane.trim().parse().map_err(|_| ConfigError::Url)?;
    let authority = uri.authority().ok_or(ConfigError::Url)?;
    if authority.as_str().contains('@') || !matches!(uri.path(), "" | "/") || uri.query().is_some() {
        return Err(ConfigError::Url);
    }
    let host = authority.host().to_owned();
    let is_tls = match uri.scheme_str() {
        Some("https") => true,
        Some("http") => false,
        _ => return Err(ConfigError::Url),
    };
    if !is_tls && !config.allow_plaintext && !is_loopback(&host) {
        return Err(ConfigError::Plaintext { host });
    }
    let endpoint = Endpoint::from(uri).user_agent(USER_AGENT).expect("the name is plain ASCII");
    if !is_tls {
        return Ok(endpoint);
    }
    endpoint.tls_config(tls(config)?).map_err(|error| ConfigError::Tls(error.into()))
}

fn is_loopback(host: &str) -> bool {
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    match bare {
        Some(host) => host.parse::<Ipv6Addr>().is_ok_and(|address| address.is_loopback()),
        None if host.eq_ignore_ascii_case("localhost") => true,
        None => host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback()),
    }
}

fn tls(config: &Config) -> Result<ClientTlsConfig, ConfigError> {
    let Some(path) = config.ca_cert.as_ref().filter(|path| !path.as_os_str().is_empty()) else {
        return Ok(ClientTlsConfig::new().with_webpki_roots());
    };
    let unusable = |source| ConfigError::CaCert { path: path.clone(), source };
    let pem = fs::read_to_string(path).map_err(unusable)?;
    if !pem.contains("-----BEGIN CERTIFICATE-----") {
        return Err(unusable(io::Error::other("it holds no PEM certificate")));
    }
    Ok(ClientTlsConfig::new().ca_certificate(Certificate::from_pem(pem)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(url: &str) -> Config {
        Config {
            control_plane: url.to_owned(),
            token: Some("cp_secret".to_owned()),
            token_file: None,
            dir: ".".into(),
            read_only: false,
            allow_outside: false,
            pass_env: Vec::new(),
            state_dir: None,
            allow_plaintext: false,
            ca_cert: None,
        }
    }

    fn dial(config: &Config) -> Result<Dial, ConfigError> {
        Dial::new(config, &Limits::default())
    }

    #[test]
    fn plaintext_stays_on_this_machine() {
        for url in ["http://127.0.0.1:7400", "http://127.8.8.8", "http://[::1]:7400/", "http://LocalHost:1"] {
            assert!(dial(&config(url)).is_ok(), "{url}");
        }
        for url in
            ["http://10.0.0.1:7400", "http://[2001:db8::1]:1", "http://localhost.example", "http://0.0.0.0"]
        {
            let error = dial(&config(url)).err().unwrap();
            assert!(matches!(error, ConfigError::Plaintext { .. }), "{url}: {error}");
        }
    }

    #[test]
    fn plaintext_to_another_machine_needs_its_flag() {
        let config = Config { allow_plaintext: true, ..config("http://10.0.0.1:7400") };

        assert!(dial(&config).is_ok());
    }

    #[test]
    fn https_goes_anywhere() {
        assert!(dial(&config("https://chatplane.example:443")).is_ok());
    }

    #[test]
    fn a_url_that_cannot_be_dialled_is_refused() {
        for url in [
            "",
            "127.0.0.1:7400",
            "ftp://a:1",
            "/path",
            "http://",
            "http://u:p@localhost",
            "http://localhost/x",
        ] {
            let error = dial(&config(url)).err().unwrap();
            assert!(matches!(error, ConfigError::Url), "{url}: {error}");
        }
    }

    #[test]
    fn a_token_that_no_header_can_carry_is_refused_and_not_shown() {
        for token in ["two words", "line\nbreak", "umläut"] {
            let config = Config { token: Some(token.to_owned()), ..config("http://localhost:1") };

            let error = dial(&config).err().unwrap();

            assert!(matches!(error, ConfigError::TokenMalformed { .. }), "{error}");
            assert!(!error.to_string().contains(token), "{error}");
        }
    }

    #[test]
    fn a_certificate_file_must_hold_a_certificate() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ca.pem");
        fs::write(&path, "no certificate").unwrap();
        let config = Config { ca_cert: Some(path), ..config("https://localhost:1") };

        let error = dial(&config).err().unwrap();

        assert!(matches!(error, ConfigError::CaCert { .. }), "{error}");
    }
}

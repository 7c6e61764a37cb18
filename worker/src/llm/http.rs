//! What every provider over HTTP needs: clients, their errors, `retry-after`.

use std::error::Error as _;
use std::net::IpAddr;
use std::sync::OnceLock;
use std::time::{Duration, SystemTime};

use bytes::{Bytes, BytesMut};
use chrono::DateTime;
use reqwest::header::{HeaderMap, RETRY_AFTER};
use reqwest::{Client, Response, Url, redirect, retry};

/// How long a connection may take to be made, TLS included.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// A peer that is gone without a word is noticed by TCP within about this time.
const TCP_KEEPALIVE: Duration = Duration::from_secs(30);
/// Connections kept for reuse per host; a busy worker opens more and drops them.
const IDLE_CONNECTIONS_MAX: usize = 32;
/// What an error's body may have: many times any honest one.
const ERROR_BODY_BYTES_MAX: usize = 64 * 1024;
/// How long an error's body may take.
const ERROR_BODY_TIMEOUT: Duration = Duration::from_secs(10);
/// Nobody waits longer than a day; larger numbers would only overflow later.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// Makes ring the process's TLS provider; does nothing the second time.
pub fn install_crypto_provider() {
    // An error says that one is installed, which is all that is wanted.
    let _ = rustls::crypto::ring::default_provider().install_default();
}

/// HTTP clients, made when they are first needed, each with its own connections.
#[derive(Debug, Default)]
pub(super) struct Clients {
    plain_loopback: OnceLock<Client>,
    plain: OnceLock<Client>,
    tls_loopback: OnceLock<Client>,
    tls: OnceLock<Client>,
}

impl Clients {
    /// The client for a URL. Proxies of the environment are honoured, but never
    /// for this machine itself.
    pub(super) fn get(&self, url: &Url) -> reqwest::Result<&Client> {
        let tls = url.scheme() == "https";
        let loopback = is_loopback(url);
        let slot = match (tls, loopback) {
            (false, true) => &self.plain_loopback,
            (false, false) => &self.plain,
            (true, true) => &self.tls_loopback,
            (true, false) => &self.tls,
        };
        if let Some(client) = slot.get() {
            return Ok(client);
        }
        let client = build(tls, loopback)?;
        Ok(slot.get_or_init(|| client))
    }
}

fn build(tls: bool, loopback: bool) -> reqwest::Result<Client> {
    install_crypto_provider();
    // HTTP/1.1 gives every call a connection of its own. One HTTP/2 connection
    // would carry at most as many calls as the server allows streams, and would
    // stall them all together. A redirect would carry the key to another host,
    // and a repeated POST would be billed twice, so neither is ever followed.
    let mut builder = Client::builder()
        .user_agent(concat!("chatplane/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(CONNECT_TIMEOUT)
        .tcp_keepalive(TCP_KEEPALIVE)
        .pool_max_idle_per_host(IDLE_CONNECTIONS_MAX)
        .redirect(redirect::Policy::none())
        .retry(retry::never())
        .referer(false)
        .http1_only();
    if loopback {
        builder = builder.no_proxy();
    }
    if !tls {
        // Without TLS no certificate is looked at; a machine that has none
        // installed can still reach a model of its own.
        builder = builder.tls_certs_only([]);
    }
    builder.build()
}

/// Whether a URL names this machine.
fn is_loopback(url: &Url) -> bool {
    let Some(host) = url.host_str() else { return false };
    let address = host.trim_start_matches('[').trim_end_matches(']');
    let named = host == "localhost" || host.ends_with(".localhost");
    named || address.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// The URL of a path below a base URL, whose query is kept; `None` when the base is
/// no http or https URL.
pub(super) fn url_below(base: &str, path: &[&str]) -> Option<Url> {
    let mut url = Url::parse(base).ok()?;
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
        return None;
    }
    url.path_segments_mut().ok()?.pop_if_empty().extend(path);
    Some(url)
}

/// Host and port, for sentences; leaves out user names and passwords.
pub(super) fn host_of(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    match url.port() {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    }
}

/// The error's causes without its URL, which may hold a password.
pub(super) fn describe(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut description = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        description.push_str(": ");
        description.push_str(&next.to_string());
        cause = next.source();
    }
    description
}

/// The body of an error as far as it comes, bounded in size and time.
pub(super) async fn error_body(mut response: Response) -> Bytes {
    let mut body = BytesMut::new();
    let read = async {
        while let Ok(Some(chunk)) = response.chunk().await {
            let room = ERROR_BODY_BYTES_MAX - body.len();
            body.extend_from_slice(&chunk[..chunk.len().min(room)]);
            if body.len() == ERROR_BODY_BYTES_MAX {
                break;
            }
        }
    };
    // What has come by then is used; a body that is cut is no JSON.
    let _ = tokio::time::timeout(ERROR_BODY_TIMEOUT, read).await;
    body.freeze()
}

/// How long the provider asks to wait: milliseconds in a header of their own, which
/// is the more exact one, or seconds, or a date.
pub(super) fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let exact = headers.get("retry-after-ms").and_then(|value| value.to_str().ok()?.trim().parse().ok());
    if let Some(wait) = exact.map(Duration::from_millis) {
        return Some(wait.min(RETRY_AFTER_MAX));
    }
    let value = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let wait = match value.parse::<u64>() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => {
            let date = DateTime::parse_from_rfc2822(value).ok()?;
            SystemTime::from(date).duration_since(now).unwrap_or_default()
        }
    };
    Some(wait.min(RETRY_AFTER_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_told_from_everything_else() {
        for (url, expected) in [
            ("http://localhost:1/", true),
            ("http://model.localhost/", true),
            ("http://127.0.0.1:9/x", true),
            ("http://127.8.8.8/", true),
            ("https://[::1]:9/", true),
            ("https://api.example.com/", false),
            ("https://localhost.example.com/", false),
            ("http://10.0.0.1/", false),
        ] {
            assert_eq!(is_loopback(&Url::parse(url).unwrap()), expected, "{url}");
        }
    }

    #[test]
    fn retry_after_is_read_as_seconds_or_as_a_date_and_is_bounded() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_445_412_400);
        for (value, expected) in [
            ("7", Some(Duration::from_secs(7))),
            ("Wed, 21 Oct 2015 07:28:00 GMT", Some(Duration::from_secs(80))),
            ("Wed, 21 Oct 2014 07:28:00 GMT", None),
            ("Tue, 21 Oct 2014 07:28:00 GMT", Some(Duration::ZERO)),
            ("18446744073709551615", Some(RETRY_AFTER_MAX)),
            ("99999999999999999999999", None),
            ("-1", None),
            ("soon", None),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_AFTER, value.parse().unwrap());
            assert_eq!(retry_after(&headers, now), expected, "{value}");
        }
    }

    #[test]
    fn milliseconds_are_more_exact_than_seconds() {
        for (value, expected) in [("1500", 1500), ("x", 7000), ("99999999999999", 86_400_000)] {
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_AFTER, "7".parse().unwrap());
            headers.insert("retry-after-ms", value.parse().unwrap());
            let wait = retry_after(&headers, SystemTime::UNIX_EPOCH);
            assert_eq!(wait, Some(Duration::from_millis(expected)), "{value}");
        }
    }

    #[test]
    fn a_path_goes_below_the_base_url_and_before_its_query() {
        for (base, expected) in [
            ("https://api.example.com", Some("https://api.example.com/chat/new")),
            ("https://api.example.com/v1/", Some("https://api.example.com/v1/chat/new")),
            ("http://[::1]:9/v1?version=2", Some("http://[::1]:9/v1/chat/new?version=2")),
            ("file:///v1", None),
            ("http://", None),
            ("mailto:a@b", None),
            ("nonsense", None),
            ("", None),
        ] {
            let url = url_below(base, &["chat", "new"]).map(String::from);
            assert_eq!(url.as_deref(), expected, "{base:?}");
        }
    }

    #[test]
    fn a_host_is_named_without_its_password() {
        let url = Url::parse("https://user:secret@models.example:8443/base").unwrap();
        assert_eq!(host_of(&url), "models.example:8443");
    }

    #[test]
    fn the_crypto_provider_can_be_installed_twice() {
        install_crypto_provider();
        install_crypto_provider();
        assert!(rustls::crypto::CryptoProvider::get_default().is_some());
    }
}

//! A connection of its own for hints, beside the pool: it says plainly when it is lost, and
//! hands out notifications while statements run.

use std::{error::Error as _, time::Duration};

use futures::{StreamExt as _, stream, stream::BoxStream};
use sqlx::{
    ConnectOptions as _,
    postgres::{PgConnectOptions, PgSslMode},
};
use tokio::time;
use tokio_postgres::{
    AsyncMessage, Client, Config, Error, Notification,
    config::SslMode,
    types::{ToSql, Type},
};

use super::tls::{Tls, TlsError};

/// How long it may take to be connected.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a statement may take: none does anything but to take a lock for a moment. A
/// connection that is silent for longer is given up.
const STATEMENT_TIMEOUT: Duration = Duration::from_secs(5);

/// What operators see in `pg_stat_activity` where the URL gives no name.
const NAME: &str = "chatplane hints";

/// Where the database is, and how to speak with it.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    config: Config,
    tls: Tls,
}

/// Why a URL cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TargetError {
    /// It is none.
    #[error("the URL of the database cannot be read")]
    Url(#[source] sqlx::Error),
    /// What it says of TLS cannot be used.
    #[error("its TLS settings cannot be used")]
    Tls(#[from] TlsError),
}

impl Target {
    /// Reads a URL just as the pool does, environment and password file included: one URL
    /// means the same to both.
    ///
    /// # Errors
    ///
    /// What is wrong with it.
    pub(crate) fn parse(url: &str) -> Result<Self, TargetError> {
        let options: PgConnectOptions = url.parse().map_err(TargetError::Url)?;
        let mut config = Config::new();
        config.user(options.get_username()).port(options.get_port()).connect_timeout(CONNECT_TIMEOUT);
        match options.get_socket() {
            Some(socket) => config.host_path(socket).ssl_mode(SslMode::Disable),
            None => {
                let host = options.get_host();
                // A URL has an IPv6 address in brackets; the resolver wants it without.
                let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
                config.host(host).ssl_mode(ssl_mode(options.get_ssl_mode()))
            }
        };
        if let Some(password) = password(&options)? {
            config.password(password);
        }
        config.dbname(options.get_database().unwrap_or(options.get_username()));
        config.application_name(options.get_application_name().unwrap_or(NAME));
        if let Some(more) = options.get_options() {
            config.options(more);
        }
        Ok(Self { config, tls: Tls::of(&options)? })
    }
}

/// `allow` is never encrypted over the pool either.
fn ssl_mode(mode: PgSslMode) -> SslMode {
    match mode {
        PgSslMode::Disable | PgSslMode::Allow => SslMode::Disable,
        PgSslMode::Prefer => SslMode::Prefer,
        PgSslMode::Require | PgSslMode::VerifyCa | PgSslMode::VerifyFull => SslMode::Require,
    }
}

/// The password, which the pool's options only show as part of a URL.
fn password(options: &PgConnectOptions) -> Result<Option<Vec<u8>>, TargetError> {
    // Nothing of the rest of the URL can be misread when there is none.
    let url = options.clone().username("none").host("none").to_url_lossy();
    let Some(password) = url.password() else { return Ok(None) };
    let read: Result<Config, _> = format!("postgres://none:{password}@none").parse();
    let config = read.map_err(|error| TargetError::Url(sqlx::Error::Configuration(error.into())))?;
    Ok(config.get_password().map(<[u8]>::to_vec))
}

/// Why a connection has ended.
#[derive(Debug, thiserror::Error)]
pub(super) enum ConnectionError {
    #[error("the database did not answer in time")]
    Silent,
    #[error("the connection was closed")]
    Closed,
    #[error(transparent)]
    Database(#[from] Error),
}

impl ConnectionError {
    /// The error with its causes. None has a secret in it.
    pub(super) fn chain(&self) -> String {
        let mut chain = self.to_string();
        let mut cause = self.source();
        while let Some(error) = cause {
            chain.push_str(": ");
            chain.push_str(&error.to_string());
            cause = error.source();
        }
        chain
    }
}

/// An open connection. It is driven by who uses it, and closed when it is dropped.
pub(super) struct Connection {
    client: Client,
    messages: BoxStream<'static, Result<AsyncMessage, Error>>,
}

impl Connection {
    pub(super) async fn open(target: &Target) -> Result<Self, ConnectionError> {
        let connecting = target.config.connect(target.tls.clone());
        let connected = time::timeout(CONNECT_TIMEOUT, connecting).await;
        let (client, mut connection) = connected.map_err(|_| ConnectionError::Silent)??;
        let messages = stream::poll_fn(move |context| connection.poll_message(context)).boxed();
        Ok(Self { client, messages })
    }

    /// The next notification. Nothing is lost when this is given up.
    pub(super) async fn notified(&mut self) -> Result<Notification, ConnectionError> {
        loop {
            if let Some(notification) = next(&mut self.messages).await? {
                return Ok(notification);
            }
        }
    }

    /// Runs statements without parameters; what is heard meanwhile is handed on.
    pub(super) async fn execute(
        &mut self,
        statements: &str,
        heard: impl FnMut(Notification),
    ) -> Result<(), ConnectionError> {
        drive(&mut self.messages, self.client.batch_execute(statements), heard).await
    }

    /// Sends notifications, all at once.
    pub(super) async fn notify(
        &mut self,
        channels: &[&str],
        payloads: &[&str],
    ) -> Result<(), ConnectionError> {
        let statement = "select pg_notify(n.channel, n.payload) \
                         from unnest($1, $2) as n (channel, payload)";
        let texts: [(&(dyn ToSql + Sync), Type); 2] =
            [(&channels, Type::TEXT_ARRAY), (&payloads, Type::TEXT_ARRAY)];
        let sent = self.client.query_typed(statement, &texts);
        drive(&mut self.messages, sent, |_| {}).await.map(drop)
    }
}

/// The next message, if it is a notification; notices are of no interest.
async fn next(
    messages: &mut BoxStream<'static, Result<AsyncMessage, Error>>,
) -> Result<Option<Notification>, ConnectionError> {
    match messages.next().await {
        Some(Ok(AsyncMessage::Notification(notification))) => Ok(Some(notification)),
        Some(Ok(_)) => Ok(None),
        Some(Err(error)) => Err(error.into()),
        None => Err(ConnectionError::Closed),
    }
}

/// Drives the connection until the work is done.
async fn drive<T>(
    messages: &mut BoxStream<'static, Result<AsyncMessage, Error>>,
    work: impl Future<Output = Result<T, Error>>,
    mut heard: impl FnMut(Notification),
) -> Result<T, ConnectionError> {
    let driven = async {
        tokio::pin!(work);
        loop {
            tokio::select! {
                done = &mut work => return Ok(done?),
                message = next(messages) => {
                    if let Some(notification) = message? {
                        heard(notification);
                    }
                }
            }
        }
    };
    time::timeout(STATEMENT_TIMEOUT, driven).await.map_err(|_| ConnectionError::Silent)?
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use tokio_postgres::config::Host;

    use super::{Connection, SslMode, Target, TargetError};
    use crate::testing::database;

    #[test]
    fn a_url_means_what_it_means_to_the_pool() {
        let parse = |url: &str| Target::parse(url).expect("it is one").config;

        let over_tcp = parse("postgres://user:p%40ss%2Fw%C3%B6rd@[::1]:6000/some%20name?sslmode=require");
        assert_eq!(over_tcp.get_hosts(), [Host::Tcp("::1".to_owned())]);
        assert_eq!(over_tcp.get_ports(), [6000]);
        assert_eq!(over_tcp.get_user(), Some("user"));
        assert_eq!(over_tcp.get_password(), Some("p@ss/wörd".as_bytes()));
        assert_eq!(over_tcp.get_dbname(), Some("some name"));
        assert_eq!(over_tcp.get_ssl_mode(), SslMode::Require);

        let by_socket = parse("postgres://user%40server@%2Frun%2Fpostgresql:5433/name?sslmode=prefer");
        assert_eq!(by_socket.get_hosts(), [Host::Unix(PathBuf::from("/run/postgresql"))]);
        assert_eq!(by_socket.get_ports(), [5433]);
        assert_eq!(by_socket.get_user(), Some("user@server"));
        assert_eq!(by_socket.get_ssl_mode(), SslMode::Disable);
        assert!(matches!(Target::parse("no URL"), Err(TargetError::Url(_))));
    }

    #[tokio::test]
    async fn notifications_reach_who_listens_while_it_does_other_things() {
        let target = Target::parse(&database().await).expect("a URL");
        let mut listener = Connection::open(&target).await.expect("the database answers");
        let mut notifier = Connection::open(&target).await.expect("the database answers");
        listener.execute("listen first; listen second", |_| {}).await.expect("it listens");

        notifier.notify(&["first", "elsewhere", "second"], &["a", "b", "c"]).await.expect("it is sent");

        let mut heard = Vec::new();
        let mut note = |channel: &str, payload: &str| heard.push(format!("{channel} {payload}"));
        listener
            .execute("select 1", |notification| note(notification.channel(), notification.payload()))
            .await
            .expect("it answers");
        while heard.len() < 2 {
            let notification = listener.notified().await.expect("the connection lives");
            heard.push(format!("{} {}", notification.channel(), notification.payload()));
        }
        assert_eq!(heard, ["first a", "second c"]);
    }

    #[tokio::test]
    async fn a_connection_that_is_ended_says_so() {
        let target = Target::parse(&database().await).expect("a URL");
        let mut ended = Connection::open(&target).await.expect("the database answers");
        let mut other = Connection::open(&target).await.expect("the database answers");
        let others = "select pg_terminate_backend(pid) from pg_stat_activity \
                      where datname = current_database() and pid <> pg_backend_pid()";
        other.execute(others, |_| {}).await.expect("it answers");

        let waited = ended.notified().await;

        assert!(waited.is_err());
        assert!(ended.execute("select 1", |_| {}).await.is_err());
    }
}

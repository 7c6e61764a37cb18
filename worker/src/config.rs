//! What an operator sets.

use std::{fmt, path::PathBuf, time::Duration};

use clap::Args;
use thiserror::Error;

/// Settings of a worker.
#[derive(Clone, Args)]
pub struct Config {
    /// Address of a control-plane replica, `http://host:port` or `https://host:port`. May be
    /// given several times or as a comma-separated list; the worker uses one at a time.
    #[arg(
        long,
        env = "CHATPLANE_CONTROL_PLANE",
        value_delimiter = ',',
        default_value = "http://127.0.0.1:7400"
    )]
    pub control_plane: Vec<String>,

    /// Token of a worker, as `chatplane admin create-token` prints it.
    #[arg(long, env = "CHATPLANE_WORKER_TOKEN", hide_env_values = true, conflicts_with = "token_file")]
    pub token: Option<String>,

    /// File that holds the worker's token.
    #[arg(long, env = "CHATPLANE_WORKER_TOKEN_FILE")]
    pub token_file: Option<PathBuf>,

    /// How many chats run at a time, 1 to 1000.
    #[arg(long, env = "CHATPLANE_WORKER_SLOTS", default_value_t = 16,
          value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub slots: u32,

    /// Name of this worker for operators. By default the host's name.
    #[arg(long, env = "CHATPLANE_WORKER_NAME")]
    pub name: Option<String>,

    /// Seconds that running steps get to end when the worker is asked to stop. After them
    /// the chats are given back as they are, and other workers repeat the unfinished steps.
    #[arg(long = "drain-timeout", env = "CHATPLANE_WORKER_DRAIN_TIMEOUT", value_name = "SECONDS",
          default_value = "30", value_parser = seconds)]
    pub drain_timeout: Duration,

    /// Talk to a control plane on another host without TLS. Tokens, prompts and provider
    /// keys then cross the network readable.
    #[arg(long, env = "CHATPLANE_ALLOW_PLAINTEXT", value_parser = clap::builder::FalseyValueParser::new())]
    pub allow_plaintext: bool,

    /// PEM file with the certificates that a control plane at `https://` is checked against.
    /// By default those of the public authorities.
    #[arg(long, env = "CHATPLANE_CA_CERT")]
    pub ca_cert: Option<PathBuf>,
}

/// The token is a secret; everything else may be printed.
impl fmt::Debug for Config {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Config")
            .field("control_plane", &self.control_plane)
            .field("token_file", &self.token_file)
            .field("slots", &self.slots)
            .field("name", &self.name)
            .field("drain_timeout", &self.drain_timeout)
            .field("allow_plaintext", &self.allow_plaintext)
            .field("ca_cert", &self.ca_cert)
            .finish_non_exhaustive()
    }
}

/// Settings that cannot work.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// No token was given.
    #[error("no token: give --token, CHATPLANE_WORKER_TOKEN or --token-file")]
    TokenMissing,
    /// The token has characters that no header can carry.
    #[error(
        "the token has characters that no token has: check --token, CHATPLANE_WORKER_TOKEN or --token-file"
    )]
    TokenMalformed,
    /// A file could not be read.
    #[error("{flag} {path:?} cannot be read")]
    FileUnreadable {
        /// The flag that names the file.
        flag: &'static str,
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// An address is not one.
    #[error("--control-plane {0:?} is not an address like http://127.0.0.1:7400")]
    AddressInvalid(String),
    /// No address was given.
    #[error("no address: give --control-plane or CHATPLANE_CONTROL_PLANE")]
    AddressMissing,
    /// The token would cross a network readable.
    #[error(
        "--control-plane {0:?} is not on this host: use https://, or --allow-plaintext on a trusted network"
    )]
    PlaintextRefused(String),
    /// The certificates could not be used.
    #[error("--ca-cert holds no certificates that can be used")]
    CaCertInvalid(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl Config {
    /// The token, without the line end of a file.
    pub(crate) fn read_token(&self) -> Result<String, ConfigError> {
        let token = match (&self.token, &self.token_file) {
            (Some(token), _) => token.trim().to_owned(),
            (None, Some(path)) => read_file("--token-file", path)?.trim().to_owned(),
            (None, None) => String::new(),
        };
        if token.is_empty() {
            return Err(ConfigError::TokenMissing);
        }
        Ok(token)
    }

    /// The certificates of `--ca-cert`, if there are any.
    pub(crate) fn read_ca_cert(&self) -> Result<Option<String>, ConfigError> {
        self.ca_cert.as_ref().map(|path| read_file("--ca-cert", path)).transpose()
    }

    /// The worker's name for operators.
    pub(crate) fn worker_name(&self) -> String {
        let host = || rustix::system::uname().nodename().to_string_lossy().into_owned();
        self.name.clone().unwrap_or_else(host)
    }
}

fn read_file(flag: &'static str, path: &PathBuf) -> Result<String, ConfigError> {
    std::fs::read_to_string(path).map_err(|source| ConfigError::FileUnreadable {
        flag,
        path: path.clone(),
        source,
    })
}

fn seconds(text: &str) -> Result<Duration, String> {
    let count: u32 = text.parse().map_err(|_| "expected a number of seconds".to_owned())?;
    Ok(Duration::from_secs(count.into()))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Command {
        #[command(flatten)]
        config: Config,
    }

    fn parse(arguments: &[&str]) -> Result<Config, clap::Error> {
        Command::try_parse_from([&["worker"], arguments].concat()).map(|command| command.config)
    }

    #[test]
    fn debug_output_hides_the_token() {
        let config = parse(&["--token", "cp_secret"]).unwrap();

        assert!(!format!("{config:?}").contains("secret"));
    }

    #[test]
    fn addresses_may_be_repeated_or_listed() {
        let config =
            parse(&["--control-plane", "http://a:1,http://b:2", "--control-plane", "http://c:3"]).unwrap();

        assert_eq!(config.control_plane, ["http://a:1", "http://b:2", "http://c:3"]);
    }

    #[test]
    fn a_number_of_slots_out_of_range_is_refused() {
        assert!(parse(&["--slots", "0"]).is_err());
        assert!(parse(&["--slots", "1001"]).is_err());
        assert_eq!(parse(&["--slots", "1000"]).unwrap().slots, 1000);
    }

    #[test]
    fn a_missing_token_is_named() {
        let config = Config { token: None, token_file: None, ..parse(&[]).unwrap() };

        assert!(matches!(config.read_token(), Err(ConfigError::TokenMissing)));
    }
}

//! Settings of a replica. Every flag is an environment variable too.

mod provider;

use std::{fmt, fs, io, net::SocketAddr, path::PathBuf};

use clap::Args;
use tonic::transport::Identity;

use self::provider::{ANTHROPIC_BASE_URL, OPENAI_BASE_URL, ProviderName};
use crate::{
    app::{Credentials, TitleSettings},
    caps::Caps,
    limits::Limits,
    pubsub::{Target, TargetError},
    store::{Database, Front, ModelRow},
};

/// Bytes of the address that other replicas reach this one at: its row holds no more.
const ADVERTISE_BYTES_MAX: usize = 2048;

/// Settings of `chatplane serve`.
#[derive(Args, Clone)]
pub struct Config {
    /// Address to listen on. Without TLS it must be a loopback address, or --allow-plaintext be given.
    #[arg(long, env = "CHATPLANE_LISTEN", default_value = "127.0.0.1:7400")]
    pub listen: SocketAddr,

    /// The control plane's database, `postgres://user:password@host/name`, PostgreSQL 14 or newer with
    /// encoding UTF8. The schema is brought up to date at start.
    #[arg(long, env = "CHATPLANE_DATABASE_URL", hide_env_values = true, value_name = "URL")]
    pub database_url: String,

    /// The same database without a pooler in between that shares its sessions: for LISTEN and NOTIFY, two
    /// connections beside the others, and to bring the schema up to date. By default --database-url.
    #[arg(long, env = "CHATPLANE_LISTENER_DATABASE_URL", hide_env_values = true, value_name = "URL")]
    pub listener_database_url: Option<String>,

    /// A replica of the database, for lists and searches, which may then be behind. By default they read
    /// --database-url.
    #[arg(long, env = "CHATPLANE_READ_DATABASE_URL", hide_env_values = true, value_name = "URL")]
    pub read_database_url: Option<String>,

    /// Keep no prepared statements: for a pooler in transaction mode that does not know them, such as PgBouncer
    /// before 1.21. Each use of the database then takes two round trips more. Needs --listener-database-url.
    #[arg(long, env = "CHATPLANE_NO_STATEMENT_CACHE", value_parser = clap::builder::FalseyValueParser::new(),
          action = clap::ArgAction::SetTrue)]
    pub no_statement_cache: bool,

    /// Connections to the database at most.
    #[arg(long, env = "CHATPLANE_DATABASE_CONNECTIONS", default_value_t = 16, value_name = "N",
          value_parser = clap::value_parser!(u32).range(2..=1000))]
    pub database_connections: u32,

    /// Key of Anthropic's API. Kept in memory; workers get it with a lease.
    #[arg(long, env = "ANTHROPIC_API_KEY", hide_env_values = true, value_name = "KEY")]
    pub anthropic_api_key: Option<String>,

    /// Address of Anthropic's API, or of a server that speaks like it.
    #[arg(long, env = "ANTHROPIC_BASE_URL", default_value = ANTHROPIC_BASE_URL, value_name = "URL",
          hide_env_values = true)]
    pub anthropic_base_url: String,

    /// Key of OpenAI's API, or of a server that speaks like it; such a server may take any. One of fewer than
    /// 8 bytes is taken for no secret. Kept in memory; workers get it with a lease.
    #[arg(long, env = "OPENAI_API_KEY", hide_env_values = true, value_name = "KEY")]
    pub openai_api_key: Option<String>,

    /// Address of OpenAI's API, or of a server that speaks its Chat Completions, with the `/v1` that most
    /// have.
    #[arg(long, env = "OPENAI_BASE_URL", default_value = OPENAI_BASE_URL, value_name = "URL",
          hide_env_values = true)]
    pub openai_base_url: String,

    /// Provider of --model: `anthropic` or `openai`. By default the one whose key is given; with both keys,
    /// or none, Anthropic.
    #[arg(long, env = "CHATPLANE_PROVIDER", value_name = "PROVIDER")]
    pub provider: Option<String>,

    /// The provider's name of the model that chats use by default. It is written to the table of models at
    /// each start; without it the table stays as it is.
    #[arg(long, env = "CHATPLANE_MODEL", value_name = "NAME")]
    pub model: Option<String>,

    /// Tokens that fit the model's context.
    #[arg(long, env = "CHATPLANE_MODEL_CONTEXT_TOKENS", default_value_t = 200_000, value_name = "TOKENS",
          value_parser = clap::value_parser!(i64).range(1..=100_000_000))]
    pub model_context_tokens: i64,

    /// Tokens that an answer of the model may have. 0 leaves it to the provider: over OpenAI's Chat
    /// Completions no bound is sent then, since many servers refuse one above their own; Anthropic's API must
    /// have one, and gets 32000.
    #[arg(long, env = "CHATPLANE_MODEL_OUTPUT_TOKENS", default_value_t = 0, value_name = "TOKENS",
          value_parser = clap::value_parser!(i64).range(0..=10_000_000))]
    pub model_output_tokens: i64,

    /// Seconds that the model's first token may take; over Chat Completions at least as many as a silence,
    /// for hidden thinking sends nothing.
    #[arg(long, env = "CHATPLANE_MODEL_FIRST_TOKEN_TIMEOUT", default_value_t = 120, value_name = "SECONDS",
          value_parser = clap::value_parser!(i64).range(1..=3600))]
    pub model_first_token_timeout: i64,

    /// Seconds that the model may be silent after that.
    #[arg(long, env = "CHATPLANE_MODEL_SILENCE_TIMEOUT", default_value_t = 300, value_name = "SECONDS",
          value_parser = clap::value_parser!(i64).range(1..=3600))]
    pub model_silence_timeout: i64,

    /// Whether a model writes a title for each new chat. Without, a chat is called by the first words of its
    /// first message, until somebody asks for a title.
    #[arg(long, env = "CHATPLANE_GENERATE_TITLES", default_value_t = true, value_name = "true|false",
          value_parser = clap::builder::BoolishValueParser::new(), action = clap::ArgAction::Set)]
    pub generate_titles: bool,

    /// Name of the model that writes titles; a small one will do. By default, and where it cannot be used,
    /// it is the chat's own.
    #[arg(long, env = "CHATPLANE_TITLE_MODEL", value_name = "NAME")]
    pub title_model: Option<String>,

    /// Messages that the queue of a chat may hold.
    #[arg(long, env = "CHATPLANE_QUEUE_MAX", default_value_t = 50, value_name = "N",
          value_parser = clap::value_parser!(u16).range(1..=200))]
    pub queue_max: u16,

    /// Chats of one user that run at a time; 0 for as many as there are slots. The others wait for their
    /// turn. It is soft: one more may run for each write that is under way at the same moment.
    #[arg(long, env = "CHATPLANE_OWNER_RUNNING_MAX", default_value_t = 0, value_name = "N")]
    pub owner_running_max: u32,

    /// The same of one organization.
    #[arg(long, env = "CHATPLANE_ORGANIZATION_RUNNING_MAX", default_value_t = 0, value_name = "N")]
    pub organization_running_max: u32,

    /// Bytes that a file may have which a user uploads.
    #[arg(long, env = "CHATPLANE_FILE_BYTES_MAX", default_value_t = 10_485_760, value_name = "BYTES",
          value_parser = clap::value_parser!(u32).range(1..=104_857_600))]
    pub file_bytes_max: u32,

    /// Files that the messages of a chat may refer to.
    #[arg(long, env = "CHATPLANE_FILES_PER_CHAT_MAX", default_value_t = 100, value_name = "N",
          value_parser = clap::value_parser!(u16).range(0..=1000))]
    pub files_per_chat_max: u16,

    /// Listen without TLS on an address that is not loopback: tokens and chats cross the network readable.
    #[arg(long, env = "CHATPLANE_ALLOW_PLAINTEXT", value_parser = clap::builder::FalseyValueParser::new(),
          action = clap::ArgAction::SetTrue)]
    pub allow_plaintext: bool,

    /// Certificate chain of the server, PEM.
    #[arg(long, env = "CHATPLANE_TLS_CERT", requires = "tls_key", value_name = "FILE")]
    pub tls_cert: Option<PathBuf>,

    /// Private key of the certificate, PEM.
    #[arg(long, env = "CHATPLANE_TLS_KEY", requires = "tls_cert", value_name = "FILE")]
    pub tls_key: Option<PathBuf>,

    /// Address at which Prometheus finds metrics, at the path /metrics: chats that wait for a worker, how long
    /// the oldest has waited, workers and their slots. Plain HTTP without a token: choose an address that only
    /// your monitoring reaches. Without it there are none.
    #[arg(long, env = "CHATPLANE_METRICS_LISTEN", value_name = "ADDRESS")]
    pub metrics_listen: Option<SocketAddr>,

    /// Address at which other replicas reach this one, `http://host:port` or `https://host:port`. Without it a
    /// watcher sees live parts only where the chat's worker is connected, and a tool runs only where its
    /// workspace's agent is; give it where there is more than one replica.
    #[arg(long, env = "CHATPLANE_ADVERTISE", value_name = "URL")]
    pub advertise: Option<String>,

    /// Certificates of the authorities that sign other replicas' certificates, PEM. By default public ones.
    #[arg(long, env = "CHATPLANE_PEER_CA_CERT", value_name = "FILE")]
    pub peer_ca_cert: Option<PathBuf>,

    /// Seconds that open streams get to end when the replica stops.
    #[arg(long, env = "CHATPLANE_DRAIN_TIMEOUT", default_value_t = 10, value_name = "SECONDS",
          value_parser = clap::value_parser!(u64).range(0..=3600))]
    pub drain_timeout: u64,

    /// Milliseconds that a worker may be gone before its chats go to others.
    #[arg(long, env = "CHATPLANE_SESSION_GRACE_MS", default_value_t = 500, value_name = "MILLISECONDS",
          value_parser = clap::value_parser!(u64).range(0..=8000))]
    pub session_grace_ms: u64,
}

/// A setting that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// Plaintext on a public address.
    #[error(
        "{0} is not a loopback address: give --tls-cert and --tls-key, or --allow-plaintext if a proxy adds TLS"
    )]
    Plaintext(SocketAddr),
    /// A certificate or key that cannot be read.
    #[error("{path} cannot be read, check --tls-cert and --tls-key")]
    Tls {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// Certificates of authorities that cannot be read, or are none.
    #[error("{path} holds no PEM certificate that can be read, check --peer-ca-cert")]
    PeerCaCert {
        /// The file.
        path: PathBuf,
        /// Why it cannot be read, if it is that.
        #[source]
        source: Option<io::Error>,
    },
    /// A base URL that is none.
    #[error("{flag} ({variable}) must begin with http:// or https:// and name a host")]
    BaseUrl {
        /// The flag.
        flag: &'static str,
        /// Its variable.
        variable: &'static str,
    },
    /// A database URL that is none.
    #[error(
        "--listener-database-url (CHATPLANE_LISTENER_DATABASE_URL), or --database-url in its place, cannot be used"
    )]
    ListenerUrl(#[source] TargetError),
    /// A pooler that shares sessions, and no way around it.
    #[error(
        "--no-statement-cache (CHATPLANE_NO_STATEMENT_CACHE) is for a pooler in transaction mode: give \
         --listener-database-url (CHATPLANE_LISTENER_DATABASE_URL), the same database without the pooler, too"
    )]
    NoListenerUrl,
    /// A provider that is none.
    #[error("--provider (CHATPLANE_PROVIDER) must be anthropic or openai, not {0:?}")]
    Provider(String),
}

impl Config {
    /// The server's certificate, if it has one.
    pub(crate) fn identity(&self, address: SocketAddr) -> Result<Option<Identity>, ConfigError> {
        let (Some(cert), Some(key)) = (&self.tls_cert, &self.tls_key) else {
            if !address.ip().is_loopback() && !self.allow_plaintext {
                return Err(ConfigError::Plaintext(address));
            }
            return Ok(None);
        };
        Ok(Some(Identity::from_pem(read(cert)?, read(key)?)))
    }

    /// Where a session of the database is one's own.
    pub(crate) fn listener_database_url(&self) -> &str {
        given(self.listener_database_url.as_ref()).unwrap_or(&self.database_url)
    }

    /// The same, for the connections of hints.
    pub(crate) fn hints(&self) -> Result<Target, ConfigError> {
        if self.no_statement_cache && given(self.listener_database_url.as_ref()).is_none() {
            return Err(ConfigError::NoListenerUrl);
        }
        Target::parse(self.listener_database_url()).map_err(ConfigError::ListenerUrl)
    }

    /// The model that the flags name.
    pub(crate) fn model(&self) -> Result<Option<ModelRow>, ConfigError> {
        let provider = self.model_provider()?;
        let Some(name) = given(self.model.as_ref()) else {
            return Ok(None);
        };
        let endpoint = provider.endpoint(self)?;
        tracing::info!(model = name, provider = provider.name(), "chats use this model by default");
        if provider.key(self).is_none() {
            tracing::warn!(variable = provider.key_variable(), "the default model's provider has no key");
        }
        Ok(Some(ModelRow {
            name: name.clone(),
            provider: provider.name().to_owned(),
            endpoint,
            provider_model: name.clone(),
            is_default: true,
            context_tokens_max: self.model_context_tokens,
            output_tokens_max: provider.output_tokens_max(self),
            first_token_timeout_ms: self.model_first_token_timeout * 1000,
            silence_timeout_ms: self.model_silence_timeout * 1000,
            compaction_threshold_percent: None,
        }))
    }

    /// The provider that `--model` belongs to.
    fn model_provider(&self) -> Result<ProviderName, ConfigError> {
        if let Some(name) = given(self.provider.as_ref()) {
            return ProviderName::parse(name.trim()).ok_or_else(|| ConfigError::Provider(name.clone()));
        }
        let anthropic = ProviderName::Anthropic.key(self).is_some();
        let openai = ProviderName::OpenAi.key(self).is_some();
        if anthropic && openai && given(self.model.as_ref()).is_some() {
            tracing::info!(
                "ANTHROPIC_API_KEY and OPENAI_API_KEY are both given: --model is Anthropic's, \
                 --provider (CHATPLANE_PROVIDER) chooses another"
            );
        }
        Ok(if openai && !anthropic { ProviderName::OpenAi } else { ProviderName::Anthropic })
    }

    /// How the database is reached.
    pub(crate) fn database(&self, limits: &Limits) -> Database<'_> {
        Database {
            url: &self.database_url,
            read_url: given(self.read_database_url.as_ref()).map(String::as_str),
            connections_max: self.database_connections,
            use_max: limits.database_use_max,
            front: if self.no_statement_cache { Front::Pooler } else { Front::None },
        }
    }

    /// Where other replicas reach this one.
    pub(crate) fn advertise(&self) -> Result<Option<String>, ConfigError> {
        let Some(address) = given(self.advertise.as_ref()) else {
            return Ok(None);
        };
        let address = address.trim();
        let is_url = address
            .parse::<http::Uri>()
            .is_ok_and(|uri| matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some());
        if is_url && address.len() <= ADVERTISE_BYTES_MAX {
            return Ok(Some(address.to_owned()));
        }
        Err(ConfigError::BaseUrl { flag: "--advertise", variable: "CHATPLANE_ADVERTISE" })
    }

    /// The authorities that other replicas' certificates are signed by.
    pub(crate) fn peer_ca_cert(&self) -> Result<Option<String>, ConfigError> {
        let Some(path) = &self.peer_ca_cert else {
            return Ok(None);
        };
        let invalid = |source| ConfigError::PeerCaCert { path: path.clone(), source };
        let pem = fs::read_to_string(path).map_err(|source| invalid(Some(source)))?;
        // A file without any would be taken, and then no replica be trusted.
        if pem.contains("-----BEGIN CERTIFICATE-----") { Ok(Some(pem)) } else { Err(invalid(None)) }
    }

    /// How many chats run at a time.
    pub(crate) fn caps(&self) -> Caps {
        let max = |max: u32| (max > 0).then_some(i64::from(max));
        Caps {
            owner_running_max: max(self.owner_running_max),
            organization_running_max: max(self.organization_running_max),
        }
    }

    /// Whether titles are written, and by which model.
    pub(crate) fn titles(&self) -> TitleSettings {
        TitleSettings { generate: self.generate_titles, model: given(self.title_model.as_ref()).cloned() }
    }

    /// The keys that the flags name.
    pub(crate) fn credentials(&self) -> Credentials {
        let keys = ProviderName::ALL.into_iter().filter_map(|provider| {
            let key = provider.key(self)?;
            Some((provider.name().to_owned(), key.to_owned()))
        });
        Credentials::new(keys.collect())
    }
}

/// An empty variable counts as none: compose files set them so.
fn given(value: Option<&String>) -> Option<&String> {
    value.filter(|value| !value.trim().is_empty())
}

fn read(path: &PathBuf) -> Result<Vec<u8>, ConfigError> {
    fs::read(path).map_err(|source| ConfigError::Tls { path: path.clone(), source })
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The database's URL and the keys are secrets; a base URL may hold a password.
        f.debug_struct("Config")
            .field("listen", &self.listen)
            .field("model", &self.model)
            .field("provider", &self.provider)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;

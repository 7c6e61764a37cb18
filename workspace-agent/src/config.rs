//! The flags of the workspace agent. Each is also an environment variable.

use std::{
    fmt,
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
};

use clap::builder::BoolishValueParser;

/// A token is some dozens of characters; a larger file is another file.
const TOKEN_FILE_BYTES_MAX: u64 = 64 * 1024;

const GIVEN_DIRECTLY: &str = "--token (CHATPLANE_WORKSPACE_TOKEN)";
const GIVEN_BY_FILE: &str = "--token-file (CHATPLANE_WORKSPACE_TOKEN_FILE)";

/// How to run a workspace agent.
#[derive(Clone, clap::Args)]
pub struct Config {
    /// URL of the control plane: `https://host:port`, or `http://` on this machine.
    #[arg(
        long,
        env = "CHATPLANE_CONTROL_PLANE",
        value_name = "URL",
        default_value = "http://127.0.0.1:7400"
    )]
    pub control_plane: String,

    /// Token of this workspace's agent. Other users of the machine may see the flag in the process
    /// list: prefer the variable or `--token-file`.
    #[arg(long, env = "CHATPLANE_WORKSPACE_TOKEN", value_name = "TOKEN", hide_env_values = true)]
    pub token: Option<String>,

    /// File that holds the token, instead of `--token`. White space around it is ignored.
    #[arg(long, env = "CHATPLANE_WORKSPACE_TOKEN_FILE", value_name = "FILE")]
    pub token_file: Option<PathBuf>,

    /// Directory to serve. Paths that are given to tools must lie inside it, and commands start there;
    /// what a command reaches is up to the rights of the user that the agent runs as.
    #[arg(long, env = "CHATPLANE_WORKSPACE_DIR", value_name = "DIR", default_value = ".")]
    pub dir: PathBuf,

    /// Offer only the tools that read: no file is written, and no command is run.
    #[arg(long, env = "CHATPLANE_WORKSPACE_READ_ONLY", value_parser = BoolishValueParser::new())]
    pub read_only: bool,

    /// Let the paths that are given to tools lead outside the directory: absolute ones, `..`, symbolic links.
    ///
    /// Without it such paths are refused. It is no wall around commands: a command that is run in the
    /// directory can reach whatever the user that the agent runs as can reach, with this flag and without.
    /// Run the agent as a user of its own, or in a container, to confine commands too.
    #[arg(long, env = "CHATPLANE_WORKSPACE_ALLOW_OUTSIDE", value_parser = BoolishValueParser::new())]
    pub allow_outside: bool,

    /// Hand this variable of the agent's environment down to commands. May be given several times; the
    /// variable CHATPLANE_WORKSPACE_PASS_ENV takes names separated by commas.
    ///
    /// Commands start with a short list of harmless variables (PATH, HOME, LANG and the like), so that no
    /// key, token or password of the agent's environment reaches them. Names that begin with CHATPLANE_,
    /// ANTHROPIC_ or OPENAI_ are refused.
    #[arg(long, env = "CHATPLANE_WORKSPACE_PASS_ENV", value_name = "NAME", value_delimiter = ',')]
    pub pass_env: Vec<String>,

    /// Directory of the journal, which remembers the calls that changed something, so that none runs twice.
    /// It must not lie inside the directory that is served.
    ///
    /// Default: `chatplane` below $XDG_STATE_HOME or `~/.local/state`; as root,
    /// `/var/lib/chatplane-workspace-agent`.
    #[arg(long, env = "CHATPLANE_WORKSPACE_STATE_DIR", value_name = "DIR")]
    pub state_dir: Option<PathBuf>,

    /// Allow `http://` to another machine. Token, files and answers then cross the network unprotected.
    #[arg(long, env = "CHATPLANE_ALLOW_PLAINTEXT", value_parser = BoolishValueParser::new())]
    pub allow_plaintext: bool,

    /// PEM file of the certificate authority of an `https://` control plane, trusted instead of the
    /// public ones.
    #[arg(long, env = "CHATPLANE_CA_CERT", value_name = "FILE")]
    pub ca_cert: Option<PathBuf>,
}

/// What is wrong with the flags, in one sentence for the operator.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// No token.
    #[error(
        "no workspace token: give --token or --token-file, \
         or set CHATPLANE_WORKSPACE_TOKEN or CHATPLANE_WORKSPACE_TOKEN_FILE"
    )]
    TokenMissing,
    /// Two tokens, of which one would be ignored.
    #[error("two workspace tokens: give {GIVEN_DIRECTLY} or {GIVEN_BY_FILE}, not both")]
    TokenGivenTwice,
    /// The token's file cannot be read.
    #[error("the file {path:?} of {GIVEN_BY_FILE} cannot be read")]
    TokenFile {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The token cannot be one.
    #[error("the token given by {given_by} is empty or holds characters that no token has")]
    TokenMalformed {
        /// The flag and the variable.
        given_by: &'static str,
    },
    /// The URL cannot be dialled.
    #[error("--control-plane (CHATPLANE_CONTROL_PLANE) must be http://host:port or https://host:port")]
    Url,
    /// The token would cross a network in the clear.
    #[error(
        "refusing plaintext http:// to {host}, which is not this machine: \
         use https://, or give --allow-plaintext"
    )]
    Plaintext {
        /// The host.
        host: String,
    },
    /// The certificate cannot be used.
    #[error("the file {path:?} of --ca-cert (CHATPLANE_CA_CERT) cannot be used")]
    CaCert {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Our own variables are not for commands.
    #[error(
        "--pass-env (CHATPLANE_WORKSPACE_PASS_ENV) cannot pass {name}: \
         variables of chatplane hold its tokens, and are not for commands"
    )]
    PassEnvOurs {
        /// The variable.
        name: String,
    },
    /// A variable of a model provider.
    #[error(
        "--pass-env (CHATPLANE_WORKSPACE_PASS_ENV) cannot pass {name}: \
         variables of model providers hold their keys, and are not for commands"
    )]
    PassEnvProvider {
        /// The variable.
        name: String,
    },
    /// A value was given, or something else that names no variable.
    #[error("--pass-env (CHATPLANE_WORKSPACE_PASS_ENV) takes names of variables, without `=` and values")]
    PassEnvMalformed,
    /// TLS cannot be set up.
    #[error("TLS to the control plane cannot be set up")]
    Tls(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The directory cannot be served.
    #[error("the directory {path:?} of --dir (CHATPLANE_WORKSPACE_DIR) cannot be served")]
    Dir {
        /// The directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// A token, and by which flag it came. It has no `Debug`, so that no log can hold it.
pub(crate) struct Token {
    pub(crate) secret: String,
    pub(crate) given_by: &'static str,
}

impl Config {
    /// The one token that was given. An empty variable counts as none: compose files set them so.
    pub(crate) fn bearer(&self) -> Result<Token, ConfigError> {
        let direct = self.token.as_deref().map(str::trim).filter(|token| !token.is_empty());
        let file = self.token_file.as_deref().filter(|path| !path.as_os_str().is_empty());
        match (direct, file) {
            (None, None) => Err(ConfigError::TokenMissing),
            (Some(_), Some(_)) => Err(ConfigError::TokenGivenTwice),
            (Some(token), None) => Ok(Token { secret: token.to_owned(), given_by: GIVEN_DIRECTLY }),
            (None, Some(path)) => {
                let secret = read_token(path)
                    .map_err(|source| ConfigError::TokenFile { path: path.to_owned(), source })?;
                Ok(Token { secret, given_by: GIVEN_BY_FILE })
            }
        }
    }
}

fn read_token(path: &Path) -> io::Result<String> {
    let mut content = String::new();
    File::open(path)?.take(TOKEN_FILE_BYTES_MAX).read_to_string(&mut content)?;
    Ok(content.trim().to_owned())
}

impl fmt::Debug for Config {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            control_plane,
            token,
            token_file,
            dir,
            read_only,
            allow_outside,
            pass_env,
            state_dir,
            allow_plaintext,
            ca_cert,
        } = self;
        formatter
            .debug_struct("Config")
            .field("control_plane", control_plane)
            .field("token", &token.as_ref().map(|_| "(hidden)"))
            .field("token_file", token_file)
            .field("dir", dir)
            .field("read_only", read_only)
            .field("allow_outside", allow_outside)
            .field("pass_env", pass_env)
            .field("state_dir", state_dir)
            .field("allow_plaintext", allow_plaintext)
            .field("ca_cert", ca_cert)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Program {
        #[command(flatten)]
        config: Config,
    }

    fn parse(flags: &[&str]) -> Config {
        Program::try_parse_from([&["agent"], flags].concat()).unwrap().config
    }

    #[test]
    fn defaults_are_this_machine_and_the_current_directory() {
        let config = parse(&["--token", "secret"]);

        assert_eq!(config.control_plane, "http://127.0.0.1:7400");
        assert_eq!(config.dir, Path::new("."));
        assert!(!config.allow_plaintext);
        assert!(parse(&["--allow-plaintext"]).allow_plaintext);
    }

    #[test]
    fn an_agent_may_write_and_stays_inside_unless_told_otherwise() {
        let usual = parse(&[]);
        assert!(!usual.read_only && !usual.allow_outside && usual.pass_env.is_empty());

        let told = parse(&["--read-only", "--allow-outside", "--pass-env", "A,B", "--pass-env", "C"]);
        assert!(told.read_only && told.allow_outside);
        assert_eq!(told.pass_env, ["A", "B", "C"]);
    }

    #[test]
    fn debug_never_shows_the_token() {
        let shown = format!("{:?}", parse(&["--token", "cp_very_secret"]));

        assert!(!shown.contains("very_secret"), "{shown}");
    }

    #[test]
    fn a_token_from_a_file_is_trimmed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        std::fs::write(&path, "  cp_abc\n").unwrap();

        let token = parse(&["--token-file", path.to_str().unwrap()]).bearer().unwrap();

        assert_eq!(token.secret, "cp_abc");
        assert_eq!(token.given_by, GIVEN_BY_FILE);
    }

    #[test]
    fn exactly_one_token_is_needed() {
        let none = parse(&[]).bearer().err().unwrap();
        let two = parse(&["--token", "a", "--token-file", "b"]).bearer().err().unwrap();
        let lost = parse(&["--token-file", "/does/not/exist"]).bearer().err().unwrap();

        assert!(matches!(none, ConfigError::TokenMissing), "{none}");
        assert!(matches!(two, ConfigError::TokenGivenTwice), "{two}");
        assert!(matches!(lost, ConfigError::TokenFile { .. }), "{lost}");
    }

    #[test]
    fn an_empty_token_variable_counts_as_none() {
        let error = parse(&["--token", ""]).bearer().err().unwrap();

        assert!(matches!(error, ConfigError::TokenMissing), "{error}");
    }
}

//! The flags of `chatplane dev`.

use std::path::PathBuf;

use clap::{ArgAction::SetTrue, Args, builder::FalseyValueParser};

use crate::dev::DevError;

/// What variables begin with that hold keys and tokens.
const SECRET_PREFIXES: [&str; 3] = ["CHATPLANE_", "ANTHROPIC_", "OPENAI_"];

/// The port of `dev`'s control plane, unless it is taken.
pub(crate) const PORT_DEFAULT: u16 = 7400;

/// Settings of `chatplane dev`. It has no `Debug`, so that no log can hold a key.
#[derive(Args)]
pub(crate) struct Options {
    /// Run this prompt and end; `-` reads it from standard input, to its end. At most 256 KiB. Without it
    /// `dev` opens a chat in the terminal, or serves where there is none.
    #[arg(long, env = "CHATPLANE_PROMPT", value_name = "TEXT", hide_env_values = true)]
    pub(crate) prompt: Option<String>,

    /// The provider's name of the model that answers. By default claude-sonnet-4-6 at Anthropic and gpt-5.1
    /// at OpenAI. Needs a key: the demo model has no other name.
    #[arg(long, env = "CHATPLANE_MODEL", value_name = "NAME")]
    pub(crate) model: Option<String>,

    /// Directory that the agent works in.
    #[arg(long, env = "CHATPLANE_WORKSPACE_DIR", value_name = "DIR", default_value = ".")]
    pub(crate) dir: PathBuf,

    /// Let the agent read only: no tool that writes files or runs commands.
    #[arg(long, env = "CHATPLANE_WORKSPACE_READ_ONLY", value_parser = FalseyValueParser::new(), action = SetTrue)]
    pub(crate) read_only: bool,

    /// Let the agent's file tools leave the directory, for everything that you may read and write. Commands
    /// are not kept inside it either way.
    #[arg(long, env = "CHATPLANE_WORKSPACE_ALLOW_OUTSIDE", value_parser = FalseyValueParser::new(), action = SetTrue)]
    pub(crate) allow_outside: bool,

    /// Hand this variable of your environment down to the agent's commands, beside the harmless ones that they
    /// get anyway. May be given several times; the variable takes names separated by commas. Names that begin
    /// with CHATPLANE_, ANTHROPIC_ or OPENAI_ are refused.
    #[arg(long, env = "CHATPLANE_WORKSPACE_PASS_ENV", value_name = "NAME", value_delimiter = ',')]
    pub(crate) pass_env: Vec<String>,

    /// Where the database, tokens and logs are kept, outside the directory that the agent works in. By
    /// default `chatplane` in the user's data directory (`$XDG_DATA_HOME` or `~/.local/share`), and
    /// `/var/lib/chatplane` as root. One `dev` at a time may use it.
    #[arg(long, env = "CHATPLANE_DATA_DIR", value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,

    /// Start afresh: first delete all chats, tokens and logs that `dev` keeps in the data directory.
    #[arg(long, env = "CHATPLANE_RESET", value_parser = FalseyValueParser::new(), action = SetTrue)]
    pub(crate) reset: bool,

    /// Port of the control plane on 127.0.0.1; 0 for any. By default 7400, or another one if that is taken.
    #[arg(long, env = "CHATPLANE_PORT", value_name = "PORT")]
    pub(crate) port: Option<u16>,

    /// Directory of PostgreSQL's `initdb` and `postgres`. By default the newest installed ones.
    #[arg(long, env = "CHATPLANE_POSTGRES_BIN_DIR", value_name = "DIR")]
    pub(crate) postgres_bin_dir: Option<PathBuf>,

    /// Use this database instead of a private PostgreSQL, `postgres://user:password@host/name`. Not for one
    /// that others use: the model of `dev` becomes its default model. Other users of the machine may see the
    /// flag in the process list: prefer the variable.
    #[arg(long, env = "CHATPLANE_DATABASE_URL", value_name = "URL", hide_env_values = true)]
    pub(crate) database_url: Option<String>,

    /// Key of Anthropic's API. With it Anthropic answers, also when there is a key of OpenAI. Other users of
    /// the machine may see the flag in the process list: prefer the variable.
    #[arg(long, env = "ANTHROPIC_API_KEY", value_name = "KEY", hide_env_values = true)]
    pub(crate) anthropic_api_key: Option<String>,

    /// Address of Anthropic's API, or of a server that speaks like it. By default https://api.anthropic.com.
    #[arg(long, env = "ANTHROPIC_BASE_URL", value_name = "URL", hide_env_values = true)]
    pub(crate) anthropic_base_url: Option<String>,

    /// Key of OpenAI's API. With it, and without a key of Anthropic, OpenAI answers. Other users of the
    /// machine may see the flag in the process list: prefer the variable.
    #[arg(long, env = "OPENAI_API_KEY", value_name = "KEY", hide_env_values = true)]
    pub(crate) openai_api_key: Option<String>,

    /// Address of OpenAI's API, or of a server that speaks like it (Chat Completions); what comes before
    /// `/chat/completions`. By default https://api.openai.com/v1.
    #[arg(long, env = "OPENAI_BASE_URL", value_name = "URL", hide_env_values = true)]
    pub(crate) openai_base_url: Option<String>,
}

impl Options {
    /// Refuses what cannot be meant. Done by hand where clap would repeat a value, which may be a secret, or
    /// take a variable that says no for a flag that was given.
    pub(crate) fn check(&self) -> Result<(), DevError> {
        if self.database_url.is_some() {
            if self.reset {
                return Err(DevError::NoPrivateDatabase { flag: "--reset (CHATPLANE_RESET)" });
            }
            if self.postgres_bin_dir.is_some() {
                return Err(DevError::NoPrivateDatabase {
                    flag: "--postgres-bin-dir (CHATPLANE_POSTGRES_BIN_DIR)",
                });
            }
        }
        self.passed_names().try_for_each(check_passed_name)
    }

    /// The variables that are handed down to commands.
    pub(crate) fn passed_names(&self) -> impl Iterator<Item = &str> {
        self.pass_env.iter().map(|name| name.trim()).filter(|name| !name.is_empty())
    }
}

fn check_passed_name(name: &str) -> Result<(), DevError> {
    // What follows the sign is a value, and stays out of every message.
    if name.contains(['=', '\0']) {
        return Err(DevError::PassEnvMalformed);
    }
    if SECRET_PREFIXES.iter().any(|prefix| name.starts_with(prefix)) {
        return Err(DevError::PassEnvSecret { name: name.to_owned() });
    }
    Ok(())
}

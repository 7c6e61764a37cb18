//! The flags of `chatplane dev`.

use std::path::PathBuf;

use clap::Args;

/// The port of `dev`'s control plane, unless it is taken.
pub(crate) const PORT_DEFAULT: u16 = 7400;

/// Settings of `chatplane dev`. It has no `Debug`, so that no log can hold the key.
#[derive(Args)]
pub(crate) struct Options {
    /// What to ask. The answer goes to standard output, and `dev` ends. Without it `dev` serves.
    #[arg(long, env = "CHATPLANE_PROMPT", value_name = "TEXT", value_parser = prompt, hide_env_values = true)]
    pub(crate) prompt: Option<String>,

    /// The provider's name of the model that answers. Needs a key: the demo model has no other name.
    #[arg(long, env = "CHATPLANE_MODEL", value_name = "NAME")]
    pub(crate) model: Option<String>,

    /// Directory that the agent works in.
    #[arg(long, env = "CHATPLANE_WORKSPACE_DIR", value_name = "DIR", default_value = ".")]
    pub(crate) dir: PathBuf,

    /// Where the database, tokens and logs are kept, outside the directory that the agent works in. By
    /// default `chatplane` in the user's data directory (`$XDG_DATA_HOME` or `~/.local/share`), and
    /// `/var/lib/chatplane` as root. One `dev` at a time may use it.
    #[arg(long, env = "CHATPLANE_DATA_DIR", value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,

    /// Port of the control plane on 127.0.0.1; 0 for any. By default 7400, or another one if that is taken.
    #[arg(long, env = "CHATPLANE_PORT", value_name = "PORT")]
    pub(crate) port: Option<u16>,

    /// Directory of PostgreSQL's `initdb` and `postgres`. By default the newest installed ones.
    #[arg(long, env = "CHATPLANE_POSTGRES_BIN_DIR", value_name = "DIR")]
    pub(crate) postgres_bin_dir: Option<PathBuf>,

    /// Use this database instead of a private PostgreSQL, `postgres://user:password@host/name`. Not for one
    /// that others use: the model of `dev` becomes its default model. Other users of the machine may see the
    /// flag in the process list: prefer the variable.
    #[arg(
        long,
        env = "CHATPLANE_DATABASE_URL",
        value_name = "URL",
        hide_env_values = true,
        conflicts_with = "postgres_bin_dir"
    )]
    pub(crate) database_url: Option<String>,

    /// Key of Anthropic's API. Without one the built-in demo model answers. Other users of the machine may
    /// see the flag in the process list: prefer the variable.
    #[arg(long, env = "ANTHROPIC_API_KEY", value_name = "KEY", hide_env_values = true)]
    pub(crate) anthropic_api_key: Option<String>,

    /// Address of Anthropic's API, or of a server that speaks like it. By default https://api.anthropic.com.
    #[arg(long, env = "ANTHROPIC_BASE_URL", value_name = "URL")]
    pub(crate) anthropic_base_url: Option<String>,
}

fn prompt(text: &str) -> Result<String, &'static str> {
    /// What the API takes as one part of a message.
    const PROMPT_BYTES_MAX: usize = 256 * 1024;
    if text.trim().is_empty() {
        return Err("the prompt is empty");
    }
    if text.len() > PROMPT_BYTES_MAX {
        return Err("the prompt is longer than 256 KiB");
    }
    Ok(text.to_owned())
}

//! What can be typed after the client commands.

use std::path::PathBuf;

use chatplane_proto::chat::v1::{BusyBehavior, Effort};
use clap::{ArgAction::SetTrue, Args, ValueEnum, ValueHint, builder::FalseyValueParser};
use clap_complete::engine::ArgValueCandidates;
use uuid::Uuid;

use crate::completion;

/// Which control plane, and as whom.
#[derive(Args)]
pub(crate) struct Connection {
    #[command(flatten)]
    pub(crate) address: Address,

    /// File that holds the user's token. By default CHATPLANE_TOKEN, and then what `chatplane login` has kept.
    #[arg(long, env = "CHATPLANE_TOKEN_FILE", value_name = "FILE")]
    pub(crate) token_file: Option<PathBuf>,
}

/// Which control plane.
#[derive(Args)]
pub(crate) struct Address {
    /// Address of the control plane, `http://host:port` or `https://host:port`. By default that of `chatplane
    /// login`, and then http://127.0.0.1:7400.
    #[arg(long, env = "CHATPLANE_SERVER", value_name = "URL")]
    pub(crate) server: Option<String>,

    /// PEM file with the certificates that a control plane at `https://` is checked against. By default those
    /// of the public authorities.
    #[arg(long, env = "CHATPLANE_CA_CERT", value_name = "FILE")]
    pub(crate) ca_cert: Option<PathBuf>,

    /// Talk to a control plane on another host without TLS. The token and the chats then cross the network
    /// readable.
    #[arg(long, env = "CHATPLANE_ALLOW_PLAINTEXT", value_parser = FalseyValueParser::new(), action = SetTrue)]
    pub(crate) allow_plaintext: bool,
}

/// For whom to print.
#[derive(Args)]
pub(crate) struct Output {
    /// Print for programs: replies and events of `chatplane.chat.v1`, a JSON object a line, with the names of
    /// the contract's JSON form (`chatId`, `partAppend`). Words go to standard error.
    #[arg(long, env = "CHATPLANE_JSON", value_parser = FalseyValueParser::new(), action = SetTrue)]
    pub(crate) json: bool,
}

/// A chat that there is.
#[derive(Args)]
pub(crate) struct ChatId {
    /// Id of the chat. Without it, at a terminal, it is chosen from a list.
    #[arg(long, env = "CHATPLANE_CHAT", value_name = "ID", value_parser = uuid,
          add = ArgValueCandidates::new(completion::chats))]
    pub(crate) chat: Option<String>,
}

/// A chat that there is, or a new one.
#[derive(Args)]
pub(crate) struct AnyChat {
    /// Id of the chat. Without it a new one is made.
    #[arg(long, env = "CHATPLANE_CHAT", value_name = "ID", value_parser = uuid,
          add = ArgValueCandidates::new(completion::chats))]
    pub(crate) chat: Option<String>,

    /// Id of the workspace whose tools the agent of a new chat may use.
    #[arg(long, env = "CHATPLANE_CHAT_WORKSPACE", value_name = "ID", value_parser = uuid)]
    pub(crate) workspace: Option<String>,

    /// Name of the model that answers from here on. By default the chat's, or the deployment's default.
    #[arg(long, env = "CHATPLANE_CHAT_MODEL", value_name = "NAME")]
    pub(crate) model: Option<String>,

    /// How much the model should think from here on. By default as the chat or the model has it.
    #[arg(long, env = "CHATPLANE_CHAT_EFFORT", value_name = "EFFORT")]
    pub(crate) effort: Option<EffortName>,
}

/// How much a model should think.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum EffortName {
    Low,
    Medium,
    High,
}

impl From<EffortName> for Effort {
    fn from(name: EffortName) -> Self {
        match name {
            EffortName::Low => Self::Low,
            EffortName::Medium => Self::Medium,
            EffortName::High => Self::High,
        }
    }
}

/// What becomes of a message while a turn runs.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Busy {
    /// It waits until the turn ends.
    Queue,
    /// It joins the turn at its next step.
    Steer,
    /// The turn is stopped; then come the messages that wait, this one last.
    Interrupt,
}

impl From<Busy> for BusyBehavior {
    fn from(busy: Busy) -> Self {
        match busy {
            Busy::Queue => Self::Queue,
            Busy::Steer => Self::Steer,
            Busy::Interrupt => Self::Interrupt,
        }
    }
}

/// Files that go with a message.
#[derive(Args)]
pub(crate) struct Attached {
    /// Attach this file: an image (PNG, JPEG, GIF, WebP), a PDF, or text. May be given several times.
    #[arg(long = "file", env = "CHATPLANE_FILE", value_name = "PATH", value_hint = ValueHint::FilePath,
          num_args = 1)]
    pub(crate) files: Vec<PathBuf>,
}

/// `chatplane login`.
#[derive(Args)]
pub(crate) struct Login {
    #[command(flatten)]
    pub(crate) address: Address,

    #[command(flatten)]
    pub(crate) output: Output,
}

/// `chatplane chat`.
#[derive(Args)]
pub(crate) struct Chat {
    #[command(flatten)]
    pub(crate) connection: Connection,

    #[command(flatten)]
    pub(crate) chat: AnyChat,

    #[command(flatten)]
    pub(crate) attached: Attached,

    #[command(flatten)]
    pub(crate) output: Output,
}

/// `chatplane send`.
#[derive(Args)]
pub(crate) struct Send {
    /// The message; `-` reads it from standard input, to its end. At most 256 KiB. Files need none.
    #[arg(value_name = "TEXT", allow_hyphen_values = false, required_unless_present = "files")]
    pub(crate) text: Option<String>,

    #[command(flatten)]
    pub(crate) connection: Connection,

    #[command(flatten)]
    pub(crate) chat: AnyChat,

    #[command(flatten)]
    pub(crate) attached: Attached,

    /// What becomes of the message while a turn runs.
    #[arg(long, env = "CHATPLANE_SEND_BUSY", value_name = "HOW", default_value = "queue")]
    pub(crate) busy: Busy,

    /// End when the message has arrived, without its answer. Of a new chat the id is then printed, alone.
    #[arg(long, env = "CHATPLANE_SEND_NO_WAIT", value_parser = FalseyValueParser::new(), action = SetTrue)]
    pub(crate) no_wait: bool,

    #[command(flatten)]
    pub(crate) output: Output,
}

/// `chatplane watch`.
#[derive(Args)]
pub(crate) struct Watch {
    #[command(flatten)]
    pub(crate) connection: Connection,

    #[command(flatten)]
    pub(crate) chat: ChatId,

    /// How many of the last messages to begin with; -1 for all.
    #[arg(long, env = "CHATPLANE_WATCH_HISTORY", value_name = "COUNT", default_value_t = 50,
          allow_negative_numbers = true, value_parser = clap::value_parser!(i32).range(-1..))]
    pub(crate) history: i32,

    /// Begin after the event that had this cursor, as `--json` printed it.
    #[arg(long, env = "CHATPLANE_WATCH_CURSOR", value_name = "CURSOR")]
    pub(crate) cursor: Option<String>,

    #[command(flatten)]
    pub(crate) output: Output,
}

/// `chatplane interrupt` and `chatplane clear`.
#[derive(Args)]
pub(crate) struct OneChat {
    #[command(flatten)]
    pub(crate) connection: Connection,

    #[command(flatten)]
    pub(crate) chat: ChatId,

    #[command(flatten)]
    pub(crate) output: Output,
}

/// `chatplane fork`.
#[derive(Args)]
pub(crate) struct Fork {
    #[command(flatten)]
    pub(crate) connection: Connection,

    #[command(flatten)]
    pub(crate) chat: ChatId,

    /// Id of the last message to copy (`messageId` in `--json`). By default the newest.
    #[arg(long, env = "CHATPLANE_FORK_MESSAGE", value_name = "ID", value_parser = clap::value_parser!(i64).range(1..))]
    pub(crate) message: Option<i64>,

    #[command(flatten)]
    pub(crate) output: Output,
}

/// `chatplane compact`.
#[derive(Args)]
pub(crate) struct Compact {
    #[command(flatten)]
    pub(crate) connection: Connection,

    #[command(flatten)]
    pub(crate) chat: ChatId,

    /// End when the summary was asked for, without waiting for it.
    #[arg(long, env = "CHATPLANE_COMPACT_NO_WAIT", value_parser = FalseyValueParser::new(), action = SetTrue)]
    pub(crate) no_wait: bool,

    #[command(flatten)]
    pub(crate) output: Output,
}

pub(super) fn uuid(text: &str) -> Result<String, uuid::Error> {
    Uuid::try_parse(text).map(|id| id.to_string())
}

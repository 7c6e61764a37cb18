//! What can be typed after the commands for chats as a library: found, labelled, kept, with their files.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum, ValueHint};
use clap_complete::engine::ArgValueCandidates;

use super::client::{Connection, Output, uuid};
use crate::completion;

/// The commands.
#[derive(Subcommand)]
pub(crate) enum LibraryCommand {
    /// List your chats, or find them.
    ///
    /// Pinned ones come first, then those that changed last. A query is made of terms `key:value`, all of which
    /// must hold: `archived:true|false|any` (without it false), `state:`, `has_unread:`, `label:key=value`,
    /// `title:`, `model:`, `workspace:`, `created_after:`, `created_before:`, and `search:"words"`, which looks
    /// into everything that was said and shows where it stands. In a shell, quote it: 'search:"two words"'.
    ///
    /// The table has the place of a pinned chat, a `•` where an answer is not read, the chat's id, state, the
    /// time since its last change, title and labels. In a terminal it is a list to choose from: the arrow keys
    /// or j and k move, Enter opens the chat, `/` asks for another query, q leaves; it follows what happens to
    /// the chats. With `--all`, and where standard input or output is no terminal, it is printed.
    ///
    /// With `--json` each chat is a line (`ListedChat`).
    ///
    /// Exit codes: 0 when they were listed, also where there are none, 2 for wrong usage, 3 when the control
    /// plane cannot be used or refuses the query, 130 when interrupted.
    ///
    /// Security: titles, labels and texts are freed of what a terminal would obey, and of what turns text
    /// around.
    Chats(Chats),

    /// Show a chat: its title, state, labels and files.
    ///
    /// With `--json` it is the reply (`GetChatResponse`).
    ///
    /// Exit codes: 0 when it was shown, 2 for wrong usage, 3 when the control plane cannot be used or refuses
    /// it, 130 when interrupted.
    ///
    /// Security: as for `chatplane chats`.
    Show(Chat),

    /// Mark a chat as read: its answers so far are not new any more.
    ///
    /// Opening a chat does it, too.
    ///
    /// Exit codes: 0 when it is read, 2 for wrong usage, 3 when the control plane cannot be used or refuses it,
    /// 130 when interrupted.
    ///
    /// Security: what you have read is your own; nobody else sees it.
    #[command(mut_arg("chat", |chat| chat.add(ArgValueCandidates::new(completion::unread_chats))))]
    Read(Chat),

    /// Archive a chat: it is no longer listed, and takes no messages. It must be idle.
    ///
    /// Exit codes: 0 when it is archived, 2 for wrong usage, 3 when the control plane cannot be used or refuses
    /// it, 130 when interrupted.
    ///
    /// Security: the operator may have archived chats deleted after some time.
    Archive(Chat),

    /// Bring an archived chat back.
    ///
    /// Exit codes: 0 when it is back, 2 for wrong usage, 3 when the control plane cannot be used or refuses it,
    /// 130 when interrupted.
    ///
    /// Security: nothing else changes.
    #[command(mut_arg("chat", |chat| chat.add(ArgValueCandidates::new(completion::archived_chats))))]
    Unarchive(Chat),

    /// Set and remove labels of a chat, or list them.
    ///
    /// Prints the labels that the chat has then, `key=value`, one a line.
    ///
    /// Exit codes: 0 when it is done, 2 for wrong usage, 3 when the control plane cannot be used or refuses it,
    /// 130 when interrupted.
    ///
    /// Security: a chat has one set of labels, which everybody sees who may see the chat.
    Label(Label),

    /// Pin a chat: it is listed before all that are not pinned.
    ///
    /// Exit codes: 0 when it is pinned, 2 for wrong usage, 3 when the control plane cannot be used or refuses
    /// it, 130 when interrupted.
    ///
    /// Security: pins are your own; nobody else sees them.
    Pin(Pin),

    /// Take the pin off a chat.
    ///
    /// Exit codes: 0 when it is not pinned, 2 for wrong usage, 3 when the control plane cannot be used or
    /// refuses it, 130 when interrupted.
    ///
    /// Security: pins are your own; nobody else sees them.
    Unpin(Chat),

    /// Upload files, download them, or list those of a chat.
    #[command(subcommand)]
    Files(FilesCommand),

    /// Print a script that has a shell complete commands, flags, and the ids of your chats.
    ///
    /// For bash: `source <(chatplane completions bash)` in `~/.bashrc`; for zsh the same in `~/.zshrc`; for fish
    /// `chatplane completions fish | source` in `~/.config/fish/config.fish`. The script asks `chatplane`, which
    /// asks the control plane for chats where one is to be named, and gives up after a second.
    ///
    /// Exit codes: 0 when it is printed, 2 for wrong usage, 3 when it cannot be written.
    ///
    /// Security: titles of chats appear in the shell beside their ids.
    Completions {
        /// Which shell.
        shell: Shell,
    },
}

/// What can be done with files.
#[derive(Subcommand)]
pub(crate) enum FilesCommand {
    /// Upload files, and print their ids.
    ///
    /// Images (PNG, JPEG, GIF, WebP), PDF, JSON, CSV, Markdown and plain text, up to what the operator allows
    /// (10 MiB where nothing else was set). `chatplane send --file` does it and attaches them.
    ///
    /// Exit codes: 0 when all are uploaded, 2 for wrong usage, 3 when a file cannot be read, or the control plane
    /// cannot be used or refuses one, 130 when interrupted.
    ///
    /// Security: a file is yours alone until you attach it to a message.
    Upload(Upload),

    /// Download a file.
    ///
    /// Exit codes: 0 when it is there, 2 for wrong usage, 3 when it cannot be written, or the control plane
    /// cannot be used or refuses it, 130 when interrupted.
    ///
    /// Security: a file that exists is never overwritten, and the name that the file was given leads to no
    /// other directory.
    Download(Download),

    /// List the files of a chat: their ids, sizes, types and names.
    ///
    /// Exit codes: 0 when they were listed, 2 for wrong usage, 3 when the control plane cannot be used or refuses
    /// it, 130 when interrupted.
    ///
    /// Security: names are freed of what a terminal would obey.
    List(Chat),
}

/// `chatplane chats`.
#[derive(Args)]
pub(crate) struct Chats {
    /// Which chats. Several words are terms of one query.
    #[arg(value_name = "QUERY")]
    pub(crate) query: Vec<String>,

    #[command(flatten)]
    pub(crate) connection: Connection,

    /// List all of them, not the first page alone.
    #[arg(long, env = "CHATPLANE_CHATS_ALL", value_parser = clap::builder::FalseyValueParser::new(),
          action = clap::ArgAction::SetTrue)]
    pub(crate) all: bool,

    #[command(flatten)]
    pub(crate) output: Output,
}

/// A chat that is named first.
#[derive(Args)]
pub(crate) struct Chat {
    /// Id of the chat. Without it, at a terminal, it is chosen from a list.
    #[arg(value_name = "CHAT", value_parser = uuid, add = ArgValueCandidates::new(completion::chats))]
    pub(crate) chat: Option<String>,

    #[command(flatten)]
    pub(crate) connection: Connection,

    #[command(flatten)]
    pub(crate) output: Output,
}

/// `chatplane label`.
#[derive(Args)]
pub(crate) struct Label {
    #[command(flatten)]
    pub(crate) chat: Chat,

    /// Labels to set. Keys have up to 64 letters, digits and `. _ / -`, values up to 256 characters.
    #[arg(value_name = "KEY=VALUE", value_parser = label)]
    pub(crate) set: Vec<(String, String)>,

    /// Remove the label with this key. May be given several times.
    #[arg(long, env = "CHATPLANE_LABEL_REMOVE", value_name = "KEY", num_args = 1)]
    pub(crate) remove: Vec<String>,
}

/// `chatplane pin`.
#[derive(Args)]
pub(crate) struct Pin {
    #[command(flatten)]
    pub(crate) chat: Chat,

    /// Its place among the pinned ones, from 1. By default the last.
    #[arg(long, env = "CHATPLANE_PIN_PLACE", value_name = "NUMBER", value_parser = clap::value_parser!(i32).range(1..))]
    pub(crate) place: Option<i32>,
}

/// `chatplane files upload`.
#[derive(Args)]
pub(crate) struct Upload {
    /// The files.
    #[arg(value_name = "PATH", required = true, value_hint = ValueHint::FilePath)]
    pub(crate) paths: Vec<PathBuf>,

    #[command(flatten)]
    pub(crate) connection: Connection,

    #[command(flatten)]
    pub(crate) output: Output,
}

/// `chatplane files download`.
#[derive(Args)]
pub(crate) struct Download {
    /// Id of the file.
    #[arg(value_name = "FILE", value_parser = uuid)]
    pub(crate) file: String,

    #[command(flatten)]
    pub(crate) connection: Connection,

    /// Where to: a file that does not exist, or `-` for standard output. By default the name that the file was
    /// given, in the current directory.
    #[arg(long = "output", env = "CHATPLANE_FILES_OUTPUT", value_name = "PATH", value_hint = ValueHint::FilePath)]
    pub(crate) output_path: Option<PathBuf>,

    #[command(flatten)]
    pub(crate) output: Output,
}

/// A shell that can be told what to complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Shell {
    Bash,
    Elvish,
    Fish,
    Powershell,
    Zsh,
}

fn label(text: &str) -> Result<(String, String), &'static str> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("a label is KEY=VALUE, for example team=river"),
    }
}

//! What a shell offers while a command is typed.
//!
//! `chatplane completions` prints a script that calls this program again, with `CHATPLANE_COMPLETE` set, whenever
//! something is to be completed. The answer then is what clap knows of the command line, and where a chat is to
//! be named, the chats that the control plane lists.

use std::{io, time::Duration};

use chatplane_proto::chat::v1::{ListChatsRequest, ListedChat};
use clap_complete::{CompleteEnv, engine::CompletionCandidate, env::Shells};
use tokio::{runtime, time::timeout};

use crate::{
    arguments::{
        self,
        client::{Address, Connection},
        library::Shell,
    },
    client::{
        connection::with_deadline,
        requests::{ARCHIVED, UNREAD},
        words::quote_name,
    },
    commands,
};

/// Set by the script.
const VARIABLE: &str = "CHATPLANE_COMPLETE";
/// How the script calls this program, and what it completes.
const PROGRAM: &str = "chatplane";
/// Nobody waits longer after a press of Tab.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(1);
/// What fits a screen.
const CHATS_OFFERED: i32 = 50;

/// Answers a shell, and ends the process, if one asks. Called before there is a second thread, as it takes the
/// variable out of the environment.
pub(crate) fn answer() {
    CompleteEnv::with_factory(arguments::command).var(VARIABLE).complete();
}

/// The script that has the shell ask.
pub(crate) fn script(shell: Shell) -> io::Result<Vec<u8>> {
    let name = match shell {
        Shell::Bash => "bash",
        Shell::Elvish => "elvish",
        Shell::Fish => "fish",
        Shell::Powershell => "powershell",
        Shell::Zsh => "zsh",
    };
    let shells = Shells::builtins();
    let shell = shells.completer(name).ok_or(io::ErrorKind::Unsupported)?;
    let mut script = Vec::new();
    shell.write_registration(VARIABLE, PROGRAM, PROGRAM, PROGRAM, &mut script)?;
    Ok(script)
}

/// The user's chats, the newest first. None where they cannot be had at once: a shell has no place for a reason.
pub(crate) fn chats() -> Vec<CompletionCandidate> {
    offered("")
}

/// Those that can be brought back.
pub(crate) fn archived_chats() -> Vec<CompletionCandidate> {
    offered(ARCHIVED)
}

/// Those with an answer that the user has not read.
pub(crate) fn unread_chats() -> Vec<CompletionCandidate> {
    offered(UNREAD)
}

/// The chats of a query.
fn offered(q: &'static str) -> Vec<CompletionCandidate> {
    let Ok(runtime) = runtime::Builder::new_current_thread().enable_all().build() else {
        return Vec::new();
    };
    let listed = runtime.block_on(async { timeout(ANSWER_TIME_MAX, listed(q)).await });
    listed.ok().flatten().unwrap_or_default().into_iter().enumerate().filter_map(candidate).collect()
}

async fn listed(q: &str) -> Option<Vec<ListedChat>> {
    let mut client = commands::client(&connection()).ok()?;
    let request = ListChatsRequest { page_size: CHATS_OFFERED, q: q.to_owned(), ..Default::default() };
    Some(client.list_chats(with_deadline(request)).await.ok()?.into_inner().chats)
}

/// What the environment says: the line that is being typed is not read for it.
fn connection() -> Connection {
    let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    let is_set =
        |name: &str| variable(name).is_some_and(|value| !["0", "false", "no"].iter().any(|no| value == *no));
    Connection {
        address: Address {
            server: variable("CHATPLANE_SERVER").and_then(|server| server.into_string().ok()),
            ca_cert: variable("CHATPLANE_CA_CERT").map(Into::into),
            allow_plaintext: is_set("CHATPLANE_ALLOW_PLAINTEXT"),
        },
        token_file: variable("CHATPLANE_TOKEN_FILE").map(Into::into),
    }
}

fn candidate((place, listed): (usize, ListedChat)) -> Option<CompletionCandidate> {
    let chat = listed.chat?;
    let title = quote_name(&chat.title);
    Some(CompletionCandidate::new(chat.chat_id).help(Some(title.into())).display_order(Some(place)))
}

//! The client commands: each a call or a few of a control plane that runs elsewhere.
//!
//! - `credentials`: what `login` keeps, and which address and token count;
//! - `login`, `chat`, `send`, `watch`, `act`: a command each, or a few that are one call;
//! - `chats`, `library`, `files`: the chats that there are, and what is kept with them;
//! - `observation`: a chat that is watched and printed.

use std::future::Future;

use tokio::select;

use crate::{
    client::{ClientError, exchange::Format, printer::Printer},
    exit::{Exit, chain, say},
    signals::Signals,
};

mod act;
mod chat;
mod chats;
mod credentials;
mod error;
mod files;
mod library;
mod login;
mod observation;
mod send;
mod watch;

use self::error::CommandError;
pub(crate) use self::{
    act::{clear, compact, fork, interrupt},
    chat::chat,
    credentials::client,
    library::library,
    login::login,
    send::send,
    watch::watch,
};
use crate::arguments::client::Output;

impl Output {
    fn format(&self) -> Format {
        if self.json { Format::Json } else { Format::Text }
    }
}

/// Runs a command, and says why it failed if it did.
async fn report(name: &str, command: impl Future<Output = Result<Exit, CommandError>>) -> Exit {
    match command.await {
        Ok(exit) => exit,
        Err(CommandError::Client(ClientError::Interrupted)) => {
            say("Interrupted.");
            Exit::Interrupted
        }
        Err(error) => {
            say(&format!("chatplane {name}: {}", chain(&error)));
            error.exit()
        }
    }
}

/// Prints a line on standard output.
async fn print(line: &str) -> Result<(), CommandError> {
    Printer::standard().line(line).await.map_err(|error| ClientError::Output(error).into())
}

/// Does the work, unless a signal comes first.
async fn unless_stopped(
    work: impl Future<Output = Result<(), CommandError>>,
    signals: &Signals,
) -> Result<Exit, CommandError> {
    let shutdown = signals.shutdown();
    select! {
        done = work => done.map(|()| Exit::Done),
        () = shutdown.cancelled() => Err(ClientError::Interrupted.into()),
    }
}

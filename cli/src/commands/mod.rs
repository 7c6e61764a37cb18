//! The client commands: each a call or a few of a control plane that runs elsewhere.
//!
//! - `credentials`: what `login` keeps, and which address and token count;
//! - `login`, `chat`, `send`, `watch`, `act`: a command each, or a few that are one call;
//! - `observation`: a chat that is watched and printed.

use std::future::Future;

use crate::{
    client::{ClientError, exchange::Format},
    exit::{Exit, chain, say},
};

mod act;
mod chat;
mod credentials;
mod error;
mod login;
mod observation;
mod send;
mod watch;

use self::error::CommandError;
pub(crate) use self::{
    act::{clear, compact, fork, interrupt},
    chat::chat,
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

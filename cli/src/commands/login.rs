//! `chatplane login`: checks a token, and keeps it.

use std::io::{self, BufRead as _, IsTerminal as _, Read as _, Write as _};

use chatplane_proto::chat::v1::ListModelsRequest;
use serde_json::json;
use tokio::{select, task::spawn_blocking};
use tokio_util::sync::CancellationToken;
use tonic::Code;

use super::{
    CommandError,
    credentials::{self, Kept, TOKEN_BYTES_MAX},
    report,
};
use crate::{
    arguments::client::Login,
    client::{
        ClientError,
        connection::{Bearer, Server, chat_client, with_deadline},
        exchange::Format,
        printer::Printer,
    },
    exit::{Exit, say},
    signals::Signals,
    terminal::Hidden,
};

/// Asks for a token, and keeps it when the control plane takes it.
pub(crate) async fn login(login: Login, signals: &Signals) -> Exit {
    report("login", run(login, &signals.shutdown())).await
}

async fn run(login: Login, shutdown: &CancellationToken) -> Result<Exit, CommandError> {
    let path = credentials::file().ok_or(CommandError::HomeUnknown)?;
    // What cannot be used is about to be replaced, but its owner is told.
    let kept = credentials::read(&path).unwrap_or_else(|error| {
        say(&error.to_string());
        None
    });
    let server = credentials::server(&login.address, kept.as_ref());
    let channel = server.channel()?;
    let token = read_token(&server, shutdown).await?;
    let bearer = Bearer::new(&token, "standard input")?;
    let check = chat_client(channel, bearer)
        .list_models(with_deadline(ListModelsRequest { page_size: 1, ..Default::default() }))
        .await;
    match check {
        Ok(_) => {}
        Err(status) if status.code() == Code::Unauthenticated => return Err(CommandError::LoginRefused),
        Err(status) => {
            return Err(CommandError::LoginUnchecked { server: server.address, status: Box::new(status) });
        }
    }
    let kept = Kept { server, token };
    credentials::write(&path, &kept)?;
    match login.output.format() {
        Format::Text => say(&format!("Logged in to {}. The token is kept in {path:?}.", kept.server.address)),
        Format::Json => {
            let line = json!({"server": kept.server.address, "file": path}).to_string();
            Printer::standard().line(&line).await.map_err(ClientError::Output)?;
        }
    }
    Ok(Exit::Done)
}

/// The token, typed unseen at a terminal, or all of standard input.
async fn read_token(server: &Server, shutdown: &CancellationToken) -> Result<String, CommandError> {
    let is_terminal = io::stdin().is_terminal();
    let hidden = is_terminal.then(|| {
        // Before the question: who answers at once, by pasting, is not shown either.
        let hidden = Hidden::begin();
        let mut stderr = io::stderr();
        // Who cannot see the question can still answer it.
        let _ = write!(stderr, "Token of a user of {}: ", server.address).and_then(|()| stderr.flush());
        hidden
    });
    let reading = spawn_blocking(move || {
        let mut token = String::new();
        let mut input = io::stdin().lock().take(TOKEN_BYTES_MAX);
        match is_terminal {
            true => input.read_line(&mut token),
            false => input.read_to_string(&mut token),
        }
        .map(|_| token)
    });
    let read = select! {
        read = reading => read.map_err(io::Error::other).and_then(|read| read),
        () = shutdown.cancelled() => Err(io::ErrorKind::Interrupted.into()),
    };
    if hidden.is_some() {
        // The line's end was not shown either.
        say("");
    }
    drop(hidden);
    if shutdown.is_cancelled() {
        return Err(ClientError::Interrupted.into());
    }
    let token = read.map_err(ClientError::InputUnread)?.trim().to_owned();
    if token.is_empty() { Err(CommandError::NoTokenGiven) } else { Ok(token) }
}

//! `chatplane dev`: everything on this machine, each role a process of its own.
//!
//! - `options`, `places`, `model`: what was asked for;
//! - `data_dir`, `identity`, `journals`, `reset`: what is kept between runs;
//! - `stack`: what runs, made of `database`, `role_process` and `environment`;
//! - `client`: it as a client of its own control plane, while that starts;
//! - `prompt`, `introduction`: one prompt, a chat in the terminal (which is that of `chatplane chat`), or just
//!   serving.
//!
//! The control plane inherits a socket that listens already. So the port is known before anything is started,
//! nobody can take it in between, and early requests wait in the socket instead of failing.

use std::{
    io::{self, ErrorKind},
    net::TcpListener,
    path::PathBuf,
};

use chatplane_embedded_postgres::Postgres;
use tokio::{select, task::spawn_blocking};

mod client;
mod data_dir;
mod database;
mod environment;
mod error;
mod identity;
mod introduction;
mod journals;
mod model;
mod options;
mod places;
mod prompt;
mod reset;
mod role_process;
mod stack;

use self::{
    data_dir::DataDir,
    error::DevError,
    introduction::Introduction,
    model::Model,
    options::PORT_DEFAULT,
    places::Places,
    prompt::Prompt,
    stack::{Plan, Ready, Stack},
};
pub(crate) use crate::dev::options::Options;
use crate::{
    client::{ClientError, exchange::Format, text},
    exit::{Exit, chain, say},
    signals::{Signals, StopSignal},
    terminal::{self, Beginning, Leaving, Settings},
};

const ROLE_LOG_DEFAULT: &str = "warn";

/// Runs `dev`, and stops everything it has started, however it ends.
pub(crate) async fn dev(options: Options, log: Option<&str>, signals: &Signals) -> Exit {
    match run(&options, log.unwrap_or(ROLE_LOG_DEFAULT), signals).await {
        Ok(exit) => exit,
        Err(DevError::Interrupted | DevError::Client(ClientError::Interrupted)) => {
            say("Interrupted.");
            Exit::Interrupted
        }
        Err(error) => {
            say(&format!("chatplane dev: {}", chain(&error)));
            error.exit()
        }
    }
}

async fn run(options: &Options, log: &str, signals: &Signals) -> Result<Exit, DevError> {
    options.check()?;
    let shutdown = signals.shutdown();
    let places = Places::find(options)?;
    let model = Model::choose(options);
    say(&model.first_line());
    let purpose = match &options.prompt {
        Some(given) => Purpose::Answer(text::read(given, "prompt", &shutdown).await?),
        None if terminal::is_there() => Purpose::Converse,
        None => Purpose::Serve,
    };
    if options.database_url.is_some() {
        say("The database of --database-url (CHATPLANE_DATABASE_URL) is used, and no private one.");
    }
    let data = DataDir::open(&places.data)?;
    let listener = listen(options.port)?;
    if options.reset {
        // Nothing is deleted for a start that would fail after it.
        require_postgres(options.postgres_bin_dir.clone()).await?;
        reset::reset(&data, &shutdown).await?;
    }
    let data = data.complete()?;

    let mut stack = Stack::default();
    let plan = Plan { options, places: &places, data: &data, model, listener, log };
    let result = match Box::pin(stack.start(plan, &shutdown)).await {
        Ok(ready) => {
            let introduction = Introduction::new(options, &places, &ready);
            Box::pin(fulfil(purpose, &mut stack, ready, &introduction, signals)).await
        }
        Err(error) => Err(error),
    };
    stack.stop().await;
    result
}

/// Fails when there are no programs of PostgreSQL to start. They are run to ask for their version.
async fn require_postgres(bin_dir: Option<PathBuf>) -> Result<(), DevError> {
    let found = spawn_blocking(move || Postgres::require_installed(bin_dir.as_deref())).await;
    found.map_err(|error| DevError::ResetFailed(Box::new(error)))?.map_err(DevError::from)
}

/// What this run is for.
enum Purpose {
    /// To answer one prompt.
    Answer(String),
    /// To chat with the person at the terminal.
    Converse,
    /// To be called by others.
    Serve,
}

async fn fulfil(
    purpose: Purpose,
    stack: &mut Stack,
    ready: Ready,
    introduction: &Introduction,
    signals: &Signals,
) -> Result<Exit, DevError> {
    let (client, workspace, advice) = (ready.client, ready.identity.workspace_id, ready.provider.advice());
    match purpose {
        Purpose::Answer(text) => {
            say(&introduction.rights());
            let prompt = Prompt { client, workspace, advice, text };
            prompt::answer(prompt, stack, &signals.shutdown()).await
        }
        Purpose::Converse => {
            introduction.write_for_chat(&mut io::stdout()).map_err(ClientError::Output)?;
            let beginning = Beginning {
                attached: Vec::new(),
                keyboard: None,
                client,
                chat_id: None,
                settings: Settings { workspace_id: workspace.to_string(), ..Default::default() },
                advice,
                leaving: Leaving::StopsTurn,
                format: Format::Text,
            };
            terminal::converse(beginning, signals, stack.failed()).await
        }
        Purpose::Serve => {
            // Whoever started us without reading our words still gets a control plane.
            let _ = introduction.write_for_serving(&mut io::stdout());
            serve(stack, signals).await
        }
    }
}

async fn serve(stack: &mut Stack, signals: &Signals) -> Result<Exit, DevError> {
    select! {
        error = stack.failed() => Err(error),
        () = signals.shutdown().cancelled_owned() => match signals.first() {
            Some(StopSignal::Interrupt) => Err(DevError::Interrupted),
            Some(StopSignal::Terminate | StopSignal::HangUp) | None => Ok(Exit::Done),
        },
    }
}

/// Listens on the port that was asked for, or else on the usual one or any.
fn listen(port: Option<u16>) -> Result<TcpListener, DevError> {
    let bind = |port| {
        TcpListener::bind(("127.0.0.1", port)).map_err(|source| DevError::PortUnusable { port, source })
    };
    match port {
        Some(port) => bind(port),
        None => match bind(PORT_DEFAULT) {
            Err(DevError::PortUnusable { source, .. }) if source.kind() == ErrorKind::AddrInUse => {
                let listener = bind(0)?;
                if let Ok(address) = listener.local_addr() {
                    say(&format!("Port {PORT_DEFAULT} is taken, so port {} is used.", address.port()));
                }
                Ok(listener)
            }
            bound => bound,
        },
    }
}

//! `chatplane dev`: everything on this machine, each role a process of its own.
//!
//! - `options`, `places`, `model`: what was asked for;
//! - `data_dir`, `identity`: what is kept between runs;
//! - `stack`: what runs, made of `database`, `role_process` and `environment`;
//! - `prompt`: one prompt, with `client`, the pure `transcript`, `words` and `printer`.
//!
//! The control plane inherits a socket that listens already. So the port is known before anything is started,
//! nobody can take it in between, and early requests wait in the socket instead of failing.

use std::{
    io::{self, ErrorKind},
    net::TcpListener,
    path::Path,
};

use tokio::select;

mod client;
mod data_dir;
mod database;
mod environment;
mod error;
mod identity;
mod model;
mod options;
mod places;
mod printer;
mod prompt;
mod role_process;
mod stack;
mod transcript;
mod words;

use self::{
    data_dir::DataDir,
    error::DevError,
    model::Model,
    options::PORT_DEFAULT,
    places::Places,
    prompt::PromptRun,
    stack::{Plan, Ready, Stack},
};
pub(crate) use crate::dev::options::Options;
use crate::{
    exit::{Exit, chain, say},
    signals::{Signals, StopSignal},
};

const ROLE_LOG_DEFAULT: &str = "warn";

/// Runs `dev`, and stops everything it has started, however it ends.
pub(crate) async fn dev(options: Options, log: Option<&str>, signals: &Signals) -> Exit {
    match run(&options, log.unwrap_or(ROLE_LOG_DEFAULT), signals).await {
        Ok(exit) => exit,
        Err(DevError::Interrupted) => {
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
    let places = Places::find(options)?;
    let model = Model::choose(options);
    say(&model.first_line());
    if options.database_url.is_some() {
        say("The database of --database-url (CHATPLANE_DATABASE_URL) is used, and no private one.");
    }
    let data = DataDir::open(&places.data)?;
    let listener = listen(options.port)?;

    let mut stack = Stack::default();
    let plan = Plan { options, places: &places, data: &data, model, listener, log };
    let result = match Box::pin(stack.start(plan, &signals.shutdown())).await {
        Ok(ready) => match &options.prompt {
            Some(prompt) => answer(&mut stack, ready, prompt.clone(), signals).await,
            None => serve(&mut stack, &ready, &places.workspace, signals).await,
        },
        Err(error) => Err(error),
    };
    stack.stop().await;
    result
}

async fn answer(
    stack: &mut Stack,
    ready: Ready,
    prompt: String,
    signals: &Signals,
) -> Result<Exit, DevError> {
    let mut run = PromptRun::new(ready.client);
    let result = select! {
        exit = run.run(ready.identity.workspace_id, prompt) => return exit,
        () = signals.shutdown().cancelled_owned() => Err(DevError::Interrupted),
        error = stack.failed() => Err(error),
    };
    run.interrupt().await;
    result
}

async fn serve(
    stack: &mut Stack,
    ready: &Ready,
    workspace: &Path,
    signals: &Signals,
) -> Result<Exit, DevError> {
    // Whoever started us without reading our words still gets a control plane.
    let _ = introduce(&mut io::stdout(), ready, workspace);
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

/// Says where the control plane is and how to call it.
fn introduce(output: &mut impl io::Write, ready: &Ready, workspace: &Path) -> io::Result<()> {
    let Ready { address, identity, client: _ } = ready;
    let token_file = identity.user_token_file.display();
    let workspace_id = identity.workspace_id;
    writeln!(output, "chatplane serves {} on {address}, until it is stopped.", workspace.display())?;
    writeln!(output, "The token is in {token_file}. Create a chat, and watch it:\n")?;
    writeln!(output, "  token=$(cat '{token_file}')")?;
    writeln!(
        output,
        "  grpcurl -plaintext -H \"authorization: Bearer $token\" -d '{{\"workspace_id\":\"{workspace_id}\",\
         \"parts\":[{{\"text\":{{\"text\":\"What is in this directory?\"}}}}]}}' \
         {address} chatplane.chat.v1.ChatService/CreateChat"
    )?;
    writeln!(
        output,
        "  grpcurl -plaintext -H \"authorization: Bearer $token\" -d '{{\"chat_id\":\"CHAT_ID\"}}' \
         {address} chatplane.chat.v1.ChatService/WatchChat"
    )?;
    output.flush()
}

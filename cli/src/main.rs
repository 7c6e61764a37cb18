//! The chatplane binary: every role is a subcommand, and always a process of its own.
//!
//! - `arguments`: what can be typed;
//! - `roles`, `admin`, `dev`, `commands`: what is then done;
//! - `completion`: what a shell offers while a command is typed;
//! - `client`, `terminal`: a client of the control plane, and a chat in the terminal;
//! - `demo_model`: the model that answers in `dev` when there is no key;
//! - `exit`, `signals`, `lifeline`, `logging`, `files`, `system`: what every process needs.

use std::{io, process::ExitCode};

use crate::{
    arguments::{Arguments, Role},
    exit::Exit,
    signals::Signals,
};

mod admin;
mod arguments;
mod client;
mod commands;
mod completion;
mod demo_model;
mod dev;
mod exit;
mod files;
mod lifeline;
mod logging;
mod roles;
mod signals;
#[allow(unsafe_code, reason = "calls for which the standard library has no safe form")]
mod system;
mod terminal;

fn main() -> ExitCode {
    system::keep_memory_to_ourselves();
    // Asked by a shell: answers and ends. It must come before anything else is written or started.
    completion::answer();
    let arguments = arguments::read();
    if matches!(arguments.role, Role::ToolGuard) {
        return roles::tool_guard().into();
    }
    logging::start(&arguments);
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => return exit::complain("the runtime could not be started", &error).into(),
    };
    // This future runs on the main thread, which lives as long as the process: `dev` counts on it when it
    // ties its children's lives to the thread that starts them.
    let exit = runtime.block_on(Box::pin(run(arguments)));
    // What still runs is a blocking call past its deadline, and must not keep the process.
    runtime.shutdown_background();
    exit.into()
}

async fn run(arguments: Arguments) -> Exit {
    let signals = match Signals::listen() {
        Ok(signals) => signals,
        Err(error) => return exit::complain("signals cannot be received", &error),
    };
    if arguments.lifeline {
        lifeline::hold(signals.shutdown());
    }
    match arguments.role {
        Role::Serve(serve) => roles::serve(*serve, signals.shutdown()).await,
        Role::Worker(config) => roles::worker(config, signals.shutdown()).await,
        Role::WorkspaceAgent(config) => roles::workspace_agent(config, signals.shutdown()).await,
        // Served above: it must be alone in its process, without a runtime's threads.
        Role::ToolGuard => Exit::Usage,
        Role::Dev(options) => dev::dev(*options, arguments.log.as_deref(), &signals).await,
        Role::Admin(command) => admin::admin(command, &mut io::stdout()).await,
        Role::Login(login) => commands::login(login, &signals).await,
        Role::Chat(chat) => commands::chat(chat, &signals).await,
        Role::Send(send) => commands::send(send, &signals).await,
        Role::Watch(watch) => commands::watch(watch, &signals).await,
        Role::Interrupt(chat) => commands::interrupt(chat, &signals).await,
        Role::Fork(fork) => commands::fork(fork, &signals).await,
        Role::Compact(compact) => commands::compact(compact, &signals).await,
        Role::Clear(chat) => commands::clear(chat, &signals).await,
        Role::Library(command) => commands::library(command, &signals).await,
    }
}

//! The long-running roles: each takes its settings and ends when asked to.

use std::{error::Error, io, net::SocketAddr};

use chatplane_control_plane as control_plane;
use chatplane_worker as worker;
use chatplane_workspace_agent as workspace_agent;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::{
    arguments::Serve,
    exit::{Exit, complain},
    system,
};

/// One replica of the control plane.
pub(crate) async fn serve(serve: Serve, shutdown: CancellationToken) -> Exit {
    let listener = match listener(&serve).await {
        Ok(listener) => listener,
        Err(error) => return complain(&cannot_listen(serve.config.listen), &error),
    };
    ended(control_plane::run(serve.config, listener, shutdown).await)
}

/// One worker.
pub(crate) async fn worker(config: worker::Config, shutdown: CancellationToken) -> Exit {
    ended(worker::run(config, shutdown).await)
}

/// The agent of one workspace.
pub(crate) async fn workspace_agent(config: workspace_agent::Config, shutdown: CancellationToken) -> Exit {
    ended(workspace_agent::run(config, shutdown).await)
}

/// The guard of one command of a workspace agent.
pub(crate) fn tool_guard() -> Exit {
    ended(workspace_agent::tool_guard())
}

fn ended<E: Error>(result: Result<(), E>) -> Exit {
    match result {
        Ok(()) => Exit::Done,
        Err(error) => complain("chatplane ends", &error),
    }
}

async fn listener(serve: &Serve) -> io::Result<TcpListener> {
    let Some(number) = serve.listen_fd else {
        return TcpListener::bind(serve.config.listen).await;
    };
    let listener = system::inherited_listener(number)?;
    listener.set_nonblocking(true)?;
    TcpListener::from_std(listener)
}

fn cannot_listen(address: SocketAddr) -> String {
    format!("cannot listen on {address}, choose another address with --listen (CHATPLANE_LISTEN)")
}

//! What each role gets to see of our environment: what it needs, and nothing else.
//!
//! Keys of providers go to the control plane only; workers get them with a lease, and agents never. Tokens go
//! as names of files, so that they show in no process list and in no `/proc/<pid>/environ`.

use std::{env, ffi::OsString, net::SocketAddr, os::fd::RawFd};

use crate::dev::{identity::Identity, model::RunningModel};

/// What any program may need: to find programs and files, and to speak to people.
const COMMON: [&str; 12] = [
    "PATH",
    "HOME",
    "USER",
    "LOGNAME",
    "SHELL",
    "LANG",
    "LC_ALL",
    "LC_CTYPE",
    "TZ",
    "TMPDIR",
    "RUST_BACKTRACE",
    "TERM",
];
/// How to reach providers from here, and what to check their certificates against.
const OUTSIDE: [&str; 10] = [
    "HTTPS_PROXY",
    "https_proxy",
    "HTTP_PROXY",
    "http_proxy",
    "ALL_PROXY",
    "all_proxy",
    "NO_PROXY",
    "no_proxy",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
];
/// `dev` ends when its person wants it to, not half a minute later: an unfinished step is repeated anyway.
const DRAIN_SECONDS: &str = "2";

/// A role's whole environment.
pub(crate) type Environment = Vec<(&'static str, OsString)>;

/// The control plane's: the database, the model and its key.
pub(crate) fn serve(log: &str, database_url: &str, model: &RunningModel, listener: RawFd) -> Environment {
    let mut environment = inherited(log, &COMMON);
    environment.push(("CHATPLANE_DATABASE_URL", database_url.into()));
    environment.push(("CHATPLANE_LISTEN_FD", listener.to_string().into()));
    environment.push(("CHATPLANE_DRAIN_TIMEOUT", DRAIN_SECONDS.into()));
    environment.push(("CHATPLANE_MODEL", (&model.endpoint.model).into()));
    environment.push(("ANTHROPIC_BASE_URL", (&model.endpoint.base_url).into()));
    environment.push(("ANTHROPIC_API_KEY", (&model.endpoint.api_key).into()));
    environment
}

/// The worker's: its token, and the way to the providers.
pub(crate) fn worker(log: &str, address: SocketAddr, identity: &Identity) -> Environment {
    let mut environment = inherited(log, &COMMON);
    environment.extend(taken(&OUTSIDE));
    environment.push(("CHATPLANE_CONTROL_PLANE", url(address).into()));
    environment.push(("CHATPLANE_WORKER_TOKEN_FILE", identity.worker_token_file.clone().into()));
    environment.push(("CHATPLANE_WORKER_DRAIN_TIMEOUT", DRAIN_SECONDS.into()));
    environment
}

/// The workspace agent's: its token. It serves the directory that it is started in.
pub(crate) fn workspace_agent(log: &str, address: SocketAddr, identity: &Identity) -> Environment {
    let mut environment = inherited(log, &COMMON);
    environment.push(("CHATPLANE_CONTROL_PLANE", url(address).into()));
    environment.push(("CHATPLANE_WORKSPACE_TOKEN_FILE", identity.workspace_token_file.clone().into()));
    environment
}

/// The control plane's address as clients write it.
pub(crate) fn url(address: SocketAddr) -> String {
    format!("http://{address}")
}

fn inherited(log: &str, names: &[&'static str]) -> Environment {
    let mut environment: Environment = taken(names).collect();
    environment.push(("CHATPLANE_LOG", log.into()));
    environment
}

fn taken(names: &[&'static str]) -> impl Iterator<Item = (&'static str, OsString)> {
    names.iter().filter_map(|name| Some((*name, env::var_os(name)?)))
}

//! What each role gets to see of our environment: what it needs, and nothing else.
//!
//! Keys of providers go to the control plane only; workers get them with a lease, and agents never. Tokens go
//! as names of files, so that they show in no process list and in no `/proc/<pid>/environ`.

use std::{env, ffi::OsString, net::SocketAddr, os::fd::RawFd, path::Path};

use chatplane_workspace_agent::TOOL_ENVIRONMENT;

use crate::dev::{
    Options,
    identity::Identity,
    model::{Provider, RunningModel},
};

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
/// What `serve` may be told about the model beside its name: no flags of `dev`, but taken where they are set.
const MODEL_SETTINGS: [&str; 6] = [
    "CHATPLANE_MODEL_CONTEXT_TOKENS",
    "CHATPLANE_MODEL_OUTPUT_TOKENS",
    "CHATPLANE_MODEL_FIRST_TOKEN_TIMEOUT",
    "CHATPLANE_MODEL_SILENCE_TIMEOUT",
    "CHATPLANE_GENERATE_TITLES",
    "CHATPLANE_TITLE_MODEL",
];
/// `dev` ends when its person wants it to, not half a minute later: an unfinished step is repeated anyway.
const DRAIN_SECONDS: &str = "2";

/// A role's whole environment.
pub(crate) type Environment = Vec<(String, OsString)>;

/// The control plane's: the database, the model and its key.
pub(crate) fn serve(log: &str, database_url: &str, model: &RunningModel, listener: RawFd) -> Environment {
    let endpoint = &model.endpoint;
    let (base_url, api_key) = match endpoint.provider {
        Provider::Anthropic | Provider::Demo => ("ANTHROPIC_BASE_URL", "ANTHROPIC_API_KEY"),
        Provider::OpenAi => ("OPENAI_BASE_URL", "OPENAI_API_KEY"),
    };
    let mut environment = inherited(log, &COMMON);
    environment.extend(taken(&MODEL_SETTINGS));
    environment.extend(ours([
        ("CHATPLANE_DATABASE_URL", database_url.into()),
        ("CHATPLANE_LISTEN_FD", listener.to_string().into()),
        ("CHATPLANE_DRAIN_TIMEOUT", DRAIN_SECONDS.into()),
        ("CHATPLANE_PROVIDER", endpoint.provider.wire_format().into()),
        ("CHATPLANE_MODEL", (&endpoint.model).into()),
        (base_url, (&endpoint.base_url).into()),
        (api_key, (&endpoint.api_key).into()),
    ]));
    if endpoint.provider == Provider::Demo {
        // It would make nothing of an excerpt.
        environment.extend(ours([("CHATPLANE_GENERATE_TITLES", "false".into())]));
    }
    environment
}

/// The worker's: its token, and the way to the providers.
pub(crate) fn worker(log: &str, address: SocketAddr, identity: &Identity) -> Environment {
    let mut environment = inherited(log, &COMMON);
    environment.extend(taken(&OUTSIDE));
    environment.extend(ours([
        ("CHATPLANE_CONTROL_PLANE", url(address).into()),
        ("CHATPLANE_WORKER_TOKEN_FILE", (&identity.worker_token_file).into()),
        ("CHATPLANE_WORKER_DRAIN_TIMEOUT", DRAIN_SECONDS.into()),
    ]));
    environment
}

/// The workspace agent's: its token, its rights, and what it hands down to commands. It serves the directory
/// that it is started in.
pub(crate) fn workspace_agent(
    log: &str,
    address: SocketAddr,
    identity: &Identity,
    state_dir: &Path,
    options: &Options,
) -> Environment {
    let passed: Vec<&str> = options.passed_names().collect();
    let mut environment = inherited(log, &COMMON);
    environment.extend(taken(TOOL_ENVIRONMENT));
    environment.extend(taken(&passed));
    environment.extend(ours([
        ("CHATPLANE_CONTROL_PLANE", url(address).into()),
        ("CHATPLANE_WORKSPACE_TOKEN_FILE", (&identity.workspace_token_file).into()),
        ("CHATPLANE_WORKSPACE_STATE_DIR", state_dir.into()),
        ("CHATPLANE_WORKSPACE_READ_ONLY", options.read_only.to_string().into()),
        ("CHATPLANE_WORKSPACE_ALLOW_OUTSIDE", options.allow_outside.to_string().into()),
        ("CHATPLANE_WORKSPACE_PASS_ENV", passed.join(",").into()),
    ]));
    environment
}

/// The control plane's address as clients write it.
pub(crate) fn url(address: SocketAddr) -> String {
    format!("http://{address}")
}

fn inherited(log: &str, names: &[&str]) -> Environment {
    taken(names).chain(ours([("CHATPLANE_LOG", log.into())])).collect()
}

fn taken(names: &[&str]) -> impl Iterator<Item = (String, OsString)> {
    names.iter().filter_map(|name| Some(((*name).to_owned(), env::var_os(name)?)))
}

fn ours<const COUNT: usize>(variables: [(&str, OsString); COUNT]) -> Environment {
    variables.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

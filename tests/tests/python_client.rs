//! A program in another language: Python's grpcio, which knows the contract by server reflection alone.

use std::process::Stdio;

use chatplane_tests::{
    Cluster, DEADLINE, Options,
    model_server::{Action, Gate, ModelServer, say},
    peers,
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, BufReader, Lines},
    process::{ChildStdout, Command},
    time::timeout,
};

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/python/client.py");

/// The next line that the script prints; nothing when it has ended.
async fn next(lines: &mut Lines<BufReader<ChildStdout>>) -> Option<Value> {
    let line = timeout(DEADLINE, lines.next_line()).await.expect("the script goes on");
    line.expect("the script prints text").map(|line| serde_json::from_str(&line).expect("it prints JSON"))
}

#[tokio::test]
async fn a_program_in_python_creates_sends_watches_and_resumes_by_reflection() {
    let Some(python) = peers::python().await else { return };
    let gate = Gate::new();
    let held = gate.clone();
    let model = ModelServer::start(move |request| match request.last_user_text() {
        "Count." => vec![Action::text("one "), held.wait(), Action::text("two"), Action::stop()],
        _ => say("one two three"),
    })
    .await;
    let options = Options { model_url: model.url(), workers: 1, ..Options::default() };
    let cluster = Cluster::start(options).await;

    let mut command = Command::from(python.command());
    let mut script = command
        .arg(SCRIPT)
        .env("CHATPLANE_ADDRESS", cluster.address.to_string())
        .env("CHATPLANE_TOKEN", &cluster.tokens.user)
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("Python starts");
    let mut lines = BufReader::new(script.stdout.take().expect("it is piped")).lines();
    assert_eq!(next(&mut lines).await, Some(json!({"resumed": true})));
    gate.open();
    let found = next(&mut lines).await;
    let ended = timeout(DEADLINE, script.wait()).await.expect("the script ends").expect("it can be awaited");

    let domain = "chatplane";
    let expected = json!({
        "is_listed": true,
        "repeats": [true, true],
        "labels": {"made": "by python"},
        "messages": [
            ["ROLE_USER", "Count."],
            ["ROLE_ASSISTANT", "one two"],
            ["ROLE_USER", "Again."],
            ["ROLE_ASSISTANT", "one two three"],
        ],
        "fold_is_list": true,
        "live_at_rest": "",
        "refusals": {
            "unknown chat": ["NOT_FOUND", domain, "CHAT_NOT_FOUND", []],
            "no parts": ["INVALID_ARGUMENT", domain, "FIELD_INVALID", ["parts"]],
            "id used again": ["ALREADY_EXISTS", domain, "REQUEST_ID_REUSED", []],
            "wrong token": ["UNAUTHENTICATED", domain, "CREDENTIALS_INVALID", []],
        },
    });
    assert_eq!(found, Some(expected));
    assert!(ended.success(), "{ended}");
}

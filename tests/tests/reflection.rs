//! A person with a terminal: `buf curl` against reflection.

use std::{process::Stdio, time::Duration};

use chatplane_tests::{Cluster, Options, peers};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::Command,
    time::timeout,
};

/// `buf`, from `CHATPLANE_BUF` or the path. CI has it; elsewhere its absence is said.
async fn buf() -> Option<String> {
    let program = std::env::var("CHATPLANE_BUF").unwrap_or_else(|_| "buf".to_owned());
    let found = Command::new(&program).arg("--version").stdout(Stdio::null()).status().await;
    if found.is_ok_and(|status| status.success()) {
        return Some(program);
    }
    peers::skip("buf is not installed (npm install --global @bufbuild/buf)");
    None
}

fn curl(buf: &str, cluster: &Cluster, method: &str, body: &Value) -> Command {
    let mut command = Command::new(buf);
    command
        .args(["curl", "--protocol", "grpc", "--http2-prior-knowledge", "--data", &body.to_string()])
        .args(["--header", &format!("authorization: Bearer {}", cluster.tokens.user)])
        .arg(format!("{}/chatplane.chat.v1.ChatService/{method}", cluster.url()))
        .kill_on_drop(true);
    command
}

async fn answer(buf: &str, cluster: &Cluster, method: &str, body: Value) -> Value {
    let output = curl(buf, cluster, method, &body).output().await.expect("buf runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("buf prints JSON")
}

#[tokio::test]
async fn a_terminal_creates_sends_and_watches_by_reflection() {
    let Some(buf) = buf().await else { return };
    let cluster = Cluster::start(Options::default()).await;

    let parts = json!([{"text": {"text": "hello"}}]);
    let created = answer(&buf, &cluster, "CreateChat", json!({"parts": parts})).await;
    let chat = created["chat"]["chatId"].as_str().expect("an id").to_owned();
    let sent = answer(&buf, &cluster, "SendMessage", json!({"chatId": chat, "parts": parts})).await;
    assert_eq!(sent["queuedMessage"]["previewText"], "hello");
    let mut watch = curl(&buf, &cluster, "WatchChat", &json!({"chatId": chat}))
        .stdout(Stdio::piped())
        .spawn()
        .expect("buf runs");

    let mut lines = BufReader::new(watch.stdout.take().expect("it is piped")).lines();
    let seen = timeout(Duration::from_secs(60), async {
        let mut seen = String::new();
        while let Some(line) = lines.next_line().await.expect("buf prints text") {
            seen.push_str(&line);
            if seen.contains("CHAT_STATE_RUNNING") {
                break;
            }
        }
        seen
    })
    .await
    .expect("the snapshot arrives");
    assert!(seen.contains("hello") && seen.contains("queuedMessageUpserted"), "{seen}");
}

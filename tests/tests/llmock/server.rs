//! `llmock` as a child process: a model server that others wrote.

use std::{
    fs::{self, File},
    process::{Child, Stdio},
};

use chatplane_tests::{DEADLINE, eventually, peers};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

/// The key that it asks for.
pub(crate) const KEY: &str = "the-providers-key";
/// Small, so that every answer comes in several pieces.
const CHUNK_CHARS: &str = "7";

/// The server; it is killed when it is dropped.
pub(crate) struct LlMock {
    child: Child,
    files: TempDir,
    address: String,
}

impl LlMock {
    /// Starts it with these fixtures, on a port of its choice; nothing where npm is missing.
    pub(crate) async fn start(fixtures: &[Value]) -> Option<Self> {
        let program = peers::llmock().await?;
        let files = TempDir::new().expect("a directory for its files");
        let path = files.path().join("fixtures.json");
        fs::write(&path, json!({"fixtures": fixtures}).to_string()).expect("the fixtures are written");
        let output = File::create(files.path().join("log")).expect("the log can be written");
        let errors = output.try_clone().expect("a file handle can be copied");
        let child = program
            .command()
            .args(["--port", "0", "--host", "127.0.0.1", "--strict", "--validate-on-load"])
            .args(["--chunk-size", CHUNK_CHARS, "--log-level", "info", "--fixtures"])
            .arg(path)
            .env("AIMOCK_API_KEYS", KEY)
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(errors)
            .spawn()
            .expect("llmock starts");
        let mut server = Self { child, files, address: String::new() };
        server.address = eventually("llmock says where it listens", async || {
            let ended = server.child.try_wait().expect("a child can be asked");
            assert!(ended.is_none(), "llmock has ended:\n{}", server.log());
            let log = server.log();
            let (_, address) = log.split_once("listening on http://")?;
            let (address, _) = address.split_once('\n')?;
            Some(address.trim().to_owned())
        })
        .await;
        Some(server)
    }

    /// Where providers' paths begin.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What it was asked and with which status it answered, in order. It keeps requests in one form whatever
    /// the wire format was, that of Chat Completions.
    pub(crate) async fn journal(&self) -> Vec<Value> {
        let journal = timeout(DEADLINE, self.get("/__aimock/journal")).await.expect("llmock answers");
        let entries = journal.as_array().expect("the journal is a list").clone();
        entries.into_iter().filter(|entry| entry["method"] == "POST").collect()
    }

    /// HTTP/1.0, for the answer then ends with the connection and has no chunks.
    async fn get(&self, path: &str) -> Value {
        let mut connection = TcpStream::connect(&self.address).await.expect("llmock listens");
        let request = format!("GET {path} HTTP/1.0\r\nauthorization: Bearer {KEY}\r\n\r\n");
        connection.write_all(request.as_bytes()).await.expect("llmock reads");
        let mut answer = String::new();
        connection.read_to_string(&mut answer).await.expect("llmock answers in UTF-8");
        let (head, body) = answer.split_once("\r\n\r\n").expect("an answer has a head");
        assert!(head.starts_with("HTTP/1.1 200"), "{answer}");
        serde_json::from_str(body).expect("llmock answers in JSON")
    }

    fn log(&self) -> String {
        fs::read_to_string(self.files.path().join("log")).unwrap_or_default()
    }
}

impl Drop for LlMock {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- log of llmock ---\n{}", self.log());
        }
    }
}

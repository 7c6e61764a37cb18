//! Chats with a model server that others wrote, in every wire format that we speak.

#[path = "llmock/conversation.rs"]
mod conversation;
#[path = "llmock/server.rs"]
mod server;
#[path = "llmock/watched.rs"]
mod watched;

use std::{collections::BTreeMap, fs};

use chatplane_proto::chat::v1::{self as proto, ErrorKind};
use chatplane_tests::{Cluster, Options};
use conversation::words;
use serde_json::{Value, json};
use server::{KEY, LlMock};
use sqlx::Executor;
use uuid::Uuid;
use watched::Watched;

/// A wire format.
struct Format {
    provider: &'static str,
    key: &'static str,
    base_url: &'static str,
    /// What the base URL has behind the address.
    base_path: &'static str,
    /// Where the calls must arrive.
    path: &'static str,
    /// Where the key must be; llmock would take it anywhere.
    key_header: &'static str,
}

const ANTHROPIC: Format = Format {
    provider: "anthropic",
    key: "ANTHROPIC_API_KEY",
    base_url: "ANTHROPIC_BASE_URL",
    base_path: "",
    path: "/v1/messages",
    key_header: "x-api-key",
};

const OPENAI: Format = Format {
    provider: "openai",
    key: "OPENAI_API_KEY",
    base_url: "OPENAI_BASE_URL",
    base_path: "/v1",
    path: "/v1/chat/completions",
    key_header: "authorization",
};

impl Format {
    /// A cluster whose model is the server's.
    async fn cluster(&self, server: &LlMock, key: &str) -> Cluster {
        let serve = BTreeMap::from([
            ("CHATPLANE_PROVIDER", self.provider.to_owned()),
            (self.base_url, format!("{}{}", server.url(), self.base_path)),
            (ANTHROPIC.key, key.to_owned()),
            (OPENAI.key, key.to_owned()),
        ]);
        Cluster::start(Options { workers: 1, workspace: true, serve, ..Options::default() }).await
    }
}

fn bodies(journal: &[Value]) -> Vec<Value> {
    journal.iter().map(|entry| entry["body"].clone()).collect()
}

/// A model that lists the directory, reads what it finds there, and can answer only if it has read it.
fn gardener(beds: &str, water: &str) -> Vec<Value> {
    let usage = json!({"prompt_tokens": 40, "completion_tokens": 7});
    // The ids repeat, as those of some providers do.
    let read = |id: &str, path: &str| json!({"name": "read_file", "arguments": json!({"path": path}).to_string(), "id": id});
    vec![
        json!({
            "match": {"userMessage": "Thank you."},
            "response": {"content": "You are welcome.", "usage": usage},
        }),
        json!({
            "match": {"userMessage": "leeks", "toolResultContains": water},
            "response": {"content": format!("Bed 3, says {beds}."), "usage": usage},
        }),
        json!({
            "match": {"userMessage": "leeks", "toolResultContains": "beds.txt"},
            "response": {
                "toolCalls": [read("call_0", "beds.txt"), read("call_1", "water.txt")], "usage": usage,
            },
        }),
        json!({
            "match": {"userMessage": "leeks", "hasToolResult": false},
            "response": {
                "content": "Let me look.",
                "reasoning": "The files may tell.",
                "toolCalls": [{"name": "list_dir", "arguments": "{\"path\":\".\"}", "id": "call_0"}],
                "usage": usage,
            },
        }),
    ]
}

/// What the gardener finds, which nobody can know beforehand.
fn markers() -> [String; 2] {
    [Uuid::now_v7(), Uuid::now_v7()].map(|marker| marker.to_string())
}

fn plant(cluster: &Cluster, beds: &str, water: &str) {
    let garden = cluster.directory.path();
    fs::write(garden.join("beds.txt"), format!("3 leeks {beds}\n")).expect("it is written");
    fs::write(garden.join("water.txt"), format!("daily {water}\n")).expect("it is written");
}

async fn a_chat_with_tools(format: &Format) {
    let [beds, water] = markers();
    let Some(server) = LlMock::start(&gardener(&beds, &water)).await else { return };
    let cluster = format.cluster(&server, KEY).await;
    plant(&cluster, &beds, &water);

    let mut watched = Watched::create(&cluster, "Where are the leeks?").await;
    watched.send("Thank you.").await;

    let expected = [
        "user: Where are the leeks?",
        "assistant: (The files may tell.) | Let me look. | list_dir{\"path\":\".\"}",
        "tool: list_dir",
        "assistant: read_file{\"path\":\"beds.txt\"} | read_file{\"path\":\"water.txt\"}",
        "tool: read_file",
        "tool: read_file",
        &format!("assistant: Bed 3, says {beds}."),
        "user: Thank you.",
        "assistant: You are welcome.",
    ];
    assert_eq!(watched.lines(), expected);
    let usage = proto::Usage { input_tokens: 40, output_tokens: 7, ..Default::default() };
    assert!(watched.messages().filter_map(|message| message.usage).all(|told| told == usage));
    let journal = server.journal().await;
    for entry in &journal {
        assert_eq!(entry["path"], format.path);
        assert_eq!(entry["headers"][format.key_header], "[REDACTED]", "{entry:#}");
    }
    assert_eq!(journal.len(), 4, "{journal:#?}");
    conversation::check(&bodies(&journal));
    let read: Vec<String> = bodies(&journal)[2]["messages"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|message| message["role"] == "tool")
        .map(words)
        .collect();
    assert!(read[1].contains(&beds) && read[2].contains(&water), "{read:?}");
}

#[tokio::test]
async fn a_chat_with_tools_speaks_anthropics_messages() {
    a_chat_with_tools(&ANTHROPIC).await;
}

#[tokio::test]
async fn a_chat_with_tools_speaks_openais_chat_completions() {
    a_chat_with_tools(&OPENAI).await;
}

#[tokio::test]
async fn a_history_of_one_format_goes_on_in_the_other() {
    let [beds, water] = markers();
    let Some(server) = LlMock::start(&gardener(&beds, &water)).await else { return };
    let cluster = ANTHROPIC.cluster(&server, KEY).await;
    plant(&cluster, &beds, &water);
    let other = format!(
        "insert into models (organization_id, name, provider, endpoint, provider_model, context_tokens_max, \
         output_tokens_max) select organization_id, 'other', '{}', '{}{}', 'other', context_tokens_max, \
         output_tokens_max from models",
        OPENAI.provider,
        server.url(),
        OPENAI.base_path
    );
    let mut connection = cluster.database.connection().await;
    connection.execute(sqlx::AssertSqlSafe(other)).await.expect("the model is new");

    let mut watched = Watched::create(&cluster, "Where are the leeks?").await;
    watched.send_to("other", "Thank you.").await;
    watched.send("Where are the leeks now?").await;
    watched.send_to("test", "Thank you.").await;

    let journal = server.journal().await;
    let paths: Vec<&Value> = journal.iter().map(|entry| &entry["path"]).collect();
    let [a, o] = [ANTHROPIC.path, OPENAI.path];
    assert_eq!(paths, [a, a, a, o, o, o, o, a]);
    assert!(journal.iter().all(|entry| entry["response"]["status"] == 200), "{journal:#?}");
    conversation::check(&bodies(&journal));
    let found = format!("assistant: Bed 3, says {beds}.");
    assert_eq!(watched.lines().iter().filter(|line| **line == found).count(), 2);
}

async fn a_failing_provider_is_asked_again(format: &Format) {
    let answer = "Tomatoes want sun, water and patience.";
    let fixtures = [
        json!({
            "match": {"userMessage": "Busy?", "sequenceIndex": 0},
            "response": {
                "error": {"message": "Slow down.", "type": "rate_limit_error"}, "status": 429, "retryAfter": 1,
            },
        }),
        json!({"match": {"userMessage": "Busy?", "sequenceIndex": 1}, "response": {"content": "No more."}}),
        json!({
            "match": {"userMessage": "Tomatoes?", "sequenceIndex": 0},
            "response": {"content": answer},
            "truncateAfterChunks": 4,
        }),
        json!({"match": {"userMessage": "Tomatoes?", "sequenceIndex": 1}, "response": {"content": answer}}),
    ];
    let Some(server) = LlMock::start(&fixtures).await else { return };
    let cluster = format.cluster(&server, KEY).await;

    let mut watched = Watched::create(&cluster, "Busy?").await;
    watched.send("Tomatoes?").await;

    let expected = ["user: Busy?", "assistant: No more.", "user: Tomatoes?", &format!("assistant: {answer}")];
    assert_eq!(watched.lines(), expected);
    let retries: Vec<(ErrorKind, i32, i32)> = watched
        .retries
        .iter()
        .map(|retry| {
            let error = retry.error.as_ref().expect("a retry has a reason");
            (error.kind(), error.status_code, retry.attempt)
        })
        .collect();
    let expected = [(ErrorKind::RateLimited, 429, 2), (ErrorKind::ProviderUnavailable, 0, 2)];
    assert_eq!(retries, expected);
    let journal = server.journal().await;
    let statuses: Vec<&Value> = journal.iter().map(|entry| &entry["response"]["status"]).collect();
    assert_eq!(statuses, [429, 200, 200, 200]);
    conversation::check(&bodies(&journal));
}

#[tokio::test]
async fn a_failing_provider_is_asked_again_in_anthropics_messages() {
    a_failing_provider_is_asked_again(&ANTHROPIC).await;
}

#[tokio::test]
async fn a_failing_provider_is_asked_again_in_openais_chat_completions() {
    a_failing_provider_is_asked_again(&OPENAI).await;
}

async fn a_wrong_key_ends_the_chat(format: &Format) {
    let Some(server) = LlMock::start(&gardener("none", "none")).await else { return };
    let cluster = format.cluster(&server, "not-the-key").await;

    let mut watched = Watched::create(&cluster, "Where are the leeks?").await;

    let error = watched.client.chat(&watched.chat).await.expect("the chat is there").last_error.expect("why");
    assert_eq!((error.kind(), error.status_code), (ErrorKind::Authentication, 401), "{error:?}");
    assert_eq!(watched.lines(), ["user: Where are the leeks?"]);
}

#[tokio::test]
async fn a_wrong_key_ends_the_chat_in_anthropics_messages() {
    a_wrong_key_ends_the_chat(&ANTHROPIC).await;
}

#[tokio::test]
async fn a_wrong_key_ends_the_chat_in_openais_chat_completions() {
    a_wrong_key_ends_the_chat(&OPENAI).await;
}

//! The demo model as its only client meets it: through the worker's provider.

use std::{collections::BTreeMap, net::SocketAddr};

use chatplane_worker::llm::{
    Answer, CallLimits, ModelCall, PartContent, PromptMessage, Providers, StopReason, ToolDefinition,
    ToolResult, UserPiece,
};
use futures::TryStreamExt;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    task::JoinHandle,
};

use super::*;

/// A directory that nobody has seen before.
type Files = BTreeMap<&'static str, &'static str>;

struct Demo {
    address: SocketAddr,
    shutdown: CancellationToken,
    task: JoinHandle<io::Result<()>>,
}

async fn demo() -> Demo {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let shutdown = CancellationToken::new();
    Demo { address, task: tokio::spawn(serve(listener, shutdown.clone())), shutdown }
}

impl Demo {
    async fn stop(self) {
        self.shutdown.cancel();
        self.task.await.unwrap().unwrap();
    }
}

fn call(address: SocketAddr, messages: Vec<PromptMessage>, tool_names: &[&str]) -> ModelCall {
    let tool = |name: &&str| ToolDefinition {
        name: (*name).to_owned(),
        description: String::new(),
        input_schema_json: "{}".to_owned(),
    };
    let patience = Duration::from_secs(20);
    ModelCall {
        endpoint: format!("http://{address}"),
        api_key: "any".to_owned(),
        provider_model: "demo".to_owned(),
        effort: Default::default(),
        output_tokens_max: 1_000,
        system: Vec::new(),
        messages,
        tools: tool_names.iter().map(tool).collect(),
        limits: CallLimits {
            first_token_timeout: patience,
            silence_timeout: patience,
            answer_duration_max: patience * 3,
            answer_bytes_max: 1 << 20,
        },
    }
}

async fn ask(call: ModelCall) -> Answer {
    let mut answer = Answer::default();
    let mut events = Providers::default().get("anthropic").unwrap().call(call);
    while let Some(event) = events.try_next().await.unwrap() {
        answer.apply(&event);
    }
    answer
}

/// Runs a call as the workspace's tools would.
fn run_tool(files: &Files, tool_name: &str, arguments_json: &str) -> String {
    let arguments: Value = serde_json::from_str(arguments_json).unwrap();
    if tool_name == "execute" {
        return match arguments["command"].as_str().unwrap() {
            "ls -A | wc -l" => format!("{}\n(exit code 0)", files.len() + 1),
            "uname -s" => "Minix\n(exit code 0)".to_owned(),
            other => panic!("{other} may not be harmless"),
        };
    }
    let path = arguments["path"].as_str().unwrap();
    match tool_name {
        "list_dir" => {
            assert_eq!(path, ".");
            if files.is_empty() {
                return "(empty)".to_owned();
            }
            files
                .iter()
                .map(|(name, text)| format!("{name}  {} bytes\n", text.len()))
                .chain(["src/\n".into()])
                .collect()
        }
        "read_file" => {
            let lines = files[path].lines().zip(1..);
            lines.map(|(line, number)| format!("{number:>6}\t{line}\n")).chain(["(the end)".into()]).collect()
        }
        other => panic!("no tool {other}"),
    }
}

/// Runs a whole turn and returns its answers.
async fn turn(files: &Files, tool_names: &[&str]) -> Vec<Answer> {
    let demo = demo().await;
    let mut messages =
        vec![PromptMessage::User { parts: vec![UserPiece::Text("What is in this directory?".to_owned())] }];
    let mut answers = Vec::new();
    loop {
        let answer = ask(call(demo.address, messages.clone(), tool_names)).await;
        let message_id = i64::try_from(messages.len()).unwrap();
        messages.push(PromptMessage::Assistant { message_id, parts: answer.parts.clone() });
        let calls = answer.parts.iter().filter_map(|part| match &part.content {
            PartContent::ToolCall { tool_name, arguments_json } => Some((tool_name, arguments_json)),
            _ => None,
        });
        let results = calls.zip(0..).map(|((tool_name, arguments_json), call_index)| ToolResult {
            call_message_id: message_id,
            call_index,
            output: run_tool(files, tool_name, arguments_json),
            is_error: false,
        });
        messages.push(PromptMessage::Tool { results: results.collect() });
        let is_last = answer.stop_reason == Some(StopReason::EndTurn);
        answers.push(answer);
        assert!(answers.len() < 10, "the turn ends");
        if is_last {
            demo.stop().await;
            return answers;
        }
    }
}

fn text_of(answer: &Answer) -> &str {
    match &answer.parts[0].content {
        PartContent::Text(text) => text,
        other => panic!("no text but {other:?}"),
    }
}

#[tokio::test]
async fn it_lists_the_directory_reads_what_it_found_and_says_what_is_in_it() {
    let files = Files::from([
        ("README.md", "\n# Quaternion kettle\n\nBoils water in four dimensions.\n"),
        ("ledger.txt", "zebra 17\nyak 4\n"),
        ("picture.png", "\u{0}"),
    ]);

    let answers = turn(&files, &["list_dir", "read_file"]).await;

    assert_eq!(answers.len(), 3);
    assert!(!text_of(&answers[0]).is_empty(), "a sentence comes before the call");
    assert_eq!(answers[1].parts.len(), 3, "both files are read in one step");
    let answer = text_of(&answers[2]);
    for found in [
        "src/",
        "README.md",
        "ledger.txt",
        "picture.png",
        "Quaternion kettle",
        "Boils water in four dimensions.",
        "zebra 17",
    ] {
        assert!(answer.contains(found), "{found} is missing in {answer}");
    }
    assert!(answer.starts_with("This directory has 1 directory and 3 files: "), "{answer}");
    assert!(answers[2].usage.input_tokens > answers[0].usage.input_tokens);
    assert!(answers[2].usage.output_tokens > 10);
}

#[tokio::test]
async fn without_reading_it_says_what_it_saw_and_without_tools_that_it_has_none() {
    let files = Files::from([("one.txt", "1")]);

    let only_listing = turn(&files, &["list_dir"]).await;
    let nothing = turn(&files, &[]).await;

    assert_eq!(
        text_of(only_listing.last().unwrap()),
        "This directory has 1 directory and 1 file: one.txt and src/."
    );
    assert_eq!(nothing.len(), 1);
    assert!(text_of(&nothing[0]).contains("demo model") && text_of(&nothing[0]).contains("no tools"));
}

#[tokio::test]
async fn with_a_shell_it_runs_a_harmless_command_and_says_what_came_of_it() {
    let files = Files::from([("one.txt", "1"), ("two; rm -rf $HOME.txt", "2")]);

    let answers = turn(&files, &["list_dir", "read_file", "execute"]).await;
    let of_nothing = turn(&Files::new(), &["list_dir", "read_file", "execute"]).await;

    assert_eq!(answers.len(), 3);
    assert_eq!(answers[1].parts.len(), 4, "files are read and the command is run in one step");
    let answer = text_of(&answers[2]);
    assert!(answer.contains("`ls -A | wc -l` printed:\n> 3\n> (exit code 0)"), "{answer}");
    assert!(answer.contains("one.txt begins:\n> 1"), "{answer}");
    let answer = text_of(of_nothing.last().unwrap());
    assert!(answer.starts_with("This directory is empty.\n\n`uname -s` printed:\n> Minix"), "{answer}");
}

#[tokio::test]
async fn a_new_question_begins_a_new_turn() {
    let demo = demo().await;
    let listed = PartContent::ToolCall { tool_name: "list_dir".into(), arguments_json: "{}".into() };
    let part = chatplane_worker::llm::AnswerPart { content: listed, provider_state: Bytes::new() };
    let result = ToolResult { call_message_id: 1, call_index: 0, output: "old.txt".into(), is_error: false };
    let messages = vec![
        PromptMessage::User { parts: vec![UserPiece::Text("Look.".into())] },
        PromptMessage::Assistant { message_id: 1, parts: vec![part] },
        PromptMessage::Tool { results: vec![result] },
        PromptMessage::User { parts: vec![UserPiece::Text("Look again.".into())] },
    ];

    let answer = ask(call(demo.address, messages, &["list_dir"])).await;

    assert_eq!(answer.stop_reason, Some(StopReason::ToolUse));
    assert!(text_of(&answer).starts_with("You asked: \"Look again.\"."), "{}", text_of(&answer));
    demo.stop().await;
}

async fn raw(address: SocketAddr, head: &str, body: &[u8]) -> String {
    let mut connection = TcpStream::connect(address).await.unwrap();
    let head =
        format!("{head} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {}\r\n\r\n", body.len());
    connection.write_all(head.as_bytes()).await.unwrap();
    // A server that has seen enough may close while the rest is sent.
    let _ = connection.write_all(body).await;
    let mut response = Vec::new();
    let _ = connection.read_to_end(&mut response).await;
    String::from_utf8(response).unwrap()
}

#[tokio::test]
async fn what_is_no_call_gets_an_error_of_the_providers_shape() {
    let demo = demo().await;
    for (head, body, status, error_type) in [
        ("GET /v1/messages", "", "404", "not_found_error"),
        ("POST /v1/other", "{}", "404", "not_found_error"),
        ("POST /v1/messages", "nonsense", "400", "invalid_request_error"),
        ("POST /v1/messages", "{\"stream\":false}", "400", "invalid_request_error"),
        ("POST /v1/messages", "[]", "400", "invalid_request_error"),
    ] {
        let response = raw(demo.address, head, body.as_bytes()).await;
        assert!(response.starts_with(&format!("HTTP/1.1 {status} ")), "{response}");
        assert!(response.contains(&format!("\"type\":\"{error_type}\"")), "{response}");
    }
    // The length alone is enough to refuse; the body is never sent.
    let mut connection = TcpStream::connect(demo.address).await.unwrap();
    let head =
        format!("POST /v1/messages HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n", REQUEST_BYTES_MAX + 1);
    connection.write_all(head.as_bytes()).await.unwrap();
    let mut status = [0; 12];
    connection.read_exact(&mut status).await.unwrap();
    assert_eq!(&status, b"HTTP/1.1 413");
    demo.stop().await;
}

#[tokio::test]
async fn a_client_that_leaves_and_a_stop_in_mid_answer_do_no_harm() {
    let demo = demo().await;
    let request =
        call(demo.address, vec![PromptMessage::User { parts: vec![UserPiece::Text("Hello.".into())] }], &[]);
    let mut events = Providers::default().get("anthropic").unwrap().call(request.clone());
    events.try_next().await.unwrap().unwrap();
    drop(events);

    assert_eq!(ask(request.clone()).await.stop_reason, Some(StopReason::EndTurn));

    let mut events = Providers::default().get("anthropic").unwrap().call(request);
    events.try_next().await.unwrap().unwrap();
    demo.stop().await;
    let rest: Result<Vec<_>, _> = events.try_collect().await;
    assert!(rest.is_err(), "the answer was cut");
}

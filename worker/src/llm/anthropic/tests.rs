//! The client against a local server that sends what a script says, byte by byte.

use std::time::Duration;

use futures::TryStreamExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use chatplane_domain::{Effort, Usage};

use super::*;
use crate::llm::{Answer, CallLimits, PartContent, PromptMessage, StopReason};

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n";
const START: &str = "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"usage\":{\"input_tokens\":5}}}\n\n";
const TEXT: &str = "data: {\"type\":\"content_block_start\",\"index\":0,\"content_block\":{\"type\":\"text\",\"text\":\"\"}}\n\n";
const WORD: &str = "data: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"h\u{e9}llo\"}}\n\n";
const STOP: &str = concat!(
    "data: {\"type\":\"content_block_stop\",\"index\":0}\n\n",
    "data: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\"},\"usage\":{\"output_tokens\":2}}\n\n",
    "data: {\"type\":\"message_stop\"}\n\n",
);
const PING: &str = "event: ping\ndata: {\"type\": \"ping\"}\n\n";

/// What the server does after the request has come.
enum Script {
    /// Sends these pieces and closes the connection.
    Send(Vec<String>),
    /// Sends this and then waits for the client to leave.
    Hang(String),
    /// Sends the first, then the second again and again until the client leaves.
    Repeat(String, &'static str),
}

struct Server {
    endpoint: String,
    /// The request, once it has come whole.
    request: oneshot::Receiver<String>,
    /// Ends when the script has ended or the client has left.
    task: JoinHandle<()>,
}

async fn serve(script: Script) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let (send_request, request) = oneshot::channel();
    let task = tokio::spawn(async move {
        let (mut connection, _) = listener.accept().await.unwrap();
        let _ = send_request.send(read_request(&mut connection).await);
        run_script(&mut connection, script).await;
    });
    Server { endpoint, request, task }
}

async fn run_script(connection: &mut TcpStream, script: Script) {
    match script {
        Script::Send(pieces) => {
            for piece in pieces {
                if connection.write_all(piece.as_bytes()).await.is_err() {
                    return;
                }
            }
            let _ = connection.shutdown().await;
        }
        Script::Hang(first) => {
            connection.write_all(first.as_bytes()).await.unwrap();
            while connection.read(&mut [0; 64]).await.is_ok_and(|read| read > 0) {}
        }
        Script::Repeat(first, again) => {
            connection.write_all(first.as_bytes()).await.unwrap();
            while connection.write_all(again.as_bytes()).await.is_ok() {}
        }
    }
}

async fn read_request(connection: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    loop {
        let mut buffer = [0; 4096];
        let read = connection.read(&mut buffer).await.unwrap();
        bytes.extend_from_slice(&buffer[..read]);
        let text = String::from_utf8(bytes.clone()).unwrap();
        let Some((head, body)) = text.split_once("\r\n\r\n") else {
            continue;
        };
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        if body.len() == length.unwrap().parse::<usize>().unwrap() {
            return text;
        }
    }
}

fn call(endpoint: &str) -> ModelCall {
    ModelCall {
        endpoint: endpoint.to_owned(),
        api_key: "sk-secret".to_owned(),
        provider_model: "claude-sonnet-4-6".to_owned(),
        effort: Effort::Unspecified,
        output_tokens_max: 100,
        system: Vec::new(),
        messages: vec![PromptMessage::User { texts: vec!["Say hello.".to_owned()] }],
        tools: Vec::new(),
        limits: CallLimits {
            first_token_timeout: Duration::from_secs(20),
            silence_timeout: Duration::from_secs(20),
            answer_duration_max: Duration::from_secs(60),
            answer_bytes_max: 10_000,
        },
    }
}

/// Long enough that only an honest wait reaches it, short enough to wait for.
const SHORT: Duration = Duration::from_millis(50);

/// Runs a call to its end; what came before a failure counts too.
async fn run(call: ModelCall) -> (Answer, Option<CallFailure>) {
    let mut answer = Answer::default();
    let mut events = Anthropic::default().call(call);
    let outcome = async {
        while let Some(event) = events.try_next().await? {
            answer.apply(&event);
        }
        Ok(())
    }
    .await;
    (answer, outcome.err())
}

async fn failure_of(script: Script, change: impl FnOnce(&mut ModelCall)) -> CallFailure {
    let server = serve(script).await;
    let mut call = call(&server.endpoint);
    change(&mut call);
    let (answer, failure) = run(call).await;
    assert_eq!(answer.stop_reason, None, "an answer that failed is not finished");
    server.task.abort();
    failure.expect("the call fails")
}

fn pieces(text: &[&str]) -> Script {
    Script::Send(text.iter().map(|&piece| piece.to_owned()).collect())
}

fn answer_with_status(status: &str, headers: &str, body: &str) -> Script {
    Script::Send(vec![format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n{headers}\r\n{body}", body.len())])
}

#[tokio::test]
async fn an_answer_streams_in_and_the_request_carries_the_key_and_the_version() {
    let server = serve(pieces(&[OK, START, PING, TEXT, WORD, WORD, STOP])).await;

    let (answer, failure) = run(call(&format!("{}/", server.endpoint))).await;

    assert_eq!(failure, None);
    assert_eq!(answer.parts[0].content, PartContent::Text("h\u{e9}lloh\u{e9}llo".into()));
    assert_eq!(answer.stop_reason, Some(StopReason::EndTurn));
    assert_eq!(answer.usage, Usage { input_tokens: 5, output_tokens: 2, ..Usage::default() });
    let request = server.request.await.unwrap();
    assert!(request.starts_with("POST /v1/messages HTTP/1.1\r\n"), "{request}");
    for header in ["x-api-key: sk-secret", "anthropic-version: 2023-06-01", "content-type: application/json"]
    {
        assert!(request.contains(&format!("{header}\r\n")), "{request}");
    }
}

#[tokio::test]
async fn a_stream_cut_into_single_bytes_says_the_same() {
    let stream = [START, TEXT, WORD, STOP].concat();
    // One chunk of HTTP for each byte, so that they arrive one by one.
    let bytes = stream.bytes().map(|byte| [b"1\r\n".as_slice(), &[byte], b"\r\n"].concat());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let chunks: Vec<u8> = bytes.flatten().collect();
    let server = tokio::spawn(async move {
        let (mut connection, _) = listener.accept().await.unwrap();
        read_request(&mut connection).await;
        let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
        connection.write_all(head.as_bytes()).await.unwrap();
        connection.write_all(&chunks).await.unwrap();
        connection.write_all(b"0\r\n\r\n").await.unwrap();
    });

    let (answer, failure) = run(call(&endpoint)).await;

    assert_eq!(failure, None);
    assert_eq!(answer.parts[0].content, PartContent::Text("h\u{e9}llo".into()));
    server.await.unwrap();
}

#[tokio::test]
async fn status_codes_and_retry_after_become_typed_failures() {
    let limited = "{\"type\":\"error\",\"error\":{\"type\":\"rate_limit_error\",\"message\":\"slow down\"}}";
    let script = answer_with_status("429 Too Many Requests", "retry-after: 7\r\n", limited);

    let failure = failure_of(script, |_| {}).await;

    assert_eq!((failure.error.kind, failure.error.status_code), (ErrorKind::RateLimited, Some(429)));
    assert_eq!(failure.error.detail, "rate_limit_error: slow down");
    assert_eq!(failure.retry_after, Some(Duration::from_secs(7)));
}

#[tokio::test]
async fn a_redirect_is_not_followed_with_the_key() {
    let elsewhere = serve(Script::Hang(String::new())).await;
    let location = format!("location: {}/v1/messages\r\n", elsewhere.endpoint);

    let failure = failure_of(answer_with_status("307 Temporary Redirect", &location, ""), |_| {}).await;

    assert_eq!((failure.error.kind, failure.error.retryable), (ErrorKind::InvalidRequest, false));
    assert!(!elsewhere.task.is_finished(), "nobody has called");
    elsewhere.task.abort();
}

#[tokio::test]
async fn a_server_that_answers_with_a_page_is_not_asked_again() {
    let page = answer_with_status("200 OK", "content-type: text/html\r\n", "<html>Log in, please</html>");

    let failure = failure_of(page, |_| {}).await;

    assert_eq!((failure.error.kind, failure.error.retryable), (ErrorKind::MalformedResponse, false));
    assert!(failure.error.message.contains("endpoint"), "{}", failure.error.message);
    assert!(!failure.error.detail.contains("Log in"), "{}", failure.error.detail);
}

#[tokio::test]
async fn whatever_is_no_event_stream_is_malformed() {
    let json = "data: {\"type\":\n\n";
    let number = "data: 7\n\n";
    for script in [
        pieces(&["HTTP/1.1 200 OK\r\ncontent-length: 12\r\n\r\n<html></html>"]),
        pieces(&[OK, START, json]),
        pieces(&[OK, number]),
        pieces(&[OK, START, WORD]),
        pieces(&[OK]),
        pieces(&[OK, START, TEXT, WORD]),
        pieces(&[OK, START, TEXT, WORD, &STOP[..STOP.len() - 1]]),
    ] {
        let failure = failure_of(script, |_| {}).await;
        assert_eq!((failure.error.kind, failure.error.retryable), (ErrorKind::MalformedResponse, true));
        assert!(!failure.error.detail.contains("Log in"), "{}", failure.error.detail);
    }
}

#[tokio::test]
async fn a_connection_that_breaks_is_an_unavailable_provider() {
    let cut = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: 99999\r\n\r\n";
    for script in [pieces(&[cut, START, TEXT]), pieces(&[""])] {
        let failure = failure_of(script, |_| {}).await;
        assert_eq!((failure.error.kind, failure.error.retryable), (ErrorKind::ProviderUnavailable, true));
    }
}

#[tokio::test]
async fn what_came_before_an_error_in_mid_stream_is_kept() {
    let error = "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\"message\":\"busy\"}}\n\n";
    let server = serve(pieces(&[OK, START, TEXT, WORD, error])).await;

    let (answer, failure) = run(call(&server.endpoint)).await;

    assert_eq!(answer.parts[0].content, PartContent::Text("h\u{e9}llo".into()));
    assert!(!answer.last_part_finished);
    let error = failure.unwrap().error;
    assert_eq!(
        (error.kind, error.retryable, error.detail.as_str()),
        (ErrorKind::Overloaded, true, "overloaded_error")
    );
}

#[tokio::test]
async fn a_silent_provider_times_out_before_and_after_the_first_token() {
    let first = |call: &mut ModelCall| call.limits.first_token_timeout = SHORT;
    let silence = |call: &mut ModelCall| call.limits.silence_timeout = SHORT;

    let mute = failure_of(Script::Hang(String::new()), first).await;
    let only_alive = failure_of(Script::Hang([OK, START, PING].concat()), first).await;
    let pinging = failure_of(Script::Repeat([OK, START].concat(), PING), first).await;
    let stalled = failure_of(Script::Hang([OK, START, TEXT, WORD].concat()), silence).await;

    for failure in [mute, only_alive, pinging, stalled] {
        assert_eq!((failure.error.kind, failure.error.retryable), (ErrorKind::Timeout, true));
    }
}

#[tokio::test]
async fn an_answer_that_never_ends_is_cut_by_its_size_its_duration_and_its_events() {
    let begun = [OK, START, TEXT].concat();
    let endless = failure_of(Script::Repeat(begun.clone(), WORD), |_| {}).await;
    let pinging = failure_of(Script::Repeat(begun.clone(), PING), |call| {
        call.limits.answer_duration_max = SHORT;
    })
    .await;
    let one_line = failure_of(Script::Repeat(begun, "data: data data data data data"), |_| {}).await;

    for failure in [endless, pinging, one_line] {
        assert_eq!((failure.error.kind, failure.error.retryable), (ErrorKind::AnswerTooLarge, false));
    }
}

#[tokio::test]
async fn an_error_with_a_body_that_never_ends_is_read_up_to_its_bound() {
    let head = "HTTP/1.1 500 Internal Server Error\r\nconnection: close\r\n\r\n".to_owned();
    let failure = failure_of(Script::Repeat(head, "garbage "), |_| {}).await;
    assert_eq!((failure.error.kind, failure.error.status_code), (ErrorKind::ProviderUnavailable, Some(500)));
}

#[tokio::test]
async fn dropping_the_stream_closes_the_connection() {
    let server = serve(Script::Hang([OK, START, TEXT, WORD].concat())).await;
    let mut events = Anthropic::default().call(call(&server.endpoint));
    while !matches!(events.try_next().await.unwrap(), Some(ModelEvent::Delta(_))) {}

    drop(events);

    let closed = tokio::time::timeout(Duration::from_secs(20), server.task).await;
    closed.expect("the server sees the end of the connection").unwrap();
}

#[tokio::test]
async fn a_provider_that_cannot_be_reached_is_named_by_its_host_alone() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let host = listener.local_addr().unwrap().to_string();
    drop(listener);

    let (_, failure) = run(call(&format!("http://user:password@{host}/base"))).await;

    let error = failure.unwrap().error;
    assert_eq!((error.kind, error.retryable), (ErrorKind::ProviderUnavailable, true));
    assert!(error.message.contains(&host), "{}", error.message);
    assert!(!format!("{error:?}").contains("password"));
}

#[tokio::test]
async fn an_endpoint_or_key_that_cannot_be_used_is_told_without_a_call() {
    for (endpoint, key) in
        [("", "k"), ("nonsense", "k"), ("file:///etc/passwd", "k"), ("http://127.0.0.1:1", "line\nbreak")]
    {
        let mut call = call(endpoint);
        call.api_key = key.to_owned();
        let error = run(call).await.1.unwrap().error;
        assert_eq!((error.kind, error.retryable), (ErrorKind::ModelUnusable, false), "{endpoint}");
    }
}

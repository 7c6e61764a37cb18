//! The clients against servers of every kind.

use std::time::Duration;

use chatplane_domain::{ErrorKind, Usage};
use futures::TryStreamExt;
use tokio::net::TcpListener;

use super::dialect::{DIALECTS, Dialect, call};
use super::server::{OK, Script, answer_with_status, pieces, serve};
use crate::llm::{Answer, CallFailure, ModelCall, ModelEvent, PartContent, Providers, StopReason};

/// Long enough that only an honest wait reaches it, short enough to wait for.
const SHORT: Duration = Duration::from_millis(50);

/// Runs a call to its end; what came before a failure counts too.
async fn run(dialect: &Dialect, call: ModelCall) -> (Answer, Option<CallFailure>) {
    let mut answer = Answer::default();
    let mut events = dialect.provider().call(call);
    let outcome = async {
        while let Some(event) = events.try_next().await? {
            answer.apply(&event);
        }
        Ok(())
    }
    .await;
    (answer, outcome.err())
}

async fn failure_of(dialect: &Dialect, script: Script, change: impl FnOnce(&mut ModelCall)) -> CallFailure {
    let server = serve(script).await;
    let mut call = call(&format!("{}{}", server.endpoint, dialect.base));
    change(&mut call);
    let (answer, failure) = run(dialect, call).await;
    assert_eq!(answer.stop_reason, None, "an answer that failed is not finished");
    server.task.abort();
    let failure = failure.expect("the call fails");
    assert_eq!(failure.error.provider, dialect.name);
    assert!(!format!("{failure:?}").contains("sk-secret"));
    failure
}

fn kind(failure: &CallFailure) -> (ErrorKind, bool) {
    (failure.error.kind, failure.error.retryable)
}

#[tokio::test]
async fn an_answer_streams_in_and_the_request_carries_the_key() {
    for dialect in DIALECTS {
        let Dialect { start, ping, begin, word, end, .. } = dialect;
        let server = serve(pieces(&[OK, start, ping, begin, word, word, end])).await;
        let endpoint = format!("{}{}/", server.endpoint, dialect.base);

        let (answer, failure) = run(&dialect, call(&endpoint)).await;

        assert_eq!(failure, None);
        let PartContent::Text(text) = &answer.parts[0].content else { panic!("a text") };
        assert!(text.ends_with("h\u{e9}lloh\u{e9}llo"), "{text}");
        assert_eq!(answer.stop_reason, Some(StopReason::EndTurn));
        assert_eq!(answer.usage, Usage { input_tokens: 5, output_tokens: 2, ..Usage::default() });
        let request = server.request.await.unwrap();
        assert!(request.starts_with(&format!("POST {} HTTP/1.1\r\n", dialect.path)), "{request}");
        for header in [dialect.key_header, "content-type: application/json", "accept: text/event-stream"] {
            assert!(request.contains(&format!("{header}\r\n")), "{request}");
        }
    }
}

#[tokio::test]
async fn chunks_of_a_single_byte_say_the_same() {
    for dialect in DIALECTS {
        let stream = [dialect.start, dialect.begin, dialect.word, dialect.end].concat();
        // Whole characters, since a script is text; the bytes within are cut elsewhere.
        let chunk = |character: char| format!("{:x}\r\n{character}\r\n", character.len_utf8());
        let mut script = vec![
            "HTTP/1.1 200 OK\r\ncontent-type: Text/Event-Stream; charset=utf-8\r\ntransfer-encoding: chunked\r\n\r\n"
                .to_owned(),
        ];
        script.extend(stream.chars().map(chunk));
        script.push("0\r\n\r\n".to_owned());
        let server = serve(Script::Send(script)).await;

        let (answer, failure) = run(&dialect, call(&format!("{}{}", server.endpoint, dialect.base))).await;

        assert_eq!((failure, answer.stop_reason), (None, Some(StopReason::EndTurn)), "{}", dialect.name);
    }
}

#[tokio::test]
async fn a_provider_is_found_by_its_name() {
    for dialect in DIALECTS {
        let server = serve(pieces(&[OK, dialect.start, dialect.begin, dialect.end])).await;
        let provider = Providers::default().get(dialect.name).expect("the provider is known");

        let endpoint = format!("{}{}", server.endpoint, dialect.base);
        let events: Vec<ModelEvent> = provider.call(call(&endpoint)).try_collect().await.unwrap();

        assert!(matches!(events.last(), Some(ModelEvent::Finished(_))), "{}", dialect.name);
    }
    assert!(Providers::default().get("somebody").is_none());
}

#[tokio::test]
async fn status_codes_become_typed_failures() {
    use ErrorKind::{
        Authentication, InvalidRequest, MalformedResponse, Overloaded, ProviderUnavailable, RateLimited,
    };
    for dialect in DIALECTS {
        for (status, expected) in [
            ("401 Unauthorized", (Authentication, false)),
            ("403 Forbidden", (Authentication, false)),
            ("404 Not Found", (InvalidRequest, false)),
            ("429 Too Many Requests", (RateLimited, true)),
            ("500 Internal Server Error", (ProviderUnavailable, true)),
            ("502 Bad Gateway", (ProviderUnavailable, true)),
            ("503 Service Unavailable", (Overloaded, true)),
            ("529 Overloaded", (Overloaded, true)),
            ("204 No Content", (MalformedResponse, true)),
        ] {
            let code = status[..3].parse().unwrap();
            let page = "<html>Log in, please</html>";
            let error = (dialect.error)("unheard_of", "no").to_string();
            for body in if code == 204 { ["", ""] } else { [page, error.as_str()] } {
                let failure = failure_of(&dialect, answer_with_status(status, "", body), |_| {}).await;

                assert_eq!(kind(&failure), expected, "{} {status}", dialect.name);
                assert_eq!(failure.error.status_code, Some(code));
                assert!(!failure.error.message.is_empty() && !failure.error.detail.contains("Log in"));
            }
        }
    }
}

#[tokio::test]
async fn a_provider_can_say_how_long_to_wait() {
    for dialect in DIALECTS {
        let body = (dialect.error)("rate_limit_error", "slow down").to_string();
        let script = answer_with_status("429 Too Many Requests", "retry-after: 7\r\n", &body);

        let failure = failure_of(&dialect, script, |_| {}).await;

        assert_eq!(kind(&failure), (ErrorKind::RateLimited, true));
        assert_eq!(failure.error.detail, "rate_limit_error: slow down");
        assert_eq!(failure.retry_after, Some(Duration::from_secs(7)));
    }
}

#[tokio::test]
async fn an_error_that_comes_as_a_success_is_typed_by_its_words() {
    for dialect in DIALECTS {
        let body = (dialect.error)("rate_limit_error", "slow down").to_string();
        let script = answer_with_status("200 OK", "content-type: application/json\r\n", &body);

        let failure = failure_of(&dialect, script, |_| {}).await;

        assert_eq!(kind(&failure), (ErrorKind::RateLimited, true), "{}", dialect.name);
        assert_eq!(failure.error.detail, "rate_limit_error: slow down");
    }
}

#[tokio::test]
async fn a_redirect_is_not_followed_with_the_key() {
    for dialect in DIALECTS {
        let elsewhere = serve(Script::Hang(String::new())).await;
        let location = format!("location: {}{}\r\n", elsewhere.endpoint, dialect.path);
        let script = answer_with_status("307 Temporary Redirect", &location, "");

        let failure = failure_of(&dialect, script, |_| {}).await;

        assert_eq!(kind(&failure), (ErrorKind::InvalidRequest, false));
        assert!(failure.error.message.contains("final address"), "{}", failure.error.message);
        assert!(!elsewhere.task.is_finished(), "nobody has called");
        elsewhere.task.abort();
    }
}

#[tokio::test]
async fn a_server_that_answers_with_something_else_is_not_asked_again() {
    for dialect in DIALECTS {
        for (content_type, body) in
            [("text/html", "<html>Log in, please</html>"), ("application/json", "{\"choices\":[]}")]
        {
            let headers = format!("content-type: {content_type}\r\n");
            let failure = failure_of(&dialect, answer_with_status("200 OK", &headers, body), |_| {}).await;

            assert_eq!(kind(&failure), (ErrorKind::MalformedResponse, false));
            assert!(failure.error.message.contains("endpoint"), "{}", failure.error.message);
            assert!(!failure.error.detail.contains("Log in"), "{}", failure.error.detail);
        }
    }
}

#[tokio::test]
async fn whatever_is_no_event_stream_is_malformed() {
    let untyped = "HTTP/1.1 200 OK\r\ncontent-length: 13\r\n\r\n<html></html>";
    for dialect in DIALECTS {
        let Dialect { start, begin, word, .. } = dialect;
        for script in [
            pieces(&[untyped]),
            pieces(&[OK]),
            pieces(&[OK, "<html>Log in, please</html>\n\n"]),
            pieces(&[OK, start, "data: {\"type\":\n\n"]),
            pieces(&[OK, "data: 7\n\n"]),
            pieces(&[OK, "data: <html>Log in</html>\n\n"]),
            pieces(&[OK, start, begin, word]),
        ] {
            let failure = failure_of(&dialect, script, |_| {}).await;
            assert_eq!(kind(&failure), (ErrorKind::MalformedResponse, true), "{}", dialect.name);
            assert!(!failure.error.detail.contains("Log in"), "{}", failure.error.detail);
        }
    }
}

#[tokio::test]
async fn a_connection_that_breaks_is_an_unavailable_provider() {
    let cut = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: 99999\r\n\r\n";
    for dialect in DIALECTS {
        for script in [pieces(&[cut, dialect.start, dialect.begin]), pieces(&[""])] {
            let failure = failure_of(&dialect, script, |_| {}).await;
            assert_eq!(kind(&failure), (ErrorKind::ProviderUnavailable, true));
        }
    }
}

#[tokio::test]
async fn what_came_before_an_error_in_mid_stream_is_kept() {
    for dialect in DIALECTS {
        let Dialect { start, begin, word, overloaded, end, .. } = dialect;
        let server = serve(pieces(&[OK, start, begin, word, overloaded, end])).await;

        let (answer, failure) = run(&dialect, call(&format!("{}{}", server.endpoint, dialect.base))).await;

        let PartContent::Text(text) = &answer.parts[0].content else { panic!("a text") };
        assert!(text.ends_with("h\u{e9}llo"), "{text}");
        assert!(!answer.last_part_finished);
        let failure = failure.unwrap();
        assert_eq!(kind(&failure), (ErrorKind::Overloaded, true));
        assert_eq!(failure.error.detail, "overloaded_error");
    }
}

#[tokio::test]
async fn a_silent_provider_times_out_before_and_after_the_first_token() {
    for dialect in DIALECTS {
        let Dialect { start, ping, begin, word, .. } = dialect;
        let first = |call: &mut ModelCall| {
            call.limits.first_token_timeout = SHORT;
            // There the first token may take as long as a silence.
            if dialect.name == "openai" {
                call.limits.silence_timeout = SHORT;
            }
        };
        let silence = |call: &mut ModelCall| call.limits.silence_timeout = SHORT;

        let mute = failure_of(&dialect, Script::Hang(String::new()), first).await;
        let only_alive = failure_of(&dialect, Script::Hang([OK, start, ping].concat()), first).await;
        let pinging = failure_of(&dialect, Script::Repeat([OK, start].concat(), ping), first).await;
        let starting = failure_of(&dialect, Script::Repeat(OK.to_owned(), start), first).await;
        let stalled = failure_of(&dialect, Script::Hang([OK, start, begin, word].concat()), silence).await;

        for failure in [mute, only_alive, pinging, starting, stalled] {
            assert_eq!(kind(&failure), (ErrorKind::Timeout, true), "{}", dialect.name);
        }
    }
}

#[tokio::test]
async fn an_answer_that_never_ends_is_cut_by_its_size_its_duration_and_its_events() {
    for dialect in DIALECTS {
        let begun = [OK, dialect.start, dialect.begin].concat();
        let endless = failure_of(&dialect, Script::Repeat(begun.clone(), dialect.word), |_| {}).await;
        let pinging = failure_of(&dialect, Script::Repeat(begun.clone(), dialect.ping), |call| {
            call.limits.answer_duration_max = SHORT;
        })
        .await;
        let one_line = Script::Repeat(begun, "data: data data data data data");
        let one_line = failure_of(&dialect, one_line, |_| {}).await;

        for failure in [endless, pinging, one_line] {
            assert_eq!(kind(&failure), (ErrorKind::AnswerTooLarge, false), "{}", dialect.name);
        }
    }
}

/// Where the wire format says that an answer is whole before its last word.
#[tokio::test]
async fn a_whole_answer_is_not_lost_to_a_server_that_does_not_end_it() {
    let longer = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: 99999\r\n\r\n";
    for dialect in DIALECTS.iter().filter(|dialect| !dialect.spare.is_empty()) {
        let end = dialect.end.strip_suffix(dialect.spare).expect("the end ends with what can be spared");
        let whole = [dialect.start, dialect.begin, end].concat();
        for script in [
            Script::Hang([OK, &whole].concat()),
            Script::Repeat([OK, &whole].concat(), dialect.ping),
            pieces(&[longer, &whole]),
        ] {
            let server = serve(script).await;
            let mut call = call(&format!("{}{}", server.endpoint, dialect.base));
            call.limits.silence_timeout = SHORT;

            let (answer, failure) = run(dialect, call).await;

            assert_eq!((failure, answer.stop_reason), (None, Some(StopReason::EndTurn)));
            server.task.abort();
        }
    }
}

#[tokio::test]
async fn an_error_with_a_body_that_never_ends_is_read_up_to_its_bound() {
    for dialect in DIALECTS {
        let head = "HTTP/1.1 500 Internal Server Error\r\nconnection: close\r\n\r\n".to_owned();
        let failure = failure_of(&dialect, Script::Repeat(head, "garbage "), |_| {}).await;
        assert_eq!(kind(&failure), (ErrorKind::ProviderUnavailable, true));
    }
}

#[tokio::test]
async fn dropping_the_stream_closes_the_connection() {
    for dialect in DIALECTS {
        let server = serve(Script::Hang([OK, dialect.start, dialect.begin, dialect.word].concat())).await;
        let mut events = dialect.provider().call(call(&format!("{}{}", server.endpoint, dialect.base)));
        while !matches!(events.try_next().await.unwrap(), Some(ModelEvent::Delta(_))) {}

        drop(events);

        let closed = tokio::time::timeout(Duration::from_secs(20), server.task).await;
        closed.expect("the server sees the end of the connection").unwrap();
    }
}

#[tokio::test]
async fn a_provider_that_cannot_be_reached_is_named_by_its_host_alone() {
    for dialect in DIALECTS {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let host = listener.local_addr().unwrap().to_string();
        drop(listener);

        let (_, failure) = run(&dialect, call(&format!("http://user:password@{host}/base"))).await;

        let failure = failure.unwrap();
        assert_eq!(kind(&failure), (ErrorKind::ProviderUnavailable, true));
        assert!(failure.error.message.contains(&host), "{}", failure.error.message);
        assert!(!format!("{failure:?}").contains("password"));
    }
}

#[tokio::test]
async fn an_endpoint_or_key_that_cannot_be_used_is_told_without_a_call() {
    for dialect in DIALECTS {
        for (endpoint, key) in
            [("", "k"), ("nonsense", "k"), ("file:///etc/passwd", "k"), ("http://127.0.0.1:1", "line\nbreak")]
        {
            let mut call = call(endpoint);
            call.api_key = key.to_owned();
            let failure = run(&dialect, call).await.1.unwrap();
            assert_eq!(kind(&failure), (ErrorKind::ModelUnusable, false), "{endpoint}");
        }
    }
}

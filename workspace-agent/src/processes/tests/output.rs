//! What is written, and what the model and watchers get of it.

use serde_json::json;

use super::support::*;
use crate::tools::Ended;

#[tokio::test]
async fn both_streams_come_in_order_with_the_exit_code() {
    let place = Place::new();

    let ended = place.run("echo one; echo two >&2; echo three; exit 3").await;

    assert_eq!(ended, Ended::ok("one\ntwo\nthree\n(exit code 3)"));
}

#[tokio::test]
async fn silence_is_said_and_a_missing_line_break_added() {
    let place = Place::new();

    assert_eq!(place.run("true").await, Ended::ok("(no output)\n(exit code 0)"));
    assert_eq!(place.run("printf x").await, Ended::ok("x\n(exit code 0)"));
}

#[tokio::test]
async fn a_command_that_begins_with_a_dash_is_no_option() {
    let place = Place::new();

    let ended = place.run("-x").await;

    assert!(ended.output.ends_with("(exit code 127)"), "{ended:?}");
}

#[tokio::test]
async fn standard_input_is_empty_and_there_is_no_terminal() {
    let place = Place::new();

    let ended = place.run("cat; test -t 1 || echo none; (: < /dev/tty) 2> /dev/null || echo no tty").await;

    assert_eq!(ended, Ended::ok("none\nno tty\n(exit code 0)"));
}

#[tokio::test]
async fn bytes_that_are_no_utf8_are_replaced() {
    let place = Place::new();

    let ended = place.run(r"printf 'caf\351 \350\214\266'").await;

    assert_eq!(ended.output, "caf\u{fffd} 茶\n(exit code 0)");
}

#[tokio::test]
async fn of_much_output_both_ends_are_kept() {
    let place = Place::new();

    let ended = place.run("echo first; yes 茶 | head -n 1000000; echo last").await;

    assert!(ended.output.len() < 70 * 1024, "{}", ended.output.len());
    assert!(ended.output.starts_with("first\n茶\n"));
    assert!(ended.output.ends_with("茶\nlast\n(exit code 0)"));
    // What is kept is about 64 KiB of four million bytes.
    assert!(ended.output.contains("\n(… 39344"), "{}", &ended.output[32_000..34_000]);
}

#[tokio::test]
async fn output_is_seen_while_the_command_runs() {
    let place = Place::new();
    let mut started =
        place.start(&json!({ "command": r"printf 'one\377'; until test -e go; do sleep 0.01; done" }));

    let piece = soon("a piece of the preview", started.preview.recv()).await.unwrap();
    assert_eq!(piece[..], b"one\xff"[..]);

    std::fs::write(place.path("go"), "").unwrap();
    assert_eq!(started.end().await.output, "one\u{fffd}\n(exit code 0)");
}

#[tokio::test]
async fn nobody_who_reads_slowly_or_not_at_all_holds_the_command_up() {
    let place = Place::new();
    let flood = "head -c 20000000 /dev/zero | tr '\\0' x; echo done > done";

    // Its preview is there, and is never read.
    let started = place.start(&json!({ "command": flood }));
    eventually("the command gets to its end", || place.path("done").exists()).await;
    let ended = started.end().await;

    assert!(!ended.is_error && ended.output.ends_with("x\n(exit code 0)"));
    assert!(ended.output.len() < 70 * 1024);
}

#[tokio::test]
async fn the_command_goes_on_while_its_future_is_not_polled() {
    let place = Place::new();
    let (output, _preview) = crate::tools::OutputSink::new();
    let call = crate::tools::Call {
        arguments: crate::tools::Arguments::parse(
            r#"{"command": "head -c 1000000 /dev/zero; echo done > done"}"#,
        )
        .unwrap(),
        output,
        cancel: tokio_util::sync::CancellationToken::new(),
    };
    let mut run = place.execute.run(call);

    // Once, which starts it, as the link does before it waits for a stream that is full.
    assert!(futures::poll!(&mut run).is_pending());
    eventually("the command gets to its end", || place.path("done").exists()).await;

    assert!(soon("the end of the call", run).await.output.ends_with("(exit code 0)"));
}

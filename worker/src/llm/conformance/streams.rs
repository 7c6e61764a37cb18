//! However a stream is cut, it says the same, or that it is not whole.

use chatplane_domain::{ErrorKind, Usage};
use proptest::prelude::*;

use super::dialect::{DIALECTS, Dialect, Piece};
use crate::llm::{Answer, ModelEvent, PartContent, StopReason};

/// An answer with everything, as bytes.
fn stream(dialect: &Dialect) -> String {
    let pieces = [
        Piece::Thought,
        Piece::Text("I l\u{e9}\u{1f600}k.\r\n"),
        Piece::Call { id: "call_1", tool_name: "list_dir", arguments: "{\"path\": \"\u{e9}\"}" },
        Piece::Call { id: "call_2", tool_name: "read_file", arguments: "{}" },
    ];
    let mut stream = dialect.start.to_owned();
    for event in (dialect.events)(&pieces) {
        let data = event.as_str().map_or_else(|| event.to_string(), str::to_owned);
        stream.push_str(dialect.ping);
        stream.push_str(&format!("data: {data}\r\n\r\n"));
    }
    stream
}

fn answer(events: &[ModelEvent]) -> Answer {
    let mut answer = Answer::default();
    events.iter().for_each(|event| answer.apply(event));
    answer
}

#[tokio::test]
async fn an_answer_of_everything_is_added_up() {
    for dialect in DIALECTS {
        let (events, failure) = dialect.read(&[stream(&dialect).as_bytes()]).await;

        assert_eq!(failure, None, "{}", dialect.name);
        let call = |tool_name: &str, arguments: &str| PartContent::ToolCall {
            tool_name: tool_name.to_owned(),
            arguments_json: arguments.to_owned(),
        };
        let answer = answer(&events);
        let contents: Vec<PartContent> = answer.parts.iter().map(|part| part.content.clone()).collect();
        let expected = [
            PartContent::Reasoning("hm".into()),
            PartContent::Text("I l\u{e9}\u{1f600}k.\r\n".into()),
            call("list_dir", "{\"path\": \"\u{e9}\"}"),
            call("read_file", "{}"),
        ];
        assert_eq!(contents, expected, "{}", dialect.name);
        assert_eq!(answer.stop_reason, Some(StopReason::ToolUse), "{}", dialect.name);
        assert_eq!(answer.usage.input_tokens, 9, "{}", dialect.name);
        assert_in_order(&events);
    }
}

/// One part after the other, each with its start and its end, and only the last one grows.
fn assert_in_order(events: &[ModelEvent]) {
    let mut open = false;
    for event in events {
        match event {
            ModelEvent::PartStarted(_) => assert!(!std::mem::replace(&mut open, true)),
            ModelEvent::Delta(text) => assert!(open && !text.is_empty()),
            ModelEvent::PartFinished { .. } => assert!(std::mem::replace(&mut open, false)),
            ModelEvent::Usage(usage) => assert_ne!(*usage, Usage::default()),
            ModelEvent::Finished(_) => assert!(!open),
        }
    }
    assert!(matches!(events.last(), Some(ModelEvent::Finished(_))));
}

#[tokio::test]
async fn a_stream_cut_anywhere_says_the_same() {
    for dialect in DIALECTS {
        let stream = stream(&dialect);
        let bytes = stream.as_bytes();
        let whole = dialect.read(&[bytes]).await;
        for cut in 0..=bytes.len() {
            let (before, after) = bytes.split_at(cut);
            assert_eq!(dialect.read(&[before, after]).await, whole, "{} cut at {cut}", dialect.name);
        }
        let single: Vec<&[u8]> = bytes.chunks(1).collect();
        assert_eq!(dialect.read(&single).await, whole, "{} byte by byte", dialect.name);
    }
}

#[tokio::test]
async fn a_stream_that_ends_anywhere_is_whole_or_malformed() {
    for dialect in DIALECTS {
        let stream = [dialect.start, dialect.begin, dialect.word, dialect.end].concat();
        let whole = stream.len() - dialect.spare.len();
        for end in 0..=stream.len() {
            let (events, failure) = dialect.read(&[&stream.as_bytes()[..end]]).await;

            let finished = matches!(events.last(), Some(ModelEvent::Finished(StopReason::EndTurn)));
            assert_eq!(finished, end >= whole, "{} ends after {end} bytes", dialect.name);
            let kind = failure.map(|failure| (failure.error.kind, failure.error.retryable));
            let expected = (end < whole).then_some((ErrorKind::MalformedResponse, true));
            assert_eq!(kind, expected, "{} ends after {end} bytes", dialect.name);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn a_stream_with_bytes_changed_is_an_answer_or_a_typed_failure(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any_byte()), 1..4),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        for dialect in DIALECTS {
            let mut bytes = stream(&dialect).into_bytes();
            for (place, byte) in &changes {
                let place = place.index(bytes.len());
                bytes[place] = *byte;
            }

            let (events, failure) = runtime.block_on(dialect.read(&[&bytes]));

            let finished = matches!(events.last(), Some(ModelEvent::Finished(_)));
            prop_assert_eq!(finished, failure.is_none(), "{}", dialect.name);
        }
    }
}

/// Bytes that mean something, more often than others.
fn any_byte() -> impl Strategy<Value = u8> {
    prop_oneof![prop::sample::select(&b"\"\\{}[]:,09 \n\r"[..]), any::<u8>()]
}

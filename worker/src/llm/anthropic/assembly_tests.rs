use serde_json::json;

use super::*;
use crate::llm::{Answer, AnswerPart, PartContent};

fn event(data: &serde_json::Value) -> Event {
    Event { name: String::new(), data: data.to_string() }
}

fn run(events: &[serde_json::Value]) -> Result<Answer, Fault> {
    let mut assembly = MessageAssembly::new("model".to_owned(), 10_000);
    let mut answer = Answer::default();
    for data in events {
        for event in assembly.event(&event(data))? {
            answer.apply(&event);
        }
    }
    Ok(answer)
}

fn start(index: i64, block: &serde_json::Value) -> serde_json::Value {
    json!({"type": "content_block_start", "index": index, "content_block": block})
}

fn delta(index: i64, delta: &serde_json::Value) -> serde_json::Value {
    json!({"type": "content_block_delta", "index": index, "delta": delta})
}

fn stop(index: i64) -> serde_json::Value {
    json!({"type": "content_block_stop", "index": index})
}

fn end(reason: &str) -> [serde_json::Value; 2] {
    [json!({"type": "message_delta", "delta": {"stop_reason": reason}}), json!({"type": "message_stop"})]
}

fn state_of(part: &AnswerPart) -> State {
    State::decode(FORMAT, &part.provider_state).expect("the part has a state")
}

/// An answer with every kind of block, and with things that are not known yet.
fn full_answer() -> Vec<serde_json::Value> {
    let mut events = vec![
        json!({"type": "message_start", "message": {"usage": {"input_tokens": 9, "output_tokens": 1,
            "cache_creation_input_tokens": 3, "cache_read_input_tokens": null}}}),
        json!({"type": "ping"}),
        start(0, &json!({"type": "thinking", "thinking": "", "signature": "", "later": [1.50]})),
        delta(0, &json!({"type": "thinking_delta", "thinking": "Let me "})),
        delta(0, &json!({"type": "thinking_delta", "thinking": "see\u{0}."})),
        delta(0, &json!({"type": "signature_delta", "signature": "c2ln"})),
        stop(0),
        start(1, &json!({"type": "redacted_thinking", "data": "ZW5j"})),
        stop(1),
        start(2, &json!({"type": "text", "text": ""})),
        delta(2, &json!({"type": "text_delta", "text": "I look."})),
        delta(2, &json!({"type": "citations_delta", "citation": {}})),
        stop(2),
        start(
            3,
            &json!({"type": "tool_use", "id": "toolu_1", "name": "list_dir", "input": {}, "caller": {"type": "direct"}}),
        ),
        delta(3, &json!({"type": "input_json_delta", "partial_json": ""})),
        delta(3, &json!({"type": "input_json_delta", "partial_json": "{\"path\": "})),
        delta(3, &json!({"type": "input_json_delta", "partial_json": "\".\"}"})),
        stop(3),
        json!({"type": "message_delta", "delta": {}, "usage": {"input_tokens": 0, "output_tokens": 12,
            "cache_read_input_tokens": 5, "output_tokens_details": {"thinking_tokens": 4}}}),
        json!({"type": "something_new", "x": 1}),
    ];
    events.extend(end("tool_use"));
    events
}

#[test]
fn an_answer_of_every_kind_of_block_is_added_up() {
    let events = full_answer();

    let answer = run(&events).unwrap();

    let contents: Vec<PartContent> = answer.parts.iter().map(|part| part.content.clone()).collect();
    let call =
        PartContent::ToolCall { tool_name: "list_dir".into(), arguments_json: "{\"path\": \".\"}".into() };
    assert_eq!(
        contents,
        [
            PartContent::Reasoning("Let me see\u{0}.".into()),
            PartContent::Reasoning(String::new()),
            PartContent::Text("I look.".into()),
            call
        ]
    );
    let thinking = state_of(&answer.parts[0]).block;
    assert_eq!((thinking["signature"].get(), thinking["later"].get()), ("\"c2ln\"", "[1.5]"));
    assert!(!thinking.contains_key("thinking"));
    assert_eq!(state_of(&answer.parts[1]).block["data"].get(), "\"ZW5j\"");
    assert!(answer.parts[2].provider_state.is_empty());
    let call = state_of(&answer.parts[3]).block;
    assert_eq!((call["id"].get(), call["caller"].get()), ("\"toolu_1\"", "{\"type\":\"direct\"}"));
    assert_eq!(
        answer.usage,
        Usage {
            input_tokens: 9,
            output_tokens: 12,
            cache_read_tokens: 5,
            cache_write_tokens: 3,
            reasoning_tokens: 4
        }
    );
    assert_eq!(answer.stop_reason, Some(StopReason::ToolUse));
}

#[test]
fn every_stop_reason_becomes_one_of_ours_or_a_fault() {
    for (reason, expected) in [
        ("end_turn", Ok(StopReason::EndTurn)),
        ("stop_sequence", Ok(StopReason::EndTurn)),
        ("max_tokens", Ok(StopReason::MaxTokens)),
        ("pause_turn", Ok(StopReason::PauseTurn)),
        ("invented_later", Ok(StopReason::EndTurn)),
        ("tool_use", Ok(StopReason::EndTurn)),
        ("refusal", Err(Fault::Refused(String::new()))),
        ("model_context_window_exceeded", Err(Fault::ContextFull)),
    ] {
        let outcome = run(&end(reason)).map(|answer| answer.stop_reason.unwrap());
        assert_eq!(outcome, expected, "{reason}");
    }
}

#[test]
fn a_refusal_comes_after_the_usage_that_was_paid_for_and_names_its_category() {
    let mut assembly = MessageAssembly::new("model".to_owned(), 100);
    let refused = json!({"type": "message_delta", "usage": {"output_tokens": 3},
        "delta": {"stop_reason": "refusal", "stop_details": {"type": "refusal", "category": "cyber"}}});

    let events = assembly.event(&event(&refused)).unwrap();
    let outcome = assembly.event(&event(&json!({"type": "message_stop"})));

    assert!(matches!(events[..], [ModelEvent::Usage(Usage { output_tokens: 3, .. })]));
    assert_eq!(outcome, Err(Fault::Refused("cyber".into())));
}

#[test]
fn calls_without_deltas_get_the_input_of_their_start() {
    for (input, expected) in [(json!({}), "{}"), (json!({"path": "."}), "{\"path\":\".\"}")] {
        let block = json!({"type": "tool_use", "id": "a", "name": "list_dir", "input": input});
        let answer = run(&[start(0, &block), stop(0)]).unwrap();
        let PartContent::ToolCall { arguments_json, .. } = &answer.parts[0].content else { panic!() };
        assert_eq!(arguments_json, expected);
    }
}

#[test]
fn thinking_without_a_signature_and_blocks_of_unknown_kinds_are_not_kept_for_replay() {
    let answer = run(&[
        start(0, &json!({"type": "thinking", "thinking": "hm"})),
        stop(0),
        start(1, &json!({"type": "server_tool_use", "id": "s"})),
        delta(1, &json!({"type": "input_json_delta", "partial_json": "{}"})),
        stop(1),
        start(2, &json!({"type": "text", "text": "whole"})),
        stop(2),
    ])
    .unwrap();

    let parts: Vec<_> = answer.parts.iter().map(|part| (&part.content, part.provider_state.len())).collect();
    let expected = [PartContent::Reasoning("hm".into()), PartContent::Text("whole".into())];
    assert_eq!(parts, [(&expected[0], 0), (&expected[1], 0)]);
}

#[test]
fn whatever_breaks_the_protocol_is_malformed() {
    let text = json!({"type": "text", "text": ""});
    let word = json!({"type": "text_delta", "text": "x"});
    for events in [
        vec![json!(7)],
        vec![json!("text")],
        vec![json!({"type": "message_start"})],
        vec![start(0, &text), start(1, &text)],
        vec![delta(0, &word)],
        vec![start(0, &text), delta(1, &word)],
        vec![start(0, &text), delta(0, &json!({"type": "thinking_delta", "thinking": "x"}))],
        vec![start(0, &text), delta(0, &json!({"type": "text_delta"}))],
        vec![stop(0)],
        vec![start(0, &text), json!({"type": "message_stop"})],
        vec![json!({"type": "content_block_start", "index": 0, "content_block": []})],
    ] {
        assert!(matches!(run(&events), Err(Fault::Malformed(_))), "{events:?}");
    }
    let no_json = Event { name: "content_block_delta".into(), data: "<html>".into() };
    let outcome = MessageAssembly::new(String::new(), 1).event(&no_json);
    assert!(matches!(outcome, Err(Fault::Malformed(_))));
}

#[test]
fn an_error_in_mid_stream_keeps_its_type_only() {
    let error = json!({"type": "error", "error": {"type": "overloaded_error", "message": "secret"}});
    assert_eq!(
        run(&[error]),
        Err(Fault::Provider { kind: ErrorKind::Overloaded, label: "overloaded_error".into() })
    );
}

#[test]
fn no_answer_grows_past_its_bound_not_even_by_empty_parts() {
    let long = json!({"type": "text_delta", "text": "x".repeat(9_000)});
    let text = json!({"type": "text", "text": ""});
    let flood = vec![start(0, &text), delta(0, &long), delta(0, &long)];
    assert_eq!(run(&flood), Err(Fault::TooLarge));

    let empty: Vec<_> = (0..1_000).flat_map(|index| [start(index, &text), stop(index)]).collect();
    assert_eq!(run(&empty), Err(Fault::TooLarge));

    let redacted = json!({"type": "redacted_thinking", "data": "x".repeat(10_000)});
    assert_eq!(run(&[start(0, &redacted), stop(0)]), Err(Fault::TooLarge));
}

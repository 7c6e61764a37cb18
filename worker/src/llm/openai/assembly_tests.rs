use chatplane_domain::ErrorKind;
use serde_json::{Value, json};

use super::*;
use crate::llm::{Answer, PartContent};

fn event(data: &Value) -> Event {
    let data = data.as_str().map_or_else(|| data.to_string(), str::to_owned);
    Event { name: String::new(), data }
}

fn run(events: &[Value]) -> Result<Answer, Fault> {
    let mut assembly = ChatAssembly::new("model".to_owned(), 10_000);
    let mut answer = Answer::default();
    for data in events {
        for event in assembly.event(&event(data))? {
            answer.apply(&event);
        }
    }
    Ok(answer)
}

fn delta(delta: &Value) -> Value {
    json!({"choices": [{"index": 0, "delta": delta}]})
}

fn finish(reason: &str) -> Value {
    json!({"choices": [{"index": 0, "delta": {}, "finish_reason": reason}]})
}

fn done() -> Value {
    json!("[DONE]")
}

fn contents(answer: &Answer) -> Vec<PartContent> {
    answer.parts.iter().map(|part| part.content.clone()).collect()
}

fn text(text: &str) -> PartContent {
    PartContent::Text(text.to_owned())
}

#[test]
fn every_reason_to_finish_becomes_one_of_ours_or_a_fault() {
    for (reason, expected) in [
        ("stop", Ok(StopReason::EndTurn)),
        ("length", Ok(StopReason::MaxTokens)),
        ("tool_calls", Ok(StopReason::EndTurn)),
        ("function_call", Ok(StopReason::EndTurn)),
        ("invented_later", Ok(StopReason::EndTurn)),
        ("content_filter", Err(Fault::Refused("content_filter".into()))),
        ("error", Err(gave_up(ErrorKind::ProviderUnavailable))),
        ("insufficient_system_resource", Err(gave_up(ErrorKind::Overloaded))),
    ] {
        let outcome = run(&[finish(reason), done()]).map(|answer| answer.stop_reason.unwrap());
        assert_eq!(outcome, expected, "{reason}");
    }
}

#[test]
fn an_answer_with_calls_waits_for_them_whatever_the_reason() {
    let call = json!({"tool_calls": [{"index": 0, "id": "a", "function": {"name": "f", "arguments": "{}"}}]});
    for (reason, expected) in [
        ("stop", StopReason::ToolUse),
        ("tool_calls", StopReason::ToolUse),
        ("function_call", StopReason::ToolUse),
        ("length", StopReason::MaxTokens),
    ] {
        let answer = run(&[delta(&call), finish(reason), done()]).unwrap();
        assert_eq!(answer.stop_reason, Some(expected), "{reason}");
    }
}

#[test]
fn a_stream_without_a_reason_to_finish_is_not_whole() {
    for events in [vec![], vec![delta(&json!({"content": "x"}))], vec![finish("")]] {
        let mut assembly = ChatAssembly::new("model".to_owned(), 10_000);
        events.iter().for_each(|data| drop(assembly.event(&event(data)).unwrap()));
        assert!(matches!(assembly.end(), Err(Fault::Malformed(_))), "{events:?}");
        assert!(matches!(run(&[events, vec![done()]].concat()), Err(Fault::Malformed(_))));
    }
}

#[test]
fn the_answer_begins_with_its_first_token_and_is_whole_with_its_reason_to_finish() {
    let mut assembly = ChatAssembly::new("model".to_owned(), 10_000);
    let mut progress_after = |data: &Value| {
        assembly.event(&event(data)).unwrap();
        assembly.progress()
    };
    for data in
        [delta(&json!({"role": "assistant", "content": ""})), json!({"choices": []}), json!({}), json!("")]
    {
        assert_eq!(progress_after(&data), Progress::Waiting, "{data}");
    }
    assert_eq!(progress_after(&delta(&json!({"content": "x"}))), Progress::Begun);
    assert_eq!(progress_after(&finish("stop")), Progress::Answered);
    assert_eq!(progress_after(&json!({"choices": [], "usage": {"prompt_tokens": 1}})), Progress::Answered);
}

#[test]
fn legal_but_odd_chunks_add_up() {
    let answer = run(&[
        delta(&json!({"role": "assistant"})),
        delta(&json!({"role": "assistant", "content": null, "tool_calls": null, "reasoning": null})),
        json!({"choices": [{"delta": null}]}),
        json!({"choices": [{"finish_reason": ""}]}),
        json!({"choices": null, "prompt_filter_results": []}),
        json!({"choices": [{"index": 1, "delta": {"content": "another choice"}}]}),
        json!({"choices": [{"delta": {"content": "a"}, "logprobs": null}], "error": null,
            "usage": {"prompt_tokens": 7, "completion_tokens": 1}}),
        json!({"choices": [{"delta": {"content": "b"}, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 7, "completion_tokens": 2}}),
        json!({"choices": [{"delta": {"content": "c"}, "finish_reason": "stop"}]}),
        done(),
    ])
    .unwrap();

    assert_eq!(contents(&answer), [text("abc")]);
    assert_eq!(answer.usage, Usage { input_tokens: 7, output_tokens: 2, ..Usage::default() });
}

#[test]
fn tokens_are_told_when_they_change_only() {
    let mut assembly = ChatAssembly::new("model".to_owned(), 10_000);
    let report = json!({"choices": [], "usage": {"prompt_tokens": 7}});
    assert_eq!(assembly.event(&event(&report)).unwrap().len(), 1);
    assert_eq!(assembly.event(&event(&report)).unwrap(), []);
}

#[test]
fn thinking_is_read_under_each_of_its_names_once() {
    let answer = run(&[
        delta(&json!({"reasoning_content": "one "})),
        delta(&json!({"reasoning_content": "two", "reasoning": "two", "content": ""})),
        delta(&json!({"reasoning": {"not": "text"}})),
        delta(&json!({"reasoning_content": "", "content": "said"})),
        delta(&json!({"reasoning": "three"})),
        finish("stop"),
        done(),
    ])
    .unwrap();

    let thought = |text: &str| PartContent::Reasoning(text.to_owned());
    assert_eq!(contents(&answer), [thought("one two"), text("said"), thought("three")]);
}

#[test]
fn words_and_thinking_may_come_in_a_list() {
    let thinking = json!([{"type": "text", "text": "hm"}, {"type": "odd"}, {"type": "text", "text": "."}]);
    let answer = run(&[
        delta(&json!({"content": [{"type": "thinking", "thinking": thinking}]})),
        delta(
            &json!({"content": [{"type": "thinking", "thinking": " So"}, {"type": "text", "text": "one "}]}),
        ),
        delta(&json!({"content": [{"type": "reference", "reference_ids": [1]}, {"type": "text"}]})),
        delta(&json!({"content": "two"})),
        finish("stop"),
        done(),
    ])
    .unwrap();

    assert_eq!(contents(&answer), [PartContent::Reasoning("hm. So".into()), text("one two")]);
    assert!(answer.parts[0].provider_state.is_empty(), "there is no field in which it could go back");
}

#[test]
fn an_answer_is_not_lost_to_tokens_that_cannot_be_read() {
    let usage = json!({"choices": [], "usage": {"prompt_tokens": "many", "completion_tokens": 3}});
    let answer = run(&[delta(&json!({"content": "a"})), finish("stop"), usage, done()]).unwrap();
    assert_eq!(answer.usage, Usage { output_tokens: 3, ..Usage::default() });
}

#[test]
fn a_refusal_is_what_the_model_says() {
    let answer = run(&[
        delta(&json!({"content": null, "refusal": "I will "})),
        delta(&json!({"refusal": "not."})),
        finish("stop"),
        done(),
    ])
    .unwrap();
    assert_eq!(contents(&answer), [text("I will not.")]);
}

#[test]
fn a_call_of_the_old_kind_is_a_call() {
    let answer = run(&[
        delta(&json!({"function_call": {"name": "f", "arguments": ""}})),
        delta(&json!({"function_call": {"arguments": "{\"a\":"}})),
        delta(&json!({"function_call": {"arguments": "1}"}})),
        finish("function_call"),
        done(),
    ])
    .unwrap();
    let call = PartContent::ToolCall { tool_name: "f".into(), arguments_json: "{\"a\":1}".into() };
    assert_eq!(contents(&answer), [call]);
}

#[test]
fn an_error_in_mid_stream_keeps_its_word_only() {
    let expected = |kind, label: &str| Err(Fault::Provider { kind, label: label.to_owned() });
    let error = json!({"error": {"message": "secret", "type": "server_error"}, "choices": []});
    assert_eq!(run(&[error]), expected(ErrorKind::ProviderUnavailable, "server_error"));

    let bare = json!({"object": "error", "message": "secret", "code": 429});
    assert_eq!(run(&[bare]), expected(ErrorKind::RateLimited, "429"));

    let named = Event { name: "error".into(), data: "{\"code\":503}".into() };
    let outcome = ChatAssembly::new(String::new(), 100).event(&named);
    assert_eq!(outcome, expected(ErrorKind::Overloaded, "503").map(|_: Answer| Vec::new()));
}

#[test]
fn whatever_breaks_the_protocol_is_malformed() {
    for data in [
        json!(7),
        json!("text"),
        json!({"choices": 7}),
        json!({"choices": [7]}),
        delta(&json!({"content": 7})),
        delta(&json!({"content": {"a": 1}})),
        delta(&json!({"tool_calls": "x"})),
        delta(&json!({"tool_calls": [7]})),
        delta(&json!({"tool_calls": [{"index": 0, "function": 7}]})),
        delta(&json!({"tool_calls": [{"index": 0, "function": {"name": "f", "arguments": 7}}]})),
        delta(&json!({"content": [7]})),
    ] {
        assert!(matches!(run(std::slice::from_ref(&data)), Err(Fault::Malformed(_))), "{data}");
    }
}

//! Requests are held against Anthropic's rules as a strict reader of its
//! documentation would write them down, over random histories.

use std::collections::HashSet;

use bytes::Bytes;
use proptest::prelude::*;
use serde_json::Value;

use super::super::super::{AnswerPart, PartContent, PromptMessage, ToolResult};
use super::tests::{MODEL, answer, call, messages, part, request, state, text, thinking, user};

/// What Anthropic refuses, as panics.
fn validate(request: &Value) {
    assert!(request["max_tokens"].as_i64().unwrap() >= 1);
    assert_eq!(request["stream"], true);
    let messages = request["messages"].as_array().expect("messages");
    assert_eq!(messages.first().expect("a message")["role"], "user");
    assert_eq!(messages.last().unwrap()["role"], "user", "newer models refuse anything else");
    let mut ids = HashSet::new();
    for (index, message) in messages.iter().enumerate() {
        let keys: Vec<&String> = message.as_object().unwrap().keys().collect();
        assert_eq!(keys, ["content", "role"]);
        assert_eq!(message["role"], if index % 2 == 0 { "user" } else { "assistant" }, "roles alternate");
        let content = message["content"].as_array().unwrap();
        assert!(!content.is_empty());
        content.iter().for_each(validate_block);
        match message["role"].as_str().unwrap() {
            "assistant" => validate_answer(content, messages.get(index + 1), &mut ids),
            _ => validate_results(content, index.checked_sub(1).map(|before| &messages[before])),
        }
    }
    if !ids.is_empty() {
        assert!(!request["tools"].as_array().expect("a history with calls needs tools").is_empty());
    }
    let names: Vec<&Value> =
        request["tools"].as_array().into_iter().flatten().map(|tool| &tool["name"]).collect();
    assert_eq!(names.iter().collect::<HashSet<_>>().len(), names.len(), "names of tools are unique");
}

fn validate_block(block: &Value) {
    match block["type"].as_str().expect("a block has a type") {
        "text" => assert!(!block["text"].as_str().unwrap().trim().is_empty(), "no text is blank"),
        "tool_result" => assert!(!block["content"].as_str().unwrap().trim().is_empty()),
        "tool_use" => {
            assert!(block["input"].is_object());
            for field in ["id", "name"] {
                let value = block[field].as_str().unwrap();
                let allowed = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
                assert!(!value.is_empty() && value.len() <= 64 && value.chars().all(allowed), "{value:?}");
            }
        }
        "thinking" => {
            assert_eq!(block["signature"], "c2ln");
            assert_eq!(block["thinking"], "hm");
        }
        other => panic!("an unknown block {other}"),
    }
}

fn validate_answer(content: &[Value], next: Option<&Value>, ids: &mut HashSet<String>) {
    assert_ne!(content.last().unwrap()["type"], "thinking", "an answer does not end with thinking");
    assert!(content.iter().all(|block| block["type"] != "tool_result"));
    let calls = content.iter().filter(|block| block["type"] == "tool_use");
    let calls: Vec<&str> = calls.map(|block| block["id"].as_str().unwrap()).collect();
    for id in &calls {
        assert!(ids.insert((*id).to_owned()), "ids of calls are unique");
    }
    let next = next.expect("a user speaks last")["content"].as_array().unwrap();
    let answered: Vec<&str> = next.iter().filter_map(|block| block["tool_use_id"].as_str()).collect();
    assert_eq!(answered, calls, "every call is answered in the next message, once");
}

fn validate_results(content: &[Value], before: Option<&Value>) {
    let results = content.iter().take_while(|block| block["type"] == "tool_result").count();
    assert!(content[results..].iter().all(|block| block["type"] == "text"), "results come first, then words");
    let calls = before.map_or(0, |message| {
        message["content"].as_array().unwrap().iter().filter(|block| block["type"] == "tool_use").count()
    });
    assert_eq!(results, calls);
}

fn any_text() -> impl Strategy<Value = String> {
    prop::sample::select(vec!["", " ", "\n\t", "word", "trailing \n", "\u{0}", "é\u{1f600}"])
        .prop_map(str::to_owned)
}

fn any_part() -> impl Strategy<Value = AnswerPart> {
    let id = prop::sample::select(vec!["toolu_1", "toolu_2", "call_1_0", "bad id", ""]);
    let own =
        id.prop_map(|id| state(MODEL, &format!("{{\"type\":\"tool_use\",\"id\":\"{id}\",\"name\":\"n\"}}")));
    let call_state = prop_oneof![own, Just(Bytes::new()), Just(Bytes::from_static(b"\xFFforeign"))];
    let name = prop::sample::select(vec!["list_dir", "", "no such/tool", "é"]).prop_map(str::to_owned);
    let arguments = prop::sample::select(vec![
        "{}",
        "{\"path\":\".\"}",
        "",
        "{\"path\":",
        "[1]",
        "7",
        "{\"a\":\"\\ud800\"}",
    ]);
    let call = (name, arguments, call_state).prop_map(|(tool_name, arguments, state)| {
        part(PartContent::ToolCall { tool_name, arguments_json: arguments.to_owned() }, state)
    });
    let reasoning = prop_oneof![
        Just(thinking(MODEL)),
        Just(thinking("another")),
        Just(part(PartContent::Reasoning("cut".to_owned()), Bytes::new())),
    ];
    prop_oneof![any_text().prop_map(|text| part(PartContent::Text(text), Bytes::new())), reasoning, call]
}

/// Histories of any order, most of them no state machine would ever produce.
fn any_history() -> impl Strategy<Value = Vec<PromptMessage>> {
    let result = (0..8_i64, 0..3_u32, any_text(), any::<bool>()).prop_map(
        |(call_message_id, call_index, output, is_error)| ToolResult {
            call_message_id,
            call_index,
            output,
            is_error,
        },
    );
    let message = prop_oneof![
        prop::collection::vec(any_text(), 0..3).prop_map(|texts| PromptMessage::User { texts }),
        prop::collection::vec(any_part(), 0..5)
            .prop_map(|parts| PromptMessage::Assistant { message_id: 0, parts }),
        prop::collection::vec(result, 0..4).prop_map(|results| PromptMessage::Tool { results }),
    ];
    prop::collection::vec(message, 0..8).prop_map(|mut messages| {
        for (position, message) in messages.iter_mut().enumerate() {
            if let PromptMessage::Assistant { message_id, .. } = message {
                *message_id = i64::try_from(position).unwrap();
            }
        }
        messages
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn any_history_becomes_a_request_that_the_provider_accepts(
        history in any_history(),
        with_tools in any::<bool>(),
    ) {
        let mut call = call(history);
        if !with_tools {
            call.tools.clear();
        }
        validate(&request(&call));
    }

    #[test]
    fn what_was_sent_once_stays_a_prefix_of_what_is_sent_next(
        history in any_history(),
        said in any_text(),
    ) {
        let before = messages(history.clone());
        let mut longer = history;
        let id = i64::try_from(longer.len()).unwrap();
        longer.extend([answer(id, vec![text("an answer")]), user(&said)]);

        let after = messages(longer);

        let before = before.as_array().unwrap();
        prop_assert_eq!(&after.as_array().unwrap()[..before.len()], &before[..]);
    }
}

//! Anthropic's rules as a strict reader of its documentation would write them down, and
//! an answer as it streams it.

use std::collections::HashSet;

use serde_json::{Value, json};

use super::dialect::{FILE_BASE64, Piece, THOUGHT};

/// What Anthropic refuses, as panics.
pub(super) fn validate(request: &Value) {
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
        "image" | "document" => {
            let source = &block["source"];
            let kinds = if block["type"] == "image" { "image/" } else { "application/pdf" };
            assert_eq!(source["type"], "base64");
            assert!(source["media_type"].as_str().unwrap().starts_with(kinds));
            assert_eq!(source["data"], FILE_BASE64);
            assert!(block["title"].as_str().is_none_or(|title| !title.trim().is_empty()));
        }
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
            assert_eq!(
                (block["thinking"].as_str(), block["signature"].as_str()),
                (Some(THOUGHT.0), Some(THOUGHT.1))
            );
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
    let is_said = |block: &Value| block["type"] != "tool_result";
    assert!(content[results..].iter().all(is_said), "results come first, then what the user says");
    let calls = before.map_or(0, |message| {
        message["content"].as_array().unwrap().iter().filter(|block| block["type"] == "tool_use").count()
    });
    assert_eq!(results, calls);
}

/// An answer as the provider streams it.
pub(super) fn events(pieces: &[Piece]) -> Vec<Value> {
    let mut events = vec![json!({"type": "message_start", "message": {"usage": {"input_tokens": 9}}})];
    for (index, piece) in pieces.iter().enumerate() {
        let (block, deltas) = match piece {
            Piece::Thought | Piece::DetailedThought => (
                json!({"type": "thinking", "thinking": "", "signature": ""}),
                vec![
                    json!({"type": "thinking_delta", "thinking": THOUGHT.0}),
                    json!({"type": "signature_delta", "signature": THOUGHT.1}),
                ],
            ),
            Piece::Text(text) => {
                (json!({"type": "text", "text": ""}), vec![json!({"type": "text_delta", "text": text})])
            }
            Piece::Call { id, tool_name, arguments } => (
                json!({"type": "tool_use", "id": id, "name": tool_name, "input": {}}),
                vec![json!({"type": "input_json_delta", "partial_json": arguments})],
            ),
        };
        events.push(json!({"type": "content_block_start", "index": index, "content_block": block}));
        for delta in deltas {
            events.push(json!({"type": "content_block_delta", "index": index, "delta": delta}));
        }
        events.push(json!({"type": "content_block_stop", "index": index}));
    }
    events.push(json!({"type": "message_delta", "delta": {"stop_reason": "end_turn"}}));
    events.push(json!({"type": "message_stop"}));
    events
}

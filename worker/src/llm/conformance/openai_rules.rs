//! The rules of Chat Completions as a strict reader of OpenAI's documentation would write
//! them down, with what the templates of other models insist on, and an answer as it streams.

use std::collections::HashSet;

use serde_json::{Map, Value, json};

use super::dialect::{FILE_BASE64, Piece, THOUGHT};

/// What OpenAI, or a server that speaks like it, refuses, as panics.
pub(super) fn validate(request: &Value) {
    let (of_old, of_late) = (&request["max_tokens"], &request["max_completion_tokens"]);
    assert!(of_old.is_null() || of_late.is_null());
    for tokens_max in [of_old, of_late].into_iter().filter(|tokens_max| !tokens_max.is_null()) {
        assert!(tokens_max.as_i64().unwrap() >= 1);
    }
    assert_eq!(request["stream"], true);
    assert_eq!(request["stream_options"], json!({"include_usage": true}));
    validate_tools(request);
    let messages = request["messages"].as_array().expect("messages");
    let conversation = match messages[0]["role"] == "system" {
        true => {
            validate_words(&messages[0], &["content", "role"]);
            &messages[1..]
        }
        false => &messages[..],
    };
    assert_eq!(conversation.first().expect("a message")["role"], "user");
    assert_ne!(conversation.last().unwrap()["role"], "assistant", "the model speaks next");
    let mut ids = HashSet::new();
    let mut rest = conversation;
    while let [message, more @ ..] = rest {
        rest = match message["role"].as_str().unwrap() {
            "user" => {
                validate_user(message);
                assert!(
                    more.first().is_none_or(|next| next["role"] == "assistant"),
                    "one user message at a time"
                );
                more
            }
            "assistant" => validate_answer(message, more, &mut ids),
            other => panic!("{other} has no place here"),
        };
    }
}

/// What OpenAI's own servers refuse beyond that.
pub(super) fn validate_own(request: &Value) {
    validate(request);
    assert!(request["max_tokens"].is_null(), "newer models refuse the old name");
    let model = request["model"].as_str().unwrap();
    let effort = request["reasoning_effort"].as_str();
    assert!([None, Some("none"), Some("low"), Some("medium"), Some("high")].contains(&effort));
    match model {
        "gpt-4o" => {
            assert_eq!(effort, None, "{model} does not think");
            assert!(request["max_completion_tokens"].as_i64().is_none_or(|tokens| tokens <= 16_384));
        }
        "o3" | "gpt-5" => assert_ne!(effort, Some("none"), "{model} always thinks"),
        "gpt-5.6" if request["tools"].is_array() => assert_eq!(effort, Some("none")),
        _ => {}
    }
}

/// Words, or a list of words and files.
fn validate_user(message: &Value) {
    let Some(parts) = message["content"].as_array() else {
        return validate_words(message, &["content", "role"]);
    };
    let is_file = |part: &Value| part["type"] != "text";
    assert!(parts.iter().any(is_file), "words alone are one text, which every server takes");
    for part in parts {
        let url = match part["type"].as_str().unwrap() {
            "text" => {
                assert!(!part["text"].as_str().unwrap().trim().is_empty(), "no text is blank");
                continue;
            }
            "image_url" => part["image_url"]["url"].as_str().unwrap().strip_prefix("data:image/png"),
            "file" => {
                assert!(!part["file"]["filename"].as_str().unwrap().is_empty());
                part["file"]["file_data"].as_str().unwrap().strip_prefix("data:application/pdf")
            }
            other => panic!("an unknown part {other}"),
        };
        assert_eq!(url.and_then(|url| url.strip_prefix(";base64,")), Some(FILE_BASE64));
    }
}

fn validate_words(message: &Value, keys: &[&str]) {
    assert_eq!(message.as_object().unwrap().keys().collect::<Vec<_>>(), keys);
    assert!(!message["content"].as_str().unwrap().trim().is_empty(), "no text is blank");
}

fn validate_tools(request: &Value) {
    let Some(tools) = request["tools"].as_array() else { return };
    assert!(!tools.is_empty());
    let mut names = HashSet::new();
    for tool in tools {
        assert_eq!(tool["type"], "function");
        let function = &tool["function"];
        assert!(names.insert(function["name"].as_str().unwrap()), "names of tools are unique");
        assert_eq!(function["parameters"]["type"], "object");
        assert!(function["parameters"]["properties"].is_object());
    }
}

/// Checks an answer with its results, and returns what follows them.
fn validate_answer<'a>(message: &Value, more: &'a [Value], ids: &mut HashSet<String>) -> &'a [Value] {
    let fields = message.as_object().unwrap();
    let calls = fields.get("tool_calls").map_or(&[][..], |calls| calls.as_array().unwrap());
    assert_eq!(calls.is_empty(), !fields.contains_key("tool_calls"), "an empty list is refused");
    match &message["content"] {
        Value::Null => assert!(fields.contains_key("content") && !calls.is_empty()),
        content => assert!(!content.as_str().unwrap().trim().is_empty()),
    }
    let thinking: Vec<&String> =
        fields.keys().filter(|key| !["role", "content", "tool_calls"].contains(&key.as_str())).collect();
    match thinking[..] {
        [] => {}
        [name] if name == "reasoning_content" => {
            assert!(!calls.is_empty(), "thinking goes back with calls only");
            assert!(fields[name].as_str().unwrap().replace(THOUGHT.0, "").is_empty());
        }
        [name] if name == "reasoning_details" => {
            assert!(!calls.is_empty(), "thinking goes back with calls only");
            for detail in fields[name].as_array().unwrap() {
                assert_eq!(
                    (&detail["type"], &detail["signature"]),
                    (&json!("reasoning.text"), &json!(THOUGHT.1))
                );
                assert!(detail["text"].as_str().unwrap().replace(THOUGHT.0, "").is_empty());
            }
        }
        _ => panic!("unknown fields {thinking:?}"),
    }
    calls.iter().for_each(validate_call);
    let called: Vec<&str> = calls.iter().map(|call| call["id"].as_str().unwrap()).collect();
    for id in &called {
        assert!(ids.insert((*id).to_owned()), "ids of calls are unique");
    }
    let (results, rest) = more.split_at(calls.len());
    let answered: Vec<&str> = results.iter().map(|result| result["tool_call_id"].as_str().unwrap()).collect();
    assert_eq!(answered, called, "every call is answered right away, once");
    for result in results {
        assert_eq!(result["role"], "tool");
        validate_words(result, &["content", "role", "tool_call_id"]);
    }
    assert!(!calls.is_empty() || rest.first().is_some_and(|next| next["role"] == "user"));
    rest
}

fn validate_call(call: &Value) {
    let allowed = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    let name = call["function"]["name"].as_str().unwrap();
    assert!(!name.is_empty() && name.len() <= 64 && name.chars().all(allowed), "{name:?}");
    let id = call["id"].as_str().unwrap();
    assert!(!id.is_empty() && id.len() <= 40 && id.chars().all(allowed), "{id:?}");
    assert_eq!(call["type"], "function");
    let arguments = call["function"]["arguments"].as_str().expect("arguments are text");
    assert!(serde_json::from_str::<Map<String, Value>>(arguments).is_ok(), "{arguments}");
    let signature = &call["extra_content"];
    assert!(signature.is_null() || *signature == json!({"signature": THOUGHT.1}));
}

/// An answer as a server streams it: calls in halves, with a signature as some have it.
pub(super) fn events(pieces: &[Piece]) -> Vec<Value> {
    let delta = |delta: Value| json!({"choices": [{"index": 0, "delta": delta, "finish_reason": null}]});
    let mut events = vec![delta(json!({"role": "assistant", "content": ""}))];
    let mut index = 0;
    for piece in pieces {
        match piece {
            Piece::Thought => events.push(delta(json!({"reasoning_content": THOUGHT.0, "content": null}))),
            Piece::DetailedThought => {
                let detail = json!({"type": "reasoning.text", "index": 0, "text": THOUGHT.0});
                events.push(delta(json!({"reasoning": THOUGHT.0, "reasoning_details": [detail]})));
                let signature = json!({"type": "reasoning.text", "index": 0, "signature": THOUGHT.1});
                events.push(delta(json!({"reasoning_details": [signature]})));
            }
            Piece::Text(text) => events.push(delta(json!({"content": text}))),
            Piece::Call { id, tool_name, arguments } => {
                let half = arguments.chars().count() / 2;
                let first: String = arguments.chars().take(half).collect();
                let second: String = arguments.chars().skip(half).collect();
                events.push(delta(json!({"tool_calls": [{"index": index, "id": id, "type": "function",
                    "extra_content": {"signature": THOUGHT.1},
                    "function": {"name": tool_name, "arguments": first}}]})));
                events.push(delta(
                    json!({"tool_calls": [{"index": index, "function": {"arguments": second}}]}),
                ));
                index += 1;
            }
        }
    }
    events.push(json!({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}));
    events.push(json!({"choices": [], "usage": {"prompt_tokens": 9, "completion_tokens": 2}}));
    events.push(json!("[DONE]"));
    events
}

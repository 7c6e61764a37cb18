//! What a provider accepts of a request, and what it does not. `llmock` itself takes almost anything.

use std::{
    collections::{HashMap, HashSet},
    panic::catch_unwind,
};

use serde_json::{Map, Value, json};

/// Checks every request of one chat, in order, and that each says the same as the one before it to the same
/// model, and more: that is what lets a provider's cache work.
pub(crate) fn check(requests: &[Value]) {
    let mut said: HashMap<&str, &[Value]> = HashMap::new();
    for request in requests {
        assert_eq!(request["stream"], true, "{request:#}");
        let messages = request["messages"].as_array().expect("a request has messages");
        check_messages(messages);
        check_tools(request);
        let model = request["model"].as_str().expect("a request names its model");
        let before = said.insert(model, messages).unwrap_or_default();
        assert!(messages.starts_with(before), "{messages:#?}\ndoes not begin like\n{before:#?}");
    }
}

/// Roles take turns; every call has one result, right behind it; no id is used twice.
fn check_messages(messages: &[Value]) {
    let mut ids = HashSet::new();
    let mut open = Vec::new();
    let mut begun = false;
    for message in messages {
        let role = message["role"].as_str().expect("a message has a role");
        match role {
            "system" | "developer" => assert!(!begun, "instructions come first: {messages:#?}"),
            "user" => assert!(open.is_empty() && !words(message).trim().is_empty(), "{messages:#?}"),
            "assistant" => {
                assert!(begun && open.is_empty(), "a call has no result: {messages:#?}");
                open = calls(message);
                assert!(!open.is_empty() || !words(message).trim().is_empty(), "{messages:#?}");
                assert!(open.iter().all(|id| ids.insert(id.clone())), "ids repeat: {messages:#?}");
            }
            "tool" => {
                let place = open.iter().position(|id| message["tool_call_id"] == **id);
                open.remove(place.unwrap_or_else(|| panic!("a result without its call: {messages:#?}")));
                assert!(!words(message).is_empty(), "{messages:#?}");
            }
            other => panic!("nobody is called {other}: {messages:#?}"),
        }
        begun |= role != "system" && role != "developer";
    }
    assert!(begun && open.is_empty(), "{messages:#?}");
    let last = &messages[messages.len() - 1]["role"];
    assert!(last == "user" || last == "tool", "the model has nothing to answer: {messages:#?}");
}

/// The ids of a message's calls, which are well-formed.
fn calls(message: &Value) -> Vec<String> {
    let none = Vec::new();
    let calls = message["tool_calls"].as_array().unwrap_or(&none);
    let id = |call: &Value| {
        assert_eq!(call["type"], "function", "{call:#}");
        assert!(is_name(&call["function"]["name"]) && is_name(&call["id"]), "{call:#}");
        let arguments = call["function"]["arguments"].as_str().expect("arguments are text");
        serde_json::from_str::<Map<String, Value>>(arguments).expect("arguments are an object");
        call["id"].as_str().expect("it is a name").to_owned()
    };
    calls.iter().map(id).collect()
}

fn check_tools(request: &Value) {
    let tools = request["tools"].as_array().expect("the workspace has tools");
    assert!(!tools.is_empty());
    for tool in tools {
        let function = &tool["function"];
        assert_eq!(function["parameters"]["type"], "object", "{tool:#}");
        assert!(is_name(&function["name"]) && function["description"].is_string(), "{tool:#}");
    }
}

/// What all providers accept as a name or an id.
fn is_name(value: &Value) -> bool {
    let allowed = |character: char| character.is_ascii_alphanumeric() || "_-".contains(character);
    value.as_str().is_some_and(|name| !name.is_empty() && name.len() <= 64 && name.chars().all(allowed))
}

/// The text of a message, whole or in parts.
pub(crate) fn words(message: &Value) -> String {
    match &message["content"] {
        Value::Array(parts) => parts.iter().filter_map(|part| part["text"].as_str()).collect(),
        content => content.as_str().unwrap_or_default().to_owned(),
    }
}

#[test]
fn what_a_provider_refuses_is_noticed() {
    let call = |id: &str| {
        json!({"role": "assistant", "tool_calls": [
            {"id": id, "type": "function", "function": {"name": "look", "arguments": "{}"}},
        ]})
    };
    let result = |id: &str| json!({"role": "tool", "tool_call_id": id, "content": "a pond"});
    let user = json!({"role": "user", "content": "Look."});
    let empty = json!({"role": "assistant", "content": ""});
    let good = [user.clone(), call("a"), result("a")];
    let refused: [&[Value]; 7] = [
        &[],
        &[user.clone(), call("a")],
        &[user.clone(), call("a"), user.clone()],
        &[user.clone(), call("a"), result("b")],
        &[user.clone(), call("a"), result("a"), call("a"), result("a")],
        &[user.clone(), empty, user.clone()],
        &[user.clone(), call("a"), result("a"), json!({"role": "system", "content": "Be brief."}), user],
    ];

    check_messages(&good);
    for messages in refused {
        assert!(catch_unwind(|| check_messages(messages)).is_err(), "{messages:#?}");
    }
}

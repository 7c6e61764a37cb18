use std::time::Duration;

use super::super::super::state::{Fields, State};
use super::super::super::{AnswerPart, Attachment, CallLimits, ToolResult, UserPiece};
use super::super::FORMAT;
use super::*;
use bytes::Bytes;

const MODEL: &str = "claude-sonnet-4-6";

fn call(messages: Vec<PromptMessage>) -> ModelCall {
    let tool = |name: &str| ToolDefinition {
        name: name.to_owned(),
        description: "Does something.".to_owned(),
        input_schema_json: "{\"properties\":{}}".to_owned(),
    };
    ModelCall {
        endpoint: "http://127.0.0.1:1".to_owned(),
        api_key: "key".to_owned(),
        provider_model: MODEL.to_owned(),
        effort: Effort::Unspecified,
        output_tokens_max: 100,
        system: vec!["Be kind.".to_owned(), " ".to_owned(), "Be brief.".to_owned()],
        messages,
        tools: vec![tool("list_dir"), tool("read_file"), tool("list_dir")],
        limits: CallLimits {
            first_token_timeout: Duration::from_secs(1),
            silence_timeout: Duration::from_secs(1),
            answer_duration_max: Duration::from_secs(1),
            answer_bytes_max: 1,
        },
    }
}

fn request(call: &ModelCall) -> Value {
    serde_json::from_str(&body(call)).expect("the body is JSON")
}

fn messages(messages: Vec<PromptMessage>) -> Value {
    let mut request = request(&call(messages));
    // Where the cache ends has a test of its own.
    for message in request["messages"].as_array_mut().unwrap() {
        for block in message["content"].as_array_mut().unwrap() {
            block.as_object_mut().unwrap().remove("cache_control");
        }
    }
    request["messages"].take()
}

fn user(text: &str) -> PromptMessage {
    PromptMessage::User { parts: vec![UserPiece::Text(text.to_owned())] }
}

fn answer(message_id: i64, parts: Vec<AnswerPart>) -> PromptMessage {
    PromptMessage::Assistant { message_id, parts }
}

fn part(content: PartContent, state: Bytes) -> AnswerPart {
    AnswerPart { content, provider_state: state }
}

fn text(text: &str) -> AnswerPart {
    part(PartContent::Text(text.to_owned()), Bytes::new())
}

fn tool_call(arguments: &str, state: Bytes) -> AnswerPart {
    let tool_name = "list_dir".to_owned();
    part(PartContent::ToolCall { tool_name, arguments_json: arguments.to_owned() }, state)
}

fn thinking(model: &str) -> AnswerPart {
    let block = "{\"type\":\"thinking\",\"signature\":\"c2ln\",\"later\":1.50}";
    part(PartContent::Reasoning("hm".to_owned()), state(model, block))
}

fn state(model: &str, block: &str) -> Bytes {
    State::new(FORMAT, model, serde_json::from_str::<Fields>(block).unwrap()).encode()
}

fn result(call_message_id: i64, call_index: u32, output: &str) -> PromptMessage {
    let result = ToolResult { call_message_id, call_index, output: output.to_owned(), is_error: false };
    PromptMessage::Tool { results: vec![result] }
}

#[test]
fn results_of_one_answer_become_one_user_message_in_the_order_of_the_calls() {
    let own_id = state(
        MODEL,
        "{\"type\":\"tool_use\",\"id\":\"toolu_1\",\"name\":\"x\",\"caller\":{\"type\":\"direct\"}}",
    );
    let sent = messages(vec![
        user("Look."),
        answer(
            2,
            vec![
                text("Yes."),
                tool_call("{\"b\": 1, \"a\": 2}", own_id),
                tool_call("nonsense", Bytes::new()),
            ],
        ),
        result(2, 1, "second"),
        result(2, 0, "first"),
        user("And then?"),
        user("Tell me."),
    ]);

    let calls = json!([
        {"type": "text", "text": "Yes."},
        {"type": "tool_use", "id": "toolu_1", "name": "list_dir", "input": {"a": 2, "b": 1}, "caller": {"type": "direct"}},
        {"type": "tool_use", "id": "call_2_1", "name": "list_dir", "input": {}},
    ]);
    let results = json!([
        {"type": "tool_result", "tool_use_id": "toolu_1", "content": "first"},
        {"type": "tool_result", "tool_use_id": "call_2_1", "content": "second"},
        {"type": "text", "text": "And then?"},
        {"type": "text", "text": "Tell me."},
    ]);
    let look = json!([{"type": "text", "text": "Look."}]);
    assert_eq!(
        sent,
        json!([{"role": "user", "content": look}, {"role": "assistant", "content": calls}, {"role": "user", "content": results}])
    );
}

#[test]
fn arguments_are_replayed_byte_exactly() {
    let history = vec![user("x"), answer(2, vec![tool_call("{\"b\": 1.50, \"a\":2}", Bytes::new())])];
    assert!(body(&call(history)).contains("{\"b\": 1.50, \"a\":2}"));
}

#[test]
fn thinking_is_replayed_byte_exactly_and_only_to_the_model_that_wrote_it() {
    let history = |model: &str| vec![user("x"), answer(2, vec![thinking(model), text("Yes.")]), user("y")];

    assert!(
        body(&call(history(MODEL)))
            .contains(r#"{"later":1.50,"signature":"c2ln","thinking":"hm","type":"thinking"}"#)
    );
    assert!(!body(&call(history("another"))).contains("thinking"));
}

#[test]
fn thinking_of_an_answer_is_replayed_all_or_not_at_all() {
    let unsigned = part(PartContent::Reasoning("cut".to_owned()), Bytes::new());
    let foreign =
        part(PartContent::Reasoning("cut".to_owned()), Bytes::from_static(b"{\"format\":\"other\"}"));
    for parts in [
        vec![thinking(MODEL), text("a"), unsigned],
        vec![thinking(MODEL), foreign, text("a")],
        vec![text("a"), thinking(MODEL)],
        vec![thinking(MODEL), text("a"), thinking(MODEL), text(" \n")],
    ] {
        let sent = messages(vec![user("x"), answer(2, parts), user("y")]);
        assert_eq!(sent[1], json!({"role": "assistant", "content": [{"type": "text", "text": "a"}]}));
    }
}

#[test]
fn redacted_thinking_is_replayed_as_it_came() {
    let redacted = state(MODEL, "{\"type\":\"redacted_thinking\",\"data\":\"ZW5j\"}");
    let redacted = part(PartContent::Reasoning(String::new()), redacted);
    let sent = messages(vec![user("x"), answer(2, vec![redacted, text("a")]), user("y")]);
    assert_eq!(sent[1]["content"][0], json!({"type": "redacted_thinking", "data": "ZW5j"}));
}

#[test]
fn an_answer_that_goes_on_is_followed_by_the_same_words_now_and_later() {
    let cut = vec![user("x"), answer(2, vec![text("one ")])];
    let mut later = cut.clone();
    later.extend([answer(3, vec![text("two")]), user("y")]);

    let (cut, later) = (messages(cut), messages(later));

    assert_eq!(cut[2], json!({"role": "user", "content": [{"type": "text", "text": "Continue."}]}));
    assert_eq!(later.as_array().unwrap()[..3], cut.as_array().unwrap()[..]);
}

#[test]
fn a_history_with_calls_is_sent_with_a_tool_even_when_none_is_on_offer() {
    let mut without = call(vec![user("x"), answer(2, vec![tool_call("{}", Bytes::new())]), result(2, 0, "")]);
    without.tools.clear();

    let request = request(&without);

    let schema = json!({"type": "object"});
    let tool = json!([{"name": "list_dir", "description": WITHDRAWN, "input_schema": schema}]);
    assert_eq!((&request["tools"], &request["tool_choice"]), (&tool, &json!({"type": "none"})));
}

#[test]
fn the_cache_ends_after_the_instructions_and_after_the_conversation() {
    let request = request(&call(vec![user("x")]));
    let ephemeral = json!({"type": "ephemeral"});
    let system = json!([{"type": "text", "text": "Be kind."}, {"type": "text", "text": "Be brief.", "cache_control": ephemeral}]);
    assert_eq!(request["system"], system);
    assert_eq!(request["messages"][0]["content"][0]["cache_control"], ephemeral);
}

#[test]
fn an_effort_is_sent_as_the_model_understands_it() {
    let adaptive = json!({"type": "adaptive", "display": "summarized"});
    let high = json!({"effort": "high"});
    for (model, thinking, output_config) in [
        ("claude-opus-4-8", &adaptive, &high),
        ("anthropic.claude-sonnet-4-6-v1", &adaptive, &high),
        ("some-later-model", &adaptive, &high),
        ("claude-opus-4-5-20251101", &Value::Null, &high),
        ("claude-haiku-4-5-20251001", &Value::Null, &Value::Null),
        ("claude-3-7-sonnet-latest", &Value::Null, &Value::Null),
    ] {
        let mut call = call(vec![user("x")]);
        call.provider_model = model.to_owned();
        assert!(request(&call).get("thinking").is_none() && request(&call).get("output_config").is_none());
        call.effort = Effort::High;
        let request = request(&call);
        assert_eq!((&request["thinking"], &request["output_config"]), (thinking, output_config), "{model}");
    }
}

fn attachment(name: &str, media_type: &str) -> Attachment {
    let data = Bytes::from_static(b"\x00\xFF\x10\xFE");
    Attachment { name: name.to_owned(), media_type: media_type.to_owned(), data }
}

#[test]
fn images_and_documents_are_blocks_with_their_bytes_where_they_stand() {
    let parts = vec![
        UserPiece::Image(attachment("a.png", "image/png")),
        UserPiece::Text("What is this?".to_owned()),
        UserPiece::Document(attachment("é \"b\".pdf", "application/pdf")),
        UserPiece::Document(attachment(" ", "application/pdf")),
    ];
    let call = call(vec![PromptMessage::User { parts }]);

    let sent = request(&call)["messages"][0]["content"].take();

    let source = |media_type: &str| json!({"type": "base64", "media_type": media_type, "data": "AP8Q/g=="});
    let expected = json!([
        {"type": "image", "source": source("image/png")},
        {"type": "text", "text": "What is this?"},
        {"type": "document", "source": source("application/pdf"), "title": "é \"b\".pdf"},
        {"type": "document", "source": source("application/pdf"), "cache_control": {"type": "ephemeral"}},
    ]);
    assert_eq!(sent, expected);
}

#[test]
fn all_models_but_the_oldest_take_files() {
    for (model, images, documents) in [
        ("claude-sonnet-4-6", true, true),
        ("anthropic.claude-opus-4-8-v1", true, true),
        ("claude-3-5-sonnet-20241022", true, true),
        ("claude-3-opus-20240229", true, false),
        ("claude-3-haiku-20240307", true, false),
        ("claude-2.1", false, false),
        ("some-later-model", true, true),
    ] {
        let intake = intake(model);
        assert_eq!((intake.images.is_some(), intake.documents), (images, documents), "{model}");
    }
}

#[test]
fn an_image_may_have_five_mebibytes_in_base64() {
    let encoded = IMAGE_BYTES_MAX.div_ceil(3) * 4;
    assert_eq!(encoded, 5 * 1024 * 1024);
}

use std::time::Duration;

use bytes::Bytes;

use super::super::super::anthropic::Anthropic;
use super::super::super::call::WireFormat;
use super::super::super::state::{Fields, State};
use super::super::super::{
    AnswerPart, Attachment, CallLimits, PartContent, PromptMessage, ToolResult, UserPiece,
};
use super::super::{FORMAT, OpenAi};
use super::*;

const MODEL: &str = "some-model";

fn call(messages: Vec<PromptMessage>) -> ModelCall {
    ModelCall {
        endpoint: "http://127.0.0.1:1".to_owned(),
        api_key: "key".to_owned(),
        provider_model: MODEL.to_owned(),
        effort: Effort::Unspecified,
        output_tokens_max: 50_000,
        system: Vec::new(),
        messages,
        tools: Vec::new(),
        limits: CallLimits {
            first_token_timeout: Duration::from_secs(1),
            silence_timeout: Duration::from_secs(1),
            answer_duration_max: Duration::from_secs(1),
            answer_bytes_max: 1,
        },
    }
}

fn request(call: &ModelCall, server: Server) -> Value {
    serde_json::from_str(&body(call, server)).expect("the body is JSON")
}

fn messages(messages: Vec<PromptMessage>) -> Value {
    request(&call(messages), Server::Compatible)["messages"].take()
}

fn user(text: &str) -> PromptMessage {
    PromptMessage::User { parts: vec![UserPiece::Text(text.to_owned())] }
}

fn part(content: PartContent, state: &str) -> AnswerPart {
    let fields: Option<Fields> = serde_json::from_str(state).ok();
    let state = fields.map(|fields| State::new(FORMAT, MODEL, fields).encode());
    AnswerPart { content, provider_state: state.unwrap_or_default() }
}

fn text(text: &str) -> AnswerPart {
    part(PartContent::Text(text.to_owned()), "")
}

fn thought(text: &str, state: &str) -> AnswerPart {
    part(PartContent::Reasoning(text.to_owned()), state)
}

fn tool_call(arguments: &str, state: &str) -> AnswerPart {
    let tool_name = "list_dir".to_owned();
    part(PartContent::ToolCall { tool_name, arguments_json: arguments.to_owned() }, state)
}

fn answer(parts: Vec<AnswerPart>) -> PromptMessage {
    PromptMessage::Assistant { message_id: 2, parts }
}

fn result(call_index: u32, output: &str, is_error: bool) -> PromptMessage {
    let result = ToolResult { call_message_id: 2, call_index, output: output.to_owned(), is_error };
    PromptMessage::Tool { results: vec![result] }
}

#[test]
fn a_conversation_is_told_as_chat_completions_has_it() {
    let mut call = call(vec![
        PromptMessage::User {
            parts: vec![
                UserPiece::Text("Look.".into()),
                UserPiece::Text(" ".into()),
                UserPiece::Text("There.".into()),
            ],
        },
        answer(vec![
            text("Yes."),
            tool_call("{\"b\": 1.50, \"a\":2}", "{\"id\":\"call_x\",\"extra_content\":{\"s\":1.50}}"),
            text("And."),
            tool_call("nonsense", ""),
        ]),
        result(1, "second", true),
        result(0, "first", false),
        user("And then?"),
    ]);
    call.system = ["Be kind.", "", "Be brief."].map(str::to_owned).to_vec();

    let request = body(&call, Server::Compatible);

    let sent: Value = serde_json::from_str(&request).unwrap();
    let calls = json!([
        {"id": "call_x", "type": "function", "extra_content": {"s": 1.5},
            "function": {"name": "list_dir", "arguments": "{\"b\": 1.50, \"a\":2}"}},
        {"id": "call_2_1", "type": "function", "function": {"name": "list_dir", "arguments": "{}"}},
    ]);
    assert_eq!(
        sent["messages"],
        json!([
            {"role": "system", "content": "Be kind.\n\nBe brief."},
            {"role": "user", "content": "Look.\n\nThere."},
            {"role": "assistant", "content": "Yes.\n\nAnd.", "tool_calls": calls},
            {"role": "tool", "tool_call_id": "call_x", "content": "first"},
            {"role": "tool", "tool_call_id": "call_2_1", "content": "Error: second"},
            {"role": "user", "content": "And then?"},
        ])
    );
    assert!(request.contains("{\"s\":1.50}"), "what must go back goes back to the byte: {request}");
}

#[test]
fn calls_without_words_have_no_content() {
    let sent = messages(vec![user("x"), answer(vec![tool_call("{}", "")])]);
    let call =
        json!({"id": "call_2_0", "type": "function", "function": {"name": "list_dir", "arguments": "{}"}});
    assert_eq!(sent[1], json!({"role": "assistant", "content": null, "tool_calls": [call]}));
}

#[test]
fn thinking_goes_back_with_the_calls_it_led_to_and_only_to_the_model_that_wrote_it() {
    let thinking = [
        thought("one ", "{\"field\":\"reasoning_content\"}"),
        thought("two", "{\"field\":\"reasoning_content\"}"),
    ];
    let with = |last: AnswerPart| answer([&thinking[..], &[last]].concat());

    let called = messages(vec![user("x"), with(tool_call("{}", ""))]);
    let said = messages(vec![user("x"), with(text("said")), user("y")]);
    let mut other = call(vec![user("x"), with(tool_call("{}", ""))]);
    other.provider_model = "another".to_owned();
    let other = request(&other, Server::Compatible);

    assert_eq!(called[1]["reasoning_content"], "one two");
    assert_eq!(said[1], json!({"role": "assistant", "content": "said"}));
    assert!(other["messages"][1].get("reasoning_content").is_none());
}

#[test]
fn details_of_thinking_go_back_as_they_came() {
    let parts = vec![
        thought("a", "{\"field\":\"reasoning\",\"reasoning_details\":[{\"text\":\"a\",\"n\":1.50}]}"),
        thought("", "{\"reasoning_details\":[{\"data\":\"ZW5j\"}]}"),
        tool_call("{}", ""),
    ];
    let sent = body(&call(vec![user("x"), answer(parts)]), Server::Compatible);
    assert!(
        sent.contains("\"reasoning_details\":[{\"text\":\"a\",\"n\":1.50},{\"data\":\"ZW5j\"}]"),
        "{sent}"
    );
    assert!(!sent.contains("\"reasoning\":"), "{sent}");
}

#[test]
fn thinking_of_others_stays_here() {
    let foreign = AnswerPart {
        content: PartContent::Reasoning("hm".to_owned()),
        provider_state: Bytes::from_static(
            b"{\"format\":\"anthropic.messages\",\"version\":1,\"model\":\"some-model\",\"block\":{}}",
        ),
    };
    let sent = messages(vec![user("x"), answer(vec![foreign, tool_call("{}", "")])]);
    assert!(!sent.to_string().contains("hm"), "{sent}");
}

#[test]
fn tools_are_functions_and_are_left_out_where_there_are_none() {
    let mut with = call(vec![user("x")]);
    let schema = "{\"required\":[\"path\"]}".to_owned();
    with.tools =
        vec![ToolDefinition { name: "f".into(), description: String::new(), input_schema_json: schema }];

    let tools = request(&with, Server::Compatible)["tools"].take();

    let parameters = json!({"type": "object", "properties": {}, "required": ["path"]});
    assert_eq!(tools, json!([{"type": "function", "function": {"name": "f", "parameters": parameters}}]));
    assert!(request(&call(vec![user("x")]), Server::Compatible).get("tools").is_none());
}

#[test]
fn the_bound_of_an_answer_is_named_as_the_server_knows_it() {
    for (url, model, name, tokens) in [
        ("https://api.openai.com/v1", "gpt-5", "max_completion_tokens", 50_000),
        ("https://eu.api.openai.com/v1", "o3", "max_completion_tokens", 50_000),
        ("https://mine.openai.azure.com/openai/v1", "gpt-4o-mini", "max_completion_tokens", 16_384),
        ("https://mine.cognitiveservices.azure.com/openai/v1", "my-model", "max_completion_tokens", 50_000),
        ("https://mine.services.ai.azure.com/openai/v1", "gpt-5", "max_completion_tokens", 50_000),
        ("https://openai.azure.com.example/v1", "gpt-5", "max_tokens", 50_000),
        ("https://api.openai.com/v1", "ft:gpt-4.1-mini:me", "max_completion_tokens", 32_768),
        ("https://api.openai.com.example/v1", "gpt-4o", "max_tokens", 50_000),
        ("https://notapi.openai.com/v1", "gpt-5", "max_tokens", 50_000),
        ("http://127.0.0.1:11434/v1", "llama", "max_tokens", 50_000),
    ] {
        let mut call = call(vec![user("x")]);
        call.provider_model = model.to_owned();
        let sent = request(&call, Server::of(&Url::parse(url).unwrap()));
        let other = if name == "max_tokens" { "max_completion_tokens" } else { "max_tokens" };
        assert_eq!((sent[name].as_i64(), sent.get(other)), (Some(tokens), None), "{url} {model}");
    }
}

#[test]
fn an_answer_without_a_bound_of_ours_is_asked_for_without_one() {
    for server in [Server::Own, Server::Azure, Server::Compatible] {
        let mut call = call(vec![user("x")]);
        call.provider_model = "gpt-4o".to_owned();
        call.output_tokens_max = i64::MAX;
        let sent = request(&call, server);
        assert_eq!((sent.get("max_tokens"), sent.get("max_completion_tokens")), (None, None), "{server:?}");
    }
}

#[test]
fn the_first_token_may_take_as_long_as_the_thinking_that_servers_hide() {
    let limits = |first, silence| CallLimits {
        first_token_timeout: Duration::from_secs(first),
        silence_timeout: Duration::from_secs(silence),
        ..call(Vec::new()).limits
    };
    for (first, silence) in [(2, 5), (5, 2)] {
        assert_eq!(OpenAi::first_token_timeout(&limits(first, silence)), Duration::from_secs(5));
        assert_eq!(Anthropic::first_token_timeout(&limits(first, silence)), Duration::from_secs(first));
    }
}

#[test]
fn an_effort_is_sent_where_the_model_takes_it() {
    use Server::{Azure, Compatible, Own};
    let (unspecified, high) = (Effort::Unspecified, Effort::High);
    for (server, model, tools, effort, expected) in [
        (Own, "gpt-5", true, unspecified, None),
        (Own, "gpt-5-mini", true, high, Some("high")),
        (Own, "gpt-5.1", true, high, Some("high")),
        (Own, "o3", true, high, Some("high")),
        (Own, "gpt-5.4", true, high, Some("none")),
        (Own, "gpt-5.6", true, unspecified, Some("none")),
        (Own, "some-later-model", true, unspecified, Some("none")),
        (Own, "gpt-5.4", false, high, Some("high")),
        (Own, "gpt-5.4", false, unspecified, None),
        (Own, "gpt-5.6", false, unspecified, None),
        (Own, "gpt-4o", true, high, None),
        (Own, "gpt-4.1", true, unspecified, None),
        (Own, "ft:gpt-4o-mini:me", true, high, None),
        (Own, "gpt-5.2-chat-latest", true, high, None),
        (Azure, "gpt-5.6", true, high, Some("high")),
        (Azure, "gpt-5.6", true, unspecified, None),
        (Azure, "my-model", true, unspecified, None),
        (Azure, "my-model", false, high, Some("high")),
        (Azure, "gpt-4o", true, high, None),
        (Compatible, "gpt-5.6", true, high, Some("high")),
        (Compatible, "qwen3", true, high, Some("high")),
        (Compatible, "qwen3", true, unspecified, None),
    ] {
        let mut call = call(vec![user("x")]);
        call.provider_model = model.to_owned();
        call.effort = effort;
        if tools {
            let (name, description, input_schema_json) = ("f".into(), String::new(), String::new());
            call.tools = vec![ToolDefinition { name, description, input_schema_json }];
        }
        let sent = request(&call, server);
        assert_eq!(sent["reasoning_effort"].as_str(), expected, "{server:?} {model} {tools}");
    }
}

#[test]
fn a_message_with_files_is_a_list_and_one_without_is_a_text() {
    let file = |name: &str, media_type: &str| Attachment {
        name: name.to_owned(),
        media_type: media_type.to_owned(),
        data: Bytes::from_static(b"\x00\xFF\x10\xFE"),
    };
    let parts = vec![
        UserPiece::Text("Look.".to_owned()),
        UserPiece::Image(file("a.webp", "image/webp")),
        UserPiece::Document(file("é \"b\".pdf", "application/pdf")),
        UserPiece::Text(" ".to_owned()),
    ];

    let sent = request(&call(vec![PromptMessage::User { parts }, user("And?")]), Server::Own);

    let document = json!({"filename": "é \"b\".pdf", "file_data": "data:application/pdf;base64,AP8Q/g=="});
    let expected = json!([
        {"type": "text", "text": "Look."},
        {"type": "image_url", "image_url": {"url": "data:image/webp;base64,AP8Q/g=="}},
        {"type": "file", "file": document},
        {"type": "text", "text": "And?"},
    ]);
    let messages = sent["messages"].as_array().unwrap();
    assert_eq!(messages.last().unwrap(), &json!({"role": "user", "content": expected}));
}

#[test]
fn files_are_sent_where_model_and_server_take_them() {
    use Server::{Azure, Compatible, Own};
    for (server, model, images, documents) in [
        (Own, "gpt-5.6", true, true),
        (Own, "gpt-4o-mini", true, true),
        (Own, "gpt-4.1", true, true),
        (Own, "o3", true, true),
        (Own, "some-later-model", true, true),
        (Own, "gpt-4-turbo", true, false),
        (Own, "gpt-4", false, false),
        (Own, "gpt-4-0613", false, false),
        (Own, "ft:gpt-3.5-turbo:me", false, false),
        (Own, "o3-mini", false, false),
        (Azure, "gpt-5", true, false),
        (Azure, "my-model", true, false),
        (Compatible, "qwen3-vl", true, false),
        (Compatible, "gpt-oss:20b", false, false),
    ] {
        let intake = intake(model, server);
        assert_eq!((intake.images.is_some(), intake.documents), (images, documents), "{server:?} {model}");
    }
    assert!(!intake("gpt-5", Own).images.unwrap().animated, "OpenAI refuses images that move");
}

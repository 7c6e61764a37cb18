use serde_json::json;

use super::*;

#[test]
fn codes_say_more_than_the_general_type_beside_them() {
    for (code, expected) in [
        ("invalid_api_key", Some(ErrorKind::Authentication)),
        ("insufficient_quota", Some(ErrorKind::Authentication)),
        ("rate_limit_exceeded", Some(ErrorKind::RateLimited)),
        ("context_length_exceeded", Some(ErrorKind::ContextLength)),
        ("model_not_found", Some(ErrorKind::InvalidRequest)),
        ("content_filter", Some(ErrorKind::Refused)),
        ("unheard_of", None),
    ] {
        let error = json!({"message": "no", "type": "invalid_request_error", "param": null, "code": code});
        let body = json!({"error": error}).to_string();
        let expected = Reported { kind: expected, label: code.into(), message: "no".into() };
        assert_eq!(reported(body.as_bytes()), Some(expected));
    }
}

#[test]
fn errors_are_read_in_every_shape_that_servers_give_them() {
    let (limited, busy) = (Some(ErrorKind::RateLimited), Some(ErrorKind::Overloaded));
    for (body, kind, label, message) in [
        (json!({"error": {"message": "no", "type": "odd", "code": null}}), None, "odd", "no"),
        (json!({"error": {"message": "no", "type": "odd", "code": 429}}), limited, "429", "no"),
        (json!({"error": {"message": "no", "code": "503"}}), busy, "503", "no"),
        (json!({"error": {"message": "no", "code": 7}}), None, "7", "no"),
        (json!([{"error": {"message": "no", "status": "X"}}]), None, "", "no"),
        (json!({"error": "no"}), None, "", "no"),
        (json!({"object": "error", "message": "no", "type": "odd"}), None, "odd", "no"),
        (json!({"error": {"message": {"nested": 1}}}), None, "", ""),
    ] {
        let expected = Reported { kind, label: label.into(), message: message.into() };
        assert_eq!(reported(body.to_string().as_bytes()), Some(expected), "{body}");
    }
    for body in ["<html>", "", "7", "[]", "{}", "{\"choices\":[]}"] {
        assert_eq!(reported(body.as_bytes()), None, "{body}");
    }
}

#[test]
fn a_context_that_is_full_is_told_by_words_where_there_is_no_code() {
    let kind =
        |message: &str| reported(json!({"error": {"message": message}}).to_string().as_bytes()).unwrap().kind;
    for message in [
        "This model's maximum context length is 8192 tokens. However, you requested 9000 tokens.",
        "'max_tokens' or 'max_completion_tokens' is too large: 32000. This model's maximum context length is \
         8192 tokens and your request has 500 input tokens (32000 > 8192 - 500).",
        "You passed 500 input tokens and requested 32000 output tokens. However, the model's context length is \
         only 8192 tokens.",
        "The decoder prompt (length 9000) is longer than the maximum model length of 8192.",
    ] {
        assert_eq!(kind(message), Some(ErrorKind::ContextLength), "{message}");
    }
    // That is a wrong setting, which no new chat would mend.
    assert_eq!(kind("max_tokens is too large: 32000. This model supports at most 16384."), None);
}

#[test]
fn an_error_in_the_stream_is_typed_by_its_code_its_type_or_its_number() {
    use ErrorKind::{InvalidRequest, Overloaded, ProviderUnavailable, RateLimited};
    for (error, kind, label) in [
        (json!({"code": "rate_limit_exceeded", "type": "requests"}), RateLimited, "rate_limit_exceeded"),
        (json!({"code": null, "type": "server_error"}), ProviderUnavailable, "server_error"),
        (json!({"code": 503, "message": "busy"}), Overloaded, "503"),
        (json!({"code": "429"}), RateLimited, "429"),
        (json!({"type": "invalid_request_error"}), InvalidRequest, "invalid_request_error"),
        (json!({"code": 7}), ProviderUnavailable, "7"),
        (json!("words"), ProviderUnavailable, ""),
        (json!({}), ProviderUnavailable, ""),
    ] {
        assert_eq!(in_stream(&error), Fault::Provider { kind, label: label.into() }, "{error}");
    }
}

use super::*;

fn failures() -> Failures {
    Failures { host: "models.example".into(), api_key: "sk-secret".into() }
}

fn refusal(status: u16, body: &str) -> CallFailure {
    let refusal = Refusal {
        status,
        body: body.as_bytes(),
        content_type: "application/json",
        retry_after: None,
        never_retry: false,
    };
    failures()
        .refusal(&refusal, "{\"messages\":\"Tell me everything about the secret garden behind the house\"}")
}

fn error(kind: &str, message: &str) -> String {
    serde_json::json!({"type": "error", "error": {"type": kind, "message": message}}).to_string()
}

#[test]
fn typed_fields_decide_before_status_codes_do() {
    use ErrorKind::{
        Authentication, ContextLength, InvalidRequest, MalformedResponse, Overloaded, ProviderUnavailable,
        RateLimited,
    };
    for (status, error_type, kind, retryable) in [
        (401, "authentication_error", Authentication, false),
        (403, "permission_error", Authentication, false),
        (402, "billing_error", Authentication, false),
        (429, "rate_limit_error", RateLimited, true),
        (529, "overloaded_error", Overloaded, true),
        (500, "api_error", ProviderUnavailable, true),
        (504, "timeout_error", ProviderUnavailable, true),
        (413, "request_too_large", ContextLength, false),
        (400, "invalid_request_error", InvalidRequest, false),
        (404, "not_found_error", InvalidRequest, false),
        (500, "overloaded_error", Overloaded, true),
        (401, "unheard_of", Authentication, false),
        (403, "", Authentication, false),
        (429, "", RateLimited, true),
        (503, "", Overloaded, true),
        (529, "", Overloaded, true),
        (502, "", ProviderUnavailable, true),
        (599, "", ProviderUnavailable, true),
        (413, "", ContextLength, false),
        (422, "", InvalidRequest, false),
        (307, "", InvalidRequest, false),
        (204, "", MalformedResponse, true),
    ] {
        let error = refusal(status, &error(error_type, "no")).error;
        assert_eq!((error.kind, error.retryable), (kind, retryable), "{status} {error_type}");
        assert_eq!((error.status_code, error.provider.as_str()), (Some(status), "anthropic"));
        assert!(!error.message.is_empty());
    }
}

#[test]
fn a_prompt_that_is_too_long_is_told_by_its_text_as_a_last_resort() {
    let failure = refusal(400, &error("invalid_request_error", "prompt is too long: 210000 tokens > 200000"));
    assert_eq!(failure.error.kind, ErrorKind::ContextLength);
}

#[test]
fn the_provider_can_say_that_a_retry_is_of_no_use() {
    let refusal = Refusal { status: 429, body: b"", content_type: "", retry_after: None, never_retry: true };
    assert!(!failures().refusal(&refusal, "").error.retryable);
}

#[test]
fn a_detail_holds_neither_key_nor_prompt_and_is_short() {
    let with_key = refusal(401, &error("authentication_error", "bad key sk-secret, said sk-secret"));
    assert_eq!(with_key.error.detail, "authentication_error: bad key [key], said [key]");

    let echo = "cannot read: 'me everything about the secret garden behind the h'";
    let with_prompt = refusal(400, &error("invalid_request_error", echo));
    assert!(!with_prompt.error.detail.contains("garden"), "{}", with_prompt.error.detail);

    let long = refusal(400, &error("invalid_request_error", &"é".repeat(10_000)));
    assert_eq!(long.error.detail.chars().count(), DETAIL_CHARS_MAX);
}

#[test]
fn a_body_that_is_no_json_is_not_repeated() {
    for body in ["<html>sorry</html>", "", "{\"error\":\"text\"}", "[1", "\u{0}"] {
        let failure = refusal(502, body);
        assert_eq!(failure.error.detail, "HTTP 502 with content type \"application/json\"", "{body}");
    }
}

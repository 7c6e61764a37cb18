use super::*;

fn failures() -> Failures {
    Failures {
        provider: "some",
        host: "models.example".into(),
        api_key: "sk-secret".into(),
        has_files: false,
    }
}

fn refusal(status: u16, reported: Option<(&str, &str)>) -> CallFailure {
    let reported = reported.map(|(label, message)| Reported {
        kind: None,
        label: label.into(),
        message: message.into(),
    });
    let refusal =
        Refusal { status, reported, content_type: "application/json", retry_after: None, never_retry: false };
    failures()
        .refusal(&refusal, "{\"messages\":\"Tell me everything about the secret garden behind the house\"}")
}

#[test]
fn status_codes_decide_where_typed_fields_say_nothing() {
    use ErrorKind::{
        Authentication, ContextLength, InvalidRequest, MalformedResponse, Overloaded, ProviderUnavailable,
        RateLimited,
    };
    for (status, kind, retryable) in [
        (204, MalformedResponse, true),
        (307, InvalidRequest, false),
        (400, InvalidRequest, false),
        (401, Authentication, false),
        (402, Authentication, false),
        (403, Authentication, false),
        (404, InvalidRequest, false),
        (408, ProviderUnavailable, true),
        (413, ContextLength, false),
        (422, InvalidRequest, false),
        (429, RateLimited, true),
        (500, ProviderUnavailable, true),
        (502, ProviderUnavailable, true),
        (503, Overloaded, true),
        (529, Overloaded, true),
        (599, ProviderUnavailable, true),
    ] {
        let error = refusal(status, Some(("unheard_of", "no"))).error;
        assert_eq!((error.kind, error.retryable), (kind, retryable), "{status}");
        assert_eq!((error.status_code, error.provider.as_str()), (Some(status), "some"));
        assert!(!error.message.is_empty());
    }
}

#[test]
fn typed_fields_decide_before_status_codes_do() {
    let reported = Reported { kind: Some(ErrorKind::Overloaded), label: "busy".into(), message: "no".into() };
    let refusal = Refusal {
        status: 500,
        reported: Some(reported),
        content_type: "",
        retry_after: Some(Duration::from_secs(7)),
        never_retry: false,
    };

    let failure = failures().refusal(&refusal, "");

    assert_eq!((failure.error.kind, failure.error.detail.as_str()), (ErrorKind::Overloaded, "busy: no"));
    assert_eq!(failure.retry_after, Some(Duration::from_secs(7)));
}

#[test]
fn a_call_above_the_account_s_allowance_is_not_repeated_and_says_what_helps() {
    let limited = |status, message: &str| {
        let reported = Reported {
            kind: Some(ErrorKind::RateLimited),
            label: "rate_limit_exceeded".into(),
            message: message.into(),
        };
        let (content_type, retry_after) = ("application/json", Some(Duration::from_secs(7)));
        let refusal =
            Refusal { status, reported: Some(reported), content_type, retry_after, never_retry: false };
        failures().refusal(&refusal, "").error
    };
    let groq = "Request too large for model `m` on tokens per minute (TPM): Limit 6000, Requested 9000";
    let openai = "Request too large for gpt-4 on tokens per min (TPM): Limit 10000, Requested 20000.";
    for (status, message) in [(413, groq), (413, "no"), (429, openai)] {
        let error = limited(status, message);
        assert_eq!((error.kind, error.retryable), (ErrorKind::ContextLength, false), "{message}");
        for words in ["models.example", "output limit", "tokens per minute"] {
            assert!(error.message.contains(words), "{}", error.message);
        }
    }

    let busy = limited(429, "Rate limit reached for gpt-4: Limit 10000, Used 9000, Requested 2000.");
    assert_eq!((busy.kind, busy.retryable), (ErrorKind::RateLimited, true));
}

#[test]
fn an_error_that_comes_as_a_success_keeps_its_kind() {
    let with = |kind| {
        let reported = Reported { kind, label: "429".into(), message: "slow down".into() };
        let refusal = Refusal {
            status: 200,
            reported: Some(reported),
            content_type: "application/json",
            retry_after: None,
            never_retry: false,
        };
        failures().refusal(&refusal, "").error
    };

    let known = with(Some(ErrorKind::RateLimited));
    assert_eq!((known.kind, known.retryable), (ErrorKind::RateLimited, true));
    assert_eq!(known.message, failures().sentence(ErrorKind::RateLimited));

    let unknown = with(None);
    assert_eq!((unknown.kind, unknown.retryable), (ErrorKind::MalformedResponse, false));
    assert!(unknown.message.contains("check the model's endpoint"), "{}", unknown.message);
}

#[test]
fn a_quoted_prompt_of_several_lines_is_found_however_its_json_escapes_it() {
    let prompt = "\"Open\"\n\t\"the\"\n\t\"garden\"\n\t\"gate\"\n\t\"and\"\n\t\"close\"\n\t\"it\"\n";
    let once = serde_json::json!({"content": prompt}).to_string();
    let twice = serde_json::json!({"arguments": once}).to_string();
    for request in [&once, &twice] {
        assert!(repeats(&format!("cannot read {prompt}"), request), "{request}");
    }
    assert!(!repeats("max_tokens must not be above 8192 for this model, but it is 32000", &once));
}

#[test]
fn the_provider_can_say_that_a_retry_is_of_no_use() {
    let refusal =
        Refusal { status: 429, reported: None, content_type: "", retry_after: None, never_retry: true };
    assert!(!failures().refusal(&refusal, "").error.retryable);
}

#[test]
fn a_detail_holds_neither_key_nor_prompt_and_is_short() {
    let with_key = refusal(401, Some(("wrong_key", "bad key sk-secret, said sk-secret")));
    assert_eq!(with_key.error.detail, "wrong_key: bad key [key], said [key]");

    let echo = "cannot read: 'me everything about the secret garden behind the h'";
    let with_prompt = refusal(400, Some(("invalid", echo)));
    assert!(!with_prompt.error.detail.contains("garden"), "{}", with_prompt.error.detail);

    let long = refusal(400, Some(("invalid", &"é".repeat(10_000))));
    assert_eq!(long.error.detail.chars().count(), DETAIL_CHARS_MAX);
}

#[test]
fn a_call_that_does_not_fit_the_context_names_the_remedies() {
    let sentence = failures().sentence(ErrorKind::ContextLength);
    for remedy in ["summarized", "start a new chat", "output limit"] {
        assert!(sentence.contains(remedy), "{sentence}");
    }
}

#[test]
fn a_label_that_is_no_word_is_not_told() {
    let told = |label: &str, message: &str| refusal(400, Some((label, message))).error.detail;
    assert_eq!(told("a sentence about the garden", "no"), "no");
    assert_eq!(told(&"x".repeat(65), "no"), "no");
    assert_eq!((told("", "no"), told("rate_limit.v2-x", "")), ("no".into(), "rate_limit.v2-x".into()));

    let label = "a sentence about the garden".to_owned();
    let fault = Fault::Provider { kind: ErrorKind::Overloaded, label };
    assert_eq!(failures().fault(&fault).error.detail, "");
}

#[test]
fn a_body_in_another_language_is_told_by_its_type() {
    assert_eq!(refusal(502, None).error.detail, "HTTP 502 with content type \"application/json\"");
}

#[test]
fn a_refused_call_with_files_names_them_as_what_may_be_wrong() {
    let failures = Failures { has_files: true, ..failures() };

    let failure = failures.failure(ErrorKind::InvalidRequest, Some(400), "");

    assert!(failure.error.message.contains("may not take the files of this chat. Edit the message"));
    assert!(!failure.error.retryable);
}

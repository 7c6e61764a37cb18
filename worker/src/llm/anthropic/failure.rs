//! What Anthropic's errors mean, from their typed fields.

use chatplane_domain::ErrorKind;
use serde::Deserialize;

use super::super::failure::Reported;

#[derive(Deserialize)]
struct ErrorBody {
    error: ErrorFields,
}

#[derive(Deserialize)]
struct ErrorFields {
    #[serde(rename = "type", default)]
    kind: String,
    #[serde(default)]
    message: String,
}

/// How it is said that a call does not fit the context, be it for what is asked or for what
/// may be answered: the one case that has no field of its own.
const CONTEXT_FULL: [&str; 2] = ["prompt is too long", "exceed context limit"];

/// The error that the body of an answer reports.
pub(super) fn reported(body: &[u8]) -> Option<Reported> {
    let ErrorFields { kind: label, message } = serde_json::from_slice::<ErrorBody>(body).ok()?.error;
    let kind = match kind_of_type(&label) {
        None | Some(ErrorKind::InvalidRequest)
            if CONTEXT_FULL.iter().any(|words| message.contains(words)) =>
        {
            Some(ErrorKind::ContextLength)
        }
        kind => kind,
    };
    Some(Reported { kind, label, message })
}

/// What an error's type means.
pub(super) fn kind_of_type(error_type: &str) -> Option<ErrorKind> {
    Some(match error_type {
        "authentication_error" | "permission_error" | "billing_error" => ErrorKind::Authentication,
        "rate_limit_error" => ErrorKind::RateLimited,
        "overloaded_error" => ErrorKind::Overloaded,
        "api_error" | "timeout_error" => ErrorKind::ProviderUnavailable,
        "request_too_large" => ErrorKind::ContextLength,
        "invalid_request_error" | "not_found_error" => ErrorKind::InvalidRequest,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn kind(error_type: &str, message: &str) -> Option<ErrorKind> {
        let body = json!({"type": "error", "error": {"type": error_type, "message": message}});
        reported(body.to_string().as_bytes()).expect("the body is an error").kind
    }

    #[test]
    fn types_mean_what_anthropic_says() {
        for (error_type, expected) in [
            ("authentication_error", Some(ErrorKind::Authentication)),
            ("permission_error", Some(ErrorKind::Authentication)),
            ("billing_error", Some(ErrorKind::Authentication)),
            ("rate_limit_error", Some(ErrorKind::RateLimited)),
            ("overloaded_error", Some(ErrorKind::Overloaded)),
            ("api_error", Some(ErrorKind::ProviderUnavailable)),
            ("timeout_error", Some(ErrorKind::ProviderUnavailable)),
            ("request_too_large", Some(ErrorKind::ContextLength)),
            ("invalid_request_error", Some(ErrorKind::InvalidRequest)),
            ("not_found_error", Some(ErrorKind::InvalidRequest)),
            ("unheard_of", None),
            ("", None),
        ] {
            assert_eq!(kind(error_type, "no"), expected, "{error_type}");
        }
    }

    #[test]
    fn a_prompt_that_is_too_long_is_told_by_its_text_as_a_last_resort() {
        for message in [
            "prompt is too long: 210000 tokens > 200000",
            "input length and `max_tokens` exceed context limit: 178959 + 64000 > 200000, decrease input length",
        ] {
            assert_eq!(kind("invalid_request_error", message), Some(ErrorKind::ContextLength));
            assert_eq!(kind("overloaded_error", message), Some(ErrorKind::Overloaded));
        }
    }

    #[test]
    fn a_body_that_is_no_error_reports_none() {
        for body in ["<html>sorry</html>", "", "{\"error\":\"text\"}", "[1", "\u{0}", "{}"] {
            assert_eq!(reported(body.as_bytes()), None, "{body}");
        }
    }
}

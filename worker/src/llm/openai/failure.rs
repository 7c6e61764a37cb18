//! What the errors of OpenAI and of servers that speak like it mean.

use chatplane_domain::ErrorKind;
use serde_json::Value;

use super::super::assembly::Fault;
use super::super::failure::{Reported, kind_of_status};

/// How servers that have no code for it say that a call does not fit the context, be it for
/// what is asked or for what may be answered.
const CONTEXT_FULL: [&str; 3] = ["maximum context length", "context length is only", "maximum model length"];

/// The error that the body of an answer reports. Its code decides where it says more
/// than the status does.
pub(super) fn reported(body: &[u8]) -> Option<Reported> {
    let body: Value = serde_json::from_slice(body).ok()?;
    // Some servers wrap the error in a list.
    let body = body.get(0).unwrap_or(&body);
    let error = match body.get("error") {
        Some(error) => error,
        // Others send it bare.
        None if body.get("message").is_some() => body,
        None => return None,
    };
    let (label, kind) = word(error);
    let message = error.as_str().or_else(|| error["message"].as_str()).unwrap_or_default().to_owned();
    let is_context_full = CONTEXT_FULL.iter().any(|words| message.contains(words));
    let kind = if is_context_full { Some(ErrorKind::ContextLength) } else { kind };
    let kind = kind.or_else(|| kind_of_number(&label));
    Some(Reported { kind, label, message })
}

/// An error in the midst of a stream, where no status tells what it is.
pub(super) fn in_stream(error: &Value) -> Fault {
    let (label, kind) = word(error);
    let kind = kind.or_else(|| kind_of_number(&label)).unwrap_or(match label.as_str() {
        "invalid_request_error" => ErrorKind::InvalidRequest,
        _ => ErrorKind::ProviderUnavailable,
    });
    Fault::Provider { kind, label }
}

/// The provider's word for an error, and what it means if that is known: its code, or
/// else its type.
fn word(error: &Value) -> (String, Option<ErrorKind>) {
    let words = ["code", "type"].map(|field| match &error[field] {
        Value::String(word) => word.clone(),
        Value::Number(number) => number.to_string(),
        _ => String::new(),
    });
    if let Some((word, kind)) = words.iter().find_map(|word| Some((word, kind_of_word(word)?))) {
        return (word.clone(), Some(kind));
    }
    let word = words.into_iter().find(|word| !word.is_empty());
    (word.unwrap_or_default(), None)
}

/// What a code means that is a status code, as servers have it that sit before others.
fn kind_of_number(label: &str) -> Option<ErrorKind> {
    label.parse().ok().filter(|status| (400..600).contains(status)).map(kind_of_status)
}

/// Codes and types that say more than the status that comes with them. Types as general
/// as `invalid_request_error` do not: OpenAI sends that with a wrong key too.
fn kind_of_word(word: &str) -> Option<ErrorKind> {
    Some(match word {
        "invalid_api_key"
        | "insufficient_quota"
        | "billing_not_active"
        | "billing_hard_limit_reached"
        | "account_deactivated"
        | "authentication_error"
        | "permission_error"
        | "unsupported_country_region_territory" => ErrorKind::Authentication,
        "rate_limit_exceeded" | "rate_limit_error" => ErrorKind::RateLimited,
        "overloaded" | "overloaded_error" | "engine_overloaded_error" | "service_unavailable" => {
            ErrorKind::Overloaded
        }
        "server_error" | "internal_error" | "internal_server_error" => ErrorKind::ProviderUnavailable,
        "context_length_exceeded" | "exceed_context_size_error" => ErrorKind::ContextLength,
        "model_not_found" => ErrorKind::InvalidRequest,
        "content_filter" | "content_policy_violation" => ErrorKind::Refused,
        _ => return None,
    })
}

#[cfg(test)]
#[path = "failure_tests.rs"]
mod tests;

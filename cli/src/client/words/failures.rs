//! What is said when a model fails, and what a person can do about it.

use std::time::{Duration, SystemTime};

use chatplane_proto::chat::v1::{ChatError, ErrorKind, RetryState};

use super::{quote, time_until};

/// An error is worth more of it; details are at most this long anyway.
pub(super) const ERROR_CHARACTERS_MAX: usize = 600;

/// What a person can do about a model that fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Advice {
    /// Whoever runs the control plane has to.
    Operator,
    /// These variables of this machine say where the model is, and with which key.
    Variables { key: &'static str, base_url: &'static str },
    /// Nothing can be set.
    Nothing,
}

/// The line for when nothing has come for some seconds.
pub(crate) fn model_is_silent(advice: Advice) -> String {
    format!("Waiting for the model …{}", unreachable_advice(advice))
}

/// The line of a retry: what kind of failure, what was said, when it is tried again, and what to look at if
/// that goes on.
pub(crate) fn retry(retry: &RetryState, advice: Advice, now: SystemTime) -> String {
    let error = retry.error.clone().unwrap_or_default();
    let delay = time_until(retry.next_attempt_time, now).unwrap_or(Duration::ZERO);
    let advice = match (error.kind(), error.status_code) {
        // Without a status nobody has answered.
        (ErrorKind::ProviderUnavailable | ErrorKind::Timeout, 0) => unreachable_advice(advice),
        _ => String::new(),
    };
    format!("{}; attempt {} in {:.1} s{advice}", describe(&error), retry.attempt, delay.as_secs_f64())
}

fn unreachable_advice(advice: Advice) -> String {
    match advice {
        Advice::Variables { base_url, .. } => format!(" (if that goes on, check {base_url} and the network)"),
        Advice::Operator | Advice::Nothing => String::new(),
    }
}

/// Why the chat stopped, and where a person can do something about it.
pub(crate) fn failure(error: &ChatError, advice: Advice) -> String {
    let advice = match advice {
        Advice::Variables { key, base_url } => own_advice(error, key, base_url),
        Advice::Operator => operator_advice(error),
        Advice::Nothing => String::new(),
    };
    format!("The chat ended in an error. {advice}{}", describe(error))
}

fn own_advice(error: &ChatError, key: &str, base_url: &str) -> String {
    match error.kind() {
        ErrorKind::Authentication => format!("The provider refused the key: check {key}. "),
        ErrorKind::ProviderUnavailable => format!("The provider cannot be used: check {base_url}. "),
        ErrorKind::InvalidRequest if error.status_code == 404 => {
            format!("The provider does not know this: check --model (CHATPLANE_MODEL) and {base_url}. ")
        }
        ErrorKind::ModelUnusable => {
            format!("The model cannot be used: check --model (CHATPLANE_MODEL) and {key}. ")
        }
        _ => String::new(),
    }
}

fn operator_advice(error: &ChatError) -> String {
    match error.kind() {
        ErrorKind::Authentication => {
            "The provider refused the control plane's key: its operator has to check it. ".to_owned()
        }
        ErrorKind::ModelUnusable => "The model cannot be used: choose another one with --model. ".to_owned(),
        _ => String::new(),
    }
}

/// `RATE_LIMITED: the provider asked to slow down (HTTP 429: too many requests)`.
fn describe(error: &ChatError) -> String {
    let kind = error.kind().as_str_name();
    let kind = kind.strip_prefix("ERROR_KIND_").unwrap_or(kind);
    let message = quote(&error.message, ERROR_CHARACTERS_MAX);
    let mut description = format!("{kind}: {}", message.trim_end_matches('.'));
    let status = (error.status_code != 0).then(|| format!("HTTP {}", error.status_code));
    let detail = Some(quote(&error.detail, ERROR_CHARACTERS_MAX)).filter(|detail| !detail.is_empty());
    let said: Vec<String> = status.into_iter().chain(detail).collect();
    if !said.is_empty() {
        description.push_str(&format!(" ({})", said.join(": ")));
    }
    description
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPENAI: Advice = Advice::Variables { key: "OPENAI_API_KEY", base_url: "OPENAI_BASE_URL" };

    #[test]
    fn a_retry_tells_kind_message_and_delay() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(100);
        let error = ChatError {
            kind: ErrorKind::RateLimited.into(),
            message: "the provider asked to slow down".to_owned(),
            detail: "too many".to_owned(),
            status_code: 429,
            ..Default::default()
        };
        let state = RetryState {
            error: Some(error),
            attempt: 2,
            next_attempt_time: Some((now + Duration::from_millis(1500)).into()),
        };

        assert_eq!(
            retry(&state, OPENAI, now),
            "RATE_LIMITED: the provider asked to slow down (HTTP 429: too many); attempt 2 in 1.5 s"
        );
    }

    #[test]
    fn a_refused_key_names_the_variable_of_its_provider() {
        let error = ChatError {
            kind: ErrorKind::Authentication.into(),
            message: "the provider refused the key".to_owned(),
            status_code: 401,
            ..Default::default()
        };

        assert_eq!(
            failure(&error, OPENAI),
            "The chat ended in an error. The provider refused the key: check OPENAI_API_KEY. \
             AUTHENTICATION: the provider refused the key (HTTP 401)"
        );
        assert!(failure(&error, Advice::Operator).contains("its operator has to check it."));
    }

    #[test]
    fn a_provider_that_cannot_be_reached_names_the_variable_with_every_retry() {
        let error = ChatError {
            kind: ErrorKind::ProviderUnavailable.into(),
            message: "nobody answers".to_owned(),
            ..Default::default()
        };
        let state = RetryState { error: Some(error.clone()), attempt: 2, next_attempt_time: None };
        let answered = ChatError { status_code: 502, ..error };
        let overloaded = RetryState { error: Some(answered), ..state.clone() };

        let line = |state: &RetryState| retry(state, OPENAI, SystemTime::UNIX_EPOCH);

        assert!(line(&state).contains("check OPENAI_BASE_URL"), "{}", line(&state));
        assert!(!line(&overloaded).contains("OPENAI_BASE_URL"), "{}", line(&overloaded));
    }
}

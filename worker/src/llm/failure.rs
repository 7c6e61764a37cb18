//! Failures of model calls: what status codes mean, and what a person is told.

use std::time::Duration;

use chatplane_domain::{ChatError, DETAIL_CHARS_MAX, ErrorKind};

use super::CallFailure;
use super::assembly::Fault;

/// A message that has this many characters in common with the request repeats it.
/// Half of it is the step at which windows are looked up, so no shorter run hides.
const ECHO_CHARS: usize = 48;
/// A provider's word for an error has at most this many characters; what has more
/// is no word.
const LABEL_CHARS_MAX: usize = 64;

/// What failures of one call need to know.
#[derive(Clone, Debug)]
pub(super) struct Failures {
    /// Name of the provider.
    pub(super) provider: &'static str,
    /// Host of the provider, for sentences.
    pub(super) host: String,
    /// The key, which no detail may contain.
    pub(super) api_key: String,
    /// Whether the call sends files as they are, which may be what is wrong with it.
    pub(super) has_files: bool,
}

/// The answer of a provider that refused a call.
pub(super) struct Refusal<'a> {
    pub(super) status: u16,
    /// What its body says; `None` where that is not the provider's language.
    pub(super) reported: Option<Reported>,
    pub(super) content_type: &'a str,
    pub(super) retry_after: Option<Duration>,
    /// The provider's own word that the call would fail again.
    pub(super) never_retry: bool,
}

/// An error as a provider words it.
#[derive(Debug, PartialEq)]
pub(super) struct Reported {
    /// What its typed fields mean; `None` leaves it to the status code.
    pub(super) kind: Option<ErrorKind>,
    /// Its type or code.
    pub(super) label: String,
    /// Its sentence.
    pub(super) message: String,
}

impl Failures {
    /// A failure of any kind, with a cleaned detail.
    pub(super) fn failure(&self, kind: ErrorKind, status_code: Option<u16>, detail: &str) -> CallFailure {
        let error = ChatError {
            kind,
            message: self.sentence(kind),
            detail: self.clean(detail),
            provider: self.provider.to_owned(),
            status_code,
            retryable: is_retryable(kind),
        };
        CallFailure { error, retry_after: None }
    }

    /// The provider answered with an error status. `request` is the body that was
    /// sent: a detail that repeats it is left out.
    pub(super) fn refusal(&self, refusal: &Refusal<'_>, request: &str) -> CallFailure {
        let known = refusal.reported.as_ref().and_then(|reported| reported.kind);
        let is_above_allowance = is_above_allowance(refusal);
        let kind = match is_above_allowance {
            true => ErrorKind::ContextLength,
            false => known.unwrap_or_else(|| kind_of_status(refusal.status)),
        };
        let mut failure = self.failure(kind, Some(refusal.status), &detail(refusal, request));
        failure.error.retryable &= !refusal.never_retry;
        failure.retry_after = refusal.retry_after;
        if is_above_allowance {
            failure.error.message = format!(
                "The call is larger than {} takes from this account: lower the model's output limit, raise \
                 the account's tokens per minute, or start a new chat.",
                self.host
            );
        }
        if refusal.status == 200 && known.is_none() {
            // No provider's hiccup: whoever answers there does not speak its language.
            failure.error.retryable = false;
            failure.error.message = format!(
                "The server at {} does not answer as this model's provider: check the model's endpoint.",
                self.host
            );
        }
        if (300..400).contains(&refusal.status) {
            failure.error.message = format!(
                "The model provider at {} sends calls elsewhere: set the model's endpoint to its final address.",
                self.host
            );
        }
        failure
    }

    /// The stream went wrong. What a provider says in mid-stream is not repeated,
    /// only its word for it.
    pub(super) fn fault(&self, fault: &Fault) -> CallFailure {
        match fault {
            Fault::Malformed(place) => self.failure(ErrorKind::MalformedResponse, Some(200), place),
            Fault::Provider { kind, label } => self.failure(*kind, Some(200), word(label)),
            Fault::TooLarge => self.failure(ErrorKind::AnswerTooLarge, Some(200), ""),
            Fault::Refused(category) => self.failure(ErrorKind::Refused, Some(200), word(category)),
            Fault::ContextFull => {
                self.failure(ErrorKind::ContextLength, Some(200), "the answer has filled the model's context")
            }
        }
    }

    fn sentence(&self, kind: ErrorKind) -> String {
        let host = &self.host;
        match kind {
            ErrorKind::RateLimited => format!("{host} asks for fewer calls: wait, or raise the account's limit."),
            ErrorKind::Overloaded => format!("The model provider at {host} is overloaded: try again later."),
            ErrorKind::ProviderUnavailable => format!(
                "The model provider at {host} failed or cannot be reached: check the network and the model's \
                 endpoint, or try again later."
            ),
            ErrorKind::Timeout => {
                format!("The model provider at {host} was silent for too long: try again, or raise the model's timeouts.")
            }
            ErrorKind::Authentication => {
                format!("The model provider at {host} refused the key: check the model's key and its account.")
            }
            ErrorKind::ContextLength => {
                "The chat and the answer that it may get do not fit the model's context: shorten the message, have \
                 the chat summarized, start a new chat, use a model with a larger context, or lower the model's \
                 output limit."
                    .to_owned()
            }
            ErrorKind::MalformedResponse => format!(
                "{host} did not answer as a model provider does: check the model's endpoint, or try again."
            ),
            ErrorKind::AnswerTooLarge => {
                "The answer grew too large or took too long: ask for a shorter one, or in smaller steps.".to_owned()
            }
            ErrorKind::Refused => "The model declined to answer: ask differently.".to_owned(),
            ErrorKind::ModelUnusable => "The model's endpoint or key cannot be used: correct the model.".to_owned(),
            ErrorKind::InvalidRequest if self.has_files => format!(
                "The model provider at {host} refused the call: it may not take the files of this chat. Edit \
                 the message that has them, choose another model, or check the model's name and settings."
            ),
            ErrorKind::InvalidRequest
            | ErrorKind::TurnLimit
            | ErrorKind::AttemptsExhausted
            | ErrorKind::CompactionFailed
            | ErrorKind::Internal => {
                format!("The model provider at {host} refused the call: check the model's name and settings.")
            }
        }
    }

    fn clean(&self, detail: &str) -> String {
        let cleaned = match self.api_key.as_str() {
            "" => detail.to_owned(),
            key => detail.replace(key, "[key]"),
        };
        cleaned.chars().take(DETAIL_CHARS_MAX).collect()
    }
}

/// Whether a call is larger than an account may ever send within a minute. Providers name
/// that as they name too many calls, but to wait is of no use.
fn is_above_allowance(refusal: &Refusal<'_>) -> bool {
    let Some(reported) = &refusal.reported else { return false };
    let kind = reported.kind.unwrap_or_else(|| kind_of_status(refusal.status));
    let is_too_large = refusal.status == 413 || reported.message.starts_with("Request too large");
    kind == ErrorKind::RateLimited && is_too_large
}

/// What of a refusal is told beside its kind.
fn detail(refusal: &Refusal<'_>, request: &str) -> String {
    let Some(Reported { label, message, .. }) = &refusal.reported else {
        return format!("HTTP {} with content type {:?}", refusal.status, refusal.content_type);
    };
    let label = word(label);
    match (label, message.as_str()) {
        (_, message) if repeats(message, request) => {
            format!("{label}: the provider's message repeats parts of the request")
        }
        ("", message) => message.to_owned(),
        (label, "") => label.to_owned(),
        (label, message) => format!("{label}: {message}"),
    }
}

/// A provider's type or code as it may be told: one that is no word may be anything.
fn word(label: &str) -> &str {
    let is_word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    let told = label.len() <= LABEL_CHARS_MAX && label.chars().all(is_word);
    if told { label } else { "" }
}

/// Whether a message has a run of [`ECHO_CHARS`] in common with the request, as it stands in
/// its JSON: escaped, or escaped twice where it is JSON within a text, as arguments are.
fn repeats(message: &str, request: &str) -> bool {
    let message: Vec<char> = message.chars().take(DETAIL_CHARS_MAX).collect();
    // Any run of that length contains a whole window of half of it.
    message.chunks_exact(ECHO_CHARS / 2).any(|window| {
        let plain: String = window.iter().collect();
        let once = escaped(&plain);
        let twice = escaped(&once);
        [plain, once, twice].iter().any(|window| request.contains(window.as_str()))
    })
}

/// A text as it stands between the quotes of a JSON string.
fn escaped(text: &str) -> String {
    let json = serde_json::to_string(text).expect("a text can always be written as JSON");
    json[1..json.len() - 1].to_owned()
}

fn is_retryable(kind: ErrorKind) -> bool {
    match kind {
        ErrorKind::RateLimited
        | ErrorKind::Overloaded
        | ErrorKind::ProviderUnavailable
        | ErrorKind::Timeout
        | ErrorKind::MalformedResponse => true,
        ErrorKind::Authentication
        | ErrorKind::InvalidRequest
        | ErrorKind::ContextLength
        | ErrorKind::AnswerTooLarge
        | ErrorKind::TurnLimit
        | ErrorKind::AttemptsExhausted
        | ErrorKind::ModelUnusable
        | ErrorKind::Refused
        | ErrorKind::CompactionFailed
        | ErrorKind::Internal => false,
    }
}

/// What a status code means.
pub(super) fn kind_of_status(status: u16) -> ErrorKind {
    match status {
        401..=403 => ErrorKind::Authentication,
        408 => ErrorKind::ProviderUnavailable,
        413 => ErrorKind::ContextLength,
        429 => ErrorKind::RateLimited,
        503 | 529 => ErrorKind::Overloaded,
        500.. => ErrorKind::ProviderUnavailable,
        300..500 => ErrorKind::InvalidRequest,
        _ => ErrorKind::MalformedResponse,
    }
}

#[cfg(test)]
#[path = "failure_tests.rs"]
mod tests;

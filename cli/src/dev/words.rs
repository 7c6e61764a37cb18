//! The lines on standard error. What comes from a model, a tool or a provider is cut short and freed of
//! control characters, which a terminal would obey.

use std::time::{Duration, SystemTime};

use chatplane_proto::chat::v1::{ChatError, ErrorKind, Part, RetryState, part};

/// Follows an answer that was printed in part and is not what the model says now.
pub(crate) const ANSWER_BEGINS_AGAIN: &str = "The model call was repeated: the answer begins again here.";

/// How much of foreign text fits a line.
const QUOTE_CHARACTERS_MAX: usize = 160;
/// An error is worth more of it; details are at most this long anyway.
const ERROR_CHARACTERS_MAX: usize = 600;

/// The line of a tool call: `→ list_dir {"path":"."}`.
pub(crate) fn tool_call(part: &Part) -> Option<String> {
    let Some(part::Kind::ToolCall(call)) = &part.kind else {
        return None;
    };
    let arguments = quote(&call.arguments_json, QUOTE_CHARACTERS_MAX);
    Some(format!("→ {} {arguments}", quote(&call.tool_name, QUOTE_CHARACTERS_MAX)))
}

/// The line of a tool's result: `← list_dir: 3 lines`, or the beginning of its error.
pub(crate) fn tool_result(part: &Part) -> Option<String> {
    let Some(part::Kind::ToolResult(result)) = &part.kind else {
        return None;
    };
    let name = quote(&result.tool_name, QUOTE_CHARACTERS_MAX);
    if result.is_error {
        return Some(format!("← {name} failed: {}", quote(&result.output, QUOTE_CHARACTERS_MAX)));
    }
    let lines = result.output.lines().count();
    let unit = if lines == 1 { "line" } else { "lines" };
    Some(format!("← {name}: {lines} {unit}"))
}

/// The line of a retry: what kind of failure, what was said, and when it is tried again.
pub(crate) fn retry(retry: &RetryState, now: SystemTime) -> String {
    let error = retry.error.clone().unwrap_or_default();
    let delay = retry
        .next_attempt_time
        .and_then(|time| SystemTime::try_from(time).ok())
        .and_then(|time| time.duration_since(now).ok())
        .unwrap_or(Duration::ZERO);
    format!("{}; attempt {} in {:.1} s", describe(&error), retry.attempt, delay.as_secs_f64())
}

/// Why the chat stopped, and where a person can do something about it.
pub(crate) fn failure(error: &ChatError) -> String {
    let advice = match error.kind() {
        ErrorKind::Authentication => "The provider refused the key: check ANTHROPIC_API_KEY. ",
        ErrorKind::ProviderUnavailable => "The provider cannot be used: check ANTHROPIC_BASE_URL. ",
        ErrorKind::InvalidRequest if error.status_code == 404 => {
            "The provider does not know this: check --model (CHATPLANE_MODEL) and ANTHROPIC_BASE_URL. "
        }
        ErrorKind::ModelUnusable => "The model cannot be used: check --model (CHATPLANE_MODEL). ",
        _ => "",
    };
    format!("The chat ended in an error. {advice}{}", describe(error))
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

/// One line of foreign text, cut after so many characters.
fn quote(text: &str, characters_max: usize) -> String {
    let mut line = String::new();
    let mut is_blank = true;
    for character in text.chars().take(characters_max * 2) {
        let is_space = character.is_whitespace() || character.is_control();
        if !is_space {
            line.push(character);
        } else if !is_blank {
            line.push(' ');
        }
        is_blank = is_space;
    }
    let line = line.trim_end();
    match line.char_indices().nth(characters_max) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use chatplane_proto::chat::v1::{ToolCallPart, ToolResultPart};

    use super::*;

    fn result(output: &str, is_error: bool) -> Part {
        let result = ToolResultPart {
            tool_name: "list_dir".to_owned(),
            output: output.to_owned(),
            is_error,
            ..Default::default()
        };
        Part { kind: Some(part::Kind::ToolResult(result)) }
    }

    #[test]
    fn a_tool_call_and_its_result_are_a_line_each() {
        let call = ToolCallPart {
            tool_name: "list_dir".to_owned(),
            arguments_json: "{\"path\":\".\"}".to_owned(),
            ..Default::default()
        };
        let call = Part { kind: Some(part::Kind::ToolCall(call)) };

        assert_eq!(tool_call(&call).as_deref(), Some("→ list_dir {\"path\":\".\"}"));
        assert_eq!(tool_result(&result("a\nb\nc\n", false)).as_deref(), Some("← list_dir: 3 lines"));
        assert_eq!(
            tool_result(&result("no such\ndirectory", true)).as_deref(),
            Some("← list_dir failed: no such directory")
        );
        assert_eq!(tool_result(&call), None);
    }

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
            retry(&state, now),
            "RATE_LIMITED: the provider asked to slow down (HTTP 429: too many); attempt 2 in 1.5 s"
        );
    }

    #[test]
    fn a_refused_key_names_the_variable() {
        let error = ChatError {
            kind: ErrorKind::Authentication.into(),
            message: "the provider refused the key".to_owned(),
            status_code: 401,
            ..Default::default()
        };

        assert_eq!(
            failure(&error),
            "The chat ended in an error. The provider refused the key: check ANTHROPIC_API_KEY. \
             AUTHENTICATION: the provider refused the key (HTTP 401)"
        );
    }

    #[test]
    fn foreign_text_is_one_short_line_that_no_terminal_obeys() {
        assert_eq!(quote("a\u{1b}[2Jb\r\n\n\u{9b}c", 160), "a [2Jb c");
        assert_eq!(quote(&"ü".repeat(500), 160).chars().count(), 161);
    }
}

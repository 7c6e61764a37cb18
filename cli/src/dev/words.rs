//! The lines on standard error. What comes from a model, a tool or a provider is cut short and freed of
//! control characters, which a terminal would obey.

use std::time::{Duration, SystemTime};

use chatplane_proto::chat::v1::{ChatError, ErrorKind, Part, RetryState, ToolResultPart, part};

use crate::dev::model::Provider;

/// Follows an answer that was printed in part and is not what the model says now.
pub(crate) const ANSWER_BEGINS_AGAIN: &str = "The model call was repeated: the answer begins again here.";

/// Follows the last line that is shown of what a tool writes.
pub(crate) const MORE_TOOL_OUTPUT: &str = "  │ … (it goes on)";
/// Follows the first Ctrl-C while a turn runs.
pub(crate) const INTERRUPTING: &str = "Interrupting the turn; Ctrl-C once more leaves.";
/// The control plane would not, or could not.
pub(crate) const NOT_INTERRUPTED: &str = "The turn could not be interrupted; Ctrl-C once more leaves.";
/// Follows a turn that was interrupted.
pub(crate) const INTERRUPTED: &str = "Interrupted. What was said so far is kept.";

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
pub(crate) fn tool_result(result: &ToolResultPart) -> String {
    let name = quote(&result.tool_name, QUOTE_CHARACTERS_MAX);
    if result.is_error {
        return format!("← {name} failed: {}", quote(&result.output, QUOTE_CHARACTERS_MAX));
    }
    let lines = result.output.lines().count();
    let unit = if lines == 1 { "line" } else { "lines" };
    format!("← {name}: {lines} {unit}")
}

/// A line of what a running tool writes: `  │ Compiling garden`.
pub(crate) fn tool_output_line(line: &str) -> String {
    // A progress bar goes back to the line's start to write it anew; its last word counts.
    let line = line.trim_end_matches(['\r', '\n']);
    let line = line.rsplit('\r').next().unwrap_or(line);
    let plain: String = WithoutEscapes(line.chars()).take(QUOTE_CHARACTERS_MAX + 1).collect();
    format!("  │ {}", cut(plain.trim_end(), QUOTE_CHARACTERS_MAX))
}

/// Leaves out control characters, and the whole sequence of those that colour and move (`ESC [ 31 m`). A tab
/// is a space.
struct WithoutEscapes<'a>(std::str::Chars<'a>);

impl Iterator for WithoutEscapes<'_> {
    type Item = char;

    fn next(&mut self) -> Option<char> {
        loop {
            match self.0.next()? {
                '\u{1b}' if self.0.as_str().starts_with('[') => {
                    self.0.next();
                    self.0.by_ref().find(|character| ('\u{40}'..='\u{7e}').contains(character));
                }
                '\t' => return Some(' '),
                character if character.is_control() => {}
                character => return Some(character),
            }
        }
    }
}

/// The line for when nothing has come for some seconds.
pub(crate) fn model_is_silent(provider: Provider) -> String {
    format!("Waiting for the model …{}", unreachable_advice(provider))
}

/// The line of a retry: what kind of failure, what was said, when it is tried again, and what to look at if
/// that goes on.
pub(crate) fn retry(retry: &RetryState, provider: Provider, now: SystemTime) -> String {
    let error = retry.error.clone().unwrap_or_default();
    let delay = retry
        .next_attempt_time
        .and_then(|time| SystemTime::try_from(time).ok())
        .and_then(|time| time.duration_since(now).ok())
        .unwrap_or(Duration::ZERO);
    let advice = match (error.kind(), error.status_code) {
        // Without a status nobody has answered.
        (ErrorKind::ProviderUnavailable | ErrorKind::Timeout, 0) => unreachable_advice(provider),
        _ => String::new(),
    };
    format!("{}; attempt {} in {:.1} s{advice}", describe(&error), retry.attempt, delay.as_secs_f64())
}

fn unreachable_advice(provider: Provider) -> String {
    match provider {
        Provider::Anthropic | Provider::OpenAi => {
            format!(" (if that goes on, check {} and the network)", provider.base_url_variable())
        }
        Provider::Demo => String::new(),
    }
}

/// Why the chat stopped, and where a person can do something about it.
pub(crate) fn failure(error: &ChatError, provider: Provider) -> String {
    format!("The chat ended in an error. {}{}", advice(error, provider), describe(error))
}

fn advice(error: &ChatError, provider: Provider) -> String {
    let (key, base_url) = (provider.key_variable(), provider.base_url_variable());
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

/// A name that somebody typed, in one short line.
pub(crate) fn quote_name(name: &str) -> String {
    quote(name, QUOTE_CHARACTERS_MAX)
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
    cut(line.trim_end(), characters_max)
}

fn cut(line: &str, characters_max: usize) -> String {
    match line.char_indices().nth(characters_max) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use chatplane_proto::chat::v1::ToolCallPart;

    use super::*;

    fn result(output: &str, is_error: bool) -> ToolResultPart {
        ToolResultPart {
            tool_name: "list_dir".to_owned(),
            output: output.to_owned(),
            is_error,
            ..Default::default()
        }
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
        assert_eq!(tool_result(&result("a\nb\nc\n", false)), "← list_dir: 3 lines");
        assert_eq!(tool_result(&result("no such\ndirectory", true)), "← list_dir failed: no such directory");
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
            retry(&state, Provider::OpenAi, now),
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
            failure(&error, Provider::Anthropic),
            "The chat ended in an error. The provider refused the key: check ANTHROPIC_API_KEY. \
             AUTHENTICATION: the provider refused the key (HTTP 401)"
        );
        assert!(failure(&error, Provider::OpenAi).contains("check OPENAI_API_KEY."));
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

        let line = |state: &RetryState| retry(state, Provider::OpenAi, SystemTime::UNIX_EPOCH);

        assert!(line(&state).contains("check OPENAI_BASE_URL"), "{}", line(&state));
        assert!(!line(&overloaded).contains("OPENAI_BASE_URL"), "{}", line(&overloaded));
    }

    #[test]
    fn a_tools_line_keeps_its_words_and_loses_what_a_terminal_would_obey() {
        assert_eq!(tool_output_line("  \u{1b}[1;32mCompiling\u{1b}[0m\ta\u{7}\n"), "  │   Compiling a");
        assert_eq!(tool_output_line("10 %\r20 %\r\n"), "  │ 20 %");
        assert_eq!(tool_output_line(&"ü".repeat(500)).chars().count(), 4 + 161);
        assert_eq!(tool_output_line("\u{1b}[never ends"), "  │ ever ends");
    }

    #[test]
    fn foreign_text_is_one_short_line_that_no_terminal_obeys() {
        assert_eq!(quote("a\u{1b}[2Jb\r\n\n\u{9b}c", 160), "a [2Jb c");
        assert_eq!(quote(&"ü".repeat(500), 160).chars().count(), 161);
    }
}

//! The lines on standard error. What comes from a model, a tool or a provider is cut short and freed of
//! control characters, which a terminal would obey.

use std::time::{Duration, SystemTime};

use chatplane_proto::chat::v1::{ActionRequired, Part, ToolCallPart, ToolResultPart, part};

use crate::client::transcript::Activity;

mod failures;

use self::failures::ERROR_CHARACTERS_MAX;
pub(crate) use self::failures::{Advice, failure, model_is_silent, retry};

/// Follows an answer that was printed in part and is not what the model says now.
pub(crate) const ANSWER_BEGINS_AGAIN: &str = "The model call was repeated: the answer begins again here.";

/// The control plane is out of reach, and somebody goes on typing.
pub(crate) const TOO_MANY_ON_THEIR_WAY: &str = "Too many messages are on their way; try again in a moment.";
/// A new chat would leave a message behind.
pub(crate) const STILL_ON_ITS_WAY: &str = "A message is still on its way; try again in a moment.";
/// What was asked for needs a chat.
pub(crate) const NO_CHAT_YET: &str = "There is no message yet: the first one makes a chat.";

/// Which keys do something while a turn runs.
pub(crate) const KEYS_IN_TURN: &str = "Ctrl-C interrupts";
/// Which keys send what is being typed then.
pub(crate) const KEYS_WHILE_TYPING: &str = "Enter queues, Ctrl-S steers";
/// Follows a Ctrl-C where there is nothing to interrupt.
pub(crate) const HINT_TO_LEAVE: &str = "Ctrl-C once more leaves, or Ctrl-D.";
/// Follows a line that is too long.
pub(crate) const TOO_LONG: &str = "That is more than 256 KiB, the most that one message may have.";

/// Follows the last line that is shown of what a tool writes.
pub(crate) const MORE_TOOL_OUTPUT: &str = "  │ … (it goes on)";
/// Follows an outage that was told.
pub(crate) const CONNECTED_AGAIN: &str = "The control plane answers again.";
/// Follows the first Ctrl-C while a turn runs.
pub(crate) const INTERRUPTING: &str = "Interrupting the turn; Ctrl-C once more leaves.";
/// The same for a message that waits.
pub(crate) const TAKING_BACK: &str = "Taking the message back; Ctrl-C once more leaves.";
/// Follows a message that was taken back by who sent it.
pub(crate) const TAKEN_BACK: &str = "The message was taken back before it was its turn.";
/// Follows a message that somebody else has removed.
pub(crate) const REMOVED: &str = "The message was removed, or replaced, before it was answered.";
/// The control plane would not, or could not.
pub(crate) const NOT_INTERRUPTED: &str = "The turn could not be interrupted; Ctrl-C once more leaves.";
/// The same, to somebody who has left already.
pub(crate) const NOT_INTERRUPTED_AT_LAST: &str = "The turn could not be interrupted.";
/// Follows a turn that was interrupted.
pub(crate) const INTERRUPTED: &str = "Interrupted. What was said so far is kept.";

/// How much of foreign text fits a line.
const QUOTE_CHARACTERS_MAX: usize = 160;
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

/// Whether a terminal obeys the character instead of showing it.
fn is_obeyed(character: char) -> bool {
    character.is_control() || turns_text(character)
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
                character if is_obeyed(character) => {}
                character => return Some(character),
            }
        }
    }
}

/// What is going on, in a few words.
pub(crate) fn activity(activity: &Activity, advice: Advice) -> String {
    match activity {
        Activity::Idle => String::new(),
        Activity::Model => model_is_silent(advice),
        Activity::Answer => "The model writes …".to_owned(),
        Activity::Tools(names) => {
            let names: Vec<String> = names.iter().map(|name| quote(name, QUOTE_CHARACTERS_MAX)).collect();
            format!("Running {} …", names.join(", "))
        }
        Activity::Summary => "Summarizing the history …".to_owned(),
        Activity::Interruption => "Interrupting …".to_owned(),
        Activity::Client => "Waiting for a client to run tools …".to_owned(),
    }
}

/// The line of a message that waits.
pub(crate) fn waiting(is_steering: bool, preview: &str) -> String {
    let kind = if is_steering { "joins the turn" } else { "queued" };
    format!("  {kind}: {}", quote(preview, QUOTE_CHARACTERS_MAX))
}

/// The line of a message on its way.
pub(crate) fn sending(text: &str) -> String {
    format!("  sending: {}", quote(text, QUOTE_CHARACTERS_MAX))
}

/// The line of what could not be done.
pub(crate) fn not_done(reason: &str, is_message: bool) -> String {
    let advice = if is_message { " (the Up key brings the message back)" } else { "" };
    format!("{}{advice}", quote(reason, ERROR_CHARACTERS_MAX))
}

/// The same, to somebody who has left already.
pub(crate) fn not_done_at_last(reason: &str) -> String {
    quote(reason, ERROR_CHARACTERS_MAX)
}

/// The line after a word that looks like a command.
pub(crate) fn unknown_command(word: &str) -> String {
    let word = quote_name(word);
    format!("There is no command {word}: /help shows those there are, and how to send it.")
}

/// The last line of a chat that is kept elsewhere.
pub(crate) fn left(unsent: usize, chat_id: Option<&str>, is_busy: bool) -> Option<String> {
    let lost = match unsent {
        0 => String::new(),
        1 => "The last message may not have arrived. ".to_owned(),
        unsent => format!("The last {unsent} messages may not have arrived. "),
    };
    let rest = match chat_id {
        Some(chat_id) if is_busy => {
            format!("The turn goes on; `chatplane chat --chat {chat_id}` comes back to it.")
        }
        Some(chat_id) => go_on_with(chat_id),
        None => String::new(),
    };
    let line = lost + &rest;
    (!line.is_empty()).then_some(line)
}

/// The last line where more chats were left in the middle of a turn than are remembered.
pub(crate) fn not_stopped(chats: usize) -> String {
    let chats = if chats == 1 { "the chat".to_owned() } else { format!("the {chats} chats") };
    format!("What runs in {chats} left first is not stopped: it goes on when this is started again.")
}

/// Where the rest can be seen.
pub(crate) fn watch_it(chat_id: &str) -> String {
    format!("`chatplane watch --chat {}` shows what comes of it.", quote_name(chat_id))
}

/// How to come back to a chat.
pub(crate) fn go_on_with(chat_id: &str) -> String {
    format!("`chatplane chat --chat {}` goes on with this chat.", quote_name(chat_id))
}

/// The line of a copy.
pub(crate) fn forked(chat_id: &str) -> String {
    format!("This is now a copy, chat {}; the one before stays as it is.", quote_name(chat_id))
}

/// The line for when the control plane has been out of reach for a moment.
pub(crate) fn connection_lost(cause: &str, seconds: u64) -> String {
    let cause = quote(cause, QUOTE_CHARACTERS_MAX);
    format!("The control plane does not answer ({cause}); trying again for up to {seconds} s.")
}

/// The line of a message whose model is gone.
pub(crate) fn model_replaced(requested: &str, used: &str) -> String {
    let (requested, used) = (quote_name(requested), quote_name(used));
    format!("The model {requested} cannot be used any more: {used} answers.")
}

/// The line of a context boundary: its call says what it is.
pub(crate) fn boundary(call: &ToolCallPart) -> String {
    if call.tool_name == "context_cleared" {
        return "The context was cleared: the model no longer sees what stands above.".to_owned();
    }
    let arguments: serde_json::Value = serde_json::from_str(&call.arguments_json).unwrap_or_default();
    let number = |name: &str| arguments[name].as_i64();
    let trigger = match (arguments["source"].as_str(), number("percent")) {
        (Some("automatic"), Some(percent)) => format!(", for it filled {percent} % of the context"),
        _ => String::new(),
    };
    let tokens = number("tokens").map(|tokens| format!(" of {tokens} tokens")).unwrap_or_default();
    format!("The history{tokens} was summarized{trigger}: the model goes on from the summary.")
}

/// The lines of calls that a client has to run.
pub(crate) fn action_required(action: &ActionRequired, now: SystemTime) -> Vec<String> {
    let mut lines = vec!["The chat waits for a client that runs these tools:".to_owned()];
    for call in &action.calls {
        let id = call.call.unwrap_or_default();
        let name = quote_name(&call.tool_name);
        lines.push(format!("  {name} (message_id {}, call_index {})", id.message_id, id.call_index));
    }
    let time = match time_until(action.deadline, now) {
        Some(time) => format!(" within {}", duration(time)),
        None => String::new(),
    };
    lines.push(format!(
        "Their results go to SubmitToolResults{time}; then the turn goes on, with them or without. An interrupt \
         ends it."
    ));
    lines
}

/// `4 min 30 s`, as exact as a person needs it.
pub(crate) fn duration(time: Duration) -> String {
    let seconds = time.as_secs();
    match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (0, 0, seconds) => format!("{seconds} s"),
        (0, minutes, seconds) => format!("{minutes} min {seconds} s"),
        (hours, minutes, _) => format!("{hours} h {minutes} min"),
    }
}

fn time_until(time: Option<prost_types::Timestamp>, now: SystemTime) -> Option<Duration> {
    SystemTime::try_from(time?).ok()?.duration_since(now).ok()
}

/// A name that somebody typed, in one short line.
pub(crate) fn quote_name(name: &str) -> String {
    quote(name, QUOTE_CHARACTERS_MAX)
}

/// Whether a character turns the text around it to the other direction, which can make one thing look like
/// another. Letters of scripts that are read from right to left need none of these.
pub(crate) fn turns_text(character: char) -> bool {
    matches!(character, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// One line of foreign text, cut after so many characters.
pub(crate) fn quote(text: &str, characters_max: usize) -> String {
    let mut line = String::new();
    let mut is_blank = true;
    for character in text.chars().take(characters_max * 2).filter(|character| !turns_text(*character)) {
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
    use chatplane_proto::chat::v1::{CallId, PendingCall};

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
    fn calls_of_a_client_are_told_with_their_names_and_what_to_do() {
        let now = SystemTime::UNIX_EPOCH;
        let call = PendingCall {
            call: Some(CallId { message_id: 4, call_index: 1 }),
            tool_name: "read_calendar".to_owned(),
            ..Default::default()
        };
        let deadline = Some((now + Duration::from_secs(270)).into());

        assert_eq!(
            action_required(&ActionRequired { calls: vec![call], deadline }, now),
            [
                "The chat waits for a client that runs these tools:",
                "  read_calendar (message_id 4, call_index 1)",
                "Their results go to SubmitToolResults within 4 min 30 s; then the turn goes on, with them or without. \
             An interrupt ends it.",
            ]
        );
    }

    #[test]
    fn a_boundary_says_what_the_model_still_sees() {
        let call = |name: &str, arguments: &str| {
            boundary(&ToolCallPart {
                tool_name: name.to_owned(),
                arguments_json: arguments.to_owned(),
                ..Default::default()
            })
        };

        assert!(call("context_cleared", "{}").contains("no longer sees"));
        let automatic = call("chat_summarized", r#"{"source":"automatic","percent":71,"tokens":142000}"#);
        assert_eq!(
            automatic,
            "The history of 142000 tokens was summarized, for it filled 71 % of the context: the model goes on \
             from the summary."
        );
        let manual = call("chat_summarized", r#"{"source":"manual","percent":3,"tokens":900}"#);
        assert!(manual.starts_with("The history of 900 tokens was summarized: "), "{manual}");
        assert!(call("chat_summarized", "nonsense").starts_with("The history was summarized: "));
    }

    #[test]
    fn times_are_told_as_exactly_as_is_needed() {
        let told = |seconds| duration(Duration::from_secs(seconds));

        assert_eq!([told(7), told(61), told(7265)], ["7 s", "1 min 1 s", "2 h 1 min"]);
    }

    #[test]
    fn a_tools_line_keeps_its_words_and_loses_what_a_terminal_would_obey() {
        assert_eq!(tool_output_line("  \u{1b}[1;32mCompiling\u{1b}[0m\ta\u{7}\n"), "  │   Compiling a");
        assert_eq!(tool_output_line("10 %\r20 %\r\n"), "  │ 20 %");
        assert_eq!(tool_output_line(&"ü".repeat(500)).chars().count(), 4 + 161);
        assert_eq!(tool_output_line("\u{1b}[never ends"), "  │ ever ends");
        assert_eq!(tool_output_line("a\u{202e}b\u{2066}c\u{2069}"), "  │ abc");
    }

    #[test]
    fn foreign_text_is_one_short_line_that_no_terminal_obeys() {
        assert_eq!(quote("a\u{1b}[2Jb\r\n\n\u{9b}c", 160), "a [2Jb c");
        assert_eq!(quote("a\u{202e}fdp.exe\u{2066}\u{200f} שלום", 160), "afdp.exe שלום");
        assert_eq!(quote(&"ü".repeat(500), 160).chars().count(), 161);
        assert_eq!(quote("rm \u{202a}a\u{202e}\u{2067}b", 160), "rm ab");
    }
}

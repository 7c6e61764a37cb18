//! What a line means: a message, or a command. Pure.

use crate::dev::prompt::MESSAGE_BYTES_MAX;

/// A line, understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Input {
    /// Nothing but space.
    Nothing,
    Message(String),
    Command(Command),
    /// Looks like a command, and is none.
    Unknown(String),
    /// No message may be as long.
    TooLong,
}

/// The commands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Command {
    Help,
    New,
    Exit,
}

impl Input {
    /// Understands a line, or several that were pasted or continued.
    pub(super) fn of(line: &str) -> Self {
        if line.trim().is_empty() {
            return Self::Nothing;
        }
        if line.starts_with('/') {
            return match line.trim_end() {
                "/help" => Self::Command(Command::Help),
                "/new" => Self::Command(Command::New),
                "/exit" => Self::Command(Command::Exit),
                _ => Self::Unknown(line.split_whitespace().next().unwrap_or_default().to_owned()),
            };
        }
        let text = joined(line.trim());
        if text.len() > MESSAGE_BYTES_MAX { Self::TooLong } else { Self::Message(text) }
    }
}

/// Whether the line wants to go on in the next: it ends in a backslash that no other one precedes.
pub(super) fn goes_on(line: &str) -> bool {
    line.bytes().rev().take_while(|byte| *byte == b'\\').count() % 2 == 1
}

/// Takes out the backslashes that said that a line goes on.
fn joined(lines: &str) -> String {
    let mut text = String::with_capacity(lines.len());
    for line in lines.split_inclusive('\n') {
        match line.strip_suffix('\n') {
            Some(line) if goes_on(line) => {
                text.push_str(&line[..line.len() - 1]);
                text.push('\n');
            }
            _ => text.push_str(line),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(text: &str) -> Input {
        Input::Message(text.to_owned())
    }

    #[test]
    fn a_line_is_a_message_unless_it_begins_with_a_slash() {
        assert_eq!(Input::of("What is here? "), message("What is here?"));
        assert_eq!(Input::of(" \t"), Input::Nothing);
        assert_eq!(Input::of("/help"), Input::Command(Command::Help));
        assert_eq!(Input::of("/new  "), Input::Command(Command::New));
        assert_eq!(Input::of("/exit"), Input::Command(Command::Exit));
        assert_eq!(Input::of("/etc/hosts has what?"), Input::Unknown("/etc/hosts".to_owned()));
        assert_eq!(Input::of("/exit now"), Input::Unknown("/exit".to_owned()));
        assert_eq!(Input::of(" /etc/hosts has what?"), message("/etc/hosts has what?"));
    }

    #[test]
    fn a_line_that_ends_in_a_backslash_goes_on() {
        assert!(goes_on("one\\"));
        assert!(!goes_on("one"));
        assert!(!goes_on("C:\\\\"));
        assert_eq!(Input::of("one\\\n  two\\\nthree"), message("one\n  two\nthree"));
        assert_eq!(Input::of("pasted\nlines\\n stay"), message("pasted\nlines\\n stay"));
    }

    #[test]
    fn more_than_a_message_may_have_is_told_before_it_is_sent() {
        assert_eq!(Input::of(&"x".repeat(MESSAGE_BYTES_MAX + 1)), Input::TooLong);
        assert!(matches!(Input::of(&"x".repeat(MESSAGE_BYTES_MAX)), Input::Message(_)));
    }
}

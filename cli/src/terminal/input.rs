//! What a line means: a message, or a command. Pure.

use crate::client::text::MESSAGE_BYTES_MAX;

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
    Fork,
    Compact,
    Clear,
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
                "/fork" => Self::Command(Command::Fork),
                "/compact" => Self::Command(Command::Compact),
                "/clear" => Self::Command(Command::Clear),
                "/exit" => Self::Command(Command::Exit),
                _ => Self::Unknown(line.split_whitespace().next().unwrap_or_default().to_owned()),
            };
        }
        let text = line.trim_end().trim_start_matches(['\n', '\r']);
        // That one space says that this is no command. Any other belongs to what was pasted.
        let text = text.strip_prefix(' ').filter(|text| text.starts_with('/')).unwrap_or(text);
        if text.len() > MESSAGE_BYTES_MAX { Self::TooLong } else { Self::Message(text.to_owned()) }
    }
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
    fn what_is_pasted_keeps_its_first_indentation() {
        assert_eq!(Input::of("\n    if x:\n        y()\n"), message("    if x:\n        y()"));
        assert_eq!(Input::of(" /etc is what?"), message("/etc is what?"));
        assert_eq!(Input::of("  /etc"), message("  /etc"));
    }

    #[test]
    fn more_than_a_message_may_have_is_told_before_it_is_sent() {
        assert_eq!(Input::of(&"x".repeat(MESSAGE_BYTES_MAX + 1)), Input::TooLong);
        assert!(matches!(Input::of(&"x".repeat(MESSAGE_BYTES_MAX)), Input::Message(_)));
    }
}

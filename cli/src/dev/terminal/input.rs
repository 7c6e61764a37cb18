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
        let text = line.trim_end().trim_start_matches(['\n', '\r']);
        // That one space says that this is no command. Any other belongs to what was pasted.
        let text = text.strip_prefix(' ').filter(|text| text.starts_with('/')).unwrap_or(text);
        if text.len() > MESSAGE_BYTES_MAX { Self::TooLong } else { Self::Message(text.to_owned()) }
    }
}

/// Whether the line wants to go on in the next: it ends in a backslash that no other one precedes.
pub(super) fn goes_on(line: &str) -> bool {
    line.bytes().rev().take_while(|byte| *byte == b'\\').count() % 2 == 1
}

/// Where lines were continued at the prompt, while they are being typed. A backslash at the end of a line that
/// was pasted is the text's own.
#[derive(Debug, Default)]
pub(super) struct Continuations {
    /// The lines as they were when the last one was continued.
    lines: String,
    /// Where in them the backslashes are that said so.
    backslashes: Vec<usize>,
}

impl Continuations {
    /// The last of these lines goes on in the next.
    pub(super) fn add(&mut self, lines: &str) {
        self.keep_what_begins(lines);
        lines.clone_into(&mut self.lines);
        self.backslashes.push(lines.len() - 1);
    }

    /// The lines without the backslashes that said that a line goes on.
    pub(super) fn taken_out_of(mut self, lines: &str) -> String {
        self.keep_what_begins(lines);
        let mut text = String::with_capacity(lines.len());
        let mut rest_begin = 0;
        for backslash in self.backslashes {
            text.push_str(&lines[rest_begin..backslash]);
            rest_begin = backslash + 1;
        }
        text + &lines[rest_begin..]
    }

    /// What was edited since is no continuation any more, nor is what comes after it.
    fn keep_what_begins(&mut self, lines: &str) {
        let known = &self.lines;
        self.backslashes.retain(|backslash| lines.get(..=*backslash) == known.get(..=*backslash));
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
    fn a_line_that_ends_in_a_backslash_goes_on() {
        assert!(goes_on("one\\"));
        assert!(!goes_on("one"));
        assert!(!goes_on("C:\\\\"));
    }

    #[test]
    fn only_the_backslashes_that_continued_a_line_at_the_prompt_are_taken_out() {
        let mut typed = Continuations::default();
        typed.add("one\\");
        typed.add("one\\\n  two\\");
        assert_eq!(typed.taken_out_of("one\\\n  two\\\nthree"), "one\n  two\nthree");

        let mut mixed = Continuations::default();
        mixed.add("cc a.c \\\n  -o a\\");
        assert_eq!(mixed.taken_out_of("cc a.c \\\n  -o a\\\nWhy?"), "cc a.c \\\n  -o a\nWhy?");

        let mut edited = Continuations::default();
        edited.add("one\\");
        assert_eq!(edited.taken_out_of("ünö\\\ntwo"), "ünö\\\ntwo");
        assert_eq!(Continuations::default().taken_out_of("a\\\nb"), "a\\\nb");
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

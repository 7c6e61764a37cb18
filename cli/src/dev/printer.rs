//! Puts the answer on standard output and notes on standard error.

use std::{
    env,
    io::{self, IsTerminal as _},
};

use rustix::fs::fstat;
use tokio::io::{AsyncWrite, AsyncWriteExt as _, Stderr, Stdout};

use crate::dev::transcript::Output;

/// Writes outputs in order, and knows where the answer's line stands.
pub(crate) struct Printer<A, N> {
    answer: A,
    notes: N,
    is_answer_terminal: bool,
    /// True when both are read as one: by a person, or in one file.
    share_a_screen: bool,
    note_style: NoteStyle,
    is_line_open: bool,
}

/// How notes look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum NoteStyle {
    Plain,
    /// Fainter than the answer, on a terminal that can do it.
    Dim,
}

impl NoteStyle {
    fn of_this_process() -> Self {
        let is_set = |name| env::var_os(name).is_some_and(|value| !value.is_empty());
        let is_simple = !is_set("TERM") || env::var_os("TERM").is_some_and(|term| term == "dumb");
        if io::stderr().is_terminal() && !is_simple && !is_set("NO_COLOR") { Self::Dim } else { Self::Plain }
    }
}

impl Printer<Stdout, Stderr> {
    /// The printer of this process.
    pub(crate) fn standard() -> Self {
        let is_answer_terminal = io::stdout().is_terminal();
        Self {
            answer: tokio::io::stdout(),
            notes: tokio::io::stderr(),
            is_answer_terminal,
            share_a_screen: (is_answer_terminal && io::stderr().is_terminal()) || are_one_file(),
            note_style: NoteStyle::of_this_process(),
            is_line_open: false,
        }
    }
}

impl<A: AsyncWrite + Unpin, N: AsyncWrite + Unpin> Printer<A, N> {
    /// Prints, and has it written when this returns.
    pub(crate) async fn print(&mut self, outputs: Vec<Output>) -> io::Result<()> {
        for output in outputs {
            match output {
                Output::Answer(bytes) => self.answer(&bytes).await?,
                Output::NewLine => self.end_line().await?,
                Output::Note(note) => self.note(&note).await,
            }
        }
        Ok(())
    }

    /// Ends the answer's line, if one has been begun.
    pub(crate) async fn end_line(&mut self) -> io::Result<()> {
        if self.is_line_open { self.answer(b"\n").await } else { Ok(()) }
    }

    async fn answer(&mut self, bytes: &[u8]) -> io::Result<()> {
        if let Some(last) = bytes.last() {
            self.is_line_open = *last != b'\n';
        }
        if self.is_answer_terminal {
            self.answer.write_all(&without_commands(bytes)).await?;
        } else {
            self.answer.write_all(bytes).await?;
        }
        self.answer.flush().await
    }

    /// Nobody is left to tell that a note cannot be written, and the answer is worth more than its notes.
    pub(crate) async fn note(&mut self, note: &str) {
        // Read as one, a note must not stick to an unfinished line of the answer: it ends that line.
        let is_in_the_way = self.share_a_screen && self.is_line_open;
        self.is_line_open &= !is_in_the_way;
        let line_end = if is_in_the_way { "\n" } else { "" };
        let line = match self.note_style {
            NoteStyle::Plain => format!("{line_end}{note}\n"),
            NoteStyle::Dim => format!("{line_end}\x1b[2m{note}\x1b[0m\n"),
        };
        let _ = self.notes.write_all(line.as_bytes()).await;
        let _ = self.notes.flush().await;
    }
}

/// Whether standard output and standard error lead to one file or pipe, as after `2>&1`.
fn are_one_file() -> bool {
    let answer = fstat(io::stdout()).map(|file| (file.st_dev, file.st_ino));
    let notes = fstat(io::stderr()).map(|file| (file.st_dev, file.st_ino));
    answer.is_ok() && answer == notes
}

/// A model's text must not command a terminal: control characters but line ends and tabs are left out, also
/// those above ASCII, which UTF-8 writes as 0xC2 and a byte from 0x80 to 0x9F. Text comes cut between
/// characters, never inside one.
fn without_commands(bytes: &[u8]) -> Vec<u8> {
    let mut harmless = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    loop {
        rest = match rest {
            [] => return harmless,
            [0xc2, 0x80..=0x9f, rest @ ..] => rest,
            [byte, rest @ ..] => {
                if !byte.is_ascii_control() || matches!(byte, b'\n' | b'\t') {
                    harmless.push(*byte);
                }
                rest
            }
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn printer() -> Printer<Vec<u8>, Vec<u8>> {
        Printer {
            answer: Vec::new(),
            notes: Vec::new(),
            is_answer_terminal: false,
            share_a_screen: false,
            note_style: NoteStyle::Plain,
            is_line_open: false,
        }
    }

    fn outputs() -> Vec<Output> {
        vec![
            Output::NewLine,
            Output::Answer(b"Let me \x1b[1mlook".to_vec()),
            Output::Note("a call".to_owned()),
            Output::Note("its result".to_owned()),
            Output::NewLine,
            Output::Answer(b"Done.\n".to_vec()),
            Output::NewLine,
        ]
    }

    #[tokio::test]
    async fn redirected_output_gets_the_answers_bytes_and_nothing_else() {
        let mut printer = printer();

        printer.print(outputs()).await.unwrap();

        assert_eq!(printer.answer, b"Let me \x1b[1mlook\nDone.\n");
        assert_eq!(printer.notes, b"a call\nits result\n");
    }

    #[tokio::test]
    async fn a_terminal_gets_no_commands_and_notes_on_lines_of_their_own() {
        let mut printer = Printer { is_answer_terminal: true, share_a_screen: true, ..printer() };

        printer.print(outputs()).await.unwrap();

        assert_eq!(printer.answer, b"Let me [1mlookDone.\n");
        assert_eq!(printer.notes, b"\na call\nits result\n");
    }

    #[tokio::test]
    async fn on_a_terminal_that_can_do_it_notes_are_dim() {
        let mut printer = Printer { note_style: NoteStyle::Dim, ..printer() };

        printer.note("a call").await;

        assert_eq!(printer.notes, b"\x1b[2ma call\x1b[0m\n");
    }

    #[test]
    fn no_control_character_of_either_table_reaches_a_terminal_and_all_else_does() {
        let text = "a\u{7}\u{9b}2J\u{7f}\tä€\u{a0}\n";

        assert_eq!(without_commands(text.as_bytes()), "a2J\tä€\u{a0}\n".as_bytes());
        assert_eq!(without_commands(b"\xc2"), b"\xc2");
    }
}

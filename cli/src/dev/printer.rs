//! Puts the answer on standard output and notes on standard error.

use std::io::{self, IsTerminal as _};

use tokio::io::{AsyncWrite, AsyncWriteExt as _, Stderr, Stdout};

use crate::dev::transcript::Output;

/// Writes outputs in order, and knows where the answer's line stands.
pub(crate) struct Printer<A, N> {
    answer: A,
    notes: N,
    is_answer_terminal: bool,
    are_both_terminals: bool,
    is_line_open: bool,
}

impl Printer<Stdout, Stderr> {
    /// The printer of this process.
    pub(crate) fn standard() -> Self {
        let is_answer_terminal = io::stdout().is_terminal();
        Self {
            answer: tokio::io::stdout(),
            notes: tokio::io::stderr(),
            is_answer_terminal,
            are_both_terminals: is_answer_terminal && io::stderr().is_terminal(),
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
    async fn note(&mut self, note: &str) {
        // On one terminal a note must not stick to an unfinished line of the answer: it ends that line.
        let is_in_the_way = self.are_both_terminals && self.is_line_open;
        self.is_line_open &= !is_in_the_way;
        let line_end = if is_in_the_way { "\n" } else { "" };
        let line = format!("{line_end}{note}\n");
        let _ = self.notes.write_all(line.as_bytes()).await;
        let _ = self.notes.flush().await;
    }
}

/// A model's text must not command a terminal: control characters but line ends and tabs are left out.
fn without_commands(bytes: &[u8]) -> Vec<u8> {
    let is_command = |byte: u8| byte.is_ascii_control() && byte != b'\n' && byte != b'\t';
    bytes.iter().copied().filter(|byte| !is_command(*byte)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn printer() -> Printer<Vec<u8>, Vec<u8>> {
        Printer {
            answer: Vec::new(),
            notes: Vec::new(),
            is_answer_terminal: false,
            are_both_terminals: false,
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
        let mut printer = Printer { is_answer_terminal: true, are_both_terminals: true, ..printer() };

        printer.print(outputs()).await.unwrap();

        assert_eq!(printer.answer, b"Let me [1mlookDone.\n");
        assert_eq!(printer.notes, b"\na call\nits result\n");
    }
}

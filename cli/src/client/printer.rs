//! Puts the answer on standard output and notes on standard error.

use std::{
    env,
    io::{self, IsTerminal as _},
};

use rustix::{fs::fstat, termios::tcgetwinsize};
use tokio::io::{AsyncWrite, AsyncWriteExt as _, Stderr, Stdout};

use crate::client::{
    markdown::Markdown,
    progress::Progress,
    style::{Style, paint, painted},
    transcript::{Activity, Output},
    words::Advice,
};

/// How wide a terminal is taken to be that does not say so.
const COLUMNS_DEFAULT: usize = 80;

/// Writes outputs in order, and knows where the answer's line stands.
pub(crate) struct Printer<A, N> {
    answer: A,
    notes: N,
    answer_form: AnswerForm,
    note_style: Style,
    /// True when both are read as one: by a person, or in one file.
    share_a_screen: bool,
    is_line_open: bool,
    progress: Option<Progress>,
}

/// What becomes of the answer's bytes.
enum AnswerForm {
    /// They go to a file or another program as they are.
    Bytes,
    /// To a terminal, without what it would obey.
    Text,
    /// The same, with Markdown rendered.
    Markdown(Box<Markdown>),
}

/// Whether a terminal on this stream can do more than write letters, and is wanted to.
pub(crate) fn can_style(stream: &impl io::IsTerminal) -> bool {
    let is_set = |name| env::var_os(name).is_some_and(|value| !value.is_empty());
    stream.is_terminal() && is_capable() && !is_set("NO_COLOR")
}

/// Whether the terminal can move its cursor.
pub(crate) fn is_capable() -> bool {
    env::var_os("TERM").is_some_and(|term| !term.is_empty() && term != "dumb")
}

impl Printer<Stdout, Stderr> {
    /// The printer of this process.
    pub(crate) fn standard() -> Self {
        let is_answer_terminal = io::stdout().is_terminal();
        let are_notes_on_terminal = io::stderr().is_terminal();
        let columns = columns();
        let answer_form = match (is_answer_terminal, can_style(&io::stdout())) {
            (false, _) => AnswerForm::Bytes,
            (true, false) => AnswerForm::Text,
            (true, true) => AnswerForm::Markdown(Box::new(Markdown::new(columns))),
        };
        Self {
            answer: tokio::io::stdout(),
            notes: tokio::io::stderr(),
            answer_form,
            note_style: if can_style(&io::stderr()) { Style::DIM } else { Style::PLAIN },
            share_a_screen: (is_answer_terminal && are_notes_on_terminal) || are_one_file(),
            is_line_open: false,
            progress: (are_notes_on_terminal && is_capable()).then(|| Progress::new(columns)),
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
                Output::Message(text) => {
                    self.end_line().await?;
                    self.note(&quoted(&text)).await;
                }
                Output::Note(note) => self.note(&note).await,
            }
        }
        Ok(())
    }

    /// Prints a text that is complete.
    pub(crate) async fn text(&mut self, text: &str) -> io::Result<()> {
        self.end_line().await?;
        self.answer(text.as_bytes()).await?;
        self.end_line().await
    }

    /// Writes a line for programs.
    pub(crate) async fn line(&mut self, line: &str) -> io::Result<()> {
        self.answer.write_all(format!("{line}\n").as_bytes()).await?;
        self.answer.flush().await
    }

    /// Ends the answer's line, if one has been begun.
    pub(crate) async fn end_line(&mut self) -> io::Result<()> {
        let rest = self.finish_markdown();
        if !rest.is_empty() {
            self.clear_progress().await;
            self.answer.write_all(rest.as_bytes()).await?;
        }
        if self.is_line_open {
            self.is_line_open = false;
            self.answer.write_all(b"\n").await?;
        }
        self.answer.flush().await
    }

    async fn answer(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.clear_progress().await;
        if let Some(last) = bytes.last() {
            self.is_line_open = *last != b'\n';
        }
        match &mut self.answer_form {
            AnswerForm::Bytes => self.answer.write_all(bytes).await?,
            AnswerForm::Text => self.answer.write_all(&without_commands(bytes)).await?,
            AnswerForm::Markdown(markdown) => {
                let spans = markdown.push(&String::from_utf8_lossy(&without_commands(bytes)));
                self.answer.write_all(paint(&spans).as_bytes()).await?;
            }
        }
        self.answer.flush().await
    }

    fn finish_markdown(&mut self) -> String {
        match &mut self.answer_form {
            AnswerForm::Markdown(markdown) => paint(&markdown.finish()),
            AnswerForm::Bytes | AnswerForm::Text => String::new(),
        }
    }

    /// Nobody is left to tell that a note cannot be written, and the answer is worth more than its notes.
    pub(crate) async fn note(&mut self, note: &str) {
        self.clear_progress().await;
        // Read as one, a note must not stick to an unfinished line of the answer: it ends that line.
        let is_in_the_way = self.share_a_screen && self.is_line_open;
        if is_in_the_way {
            let rest = self.finish_markdown();
            let _ = self.answer.write_all(rest.as_bytes()).await;
            let _ = self.answer.flush().await;
        }
        self.is_line_open &= !is_in_the_way;
        let line_end = if is_in_the_way { "\n" } else { "" };
        let line = format!("{line_end}{}\n", painted(self.note_style, note));
        let _ = self.notes.write_all(line.as_bytes()).await;
        let _ = self.notes.flush().await;
    }

    /// Whether there is a line that tells what is going on, and need not be told otherwise.
    pub(crate) fn shows_progress(&self) -> bool {
        self.progress.is_some()
    }

    /// Tells what is going on, in a line that goes away again. Not in the middle of the answer's line.
    pub(crate) async fn show_progress(&mut self, activity: &Activity, advice: Advice) {
        let is_in_the_way = self.share_a_screen && self.is_line_open;
        let Some(progress) = &mut self.progress else { return };
        let line = if is_in_the_way { String::new() } else { progress.show(activity, advice) };
        self.write_progress(&line).await;
    }

    async fn clear_progress(&mut self) {
        let line = self.progress.as_mut().map(Progress::clear).unwrap_or_default();
        self.write_progress(&line).await;
    }

    async fn write_progress(&mut self, line: &str) {
        if !line.is_empty() {
            let _ = self.notes.write_all(line.as_bytes()).await;
            let _ = self.notes.flush().await;
        }
    }
}

/// A user's message as it is quoted among notes.
fn quoted(text: &str) -> String {
    let lines: Vec<&str> = text.trim_end().lines().collect();
    let text = String::from_utf8_lossy(&without_commands(lines.join("\n  ").as_bytes())).into_owned();
    format!("> {text}")
}

/// How wide the terminal is.
fn columns() -> usize {
    let width = |size: rustix::termios::Winsize| usize::from(size.ws_col);
    let told = tcgetwinsize(io::stderr()).or_else(|_| tcgetwinsize(io::stdout())).map(width);
    told.ok().filter(|columns| *columns > 0).unwrap_or(COLUMNS_DEFAULT)
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
pub(crate) fn without_commands(bytes: &[u8]) -> Vec<u8> {
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
            answer_form: AnswerForm::Bytes,
            note_style: Style::PLAIN,
            share_a_screen: false,
            is_line_open: false,
            progress: None,
        }
    }

    fn outputs() -> Vec<Output> {
        vec![
            Output::NewLine,
            Output::Answer(b"Let me \x1b[1mlook".to_vec()),
            Output::Note("a call".to_owned()),
            Output::Note("its result".to_owned()),
            Output::NewLine,
            Output::Answer(b"**Done**.\n".to_vec()),
            Output::NewLine,
        ]
    }

    #[tokio::test]
    async fn redirected_output_gets_the_answers_bytes_and_nothing_else() {
        let mut printer = printer();

        printer.print(outputs()).await.unwrap();

        assert_eq!(printer.answer, b"Let me \x1b[1mlook\n**Done**.\n");
        assert_eq!(printer.notes, b"a call\nits result\n");
    }

    #[tokio::test]
    async fn a_terminal_gets_no_commands_and_notes_on_lines_of_their_own() {
        let mut printer = Printer { answer_form: AnswerForm::Text, share_a_screen: true, ..printer() };

        printer.print(outputs()).await.unwrap();

        assert_eq!(printer.answer, b"Let me [1mlook**Done**.\n");
        assert_eq!(printer.notes, b"\na call\nits result\n");
    }

    #[tokio::test]
    async fn on_a_terminal_that_can_do_it_notes_are_faint_and_markdown_is_rendered() {
        let answer_form = AnswerForm::Markdown(Box::new(Markdown::new(80)));
        let mut printer = Printer { answer_form, note_style: Style::DIM, share_a_screen: true, ..printer() };

        printer.print(outputs()).await.unwrap();
        printer.print(vec![Output::Answer(b"held **back".to_vec())]).await.unwrap();
        assert_eq!(printer.answer, b"Let me [1mlook\x1b[1mDone\x1b[0m.\nheld ");
        printer.note("a note").await;

        assert_eq!(printer.answer, b"Let me [1mlook\x1b[1mDone\x1b[0m.\nheld **back");
        assert!(printer.notes.ends_with(b"\n\x1b[2ma note\x1b[0m\n"));
    }

    #[tokio::test]
    async fn progress_stands_on_a_line_of_its_own_and_goes_away() {
        let progress = Some(Progress::new(80));
        let mut printer = Printer { share_a_screen: true, progress, ..printer() };

        printer.show_progress(&Activity::Answer, Advice::Nothing).await;
        printer.print(vec![Output::Answer(b"Hello".to_vec())]).await.unwrap();
        let notes = printer.notes.clone();
        printer.show_progress(&Activity::Answer, Advice::Nothing).await;

        assert!(notes.starts_with(b"\r\x1b[K") && notes.ends_with(b"\r\x1b[K") && notes.len() > 10);
        assert_eq!(printer.notes, notes, "it would stand in the middle of the answer");
    }

    #[test]
    fn no_control_character_of_either_table_reaches_a_terminal_and_all_else_does() {
        let text = "a\u{7}\u{9b}2J\u{7f}\tä€\u{a0}\n";

        assert_eq!(without_commands(text.as_bytes()), "a2J\tä€\u{a0}\n".as_bytes());
        assert_eq!(without_commands(b"\xc2"), b"\xc2");
    }
}

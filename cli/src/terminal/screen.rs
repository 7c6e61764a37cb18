//! The screen of a chat: what is said once above, and below it what still changes. Pure: frames are bytes.
//!
//! What has been said belongs to the terminal and is never touched again, so it can be scrolled back and
//! copied. Below it stands the live part: the unfinished row of the answer, a row about what is going on, the
//! messages that wait, and the line that is being written. Each frame takes the live part away, says what is
//! new, and draws the live part again. It is one write, so a terminal has nothing to flicker with.

use super::{
    composer::View,
    rows::{Row, Rows},
};
use crate::client::{
    markdown::Markdown,
    style::{Span, Style},
};

/// Narrower is no terminal, but one that does not know how wide it is.
const COLUMNS_MIN: usize = 20;
/// How wide and high a terminal is taken to be that does not know.
const SIZE_DEFAULT: Size = Size { columns: 80, rows: 24 };
/// The most of the screen that a line being written may take is its height divided by this.
const COMPOSER_SHARE: usize = 2;

const CLEAR_TO_END: &str = "\x1b[J";
const HIDE_CURSOR: &str = "\x1b[?25l";
const SHOW_CURSOR: &str = "\x1b[?25h";

/// How wide and high a terminal is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Size {
    pub(super) columns: usize,
    pub(super) rows: usize,
}

impl Size {
    /// What a terminal says, where it can be.
    pub(super) fn told(columns: u16, rows: u16) -> Self {
        if columns == 0 || rows == 0 {
            return SIZE_DEFAULT;
        }
        Self { columns: usize::from(columns).max(COLUMNS_MIN), rows: usize::from(rows) }
    }

    /// The last column stays empty: what a terminal does after it differs.
    fn width(self) -> usize {
        self.columns - 1
    }

    /// How many rows a line being written may take.
    pub(super) fn composer_rows(self) -> usize {
        (self.rows / COMPOSER_SHARE).max(1)
    }
}

/// How text is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Looks {
    /// Markdown rendered, notes faint.
    Styled,
    /// As it was written.
    Plain,
}

/// What is shown, and where the cursor stands in it.
pub(super) struct Screen {
    size: Size,
    looks: Looks,
    markdown: Markdown,
    rows: Rows,
    /// Said since the last frame.
    said: String,
    /// The widths of the live part's rows, and in which of them the cursor stands.
    live: Vec<usize>,
    cursor_row: usize,
    /// The bytes that have drawn the live part which stands there.
    drawn: String,
}

impl Screen {
    pub(super) fn new(size: Size, looks: Looks) -> Self {
        Self {
            size,
            looks,
            markdown: Markdown::new(size.width()),
            rows: Rows::new(size.width()),
            said: String::new(),
            live: Vec::new(),
            cursor_row: 0,
            drawn: String::new(),
        }
    }

    pub(super) fn size(&self) -> Size {
        self.size
    }

    /// The terminal has another size: it has broken the rows of the live part that are too wide now.
    pub(super) fn resize(&mut self, size: Size) {
        let height = |columns: &usize| columns.div_ceil(size.columns).max(1);
        let above: usize = self.live.iter().take(self.cursor_row).map(height).sum();
        self.live = vec![0; above + 1];
        self.drawn.clear();
        self.cursor_row = above;
        self.size = size;
        self.rows.resize(size.width());
    }

    /// The answer goes on.
    pub(super) fn answer(&mut self, text: &str) {
        let spans = match self.looks {
            Looks::Styled => self.markdown.push(text),
            Looks::Plain => vec![Span::plain(text)],
        };
        self.add(&spans);
    }

    /// What comes next begins a row.
    pub(super) fn end_line(&mut self) {
        if self.looks == Looks::Styled {
            let rest = self.markdown.finish();
            self.add(&rest);
        }
        if let Some(row) = self.rows.end() {
            self.say_row(&row);
        }
    }

    /// A line of its own that is not the answer.
    pub(super) fn note(&mut self, line: &str) {
        self.line(line, Style::DIM);
    }

    /// A person's message.
    pub(super) fn message(&mut self, text: &str) {
        let mut mark = "> ";
        for line in text.lines() {
            self.line(&format!("{mark}{line}"), Style::BOLD);
            mark = "  ";
        }
    }

    fn line(&mut self, line: &str, style: Style) {
        self.end_line();
        let style = if self.looks == Looks::Styled { style } else { Style::PLAIN };
        self.add(&[Span::new(style, line)]);
        if let Some(row) = self.rows.end() {
            self.say_row(&row);
        }
    }

    fn add(&mut self, spans: &[Span]) {
        for row in self.rows.push(spans) {
            self.say_row(&row);
        }
    }

    fn say_row(&mut self, row: &Row) {
        self.said.push_str(&row.paint());
        self.said.push_str("\r\n");
    }

    /// The bytes that show what is new, and the live part below it. None when nothing is new.
    pub(super) fn frame(&mut self, status: &[Span], waiting: &[String], composer: &View) -> String {
        let (live, columns, cursor_row) = self.live_part(status, waiting, composer);
        if self.said.is_empty() && live == self.drawn {
            return String::new();
        }
        let mut frame = self.erased();
        frame.push_str(&std::mem::take(&mut self.said));
        frame.push_str(&live);
        (self.drawn, self.live, self.cursor_row) = (live, columns, cursor_row);
        frame
    }

    /// The bytes of the live part, the widths of its rows, and in which of them the cursor stands.
    fn live_part(&self, status: &[Span], waiting: &[String], composer: &View) -> (String, Vec<usize>, usize) {
        let width = self.size.width();
        let faint = if self.looks == Looks::Styled { Style::DIM } else { Style::PLAIN };
        let mut rows: Vec<(String, usize)> = Vec::new();
        if !self.rows.last().is_empty() {
            rows.push((self.rows.last().paint(), self.rows.last().columns()));
        }
        let lines = waiting.iter().map(|line| vec![Span::new(faint, line.as_str())]);
        for spans in std::iter::once(status.to_vec()).filter(|status| !status.is_empty()).chain(lines) {
            let row = Row::cut(&spans, width);
            rows.push((row.paint(), row.columns()));
        }
        let room = self.size.rows.saturating_sub(composer.rows.len()).saturating_sub(1);
        // On a screen that is too low for all of it, the line that is being written is what counts.
        let skipped = rows.len().saturating_sub(room);
        rows.drain(..skipped);
        let cursor_row = rows.len() + composer.cursor_row;
        rows.extend(composer.rows.iter().map(|row| (row.clone(), width)));
        let painted: Vec<&str> = rows.iter().map(|(row, _)| row.as_str()).collect();
        let mut frame = painted.join("\r\n");
        up(&mut frame, rows.len() - 1 - cursor_row);
        frame.push('\r');
        if composer.cursor_column > 0 {
            frame.push_str(&format!("\x1b[{}C", composer.cursor_column));
        }
        frame.push_str(SHOW_CURSOR);
        (frame, rows.iter().map(|(_, columns)| *columns).collect(), cursor_row)
    }

    /// The bytes that say what is new and leave no live part, for whoever writes next.
    pub(super) fn leave(&mut self) -> String {
        self.end_line();
        self.erase()
    }

    /// The bytes that take the live part away; the next frame draws it again.
    pub(super) fn erase(&mut self) -> String {
        let mut frame = self.erased();
        frame.push_str(&std::mem::take(&mut self.said));
        frame.push_str(SHOW_CURSOR);
        frame
    }

    /// Forgets where the live part stands: the next one is drawn where the cursor is.
    pub(super) fn forget(&mut self) {
        self.live.clear();
        self.cursor_row = 0;
        self.drawn.clear();
    }

    fn erased(&mut self) -> String {
        let mut frame = HIDE_CURSOR.to_owned();
        up(&mut frame, self.cursor_row);
        frame.push('\r');
        frame.push_str(CLEAR_TO_END);
        self.forget();
        frame
    }
}

fn up(frame: &mut String, rows: usize) {
    if rows > 0 {
        frame.push_str(&format!("\x1b[{rows}A"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COLUMNS: u16 = 24;
    const ROWS: u16 = 8;

    /// A terminal with a screen in it.
    struct Watched {
        terminal: vt100::Parser,
        screen: Screen,
        status: Vec<Span>,
        waiting: Vec<String>,
        line: &'static str,
    }

    impl Watched {
        fn new() -> Self {
            Self {
                terminal: vt100::Parser::new(ROWS, COLUMNS, 100),
                screen: Screen::new(Size::told(COLUMNS, ROWS), Looks::Styled),
                status: Vec::new(),
                waiting: Vec::new(),
                line: "",
            }
        }

        fn shown(&mut self) -> String {
            let row = format!("> {}", self.line);
            let view = View { cursor_column: row.len(), rows: vec![row], cursor_row: 0 };
            let frame = self.screen.frame(&self.status, &self.waiting, &view);
            self.terminal.process(frame.as_bytes());
            self.contents()
        }

        fn contents(&self) -> String {
            let contents = self.terminal.screen().contents();
            contents.lines().map(str::trim_end).collect::<Vec<_>>().join("\n")
        }
    }

    #[test]
    fn the_answer_grows_above_the_line_that_is_written() {
        let mut watched = Watched::new();
        watched.line = "and";

        watched.screen.message("What is it?");
        watched.screen.answer("It is a **bi");
        assert_eq!(watched.shown(), "> What is it?\nIt is a\n> and");
        watched.screen.answer("rd** that wades in the water");
        assert_eq!(watched.shown(), "> What is it?\nIt is a bird that wades\nin the water\n> and");
        watched.screen.answer(".\n");
        watched.screen.note("← done");
        assert_eq!(watched.shown(), "> What is it?\nIt is a bird that wades\nin the water.\n← done\n> and");
        assert_eq!(watched.terminal.screen().cursor_position(), (4, 5));
    }

    #[test]
    fn status_and_waiting_messages_come_and_go() {
        let mut watched = Watched::new();

        watched.screen.answer("Half");
        watched.status = vec![Span::plain("Working, and this is too long for it")];
        watched.waiting = vec!["queued: next".to_owned()];
        assert_eq!(watched.shown(), "Half\nWorking, and this is to\nqueued: next\n>");
        watched.status.clear();
        watched.waiting.clear();
        watched.screen.end_line();
        assert_eq!(watched.shown(), "Half\n>");
    }

    #[test]
    fn more_than_the_screen_holds_scrolls_and_nothing_is_said_twice() {
        let mut watched = Watched::new();
        for number in 0..30 {
            watched.status = vec![Span::plain(format!("Working {number}"))];
            watched.screen.answer(&format!("row {number}\nhalf"));
            watched.shown();
            watched.screen.end_line();
        }

        let shown = watched.shown();

        assert!(shown.ends_with("row 29\nhalf\nWorking 29\n>"), "{shown}");
        watched.terminal.screen_mut().set_scrollback(20);
        let above = watched.contents();
        assert_eq!(
            above.matches("half").count() + above.matches("row").count(),
            usize::from(ROWS),
            "{above}"
        );
    }

    #[test]
    fn a_terminal_that_became_narrower_keeps_what_was_said() {
        let mut watched = Watched::new();
        watched.screen.answer("one\n");
        watched.status = vec![Span::plain("x".repeat(23))];
        watched.line = "line";
        watched.shown();

        // As terminals do that break rows anew.
        watched.terminal = vt100::Parser::new(ROWS, 20, 0);
        watched
            .terminal
            .process(format!("one\r\n{}\r\n{}\r\n> line", "x".repeat(20), "x".repeat(3)).as_bytes());
        watched.screen.resize(Size::told(20, ROWS));
        let shown = watched.shown();

        assert_eq!(shown, format!("one\n{}\n> line", "x".repeat(19)));
    }

    #[test]
    fn who_leaves_finds_no_live_part_below() {
        let mut watched = Watched::new();
        watched.screen.answer("Half `a");
        watched.status = vec![Span::plain("Working")];
        watched.shown();

        let frame = watched.screen.leave();
        watched.terminal.process(frame.as_bytes());

        assert_eq!(watched.terminal.screen().contents(), "Half `a");
        assert_eq!(watched.terminal.screen().cursor_position(), (1, 0));
    }

    #[test]
    fn what_stands_there_already_is_not_drawn_again() {
        let mut screen = Screen::new(Size::told(30, 10), Looks::Plain);
        let view = || View { rows: vec!["> a".to_owned()], cursor_row: 0, cursor_column: 3 };

        assert_ne!(screen.frame(&[], &[], &view()), "");
        assert_eq!(screen.frame(&[], &[], &view()), "");
        screen.note("new");
        assert_ne!(screen.frame(&[], &[], &view()), "");
        screen.forget();
        assert_ne!(screen.frame(&[], &[], &view()), "");
    }

    #[test]
    fn a_screen_that_is_too_low_shows_the_line_that_is_written() {
        let mut screen = Screen::new(Size::told(30, 3), Looks::Plain);
        let mut terminal = vt100::Parser::new(3, 30, 0);
        screen.answer("half");
        let view = View { rows: vec!["> a".to_owned()], cursor_row: 0, cursor_column: 3 };
        let waiting = ["one".to_owned(), "two".to_owned(), "three".to_owned()];

        terminal.process(screen.frame(&[], &waiting, &view).as_bytes());

        assert_eq!(terminal.screen().contents(), "three\n> a");
    }
}

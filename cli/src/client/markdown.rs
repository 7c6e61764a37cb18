//! Markdown as a terminal can show it, while it is being written.
//!
//! A model's text comes a few letters at a time, and a person wants to read it as it comes. So this renders a
//! line at a time and holds back as little as it can: the first characters of a line until they say what the
//! line is, and `**bold**`, `` `code` `` and links from their first mark to their last. A mark that finds no
//! partner in its line, or not within `HELD_BYTES_MAX`, is text like any other: nothing that was written is
//! ever left out. A table is held until its end, for the width of its columns.
//!
//! - this file: lines and blocks;
//! - `inline`: what happens inside of a line;
//! - `table`: columns.
//!
//! What is not understood is shown as it was written, which is what Markdown is good for.

use crate::client::style::{Span, Style, add};

mod inline;
mod table;

/// So much of a line is held back for the partner of a mark; longer spans are shown as they were written. Nearly
/// all are shorter, and nobody shall wait a paragraph long for a star that stands alone.
const HELD_BYTES_MAX: usize = 300;
/// A table that is larger is shown as it was written.
const TABLE_BYTES_MAX: usize = 64 * 1024;
/// How wide a thematic break is drawn.
const RULE: &str = "────────────────────";

/// Markdown that is being written.
pub(crate) struct Markdown {
    /// The width that a table may take; wider ones are shown as they were written.
    columns: usize,
    /// What has come and cannot be shown yet. It never holds a whole line, but in a table.
    held: String,
    place: Place,
    fence: Option<Fence>,
    table: Vec<String>,
}

/// Where in a line the held text begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// Nothing has been shown of the line.
    LineStart,
    /// What kind of line it is has been shown.
    Inside(Style),
}

/// What a block of code began with, and ends with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Fence {
    mark: char,
    length: usize,
}

/// What the beginning of a line says.
#[derive(Debug, PartialEq, Eq)]
enum Start {
    /// Too little to say.
    Open,
    /// So many bytes are shown as this, and what follows looks like that.
    Text { bytes: usize, shown: Vec<Span>, style: Style },
    /// So many bytes are shown as this, and what follows is the start of a line once more.
    Quote { bytes: usize },
    /// The whole line opens a block of code.
    Fence(Fence),
    /// The whole line is a thematic break.
    Rule,
    /// The whole line belongs to a table.
    TableRow,
}

impl Markdown {
    pub(crate) fn new(columns: usize) -> Self {
        Self { columns, held: String::new(), place: Place::LineStart, fence: None, table: Vec::new() }
    }

    /// The text goes on: what can be shown now.
    pub(crate) fn push(&mut self, text: &str) -> Vec<Span> {
        let mut shown = Vec::new();
        for piece in text.split_inclusive('\n') {
            match piece.strip_suffix('\n') {
                Some(rest) => {
                    self.held.push_str(rest);
                    self.end_line(&mut shown);
                }
                None => {
                    self.held.push_str(piece);
                    self.show_what_is_clear(&mut shown);
                }
            }
        }
        shown
    }

    /// The text has ended, in the middle of a line or not: all that was held back.
    pub(crate) fn finish(&mut self) -> Vec<Span> {
        let mut shown = Vec::new();
        if !self.held.is_empty() {
            self.show_rest_of_line(&mut shown);
            if !self.table.is_empty() {
                self.show_table(&mut shown);
                // Its last line has not ended.
                pop_line_end(&mut shown);
            }
        } else {
            self.show_table(&mut shown);
        }
        self.place = Place::LineStart;
        self.fence = None;
        shown
    }

    fn end_line(&mut self, shown: &mut Vec<Span>) {
        let rows = self.table.len();
        self.show_rest_of_line(shown);
        if self.table.len() <= rows {
            add(shown, Style::PLAIN, "\n");
        }
        self.place = Place::LineStart;
    }

    /// The line is complete, so nothing is open any more.
    fn show_rest_of_line(&mut self, shown: &mut Vec<Span>) {
        let line = std::mem::take(&mut self.held);
        let mut rest = line.as_str();
        while self.place == Place::LineStart {
            if let Some(fence) = self.fence {
                if fence.is_closed_by(rest) {
                    self.fence = None;
                    return add(shown, Style::DIM, rest);
                }
                return add(shown, Style::CODE, rest);
            }
            let start = start_of_line(rest, Line::Whole);
            if start != Start::TableRow {
                self.show_table(shown);
            }
            match start {
                Start::TableRow => return self.take_row(rest, shown),
                Start::Fence(fence) => {
                    self.fence = Some(fence);
                    return add(shown, Style::DIM, rest);
                }
                Start::Rule => return add(shown, Style::DIM, RULE),
                Start::Quote { bytes } => {
                    add(shown, Style::DIM, "│ ");
                    rest = &rest[bytes..];
                }
                Start::Text { bytes, shown: beginning, style } => {
                    shown.extend(beginning);
                    rest = &rest[bytes..];
                    self.place = Place::Inside(style);
                }
                Start::Open => unreachable!("a whole line leaves nothing open"),
            }
        }
        let Place::Inside(style) = self.place else { return };
        match self.fence {
            Some(_) => add(shown, style, rest),
            None => inline::render_all(rest, style, shown),
        }
    }

    /// The line goes on: shows what no later word can change.
    fn show_what_is_clear(&mut self, shown: &mut Vec<Span>) {
        while self.place == Place::LineStart {
            if let Some(fence) = self.fence {
                if fence.may_be_closed_by(&self.held) {
                    return;
                }
                self.place = Place::Inside(Style::CODE);
                break;
            }
            match start_of_line(&self.held, Line::GoesOn) {
                Start::Open => return,
                // Longer than such a line may be.
                Start::TableRow | Start::Fence(_) | Start::Rule => {
                    self.show_table(shown);
                    self.place = Place::Inside(Style::PLAIN);
                }
                Start::Quote { bytes } => {
                    self.show_table(shown);
                    add(shown, Style::DIM, "│ ");
                    self.held.drain(..bytes);
                }
                Start::Text { bytes, shown: beginning, style } => {
                    self.show_table(shown);
                    shown.extend(beginning);
                    self.held.drain(..bytes);
                    self.place = Place::Inside(style);
                }
            }
        }
        let Place::Inside(style) = self.place else { return };
        if self.fence.is_some() {
            return add(shown, style, &std::mem::take(&mut self.held));
        }
        let clear_bytes = inline::render_clear(&self.held, style, HELD_BYTES_MAX, shown);
        self.held.drain(..clear_bytes);
    }

    fn take_row(&mut self, row: &str, shown: &mut Vec<Span>) {
        self.table.push(row.to_owned());
        if self.table.iter().map(String::len).sum::<usize>() > TABLE_BYTES_MAX {
            for row in std::mem::take(&mut self.table) {
                add(shown, Style::PLAIN, &row);
                add(shown, Style::PLAIN, "\n");
            }
            // The last line's end comes from where its text came from.
            pop_line_end(shown);
        }
    }

    /// Shows the table that has ended before this line, if there is one.
    fn show_table(&mut self, shown: &mut Vec<Span>) {
        let rows = std::mem::take(&mut self.table);
        if !rows.is_empty() {
            shown.extend(table::render(&rows, self.columns));
        }
    }
}

impl Fence {
    /// ```` ```rust ````: three marks or more, and of backticks no other one in the line.
    fn opened_by(line: &str) -> Option<Self> {
        let line = line.trim_start_matches(' ');
        let mark = line.chars().next().filter(|mark| matches!(mark, '`' | '~'))?;
        let length = line.chars().take_while(|character| *character == mark).count();
        let info = &line[length..];
        (length >= 3 && !(mark == '`' && info.contains('`'))).then_some(Self { mark, length })
    }

    fn is_closed_by(self, line: &str) -> bool {
        let line = line.trim();
        line.len() >= self.length && line.chars().all(|character| character == self.mark)
    }

    fn may_be_closed_by(self, line: &str) -> bool {
        line.trim().chars().all(|character| character == self.mark) && line.len() <= HELD_BYTES_MAX
    }
}

/// Whether more of the line may come.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Line {
    Whole,
    GoesOn,
}

/// What a line is, as far as its beginning says it.
fn start_of_line(line: &str, rest: Line) -> Start {
    let open = |start| if rest == Line::GoesOn && line.len() <= HELD_BYTES_MAX { Start::Open } else { start };
    let text = Start::Text { bytes: 0, shown: Vec::new(), style: Style::PLAIN };
    let indent = line.len() - line.trim_start_matches([' ', '\t']).len();
    let body = &line[indent..];
    let Some(first) = body.chars().next() else {
        return open(text);
    };
    match first {
        '`' | '~' => match Fence::opened_by(body) {
            // Its info string is still being written.
            Some(fence) => open(Start::Fence(fence)),
            None if body.chars().all(|character| character == first) => open(text),
            None => text,
        },
        '|' if rest == Line::GoesOn && line.len() <= TABLE_BYTES_MAX => Start::Open,
        '|' => Start::TableRow,
        '>' => match body[1..].chars().next() {
            None => open(Start::Quote { bytes: line.len() }),
            Some(' ') => Start::Quote { bytes: indent + 2 },
            Some(_) => Start::Quote { bytes: indent + 1 },
        },
        '#' => heading(line, indent, open),
        '-' | '*' | '_' | '+' => marked_line(line, indent, first, open),
        _ => text,
    }
}

fn heading(line: &str, indent: usize, open: impl Fn(Start) -> Start) -> Start {
    let marks = line[indent..].chars().take_while(|character| *character == '#').count();
    let text = Start::Text { bytes: 0, shown: Vec::new(), style: Style::PLAIN };
    let after = &line[indent + marks..];
    if marks > 6 {
        return text;
    }
    if after.is_empty() {
        return open(text);
    }
    if !after.starts_with(' ') {
        return text;
    }
    let style = if marks == 1 { Style::BOLD.and(Style::UNDERLINED) } else { Style::BOLD };
    Start::Text { bytes: indent + marks + 1, shown: Vec::new(), style }
}

/// A point of a list, a thematic break, or neither.
fn marked_line(line: &str, indent: usize, mark: char, open: impl Fn(Start) -> Start) -> Start {
    let body = &line[indent..];
    let text = Start::Text { bytes: 0, shown: Vec::new(), style: Style::PLAIN };
    let is_break_so_far = mark != '+' && body.chars().all(|character| character == mark || character == ' ');
    if is_break_so_far && body.chars().filter(|character| *character == mark).count() >= 3 {
        return open(Start::Rule);
    }
    let is_point = mark != '_' && body[1..].starts_with(' ');
    let point = || {
        let shown = vec![Span::plain(format!("{}• ", &line[..indent]))];
        Start::Text { bytes: indent + 2, shown, style: Style::PLAIN }
    };
    match (is_point, is_break_so_far || body.len() == 1) {
        (true, true) => open(point()),
        (true, false) => point(),
        (false, true) => open(text),
        (false, false) => text,
    }
}

/// Takes the line end back that was shown last.
fn pop_line_end(shown: &mut Vec<Span>) {
    if let Some(last) = shown.last_mut()
        && last.text.ends_with('\n')
    {
        last.text.pop();
        if last.text.is_empty() {
            shown.pop();
        }
    }
}

#[cfg(test)]
mod tests;

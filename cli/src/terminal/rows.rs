//! Text as rows of a terminal: cut between words where it can be, and never wider than it may be. Pure.

use unicode_segmentation::UnicodeSegmentation as _;
use unicode_width::UnicodeWidthStr as _;

use crate::client::style::{Span, Style, add, paint};

/// A tab goes to the next multiple of this.
const TAB_COLUMNS: usize = 8;

/// What a person sees as one letter.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Cell {
    text: String,
    style: Style,
    columns: usize,
}

/// A row of cells.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Row {
    cells: Vec<Cell>,
    columns: usize,
}

impl Row {
    /// The beginning of the text, as far as it fits a row.
    pub(super) fn cut(spans: &[Span], columns_max: usize) -> Self {
        let mut row = Self::default();
        for (style, letter) in letters(spans) {
            let cell = row.cell(style, letter);
            if row.columns + cell.columns > columns_max {
                break;
            }
            row.push(cell);
        }
        row
    }

    pub(super) fn columns(&self) -> usize {
        self.columns
    }

    pub(super) fn is_empty(&self) -> bool {
        self.cells.is_empty()
    }

    /// The bytes that show it.
    pub(super) fn paint(&self) -> String {
        let mut spans = Vec::new();
        for cell in &self.cells {
            add(&mut spans, cell.style, &cell.text);
        }
        paint(&spans)
    }

    /// The same without its looks.
    pub(super) fn text(&self) -> String {
        self.cells.iter().map(|cell| cell.text.as_str()).collect()
    }

    fn cell(&self, style: Style, letter: &str) -> Cell {
        if letter == "\t" {
            let columns = TAB_COLUMNS - self.columns % TAB_COLUMNS;
            return Cell { text: " ".repeat(columns), style, columns };
        }
        Cell { text: letter.to_owned(), style, columns: letter.width() }
    }

    fn push(&mut self, cell: Cell) {
        self.columns += cell.columns;
        self.cells.push(cell);
    }

    /// Takes off what comes after the last space; the whole row stays where there is none.
    fn split_last_word(&mut self) -> Self {
        let is_space = |cell: &Cell| cell.text.chars().all(|character| character == ' ');
        let word_begin = self.cells.iter().rposition(is_space).map_or(0, |space| space + 1);
        let has_words_before = self.cells[..word_begin].iter().any(|cell| !is_space(cell));
        if !has_words_before {
            return Self::default();
        }
        let mut word = Self::default();
        for cell in self.cells.split_off(word_begin) {
            self.columns -= cell.columns;
            word.push(cell);
        }
        word
    }
}

/// Text that is being written, as rows.
pub(super) struct Rows {
    columns_max: usize,
    /// The row that has not ended yet.
    last: Row,
}

impl Rows {
    pub(super) fn new(columns_max: usize) -> Self {
        Self { columns_max: columns_max.max(1), last: Row::default() }
    }

    /// The width has changed: what has not ended yet is cut anew by what comes next.
    pub(super) fn resize(&mut self, columns_max: usize) {
        self.columns_max = columns_max.max(1);
    }

    /// The row that has not ended yet.
    pub(super) fn last(&self) -> &Row {
        &self.last
    }

    /// The text goes on: the rows that have ended with it.
    pub(super) fn push(&mut self, spans: &[Span]) -> Vec<Row> {
        let mut ended = Vec::new();
        for (style, letter) in letters(spans) {
            if letter == "\n" || letter == "\r\n" {
                ended.push(std::mem::take(&mut self.last));
                continue;
            }
            let cell = self.last.cell(style, letter);
            if self.last.columns + cell.columns > self.columns_max && !self.last.is_empty() {
                if letter == " " {
                    // It is where the row is cut.
                    ended.push(std::mem::take(&mut self.last));
                    continue;
                }
                let word = self.last.split_last_word();
                ended.push(std::mem::replace(&mut self.last, word));
            }
            let mut cell = self.last.cell(style, letter);
            if cell.columns > self.columns_max && letter == "\t" {
                cell = self.last.cell(style, " ");
            }
            self.last.push(cell);
        }
        ended
    }

    /// Ends the row, if one has been begun.
    pub(super) fn end(&mut self) -> Option<Row> {
        if self.last.is_empty() { None } else { Some(std::mem::take(&mut self.last)) }
    }
}

fn letters(spans: &[Span]) -> impl Iterator<Item = (Style, &str)> {
    spans.iter().flat_map(|span| span.text.graphemes(true).map(|letter| (span.style, letter)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(columns: usize, pieces: &[&str]) -> Vec<String> {
        let mut rows = Rows::new(columns);
        let mut ended = Vec::new();
        for piece in pieces {
            ended.extend(rows.push(&[Span::plain(*piece)]));
        }
        ended.extend(rows.end());
        assert!(ended.iter().all(|row| row.columns <= columns), "{ended:?}");
        ended.iter().map(Row::paint).collect()
    }

    #[test]
    fn a_row_is_cut_between_words_where_it_can_be() {
        assert_eq!(rows(10, &["one two three four"]), ["one two ", "three four"]);
        assert_eq!(rows(7, &["one two three"]), ["one two", "three"]);
        assert_eq!(rows(5, &["abcdefghijkl mn"]), ["abcde", "fghij", "kl mn"]);
        assert_eq!(rows(6, &["  abcdefgh"]), ["  abcd", "efgh"]);
        assert_eq!(rows(10, &["a\n\nb\n"]), ["a", "", "b"]);
        assert_eq!(rows(4, &["日本語です"]), ["日本", "語で", "す"]);
        assert_eq!(rows(10, &["a\tb\tc"]), ["a       ", "b       c"]);
        assert_eq!(rows(4, &["\ta"]), [" a"]);
    }

    #[test]
    fn however_the_text_is_cut_the_rows_are_the_same() {
        let text = "The quick brown fox, which was not lazy, jumps.\n  over e\u{301} and 日本語\n";
        let whole = rows(11, &[text]);

        let letters: Vec<&str> = text.graphemes(true).collect();

        assert_eq!(rows(11, &letters), whole);
    }

    #[test]
    fn a_row_keeps_the_look_of_its_text() {
        let mut rows = Rows::new(8);
        let spans = [Span::plain("one "), Span::new(Style::BOLD, "two three")];

        let ended = rows.push(&spans);

        assert_eq!(ended[0].paint(), "one \x1b[1mtwo \x1b[0m");
        assert_eq!(rows.last().paint(), "\x1b[1mthree\x1b[0m");
    }

    #[test]
    fn a_cut_row_is_the_beginning() {
        let row = Row::cut(&[Span::plain("日本語")], 5);

        assert_eq!((row.paint().as_str(), row.columns()), ("日本", 4));
    }
}

//! The line that a person writes: keys in, what to do out. Pure.

use unicode_segmentation::UnicodeSegmentation as _;
use unicode_width::UnicodeWidthStr as _;

use super::{history::History, keys::Key};

/// More than any message may have: what goes beyond is told when it is sent, not while it is typed.
const TEXT_BYTES_MAX: usize = 512 * 1024;
const PROMPT: &str = "> ";
/// Before the rows that follow the first.
const INDENT: &str = "  ";

/// What a key asks for, beyond the line itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// The line has changed, or nothing has.
    Edited,
    Enter {
        text: String,
        urgency: Urgency,
    },
    /// Ctrl-C. The line is as it was.
    Interrupt,
    /// Ctrl-D on an empty line.
    End,
    Redraw,
    Suspend,
}

/// Which key sent the line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Urgency {
    Enter,
    Steer,
}

/// What is shown of the line.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct View {
    pub(super) rows: Vec<String>,
    pub(super) cursor_row: usize,
    pub(super) cursor_column: usize,
}

/// The line, and what was typed before it.
#[derive(Default)]
pub(super) struct Composer {
    text: String,
    /// Between two letters.
    cursor: usize,
    /// What was cut last.
    cut: String,
    history: History,
}

impl Composer {
    pub(super) fn is_empty(&self) -> bool {
        self.text.is_empty()
    }

    /// Throws the line away.
    pub(super) fn clear(&mut self) {
        self.text.clear();
        self.cursor = 0;
    }

    /// What was sent before this began, the newest first.
    pub(super) fn recall(&mut self, older: impl Iterator<Item = String>) {
        self.history.recall(older);
    }

    pub(super) fn press(&mut self, key: Key) -> Action {
        match key {
            Key::Enter => return self.enter(Urgency::Enter),
            Key::Steer => return self.enter(Urgency::Steer),
            Key::Interrupt => return Action::Interrupt,
            Key::EndOfInput if self.text.is_empty() => return Action::End,
            Key::Redraw => return Action::Redraw,
            Key::Suspend => return Action::Suspend,
            Key::Character(character) => self.insert(character.encode_utf8(&mut [0; 4])),
            Key::Paste(text) => self.insert(&text),
            Key::Backspace => self.delete(self.letter_before()..self.cursor),
            Key::Delete | Key::EndOfInput => self.delete(self.cursor..self.letter_after()),
            Key::Left => self.cursor = self.letter_before(),
            Key::Right => self.cursor = self.letter_after(),
            Key::WordLeft => self.cursor = self.word_before(),
            Key::WordRight => self.cursor = self.word_after(),
            Key::Home => self.cursor = self.line_begin(),
            Key::End => self.cursor = self.line_end(),
            Key::Up => self.up(),
            Key::Down => self.down(),
            Key::CutToEnd => self.cut(self.cursor..self.line_end()),
            Key::CutToStart => self.cut(self.line_begin()..self.cursor),
            Key::CutWord => self.cut(self.word_before()..self.cursor),
            Key::CutNextWord => self.cut(self.cursor..self.word_after()),
            Key::PutBack => {
                let cut = self.cut.clone();
                self.insert(&cut);
            }
        }
        Action::Edited
    }

    /// Sends the line, unless it ends in a backslash that no other one precedes: then it goes on in the next.
    fn enter(&mut self, urgency: Urgency) -> Action {
        let goes_on = self.text.bytes().rev().take_while(|byte| *byte == b'\\').count() % 2 == 1;
        if goes_on && self.cursor == self.text.len() {
            self.text.pop();
            self.text.push('\n');
            return Action::Edited;
        }
        self.cursor = 0;
        let text = std::mem::take(&mut self.text);
        self.history.remember(&text);
        Action::Enter { text, urgency }
    }

    fn insert(&mut self, text: &str) {
        // What a terminal would obey is no part of a message. Tabs and line ends are.
        let is_harmless = |character: &char| !character.is_control() || matches!(character, '\n' | '\t');
        let text: String = text.chars().filter(is_harmless).collect();
        if self.text.len() + text.len() <= TEXT_BYTES_MAX {
            self.text.insert_str(self.cursor, &text);
            self.cursor += text.len();
        }
    }

    fn delete(&mut self, range: std::ops::Range<usize>) {
        self.cursor = range.start;
        self.text.replace_range(range, "");
    }

    fn cut(&mut self, range: std::ops::Range<usize>) {
        if !range.is_empty() {
            self.text[range.clone()].clone_into(&mut self.cut);
            self.delete(range);
        }
    }

    fn letter_before(&self) -> usize {
        self.text[..self.cursor].grapheme_indices(true).next_back().map_or(0, |(at, _)| at)
    }

    fn letter_after(&self) -> usize {
        let letter = self.text[self.cursor..].graphemes(true).next().map_or(0, str::len);
        self.cursor + letter
    }

    fn word_before(&self) -> usize {
        let before = &self.text[..self.cursor];
        let word_end = before.trim_end_matches(|letter: char| !letter.is_alphanumeric());
        word_end.trim_end_matches(char::is_alphanumeric).len()
    }

    fn word_after(&self) -> usize {
        let after = &self.text[self.cursor..];
        let word = after.trim_start_matches(|letter: char| !letter.is_alphanumeric());
        self.text.len() - word.trim_start_matches(char::is_alphanumeric).len()
    }

    fn line_begin(&self) -> usize {
        self.text[..self.cursor].rfind('\n').map_or(0, |at| at + 1)
    }

    fn line_end(&self) -> usize {
        self.text[self.cursor..].find('\n').map_or(self.text.len(), |at| self.cursor + at)
    }

    /// The line above; above the first one, what was typed before.
    fn up(&mut self) {
        let begin = self.line_begin();
        if begin > 0 {
            self.cursor = begin - 1;
            return;
        }
        if let Some(older) = self.history.older(&self.text) {
            older.clone_into(&mut self.text);
            self.cursor = self.text.len();
        }
    }

    fn down(&mut self) {
        let end = self.line_end();
        if end < self.text.len() {
            self.cursor = end + 1;
            self.cursor = self.line_end();
            return;
        }
        if let Some(newer) = self.history.newer() {
            newer.clone_into(&mut self.text);
            self.cursor = self.text.len();
        }
    }

    /// What is shown of it, in rows as wide and as many as there may be: those around the cursor.
    pub(super) fn view(&self, columns: usize, rows_max: usize) -> View {
        let mut rows = vec![PROMPT.to_owned()];
        let (mut column, mut cursor) = (PROMPT.width(), (0, PROMPT.width()));
        for (at, letter) in self.text.grapheme_indices(true) {
            let shown = match letter {
                "\n" | "\r\n" => "",
                "\t" => " ",
                letter => letter,
            };
            let is_full = column + shown.width() > columns && column > INDENT.width();
            if is_full {
                rows.push(INDENT.to_owned());
                column = INDENT.width();
            }
            if at == self.cursor {
                cursor = (rows.len() - 1, column);
            }
            if shown.is_empty() {
                rows.push(INDENT.to_owned());
                column = INDENT.width();
            } else if let Some(row) = rows.last_mut() {
                row.push_str(shown);
                column += shown.width();
            }
        }
        if self.cursor == self.text.len() {
            if column >= columns && column > INDENT.width() {
                rows.push(INDENT.to_owned());
                column = INDENT.width();
            }
            cursor = (rows.len() - 1, column);
        }
        let first = cursor.0.saturating_sub(rows_max.saturating_sub(1));
        let rows: Vec<String> = rows.into_iter().skip(first).take(rows_max.max(1)).collect();
        View { rows, cursor_row: cursor.0 - first, cursor_column: cursor.1 }
    }
}

#[cfg(test)]
mod tests {
    use super::{super::keys::Keys, *};

    fn press(composer: &mut Composer, bytes: &str) -> Vec<Action> {
        let keys = Keys::default().push(bytes.as_bytes());
        keys.into_iter().map(|key| composer.press(key)).filter(|action| *action != Action::Edited).collect()
    }

    /// What is on the line after these keys, with a bar where the cursor is.
    fn line(bytes: &str) -> String {
        let mut composer = Composer::default();
        assert_eq!(press(&mut composer, bytes), []);
        let (before, after) = composer.text.split_at(composer.cursor);
        format!("{before}|{after}")
    }

    fn entered(text: &str) -> Action {
        Action::Enter { text: text.to_owned(), urgency: Urgency::Enter }
    }

    #[test]
    fn letters_go_in_and_out_where_the_cursor_is() {
        assert_eq!(line("helo\x1b[Dl"), "hell|o");
        assert_eq!(line("abc\x01\x04x\x7f"), "|bc");
        assert_eq!(line("e\u{301}日\x7f\x7f"), "|");
        assert_eq!(line("one two  \x1bb\x1bbX"), "X|one two  ");
        assert_eq!(line("one two\x01\x1bf"), "one| two");
        assert_eq!(line("one two three\x17\x17\x19"), "one two three|".replace("two three", "two "));
        assert_eq!(line("one two\x15two \x19"), "two one two|");
        assert_eq!(line("one two\x01\x1b[C\x0b"), "o|");
        assert_eq!(line("\x1b[200~a\tb\x07\x1b[201~"), "a\tb|");
    }

    #[test]
    fn enter_sends_the_line_and_ctrl_s_sends_it_at_once() {
        let mut composer = Composer::default();

        assert_eq!(press(&mut composer, "one\r"), [entered("one")]);
        let steering = Action::Enter { text: "two".to_owned(), urgency: Urgency::Steer };
        assert_eq!(press(&mut composer, "two\x13"), [steering]);
        assert!(composer.is_empty());
    }

    #[test]
    fn a_line_that_ends_in_a_backslash_goes_on_and_a_pasted_one_does_not() {
        let mut composer = Composer::default();

        assert_eq!(press(&mut composer, "one\\\r  two\\\rthree\r"), [entered("one\n  two\nthree")]);
        assert_eq!(press(&mut composer, "C:\\\\\r"), [entered("C:\\\\")]);
        let pasted = "\x1b[200~cc a.c \\\r  -o a\x1b[201~\r";
        assert_eq!(press(&mut composer, pasted), [entered("cc a.c \\\n  -o a")]);
    }

    #[test]
    fn up_and_down_go_through_lines_and_then_through_what_was_typed_before() {
        let mut composer = Composer::default();
        press(&mut composer, "first\rsecond\\\rline\r");

        assert_eq!(press(&mut composer, "dra\x1b[A\x1b[A\x1b[A\r"), [entered("first")]);
        press(&mut composer, "dra\x1b[A\x1b[B");
        assert_eq!(composer.text, "dra");
    }

    #[test]
    fn ctrl_d_deletes_and_ends_on_an_empty_line_only() {
        let mut composer = Composer::default();

        assert_eq!(press(&mut composer, "a\x04\x01\x04\x04"), [Action::End]);
        assert_eq!(
            press(&mut composer, "x\x03\x0c\x1a"),
            [Action::Interrupt, Action::Redraw, Action::Suspend]
        );
        assert_eq!(composer.text, "x");
    }

    #[test]
    fn the_view_wraps_and_follows_the_cursor() {
        let mut composer = Composer::default();
        press(&mut composer, "abcdef\\\rxy\x1b[D");

        let view = composer.view(6, 10);
        assert_eq!(view.rows, ["> abcd", "  ef", "  xy"]);
        assert_eq!((view.cursor_row, view.cursor_column), (2, 3));
        let narrow = composer.view(6, 1);
        assert_eq!((narrow.rows, narrow.cursor_row), (vec!["  xy".to_owned()], 0));
        press(&mut composer, "\x1b[A\x01");
        let view = composer.view(6, 2);
        assert_eq!((view.rows[0].as_str(), view.cursor_row, view.cursor_column), ("> abcd", 0, 2));
    }

    #[test]
    fn the_cursor_stands_on_a_new_row_when_the_last_is_full() {
        let mut composer = Composer::default();
        press(&mut composer, "日本");

        let view = composer.view(6, 10);

        assert_eq!(view.rows, ["> 日本", "  "]);
        assert_eq!((view.cursor_row, view.cursor_column), (1, 2));
    }

    #[test]
    fn more_than_can_be_sent_is_not_kept() {
        let mut composer = Composer::default();

        composer.press(Key::Paste("x".repeat(TEXT_BYTES_MAX + 1)));

        assert!(composer.is_empty());
    }
}

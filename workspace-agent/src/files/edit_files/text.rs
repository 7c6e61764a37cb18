//! One edit of one text. Pure.

use super::FILE_BYTES_MAX;

/// Line numbers that an error gives; more help nobody.
const LINES_NAMED_MAX: usize = 5;

/// Replace this by that.
#[derive(Clone, Copy, Debug)]
pub(super) struct Edit<'a> {
    pub(super) old: &'a str,
    pub(super) new: &'a str,
    pub(super) occurrences: Occurrences,
}

/// Which occurrences of the old text are meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Occurrences {
    /// The only one.
    One,
    /// Each, and there must be one.
    All,
}

/// Why an edit cannot be made.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(in crate::files) enum Problem {
    #[error(
        "`old_text` was not found. Read the file again, and give the text exactly as it is there: with its white \
         space, and without the line numbers that read_file shows."
    )]
    NotFound,
    #[error(
        "`old_text` is there {count} times, in lines {lines}. Give more of the lines around the one you mean, or \
         set `replace_all`."
    )]
    Ambiguous { count: usize, lines: String },
    #[error("`old_text` is empty. To create a file, or to replace all that is in it, use write_file.")]
    Empty,
    #[error("`old_text` and `new_text` are the same.")]
    Same,
    #[error("The file would become larger than 4 MiB.")]
    TooLarge,
}

/// The text after the edit.
pub(super) fn apply(text: &str, edit: Edit<'_>) -> Result<String, Problem> {
    if edit.old.is_empty() {
        return Err(Problem::Empty);
    }
    if edit.old == edit.new {
        return Err(Problem::Same);
    }
    if has_only_crlf(text) {
        let (old, new) = (with_crlf(edit.old), with_crlf(edit.new));
        return replace(text, Edit { old: &old, new: &new, ..edit });
    }
    replace(text, edit)
}

fn replace(text: &str, edit: Edit<'_>) -> Result<String, Problem> {
    let Edit { old, new, occurrences } = edit;
    let first = text.find(old).ok_or(Problem::NotFound)?;
    let count = match occurrences {
        Occurrences::One if is_again(text, old, first) => return Err(ambiguous(text, old)),
        Occurrences::One => 1,
        Occurrences::All => text.matches(old).count(),
    };
    // Before anything of that size is made.
    let size = new.len().checked_mul(count).map(|new| new + text.len() - old.len() * count);
    if size.is_none_or(|size| size > FILE_BYTES_MAX) {
        return Err(Problem::TooLarge);
    }
    Ok(text.replacen(old, new, count))
}

/// Whether the text is there once more. Occurrences that overlap are two: either could be meant.
fn is_again(text: &str, old: &str, first: usize) -> bool {
    let next = first + old.chars().next().map_or(1, char::len_utf8);
    text[next..].contains(old)
}

/// Only so many are looked for one by one as are named: each such look may go through all of a text that
/// repeats itself, and there may be millions.
fn ambiguous(text: &str, old: &str) -> Problem {
    let mut found = Vec::new();
    let (mut from, mut line) = (0, 1);
    while found.len() <= LINES_NAMED_MAX
        && let Some(at) = text[from..].find(old)
    {
        line += text[from..from + at].matches('\n').count();
        found.push(line);
        let next = from + at + old.chars().next().map_or(1, char::len_utf8);
        line += text[from + at..next].matches('\n').count();
        from = next;
    }
    let mut lines: Vec<_> = found.iter().take(LINES_NAMED_MAX).map(ToString::to_string).collect();
    if found.len() > LINES_NAMED_MAX {
        lines.push("…".to_owned());
    }
    // Those that do not overlap are all counted in one go.
    let count = text.matches(old).count().max(found.len());
    Problem::Ambiguous { count, lines: lines.join(", ") }
}

/// Whether the text has line breaks, and all are those of Windows. Models write plain ones, and mean these.
fn has_only_crlf(text: &str) -> bool {
    let all = text.matches('\n').count();
    all > 0 && text.matches("\r\n").count() == all
}

fn with_crlf(text: &str) -> String {
    text.replace("\r\n", "\n").replace('\n', "\r\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one<'a>(old: &'a str, new: &'a str) -> Edit<'a> {
        Edit { old, new, occurrences: Occurrences::One }
    }

    fn all<'a>(old: &'a str, new: &'a str) -> Edit<'a> {
        Edit { old, new, occurrences: Occurrences::All }
    }

    #[test]
    fn the_only_occurrence_is_replaced() {
        assert_eq!(apply("a b c", one("b", "x")), Ok("a x c".to_owned()));
        assert_eq!(apply("a b c", one(" b c", "")), Ok("a".to_owned()));
        assert_eq!(apply("čaj 茶", one("茶", "")), Ok("čaj ".to_owned()));
    }

    #[test]
    fn all_occurrences_are_replaced_when_that_is_meant() {
        assert_eq!(apply("a b a", all("a", "aa")), Ok("aa b aa".to_owned()));
        assert_eq!(apply("a b a", all("c", "d")), Err(Problem::NotFound));
    }

    #[test]
    fn what_is_there_twice_is_named_by_its_lines() {
        let problem = apply("x\ny\nx\nx\n", one("x\n", "z\n")).unwrap_err();
        assert_eq!(problem, Problem::Ambiguous { count: 3, lines: "1, 3, 4".to_owned() });

        let problem = apply(&"x\n".repeat(9), one("x", "z")).unwrap_err();
        assert_eq!(problem, Problem::Ambiguous { count: 9, lines: "1, 2, 3, 4, 5, …".to_owned() });
    }

    #[test]
    fn overlapping_occurrences_are_not_the_only_one() {
        let problem = apply("ababa", one("aba", "x")).unwrap_err();
        assert_eq!(problem, Problem::Ambiguous { count: 2, lines: "1, 1".to_owned() });

        let problem = apply("\n\n\n", one("\n\n", "x")).unwrap_err();
        assert_eq!(problem, Problem::Ambiguous { count: 2, lines: "1, 2".to_owned() });
        assert!(apply("茶茶茶", one("茶茶", "x")).is_err());
    }

    /// Looking for each of the overlapping ones would take hours.
    #[test]
    fn a_large_text_that_repeats_itself_is_looked_through_a_few_times_only() {
        let text = "a".repeat(FILE_BYTES_MAX);
        let old = "a".repeat(1 << 20);

        let problem = apply(&text, one(&old, "x")).unwrap_err();

        assert_eq!(problem, Problem::Ambiguous { count: 6, lines: "1, 1, 1, 1, 1, …".to_owned() });
    }

    #[test]
    fn plain_line_breaks_mean_those_of_the_file() {
        let text = "one\r\ntwo\r\nthree";

        assert_eq!(apply(text, one("one\ntwo", "1\n2\n")), Ok("1\r\n2\r\n\r\nthree".to_owned()));
        assert_eq!(apply(text, one("three", "3\n")), Ok("one\r\ntwo\r\n3\r\n".to_owned()));
        assert_eq!(apply(text, one("one\r\n", "")), Ok("two\r\nthree".to_owned()));
    }

    #[test]
    fn mixed_line_breaks_are_taken_as_they_are() {
        let text = "one\r\ntwo\nthree";

        assert_eq!(apply(text, one("one\ntwo", "x")), Err(Problem::NotFound));
        assert_eq!(apply(text, one("one\r\ntwo", "1\n2")), Ok("1\n2\nthree".to_owned()));
    }

    #[test]
    fn an_edit_must_replace_something_by_something_else() {
        assert_eq!(apply("a", one("", "b")), Err(Problem::Empty));
        assert_eq!(apply("a", all("a", "a")), Err(Problem::Same));
    }

    #[test]
    fn nothing_becomes_too_large() {
        let text = "a".repeat(FILE_BYTES_MAX);

        assert_eq!(apply(&text, all("a", "bb")), Err(Problem::TooLarge));
        assert_eq!(apply(&text, all("a", &"b".repeat(1 << 20))), Err(Problem::TooLarge));
        assert!(apply(&text, all("a", "b")).is_ok());
    }
}

//! Titles: the words that a model or a user wrote, as a line for lists.

use chatplane_domain::{UserPart, shown_words};

use crate::limits::TITLE_CHARS_MAX;

/// A chat whose first message has no words.
const UNTITLED: &str = "New chat";
/// Stands for what is cut off.
const ELLIPSIS: char = '…';
/// Marks of Markdown that stand before a line.
const LEADING: &[char] = &['#', '>'];
/// Quotes and marks of Markdown in pairs, in which models like to wrap a title.
const PAIRS: &[(char, char)] = &[
    ('"', '"'),
    ('\'', '\''),
    ('“', '”'),
    ('„', '“'),
    ('„', '”'),
    ('‘', '’'),
    ('‚', '‘'),
    ('«', '»'),
    ('»', '«'),
    ('‹', '›'),
    ('›', '‹'),
    ('*', '*'),
    ('_', '_'),
    (CODE, CODE),
];
/// What it wraps is meant as it is.
const CODE: char = '`';

/// The beginning of the first message, until somebody finds a better title.
pub(crate) fn fallback(parts: &[UserPart]) -> String {
    let words = shown_words(parts).flat_map(str::split_whitespace);
    let mut title = String::new();
    for word in words {
        let room = TITLE_CHARS_MAX.saturating_sub(title.chars().count() + 1);
        if room == 0 {
            break;
        }
        if !title.is_empty() {
            title.push(' ');
        }
        title.extend(word.chars().filter(|character| !character.is_control()).take(room));
    }
    if is_blank(&title) { UNTITLED.to_owned() } else { title }
}

/// Whether nothing of a text can be seen: white space, control characters, and what only shapes or
/// directs its neighbours.
pub(crate) fn is_blank(text: &str) -> bool {
    text.chars().all(is_unseen)
}

fn is_unseen(character: char) -> bool {
    character.is_whitespace()
        || character.is_control()
        || matches!(character,
            '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}'
            | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}'
            | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e0fff}')
}

/// The title in what a model wrote: its first line with words, without the quotes and the
/// Markdown that wrap it, cut. None when there is none.
pub(crate) fn written(answer: &str) -> Option<String> {
    answer.lines().find_map(|line| {
        let plain: String =
            line.chars().map(|character| if character.is_control() { ' ' } else { character }).collect();
        let is_mark = |character: char| {
            LEADING.contains(&character)
                || PAIRS.iter().any(|(opening, closing)| [*opening, *closing].contains(&character))
        };
        let is_edge = |edge: char| edge.is_whitespace() || LEADING.contains(&edge);
        let mut line = plain.trim_start_matches(is_edge).trim_end();
        while let Some((mark, inner)) = unwrapped(line) {
            line = inner;
            if mark == CODE {
                break;
            }
        }
        let has_words = line.chars().any(|character| !is_unseen(character) && !is_mark(character));
        has_words.then(|| cut(line))
    })
}

/// A line without the one pair of marks around the whole of it, and which mark that was. A
/// mark that is also within belongs to a part of the line, and one around a single name may
/// belong to the name.
fn unwrapped(line: &str) -> Option<(char, &str)> {
    PAIRS.iter().find_map(|&(opening, closing)| {
        let inner = line.trim_start_matches(opening).trim_end_matches(closing);
        let before = line.len() - line.trim_start_matches(opening).len();
        let after = line.len() - line.trim_end_matches(closing).len();
        let is_whole = before > 0
            && after > 0
            && before / opening.len_utf8() == after / closing.len_utf8()
            && !inner.contains([opening, closing]);
        let is_name = opening == '_' && !inner.contains(char::is_whitespace);
        (is_whole && !is_name).then(|| (opening, inner.trim()))
    })
}

fn cut(line: &str) -> String {
    if line.chars().count() <= TITLE_CHARS_MAX {
        return line.to_owned();
    }
    let mut title: String = line.chars().take(TITLE_CHARS_MAX - 1).collect();
    title.truncate(title.trim_end().len());
    title.push(ELLIPSIS);
    title
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fallback_title_is_the_first_words_in_one_line() {
        assert_eq!(fallback(&[UserPart::Text("What is\n in\0 here?".to_owned())]), "What is in here?");
        assert_eq!(fallback(&[UserPart::Text("x".repeat(500))]).chars().count(), TITLE_CHARS_MAX - 1);
        assert_eq!(fallback(&[UserPart::Text("\u{7}".to_owned())]), "New chat");
        assert_eq!(fallback(&[UserPart::Text("\u{200b} \u{2066}".to_owned())]), "New chat");
        assert_eq!(fallback(&[]), "New chat");
    }

    #[test]
    fn a_written_title_is_the_first_line_without_quotes_and_markdown() {
        for (answer, title) in [
            ("Fixing the build", "Fixing the build"),
            ("\n  \n## **Fixing the build**\nIt says what is fixed.", "Fixing the build"),
            ("“Fixing `make`”", "Fixing `make`"),
            ("> _Fixing the build_", "Fixing the build"),
            ("Intro to C#", "Intro to C#"),
            ("`__init__`", "__init__"),
            ("__init__", "__init__"),
            ("`__init__` and `main`", "`__init__` and `main`"),
            ("*Fixing* the *build*", "*Fixing* the *build*"),
            ("\"Yes\" and \"no\"", "\"Yes\" and \"no\""),
            ("**The \"build\"**", "The \"build\""),
            ("Users' rights", "Users' rights"),
            ("\"Fixing the build\"\r\n", "Fixing the build"),
            ("***\n> Fixing\tthe\u{0} build", "Fixing the  build"),
            ("Wie repariert man's?", "Wie repariert man's?"),
        ] {
            assert_eq!(written(answer).as_deref(), Some(title), "{answer:?}");
        }
    }

    #[test]
    fn a_written_title_is_cut_to_what_a_list_shows() {
        let title = written(&"word ".repeat(40)).expect("it has words");

        assert!(title.chars().count() <= TITLE_CHARS_MAX);
        assert!(title.ends_with("word…"), "{title}");
        assert_eq!(
            written(&"y".repeat(TITLE_CHARS_MAX)).expect("it has words").chars().count(),
            TITLE_CHARS_MAX
        );
    }

    #[test]
    fn what_cannot_be_seen_is_blank() {
        for text in ["", " \t\u{a0}\u{3000}", "\0\u{7}\u{85}", "\u{200b}\u{202e}\u{2066}\u{feff}\u{e0041}"] {
            assert!(is_blank(text), "{text:?}");
        }
        for text in ["a", "\u{200b}.", "字", "👩\u{200d}👧", "\u{1f3f4}\u{e0067}"] {
            assert!(!is_blank(text), "{text:?}");
        }
    }

    #[test]
    fn an_answer_without_words_is_no_title() {
        for answer in ["", " \n\t", "***", "\"\"\n''\n", "\u{0}\u{7}", "*\u{200b}*"] {
            assert_eq!(written(answer), None, "{answer:?}");
        }
    }
}

//! What a turn came to, in one line for lists and notifications.

use crate::{Answer, AnswerContent};

/// The line has at most this many characters: what a list or a notification shows.
const CHARS_MAX: usize = 120;
/// Characters of a line that are looked at: Markdown's marks and addresses take some.
const LINE_CHARS_MAX: usize = 512;

/// Of a turn that the user stopped.
pub(crate) const INTERRUPTED: &str = "Interrupted";
/// Of a turn that stopped with an error.
pub(crate) const ERROR: &str = "Stopped by an error";
/// Of a turn whose last answer has no words.
const FINISHED: &str = "Finished";

/// The first line of an answer that says something, without the marks of Markdown.
pub(crate) fn of_answer(answer: &Answer) -> String {
    let lines = answer.parts.iter().flat_map(|part| match &part.content {
        AnswerContent::Text(text) => text.lines(),
        AnswerContent::Reasoning(_) | AnswerContent::ToolCall(_) => "".lines(),
    });
    let mut words = lines.map(|line| cut(&plain(line)));
    words.find(|line| !line.is_empty()).unwrap_or_else(|| FINISHED.to_owned())
}

fn cut(line: &str) -> String {
    if line.chars().count() <= CHARS_MAX {
        return line.to_owned();
    }
    let kept: String = line.chars().take(CHARS_MAX - 1).collect();
    format!("{}…", kept.trim_end())
}

/// A line's words, with single spaces between them; empty for a line of marks alone.
fn plain(line: &str) -> String {
    let line = without_block_marks(line.trim());
    let marks_alone = |text: &str| text.chars().all(|c| "-*_=|:~`#>+ \t".contains(c));
    let fence = line.starts_with("```") || line.starts_with("~~~");
    if fence || marks_alone(line) {
        return String::new();
    }
    let chars: Vec<char> = line.chars().take(LINE_CHARS_MAX).collect();
    let mut words = String::new();
    without_inline_marks(&chars, &mut words);
    let words: String = words.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    words.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Without what makes a line a heading, a quotation or an item.
fn without_block_marks(line: &str) -> &str {
    let mut line = line;
    loop {
        let rest = without_one_block_mark(line).trim_start();
        if rest.len() == line.len() {
            return line;
        }
        line = rest;
    }
}

fn without_one_block_mark(line: &str) -> &str {
    let heading = line.trim_start_matches('#');
    if heading.len() < line.len() && heading.starts_with([' ', '\t']) {
        return heading;
    }
    let number = line.trim_start_matches(|c: char| c.is_ascii_digit());
    if number.len() < line.len() && (number.starts_with(". ") || number.starts_with(") ")) {
        return &number[2..];
    }
    for mark in ["> ", "- ", "* ", "+ ", "[ ] ", "[x] "] {
        if let Some(rest) = line.strip_prefix(mark) {
            return rest;
        }
    }
    line
}

/// Without emphasis, code marks, and the addresses of links.
fn without_inline_marks(chars: &[char], words: &mut String) {
    let mut in_code = false;
    let mut at = 0;
    while let Some(&c) = chars.get(at) {
        let before = at.checked_sub(1).and_then(|before| chars.get(before)).copied();
        let next = chars.get(at + 1).copied();
        at += 1;
        match c {
            '`' => in_code = !in_code,
            _ if in_code => words.push(c),
            '\\' if next.is_some_and(|next| next.is_ascii_punctuation()) => {
                words.extend(next);
                at += 1;
            }
            '!' if next == Some('[') && link(&chars[at..]).is_some() => {}
            '[' => match link(&chars[at - 1..]) {
                Some((text, length)) => {
                    without_inline_marks(text, words);
                    at += length - 1;
                }
                None => words.push(c),
            },
            '*' | '_' if is_emphasis(before, next) => {}
            '~' if before == Some('~') || next == Some('~') => {}
            _ => words.push(c),
        }
    }
}

/// Within a word and between spaces these are no marks: `snake_case`, `2 * 3`.
fn is_emphasis(before: Option<char>, next: Option<char>) -> bool {
    let in_word = |c: Option<char>| c.is_some_and(char::is_alphanumeric);
    let space = |c: Option<char>| c.is_none_or(char::is_whitespace);
    !(in_word(before) && in_word(next) || space(before) && space(next))
}

/// The text of a link that begins here, and the characters that all of it takes.
fn link(chars: &[char]) -> Option<(&[char], usize)> {
    let text_end = chars.windows(2).position(|pair| pair == [']', '('])?;
    let text = chars.get(1..text_end)?;
    let address_end = chars[text_end..].iter().position(|c| *c == ')')?;
    // A bracket within would be the beginning of another link.
    (!text.contains(&'[')).then_some((text, text_end + address_end + 1))
}

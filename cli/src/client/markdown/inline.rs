//! Inside of a line: emphasis, code and links.

use std::ops::Range;

use crate::client::style::{Span, Style, add};

/// Emphasis inside of emphasis inside of emphasis is enough.
const DEPTH_MAX: usize = 4;

/// What stands at a mark.
enum Found {
    /// The mark is text, with so many bytes.
    Text(usize),
    /// A span of so many bytes, whose inside looks like that.
    Emphasis { bytes: usize, inside: Range<usize>, style: Style },
    /// Code, or an escaped character: shown as it is.
    Verbatim { bytes: usize, inside: Range<usize>, style: Style },
    /// A link with its words and where it leads.
    Link { bytes: usize, words: Range<usize>, target: Range<usize> },
    /// Its end may still come.
    Open,
}

/// Shows the rest of a line that is complete.
pub(super) fn render_all(line: &str, style: Style, shown: &mut Vec<Span>) {
    render(line, style, Rest::Ended, 0, shown);
}

/// Shows what no later word can change, and says how many bytes that was.
pub(super) fn render_clear(line: &str, style: Style, held_bytes_max: usize, shown: &mut Vec<Span>) -> usize {
    render(line, style, Rest::MayCome { held_bytes_max }, 0, shown)
}

/// Whether more of the line may come.
#[derive(Clone, Copy)]
enum Rest {
    Ended,
    MayCome { held_bytes_max: usize },
}

fn render(line: &str, style: Style, rest: Rest, depth: usize, shown: &mut Vec<Span>) -> usize {
    let mut position = 0;
    while position < line.len() {
        let next =
            line[position..].find(['*', '_', '`', '~', '[', '\\']).map_or(line.len(), |at| position + at);
        add(shown, style, &line[position..next]);
        position = next;
        if position == line.len() {
            break;
        }
        match find(line, position, rest) {
            Found::Open => return position,
            Found::Text(bytes) => {
                add(shown, style, &line[position..position + bytes]);
                position += bytes;
            }
            Found::Verbatim { bytes, inside, style: code } => {
                add(shown, style.and(code), &line[inside]);
                position += bytes;
            }
            Found::Emphasis { bytes, inside, style: emphasis } if depth < DEPTH_MAX => {
                render(&line[inside], style.and(emphasis), Rest::Ended, depth + 1, shown);
                position += bytes;
            }
            Found::Emphasis { bytes, .. } => {
                add(shown, style, &line[position..position + bytes]);
                position += bytes;
            }
            Found::Link { bytes, words, target } => {
                let (words, target) = (&line[words], &line[target]);
                render(words, style.and(Style::UNDERLINED), Rest::Ended, depth + 1, shown);
                if words != target {
                    add(shown, style, &format!(" ({target})"));
                }
                position += bytes;
            }
        }
    }
    position
}

/// What begins with the mark at this position.
fn find(line: &str, position: usize, rest: Rest) -> Found {
    let text = &line[position..];
    let mark = text.chars().next().unwrap_or_default();
    let run = text.chars().take_while(|character| *character == mark).count();
    let found = match mark {
        '\\' => escaped(text, position),
        '`' => code(text, position, run),
        '[' => link(text, position),
        _ => emphasis(line, position, mark, run),
    };
    let literal_bytes = if matches!(mark, '\\' | '[') { mark.len_utf8() } else { run };
    match (found, rest) {
        (Some(Found::Open), Rest::MayCome { held_bytes_max }) if text.len() <= held_bytes_max => Found::Open,
        (Some(Found::Open) | None, _) => Found::Text(literal_bytes),
        (Some(found), _) => found,
    }
}

fn escaped(text: &str, position: usize) -> Option<Found> {
    let Some(next) = text[1..].chars().next() else {
        return Some(Found::Open);
    };
    let inside = position + 1..position + 2;
    next.is_ascii_punctuation().then_some(Found::Verbatim { bytes: 2, inside, style: Style::PLAIN })
}

/// `` `code` ``: from so many backticks to exactly as many.
fn code(text: &str, position: usize, run: usize) -> Option<Found> {
    let mut at = run;
    while let Some(next) = text[at..].find('`') {
        let begin = at + next;
        let length = text[begin..].chars().take_while(|character| *character == '`').count();
        if length == run {
            // Another backtick may still come where the text ends, and make this a longer mark. It nearly never
            // does, and the word would come late for it.
            let inside = position + run..position + begin;
            return Some(Found::Verbatim { bytes: begin + run, inside, style: Style::CODE });
        }
        at = begin + length;
    }
    Some(Found::Open)
}

/// `[words](target)`.
fn link(text: &str, position: usize) -> Option<Found> {
    let Some(words_end) = text.find(']') else {
        return Some(Found::Open);
    };
    let after = &text[words_end + 1..];
    if after.is_empty() {
        return Some(Found::Open);
    }
    let target = after.strip_prefix('(')?;
    let Some(target_bytes) = target.find([')', ' ']) else {
        return Some(Found::Open);
    };
    if !target[target_bytes..].starts_with(')') || target_bytes == 0 || words_end == 1 {
        return None;
    }
    let target_begin = position + words_end + 2;
    Some(Found::Link {
        bytes: words_end + 2 + target_bytes + 1,
        words: position + 1..position + words_end,
        target: target_begin..target_begin + target_bytes,
    })
}

/// `*so*`, `**so**`, `***so***`, the same with `_`, and `~~so~~`. A mark opens before a letter and closes after
/// one, and `_` only at the edges of words: names of variables have it inside.
fn emphasis(line: &str, position: usize, mark: char, run: usize) -> Option<Found> {
    let style = match (mark, run) {
        ('~', 2) => Style::STRUCK,
        ('*' | '_', 1) => Style::ITALIC,
        ('*' | '_', 2) => Style::BOLD,
        ('*' | '_', 3) => Style::BOLD.and(Style::ITALIC),
        _ => return if line.len() == position + run && run < 3 { Some(Found::Open) } else { None },
    };
    let before = line[..position].chars().next_back();
    if mark == '_' && before.is_some_and(char::is_alphanumeric) {
        return None;
    }
    let begin = position + run;
    match line[begin..].chars().next() {
        None => return Some(Found::Open),
        Some(next) if next.is_whitespace() => return None,
        Some(_) => {}
    }
    let mut at = begin;
    loop {
        let Some(next) = line[at..].find([mark, '`', '\\']) else {
            return Some(Found::Open);
        };
        let end = at + next;
        let character = line[end..].chars().next().unwrap_or_default();
        let length = line[end..].chars().take_while(|it| *it == character).count();
        if character != mark {
            at = after_verbatim(line, end, character, length);
            continue;
        }
        let follower = line[end + length..].chars().next();
        if follower.is_none() && length < run {
            return Some(Found::Open);
        }
        let is_after_letter = line[..end].chars().next_back().is_some_and(|last| !last.is_whitespace());
        let is_at_edge = mark != '_' || !follower.is_some_and(char::is_alphanumeric);
        if length == run && is_after_letter && is_at_edge {
            return Some(Found::Emphasis { bytes: end + run - position, inside: begin..end, style });
        }
        at = end + length;
    }
}

/// Marks inside of code, and escaped ones, close nothing.
fn after_verbatim(line: &str, position: usize, mark: char, run: usize) -> usize {
    if mark == '\\' {
        return position + 1 + line[position + 1..].chars().next().map_or(0, char::len_utf8);
    }
    match code(&line[position..], position, run) {
        Some(Found::Verbatim { bytes, .. }) => position + bytes,
        // Backticks without partners are text.
        _ => position + run,
    }
}

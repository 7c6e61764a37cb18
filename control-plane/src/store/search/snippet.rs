//! The piece of a text in which a search matches best, and what of it matches.

use std::ops::{ControlFlow, Range};

use super::{
    terms::{Hit, SearchTerms},
    tokens::{Budget, Kind, each_token},
};

/// Characters of a snippet.
pub(crate) const SNIPPET_CHARS_MAX: usize = 200;
/// Characters of a text in which a match is looked for.
pub(crate) const TEXT_CHARS_MAX: usize = 64 * 1024;
/// Characters of all texts of a page, as `Budget` counts them: some thirty milliseconds.
const PAGE_CHARS_MAX: usize = 512 * 1024;
/// Characters before the first match, for its context.
const LEAD_CHARS_MAX: usize = 60;
/// Places that are compared; the best of a text in which everything matches is among the first.
const PLACES_MAX: usize = 10_000;
/// What a distinct term, a whole word and any match count for a place.
const DISTINCT_WEIGHT: usize = 1000;
const EXACT_WEIGHT: usize = 10;

/// A piece of a text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Snippet {
    /// The piece; white space is one space.
    pub text: String,
    /// What matches in it, in characters, in order.
    pub highlights: Vec<Range<usize>>,
}

/// A match in the text.
struct Place {
    bytes: Range<usize>,
    /// Characters before it.
    char: usize,
    hit: Hit,
}

/// The snippets of a page's texts. Each text has the same part of the budget and what those
/// before it have left of theirs; where that does not reach a match, the snippet is as without.
pub(crate) fn snippets(texts: &[String], terms: &SearchTerms) -> Vec<Snippet> {
    let mut left = PAGE_CHARS_MAX;
    let snippets = texts.iter().enumerate().map(|(index, text)| {
        let share = (left / (texts.len() - index)).min(TEXT_CHARS_MAX);
        let mut budget = Budget(share);
        let snippet = snippet(text, terms, &mut budget);
        left -= share - budget.0;
        snippet
    });
    snippets.collect()
}

/// The snippet of a text; without a match its beginning.
fn snippet(text: &str, terms: &SearchTerms, budget: &mut Budget) -> Snippet {
    let places = places(text, terms, budget);
    let best = best(&places, terms);
    let start = match places.get(best.start) {
        Some(first) => lead(text, &places[best.clone()], first),
        None => 0,
    };
    cut(text, start, &places[best.start..])
}

fn places(text: &str, terms: &SearchTerms, budget: &mut Budget) -> Vec<Place> {
    let mut places: Vec<Place> = Vec::new();
    let (mut counted, mut chars) = (0, 0);
    let _ = each_token(text, budget, |token| {
        if let Some(hit) = terms.hit(&token) {
            let mut bytes = token.range.clone();
            if token.kind == Kind::Pair && !hit.is_exact {
                // A single character was searched for: it is the first of the two.
                let first = text[bytes.clone()].chars().next().map_or(0, char::len_utf8);
                bytes.end = bytes.start + first;
            }
            // Pairs overlap, so a token may begin before the end of the last, never before its start.
            chars += text[counted..bytes.start].chars().count();
            counted = bytes.start;
            places.push(Place { bytes, char: chars, hit });
        }
        if places.len() < PLACES_MAX { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    });
    places
}

/// The places of the best stretch that fits a snippet, by their numbers.
fn best(places: &[Place], terms: &SearchTerms) -> Range<usize> {
    let mut counts = vec![0usize; terms.len()];
    let (mut distinct, mut exact, mut start) = (0, 0, 0);
    let (mut best, mut best_score) = (0..0, 0);
    for (index, place) in places.iter().enumerate() {
        counts[place.hit.term] += 1;
        distinct += usize::from(counts[place.hit.term] == 1);
        exact += usize::from(place.hit.is_exact);
        // A token that begins within three quarters of the snippet mostly ends within it.
        while place.char - places[start].char > SNIPPET_CHARS_MAX * 3 / 4 {
            let left = &places[start];
            counts[left.hit.term] -= 1;
            distinct -= usize::from(counts[left.hit.term] == 0);
            exact -= usize::from(left.hit.is_exact);
            start += 1;
        }
        let score = distinct * DISTINCT_WEIGHT + exact * EXACT_WEIGHT + (index + 1 - start);
        if score > best_score {
            (best, best_score) = (start..index + 1, score);
        }
    }
    best
}

/// Where the snippet begins: some words before its first match.
fn lead(text: &str, stretch: &[Place], first: &Place) -> usize {
    let last = stretch.last().map_or(first.char, |last| last.char);
    let room = (SNIPPET_CHARS_MAX * 3 / 4).saturating_sub(last - first.char).min(LEAD_CHARS_MAX);
    let before = &text[..first.bytes.start];
    let Some((earliest, _)) = before.char_indices().rev().take(room).last() else {
        return first.bytes.start;
    };
    if earliest == 0 {
        return 0;
    }
    // Not in the middle of a word, where there are words.
    let words = before[earliest..].char_indices().find(|(_, character)| character.is_whitespace());
    words.map_or(earliest, |(offset, _)| earliest + offset)
}

/// Cuts the snippet out, from this byte on, with the places that are wholly in it.
fn cut(text: &str, start: usize, places: &[Place]) -> Snippet {
    let mut snippet = Snippet::default();
    let mut places = places.iter().filter(|place| place.bytes.start >= start).peekable();
    let mut open: Vec<(usize, usize)> = Vec::new();
    let mut length = 0;
    for (offset, character) in text[start..].char_indices() {
        let at = start + offset;
        close(&mut open, &mut snippet.highlights, at, length);
        if length == SNIPPET_CHARS_MAX {
            break;
        }
        while let Some(place) = places.next_if(|place| place.bytes.start <= at) {
            open.push((length, place.bytes.end));
        }
        let is_space = character.is_whitespace() || character.is_control();
        if !is_space {
            snippet.text.push(character);
            length += 1;
        } else if !snippet.text.is_empty() && !snippet.text.ends_with(' ') {
            snippet.text.push(' ');
            length += 1;
        }
    }
    close(&mut open, &mut snippet.highlights, text.len(), length);
    snippet.text.truncate(snippet.text.trim_end().len());
    snippet
}

/// Ends the highlights that end at this byte; what overlaps or touches becomes one.
fn close(open: &mut Vec<(usize, usize)>, highlights: &mut Vec<Range<usize>>, at: usize, length: usize) {
    open.retain(|&(start, end)| {
        if end > at {
            return true;
        }
        match highlights.last_mut() {
            Some(last) if last.end >= start => {
                last.start = last.start.min(start);
                last.end = last.end.max(length);
            }
            _ => highlights.push(start..length),
        }
        false
    });
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(text: &str, search: &str) -> Snippet {
        let terms = SearchTerms::of(search).expect("there are some");
        snippet(text, &terms, &mut Budget(TEXT_CHARS_MAX))
    }

    /// A snippet with its highlights in brackets.
    fn shown(text: &str, search: &str) -> String {
        let snippet = of(text, search);
        let mut shown = String::new();
        for (index, character) in snippet.text.chars().enumerate() {
            shown.extend(snippet.highlights.iter().filter(|range| range.start == index).map(|_| '['));
            shown.push(character);
            shown.extend(snippet.highlights.iter().filter(|range| range.end == index + 1).map(|_| ']'));
        }
        shown
    }

    #[test]
    fn what_matches_is_highlighted_in_code_points() {
        for (text, search, expected) in [
            ("Deploy the API, deployed.", "deploy", "[Deploy] the API, [deployed]."),
            ("Ein  Élan\n\tist über", "uber elan", "Ein [Élan] ist [über]"),
            ("我住在東京都。東北", "東京都", "我住在[東京都]。東北"),
            ("我住在東京都。東北", "東", "我住在[東]京都。[東]北"),
            ("a_b %c", "b c", "a_[b] %[c]"),
            ("nothing here", "other", "nothing here"),
            ("", "other", ""),
            (" \n x", "x", "[x]"),
            ("e\u{301}t\u{301}", "et", "[e\u{301}t\u{301}]"),
        ] {
            assert_eq!(shown(text, search), expected, "{text} {search}");
        }
    }

    #[test]
    fn the_best_place_has_the_most_terms_and_whole_words() {
        let filler = "lorem ipsum dolor ".repeat(40);
        let text =
            format!("rollback {filler} the deployer {filler} we deploy, then rollback {filler} deploy");

        let snippet = shown(&text, "deploy rollback");

        assert!(snippet.contains("we [deploy], then [rollback] lorem"), "{snippet}");
        assert!(!snippet.starts_with("rem"), "it begins with a word: {snippet}");
        assert_eq!(of(&text, "deploy rollback").text.chars().count().min(180), 180);
    }

    #[test]
    fn of_a_match_beyond_what_is_looked_at_the_beginning_is_shown() {
        // A ligature of fifteen letters counts much more.
        for (filler, cost) in [(". ", 2), ("東", 1), ("\u{fdfa} ", 121)] {
            let near = format!("{} here", filler.repeat(TEXT_CHARS_MAX / cost - 8));
            let far = format!("{} here", filler.repeat(TEXT_CHARS_MAX / cost + 1));

            assert_eq!(of(&near, "here").highlights.len(), 1, "{filler}");
            assert_eq!(of(&far, "here").highlights, [], "{filler}");
            assert!(far.starts_with(of(&far, "here").text.as_str()), "{filler}");
        }
    }

    #[test]
    fn a_page_looks_at_no_more_than_its_budget_however_many_texts_there_are() {
        let terms = SearchTerms::of("here").expect("it is one");
        let begins = |chars: usize| format!("{} here", "東".repeat(chars));
        let is_found = |texts: &[String]| -> Vec<bool> {
            snippets(texts, &terms).iter().map(|snippet| !snippet.highlights.is_empty()).collect()
        };
        let share = PAGE_CHARS_MAX / 100;

        // A hundred large ones have equal parts of it.
        let far = vec![begins(share); 100];
        assert_eq!(is_found(&far), [false; 100]);
        let near = vec![begins(share - 10); 100];
        assert_eq!(is_found(&near), [true; 100]);
        // What small ones leave is there for those after them, up to what one may have.
        let mixed: Vec<String> =
            (0..100).map(|index| begins(if index < 98 { 10 } else { share * 9 })).collect();
        assert_eq!(is_found(&mixed), [true; 100]);
        assert_eq!(is_found(&[begins(TEXT_CHARS_MAX)]), [false]);
        assert!(is_found(&[]).is_empty());
    }

    proptest! {
        #[test]
        fn a_snippet_is_short_and_its_highlights_are_in_it(
            text in "(\\PC|[ \n\0]|deploy|ÉLAN|東京|ｶﾞ){0,80}", search in "deploy|elan x|東京|東|ガ"
        ) {
            let long = text.repeat(8);
            for text in [&text, &long] {
                let snippet = of(text, &search);
                let length = snippet.text.chars().count();
                prop_assert!(length <= SNIPPET_CHARS_MAX);
                let mut last = 0;
                for highlight in &snippet.highlights {
                    prop_assert!(last <= highlight.start && highlight.start < highlight.end);
                    last = highlight.end;
                }
                prop_assert!(last <= length);
            }
        }
    }
}

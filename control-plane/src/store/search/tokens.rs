//! Texts as tokens: what is stored of a text, and what is looked for.
//!
//! A word is a run of letters and digits; `snake_case`, `file.rs` and `can't` are two words
//! each. Scripts without spaces between words give each pair of neighbours, and the last
//! character alone, so that every piece of such a text is the beginning of some token.

use std::ops::{ControlFlow, Range};

use super::fold::{extends, folded, is_of_word, is_spaceless};

/// Characters of a token; what a word has beyond them is not compared.
pub(super) const TOKEN_CHARS_MAX: usize = 64;

/// Bytes of a run that are looked at together, so that a long one needs little memory: no
/// word is as long, and elsewhere one pair is lost where it is cut.
const RUN_BYTES_MAX: usize = 64 * 1024;

/// Whether a token stands for a word, or for a piece of a text without words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A word.
    Word,
    /// Two characters that stand together.
    Pair,
    /// The last character of such a run.
    Last,
}

/// A token, and the bytes of the text that it comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Token<'a> {
    pub(super) text: &'a str,
    pub(super) kind: Kind,
    pub(super) range: Range<usize>,
}

/// Hands out the tokens of a text in order, until it is told to stop.
pub(super) fn each_token(text: &str, mut take: impl FnMut(Token<'_>) -> ControlFlow<()>) -> ControlFlow<()> {
    let mut buffer = String::new();
    let mut rest = 0;
    while let Some(run) = next_run(text, rest) {
        rest = run.end;
        if text[run.clone()].is_ascii() {
            buffer.clear();
            let word = text[run.clone()].chars().take(TOKEN_CHARS_MAX);
            buffer.extend(word.map(|character| character.to_ascii_lowercase()));
            take(Token { text: &buffer, kind: Kind::Word, range: run })?;
        } else {
            tokens_of_run(&folded_run(text, run), &mut buffer, &mut take)?;
        }
    }
    ControlFlow::Continue(())
}

/// The next run of characters that belong to words, from this byte on.
fn next_run(text: &str, from: usize) -> Option<Range<usize>> {
    let start = from + text[from..].find(is_of_word)?;
    let window = &text[start..text.floor_char_boundary(start + RUN_BYTES_MAX)];
    let length = window.find(|character| !is_of_word(character)).unwrap_or(window.len());
    Some(start..start + length)
}

/// A character as it is compared, and where it comes from.
struct Folded {
    character: char,
    range: Range<usize>,
}

fn folded_run(text: &str, run: Range<usize>) -> Vec<Folded> {
    let mut characters = Vec::with_capacity(run.len());
    let mut start = run.start;
    while start < run.end {
        let extending = text[start..run.end].char_indices().skip(1).find(|(_, next)| !extends(*next));
        let end = extending.map_or(run.end, |(offset, _)| start + offset);
        let range = start..end;
        characters
            .extend(folded(&text[range.clone()]).map(|character| Folded { character, range: range.clone() }));
        start = end;
    }
    characters
}

fn tokens_of_run(
    run: &[Folded],
    buffer: &mut String,
    take: &mut impl FnMut(Token<'_>) -> ControlFlow<()>,
) -> ControlFlow<()> {
    for piece in run.chunk_by(|left, right| is_spaceless(left.character) == is_spaceless(right.character)) {
        if is_spaceless(piece[0].character) {
            for pair in piece.windows(2) {
                take(token(pair, Kind::Pair, buffer))?;
            }
            take(token(&piece[piece.len() - 1..], Kind::Last, buffer))?;
        } else {
            take(token(piece, Kind::Word, buffer))?;
        }
    }
    ControlFlow::Continue(())
}

fn token<'a>(characters: &[Folded], kind: Kind, buffer: &'a mut String) -> Token<'a> {
    buffer.clear();
    buffer.extend(characters.iter().take(TOKEN_CHARS_MAX).map(|folded| folded.character));
    let range = characters[0].range.start..characters[characters.len() - 1].range.end;
    Token { text: buffer, kind, range }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn tokens(text: &str) -> Vec<(String, Kind, Range<usize>)> {
        let mut tokens = Vec::new();
        let _ = each_token(text, |token| {
            tokens.push((token.text.to_owned(), token.kind, token.range));
            ControlFlow::Continue(())
        });
        tokens
    }

    fn texts(text: &str) -> Vec<String> {
        tokens(text).into_iter().map(|(text, _, _)| text).collect()
    }

    #[test]
    fn words_are_runs_of_letters_and_digits() {
        for (text, expected) in [
            ("", vec![]),
            (" -_%'\"\\ \u{300}", vec![]),
            ("Hello, World!", vec!["hello", "world"]),
            ("snake_case file.rs can't 3.14", vec!["snake", "case", "file", "rs", "can", "t", "3", "14"]),
            ("https://example.com/a?b=c", vec!["https", "example", "com", "a", "b", "c"]),
            ("x86 utf8", vec!["x86", "utf8"]),
            ("\u{1f600} ok\u{1f600}", vec!["ok"]),
        ] {
            assert_eq!(texts(text), expected, "{text}");
        }
    }

    #[test]
    fn letters_that_look_alike_are_the_same() {
        for (text, expected) in [
            ("Élan e\u{301}lan ELAN", vec!["elan", "elan", "elan"]),
            ("Ｆｕｌｌ ﬁne №5", vec!["full", "fine", "5"]),
            ("İstanbul", vec!["istanbul"]),
            ("ΟΔΟΣ οδος ΌΔΟΣ", vec!["οδοσ", "οδοσ", "οδοσ"]),
            ("Straße Ёлка", vec!["straße", "елка"]),
            ("co\u{ad}operate", vec!["cooperate"]),
            ("كِتَاب كتـاب", vec!["كتاب", "كتاب"]),
            ("한국어 \u{1112}\u{1161}\u{11ab}국어", vec!["한국어", "한국어"]),
            ("हिन्दी", vec!["हिन्दी"]),
        ] {
            assert_eq!(texts(text), expected, "{text}");
        }
    }

    #[test]
    fn scripts_without_spaces_give_pairs_and_the_last_character() {
        for (text, expected) in [
            ("東京都", vec!["東京", "京都", "都"]),
            ("字", vec!["字"]),
            ("iPhone手机。好", vec!["iphone", "手机", "机", "好"]),
            ("ﾃﾞｰﾀ データ", vec!["デー", "ータ", "タ", "デー", "ータ", "タ"]),
            ("かな が か\u{3099}", vec!["かな", "な", "が", "が"]),
            ("ไทย", vec!["ไท", "ทย", "ย"]),
        ] {
            assert_eq!(texts(text), expected, "{text}");
        }
    }

    #[test]
    fn a_token_says_where_it_comes_from() {
        assert_eq!(
            tokens("a, Élan東京"),
            [
                ("a".to_owned(), Kind::Word, 0..1),
                ("elan".to_owned(), Kind::Word, 3..8),
                ("東京".to_owned(), Kind::Pair, 8..14),
                ("京".to_owned(), Kind::Last, 11..14),
            ]
        );
        // The accent is a character of its own here.
        assert_eq!(tokens("e\u{301}t"), [("et".to_owned(), Kind::Word, 0..4)]);
    }

    #[test]
    fn what_a_word_has_beyond_its_limit_is_not_compared() {
        let long = "ä".repeat(TOKEN_CHARS_MAX + 1);

        assert_eq!(texts(&long), ["a".repeat(TOKEN_CHARS_MAX)]);
        assert_eq!(texts(&"x".repeat(TOKEN_CHARS_MAX + 1)), ["x".repeat(TOKEN_CHARS_MAX)]);
    }

    proptest! {
        #[test]
        fn every_token_is_short_comes_from_its_place_and_is_itself(
            text in "(\\PC|[\\x00\u{300}\u{e34}\u{1161}\u{ff9e}\u{200d}東京かｶ'\\\\ ])*"
        ) {
            for (token, kind, range) in tokens(&text) {
                prop_assert!((1..=TOKEN_CHARS_MAX).contains(&token.chars().count()));
                prop_assert!(token.chars().all(is_of_word), "{token:?}");
                prop_assert!(!text[range].is_empty());
                if kind == Kind::Word && token.chars().count() < TOKEN_CHARS_MAX {
                    prop_assert_eq!(texts(&token), vec![token.clone()]);
                }
            }
        }

        #[test]
        fn case_and_form_make_no_difference(text in "[a-zA-ZéÉäÄçСтаЯあア東 ]{0,40}") {
            let composed = texts(&text);
            prop_assert_eq!(&texts(&text.to_lowercase()), &composed);
            let decomposed: String = unicode_normalization::UnicodeNormalization::nfkd(text.as_str()).collect();
            prop_assert_eq!(&texts(&decomposed), &composed);
        }
    }
}

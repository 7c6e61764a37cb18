//! Texts as tokens: what is stored of a text, and what is looked for.
//!
//! A word is a run of letters and digits; `snake_case`, `file.rs` and `can't` are two words
//! each. Scripts without spaces between words give each pair of neighbours, and the last
//! character alone, so that every piece of such a text is the beginning of some token.

use std::ops::{ControlFlow, Range};

use super::fold::{Form, extends, folded, form, is_of_word, is_spaceless};

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

/// What a character counts that has to be folded: it takes so much longer.
const FOLDED_COST: usize = 8;

/// Characters that may still be looked at. Those that are folded count `FOLDED_COST` times, and as
/// those that they become: one may become eighteen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Budget(pub(super) usize);

impl Budget {
    fn spend(&mut self, chars: usize) -> ControlFlow<()> {
        let is_enough = chars <= self.0;
        self.0 = self.0.saturating_sub(chars);
        if is_enough { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    }
}

/// Hands out the tokens of a text in order, until it is told to stop or the budget is spent. A
/// word that is not over by then is none.
pub(super) fn each_token(
    text: &str,
    budget: &mut Budget,
    mut take: impl FnMut(Token<'_>) -> ControlFlow<()>,
) -> ControlFlow<()> {
    let mut buffer = String::new();
    let affordable = affordable(text, *budget);
    let mut rest = 0;
    while let Some(run) = next_run(&text[..affordable], rest) {
        budget.spend(chars(&text[rest..run.start]))?;
        rest = run.end;
        let is_cut = run.end == affordable && affordable < text.len();
        if text[run.clone()].is_ascii() {
            budget.spend(run.len())?;
            if is_cut {
                return budget.spend(usize::MAX);
            }
            buffer.clear();
            let word = text[run.clone()].chars().take(TOKEN_CHARS_MAX);
            buffer.extend(word.map(|character| character.to_ascii_lowercase()));
            take(Token { text: &buffer, kind: Kind::Word, range: run })?;
        } else {
            let mut folded = folded_run(text, run, budget);
            folded.is_cut |= is_cut;
            tokens_of_run(&folded, &mut buffer, &mut take)?;
            if folded.is_cut {
                return budget.spend(usize::MAX);
            }
        }
    }
    // What is left does not pay for the text that is left.
    budget.spend(chars(&text[rest..affordable]))?;
    if affordable < text.len() { budget.spend(usize::MAX) } else { ControlFlow::Continue(()) }
}

/// Where the beginning of a text ends that a budget may pay for: not between a character and its
/// marks. Nothing beyond is looked at, not even for the end of a word.
fn affordable(text: &str, budget: Budget) -> usize {
    match text.char_indices().nth(budget.0) {
        None => text.len(),
        Some((end, next)) if !extends(next) => end,
        Some((end, _)) => text[..end].rfind(|character| !extends(character)).unwrap_or(0),
    }
}

fn chars(text: &str) -> usize {
    text.chars().count()
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

/// A run as far as there was budget for it.
struct FoldedRun {
    characters: Vec<Folded>,
    /// Whether there is more of it.
    is_cut: bool,
}

fn folded_run(text: &str, run: Range<usize>, budget: &mut Budget) -> FoldedRun {
    let mut characters: Vec<Folded> = Vec::with_capacity(run.len().min(budget.0));
    let mut start = run.start;
    while start < run.end {
        let extending = text[start..run.end].char_indices().skip(1).find(|(_, next)| !extends(*next));
        let end = extending.map_or(run.end, |(offset, _)| start + offset);
        let (cluster, range) = (&text[start..end], start..end);
        let before = characters.len();
        let mut cost = chars(cluster);
        match form(cluster) {
            Form::Nothing => {}
            Form::One(character) => characters.push(Folded { character, range }),
            Form::Other => {
                let folded = folded(cluster);
                characters.extend(folded.map(|character| Folded { character, range: range.clone() }));
                cost = cost.max(characters.len() - before) * FOLDED_COST;
            }
        }
        if budget.spend(cost).is_break() {
            characters.truncate(before);
            return FoldedRun { characters, is_cut: true };
        }
        start = end;
    }
    FoldedRun { characters, is_cut: false }
}

fn tokens_of_run(
    run: &FoldedRun,
    buffer: &mut String,
    take: &mut impl FnMut(Token<'_>) -> ControlFlow<()>,
) -> ControlFlow<()> {
    let is_of_same =
        |left: &Folded, right: &Folded| is_spaceless(left.character) == is_spaceless(right.character);
    let mut pieces = run.characters.chunk_by(is_of_same).peekable();
    while let Some(piece) = pieces.next() {
        let is_whole = !run.is_cut || pieces.peek().is_some();
        if is_spaceless(piece[0].character) {
            for pair in piece.windows(2) {
                take(token(pair, Kind::Pair, buffer))?;
            }
            if is_whole {
                take(token(&piece[piece.len() - 1..], Kind::Last, buffer))?;
            }
        } else if is_whole {
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
        within(text, usize::MAX).0
    }

    /// The tokens of a text that a budget pays for, and what is left of it.
    fn within(text: &str, chars: usize) -> (Vec<(String, Kind, Range<usize>)>, usize) {
        let mut tokens = Vec::new();
        let mut budget = Budget(chars);
        let _ = each_token(text, &mut budget, |token| {
            tokens.push((token.text.to_owned(), token.kind, token.range));
            ControlFlow::Continue(())
        });
        (tokens, budget.0)
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
            ("Straße STRASSE STRAẞE Ёлка", vec!["strasse", "strasse", "strasse", "елка"]),
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

    #[test]
    fn a_budget_counts_what_is_looked_at_as_it_is_compared() {
        for (text, cost) in [
            ("", 0),
            ("ab, cd", 6),
            ("Ab - é", 6),
            ("e\u{301}t", 3),
            ("東京都。", 4),
            // Fifteen letters and three spaces, which do not count.
            ("\u{fdfa}\u{fdfa}", 2 * 15 * FOLDED_COST),
            ("हि", 2 * FOLDED_COST),
            ("ß", 2 * FOLDED_COST),
        ] {
            let (all, left) = within(text, 1000);
            assert_eq!(1000 - left, cost, "{text}");
            assert_eq!(within(text, cost), (all, 0), "{text}");
            assert!(cost == 0 || within(text, cost - 1).1 == 0, "{text}");
        }
    }

    #[test]
    fn a_word_that_the_budget_ends_in_is_none() {
        let within = |text: &str, chars| -> Vec<String> {
            within(text, chars).0.into_iter().map(|(text, _, _)| text).collect()
        };
        for (text, chars, expected) in [
            ("one two", 0, vec![]),
            ("one two", 6, vec!["one"]),
            ("one two", 7, vec!["one", "two"]),
            ("one é", 4, vec!["one"]),
            ("été été", 6, vec!["ete"]),
            ("\u{fdfa} x", 119, vec![]),
            ("\u{fdfa} x", 121, vec!["صلىاللهعليهوسلم"]),
            ("東京都市", 3, vec!["東京", "京都"]),
            ("東京iphone", 5, vec!["東京", "京"]),
            ("... x", 3, vec![]),
        ] {
            assert_eq!(within(text, chars), expected, "{text} {chars}");
        }
    }

    #[test]
    fn of_a_text_that_grows_eighteenfold_no_more_is_folded_than_the_budget_pays_for() {
        for text in ["\u{fdfa}", "\u{fdfa}\u{301}", "\u{3c7}\u{344}", "東", "é", "ﬃ"] {
            let text = text.repeat(20_000);
            let mut budget = Budget(1000);
            let run = folded_run(&text, 0..text.len(), &mut budget);
            assert!(run.is_cut && run.characters.len() <= 1000 && budget == Budget(0), "{text:.4}");
        }
    }

    proptest! {
        #[test]
        fn less_budget_gives_the_beginning_of_the_tokens(
            text in "(\\PC|[ \u{301}\u{fdfa}東京aß]){0,60}", chars in 0usize..400
        ) {
            let all = tokens(&text);
            let (some, left) = within(&text, chars);
            prop_assert!(all.starts_with(&some), "{some:?}");
            prop_assert!(left <= chars && (left == 0 || some == all));
        }

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
        fn case_and_form_make_no_difference(text in "[a-zA-ZéÉäÄçßСтаЯあア東 ]{0,40}") {
            let composed = texts(&text);
            prop_assert_eq!(&texts(&text.to_lowercase()), &composed);
            let decomposed: String = unicode_normalization::UnicodeNormalization::nfkd(text.as_str()).collect();
            prop_assert_eq!(&texts(&decomposed), &composed);
        }
    }
}

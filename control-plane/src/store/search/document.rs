//! What is stored with a text so that it is found: a `tsvector` literal.

use std::{collections::HashMap, fmt::Write as _, ops::ControlFlow};

use super::tokens::{Budget, each_token};

/// Distinct tokens that a message is found by; what it has beyond them is too much for an index.
pub(super) const TOKENS_MAX: usize = 4096;
/// Characters of a message by whose words it is found, as `Budget` counts them: some milliseconds
/// at most, which a write takes between the turns of others.
const CHARS_MAX: usize = 128 * 1024;
/// Places of a token that count for the rank: more of them say nothing more.
const POSITIONS_MAX: usize = 8;
/// The last place that a `tsvector` can name.
const POSITION_LAST: u16 = 16_383;
/// Bytes of a document, roughly: half of what a `tsvector` may have.
const BYTES_MAX: usize = 512 * 1024;
/// What a lexeme has in a document beside its token: prefix, header, places.
const LEXEME_BYTES: usize = 8 + 4 + 2 + 2 * POSITIONS_MAX;

/// The tokens of a text with their places.
#[derive(Debug, Default)]
pub(super) struct Document {
    tokens: HashMap<String, Vec<u16>>,
    position: u16,
    bytes: usize,
}

impl Document {
    pub(super) fn of<'a>(texts: impl Iterator<Item = &'a str>) -> Self {
        let mut document = Self::default();
        let mut budget = Budget(CHARS_MAX);
        for text in texts {
            if each_token(text, &mut budget, |token| document.take(token.text)).is_break() {
                break;
            }
        }
        document
    }

    pub(super) fn is_empty(&self) -> bool {
        self.tokens.is_empty()
    }

    fn take(&mut self, token: &str) -> ControlFlow<()> {
        self.position = (self.position + 1).min(POSITION_LAST);
        if let Some(positions) = self.tokens.get_mut(token) {
            if positions.len() < POSITIONS_MAX && positions.last() != Some(&self.position) {
                positions.push(self.position);
            }
            return ControlFlow::Continue(());
        }
        self.bytes += LEXEME_BYTES + token.len();
        if self.tokens.len() == TOKENS_MAX || self.bytes > BYTES_MAX {
            return ControlFlow::Break(());
        }
        self.tokens.insert(token.to_owned(), vec![self.position]);
        ControlFlow::Continue(())
    }

    /// Its lexemes begin with this prefix.
    pub(super) fn literal(&self, prefix: &str) -> String {
        let mut literal = String::with_capacity(self.bytes);
        for (token, positions) in &self.tokens {
            // Tokens are letters, digits and marks: nothing that would have to be escaped.
            write!(literal, "'{prefix}{token}'").expect("a String takes it");
            let mut separator = ':';
            for position in positions {
                write!(literal, "{separator}{position}").expect("a String takes it");
                separator = ',';
            }
            literal.push(' ');
        }
        literal
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lexemes(texts: &[&str]) -> Vec<String> {
        let literal = Document::of(texts.iter().copied()).literal("p.");
        let mut lexemes: Vec<String> = literal.split_whitespace().map(ToOwned::to_owned).collect();
        lexemes.sort();
        lexemes
    }

    #[test]
    fn a_document_has_each_token_once_with_its_places() {
        assert_eq!(
            lexemes(&["To be or", "not TO be"]),
            ["'p.be':2,6", "'p.not':4", "'p.or':3", "'p.to':1,5"]
        );
        assert!(Document::of(["", " - '\\ "].into_iter()).is_empty());
    }

    #[test]
    fn places_and_tokens_are_bounded() {
        let many = "a ".repeat(20_000);
        assert_eq!(lexemes(&[&many]), ["'p.a':1,2,3,4,5,6,7,8"]);
        let late = format!("{}b b", "a ".repeat(20_000));
        assert_eq!(lexemes(&[&late])[1], "'p.b':16383");

        let distinct: String = (0..10_000).fold(String::new(), |text, number| text + &format!("{number} "));
        assert_eq!(lexemes(&[&distinct]).len(), TOKENS_MAX);
        // What is said again and again is looked at no longer.
        for (text, cost) in [("again ", 6), ("東", 1), ("\u{fdfa} ", 121)] {
            let near = format!("{} near", text.repeat(CHARS_MAX / cost - 8));
            let far = format!("{} far", text.repeat(CHARS_MAX / cost + 1));
            assert!(lexemes(&[&near]).iter().any(|lexeme| lexeme.starts_with("'p.near'")), "{text}");
            assert!(!lexemes(&[&far]).iter().any(|lexeme| lexeme.starts_with("'p.far'")), "{text}");
            assert!(!lexemes(&[&far, "far"]).iter().any(|lexeme| lexeme.starts_with("'p.far'")), "{text}");
        }
        // Of the largest tokens fewer fit.
        let mut document = Document::default();
        let large = |number: usize| format!("{number:04}{}", "𐐷".repeat(60));
        assert!((0..5000).any(|number| document.take(&large(number)).is_break()));
        let literal = document.literal("12345678");
        assert!((300_000..700_000).contains(&literal.len()), "{}", literal.len());
    }
}

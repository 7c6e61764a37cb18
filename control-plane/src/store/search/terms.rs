//! What is searched for: words that a text contains, all of them, each at least as the
//! beginning of one.

use std::{fmt::Write as _, ops::ControlFlow};

use super::tokens::{Budget, Kind, Token, each_token};

/// Terms of a search; each is a look into the index for every stretch of time.
pub(crate) const TERMS_MAX: usize = 64;

/// One of them.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Term {
    token: String,
    /// What the term was cut from.
    kind: Kind,
}

/// What is searched for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SearchTerms {
    terms: Vec<Term>,
    /// What they begin with: most tokens of a text begin with something else.
    firsts: Vec<char>,
}

/// Why a text is nothing to search for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoTerms {
    /// It has no letter and no digit.
    Empty,
    /// It has more than `TERMS_MAX`.
    TooMany,
}

/// How a token answers a search.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Hit {
    /// The term, by its number.
    pub(super) term: usize,
    /// Whether it is the term, and not only begins with it.
    pub(super) is_exact: bool,
}

impl SearchTerms {
    /// The terms of a text.
    ///
    /// # Errors
    ///
    /// Why there are none.
    pub(crate) fn of(text: &str) -> Result<Self, NoTerms> {
        let mut terms: Vec<Term> = Vec::new();
        let mut pair_end = None;
        // It is as short as a filter.
        let _ = each_token(text, &mut Budget(usize::MAX), |token| {
            // The last character is in the pair before it, and would match much more alone.
            let is_covered = token.kind == Kind::Last && pair_end == Some(token.range.end);
            pair_end = (token.kind == Kind::Pair).then_some(token.range.end);
            if !is_covered && terms.iter().all(|term| term.token != token.text) {
                terms.push(Term { token: token.text.to_owned(), kind: token.kind });
            }
            if terms.len() > TERMS_MAX { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        match terms.len() {
            0 => Err(NoTerms::Empty),
            1..=TERMS_MAX => {
                let firsts = terms.iter().filter_map(|term| term.token.chars().next()).collect();
                Ok(Self { terms, firsts })
            }
            _ => Err(NoTerms::TooMany),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.terms.len()
    }

    /// The `tsquery` of all terms as beginnings, for lexemes with this prefix.
    pub(in crate::store) fn beginnings(&self, prefix: &str) -> String {
        self.query(prefix, ":*")
    }

    /// The same of whole words.
    pub(in crate::store) fn words(&self, prefix: &str) -> String {
        self.query(prefix, "")
    }

    fn query(&self, prefix: &str, suffix: &str) -> String {
        let mut query = String::new();
        for term in &self.terms {
            let and = if query.is_empty() { "" } else { " & " };
            // A pair is a token, never the beginning of a longer one.
            let suffix = if term.kind == Kind::Pair { "" } else { suffix };
            write!(query, "{and}'{prefix}{}'{suffix}", term.token).expect("a String takes it");
        }
        query
    }

    /// How a token of a text answers, if it does.
    pub(super) fn hit(&self, token: &Token<'_>) -> Option<Hit> {
        if !self.firsts.contains(&token.text.chars().next()?) {
            return None;
        }
        let exact = self.terms.iter().position(|term| term.token == token.text);
        let begins = |term: &Term| term.kind != Kind::Pair && token.text.starts_with(&term.token);
        match exact {
            Some(term) => Some(Hit { term, is_exact: true }),
            None => Some(Hit { term: self.terms.iter().position(begins)?, is_exact: false }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(text: &str) -> String {
        SearchTerms::of(text).expect("there are some").beginnings("p.")
    }

    #[test]
    fn every_word_is_a_beginning_and_a_pair_is_a_pair() {
        for (text, expected) in [
            ("Deploy  the API", "'p.deploy':* & 'p.the':* & 'p.api':*"),
            ("a A a", "'p.a':*"),
            ("%_'\\ x", "'p.x':*"),
            ("東京都", "'p.東京' & 'p.京都'"),
            ("字 学", "'p.字':* & 'p.学':*"),
            ("iPhone手机 a", "'p.iphone':* & 'p.手机' & 'p.a':*"),
        ] {
            assert_eq!(query(text), expected, "{text}");
        }
        assert_eq!(SearchTerms::of("a 東").map(|terms| terms.words("p.")), Ok("'p.a' & 'p.東'".to_owned()));
    }

    #[test]
    fn what_has_no_words_or_too_many_is_nothing_to_search_for() {
        let words = |count: usize| (0..count).fold(String::new(), |text, number| format!("{text} w{number}"));

        assert_eq!(SearchTerms::of(" -\"%"), Err(NoTerms::Empty));
        assert_eq!(SearchTerms::of(&words(TERMS_MAX)).map(|terms| terms.len()), Ok(TERMS_MAX));
        assert_eq!(SearchTerms::of(&words(TERMS_MAX + 1)), Err(NoTerms::TooMany));
    }
}

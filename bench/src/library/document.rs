//! What a text is found by, in the form in which replicas store it: its words, and of Han each pair of
//! neighbours and the last character alone, behind a prefix that hashes owner and bucket; with places.
//!
//! Only for texts that are made here: small letters, digits, Han. Whether the form is still that of the
//! replica is looked at each time, with a text that it has stored itself.

use std::collections::BTreeMap;

/// Places of a token, and the last place that there is.
const POSITIONS_MAX: usize = 8;
const POSITION_LAST: u16 = 16_383;

/// Tokens with their places.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Document {
    pub(super) tokens: BTreeMap<String, Vec<u16>>,
    position: u16,
}

impl Document {
    pub(super) fn of(text: &str) -> Self {
        let mut document = Self::default();
        for run in text.split(|character: char| !character.is_alphanumeric()).filter(|run| !run.is_empty()) {
            if run.is_ascii() {
                document.take(run);
                continue;
            }
            let starts: Vec<usize> = run.char_indices().map(|(start, _)| start).collect();
            for (number, start) in starts.iter().enumerate() {
                let end = starts.get(number + 2).copied().unwrap_or(run.len());
                document.take(&run[*start..end]);
            }
        }
        document
    }

    fn take(&mut self, token: &str) {
        self.position = (self.position + 1).min(POSITION_LAST);
        match self.tokens.get_mut(token) {
            None => {
                self.tokens.insert(token.to_owned(), vec![self.position]);
            }
            Some(places) if places.len() < POSITIONS_MAX && places.last() != Some(&self.position) => {
                places.push(self.position);
            }
            Some(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(text: &str) -> Vec<(String, Vec<u16>)> {
        Document::of(text).tokens.into_iter().collect()
    }

    #[test]
    fn words_are_tokens_with_their_places() {
        let expected = [("be", vec![2, 6]), ("not", vec![4]), ("or", vec![3]), ("to", vec![1, 5])];

        assert_eq!(tokens("to be or. not to be"), expected.map(|(token, places)| (token.to_owned(), places)));
        assert_eq!(tokens(&"a ".repeat(20))[0].1.len(), POSITIONS_MAX);
    }

    #[test]
    fn han_gives_pairs_and_the_last_character() {
        let expected = [("京都", vec![2]), ("東京", vec![1]), ("都", vec![3])];

        assert_eq!(tokens("東京都。"), expected.map(|(token, places)| (token.to_owned(), places)));
    }
}

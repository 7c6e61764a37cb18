//! What people and models say: words as frequent as Zipf found them, and texts of a script without spaces.

use super::random::{Random, Zipf};

/// Words that there are.
const VOCABULARY: u32 = 30_000;
/// The common ones are short, as in any language.
const SHORT_WORDS: usize = 1_000;
const CONSONANTS: &[u8; 20] = b"bcdfghjklmnprstvwyzx";
const VOWELS: &[u8; 5] = b"aeiou";
/// Consonants with vowels.
const SYLLABLES: usize = CONSONANTS.len() * VOWELS.len();
/// No divisor of it is one of the syllables' number, so that no two ranks have the same word.
const SCATTER: usize = 7_919;
/// Characters of the other script that are used, from the first of the block of Han on.
const HAN: u32 = 2_000;
const HAN_FIRST: u32 = 0x4e00;
/// Texts in that script.
const HAN_PER_MILLE: usize = 50;
/// Words of a sentence.
const SENTENCE: usize = 12;

/// How often each word and each character is used.
#[derive(Debug)]
pub(super) struct Words {
    words: Zipf,
    han: Zipf,
}

impl Words {
    pub(super) fn new() -> Self {
        Self { words: Zipf::new(VOCABULARY), han: Zipf::new(HAN) }
    }

    /// A text of about so many words.
    pub(super) fn text(&self, random: &mut Random, words: usize) -> String {
        let count = words / 2 + random.below(words + 1) + 1;
        if random.happens(HAN_PER_MILLE) {
            return self.han_text(random, count);
        }
        let mut text = String::with_capacity(count * 7);
        for number in 0..count {
            text.push_str(match number {
                0 => "",
                number if number % SENTENCE == 0 => ". ",
                _ => " ",
            });
            push_word(&mut text, self.words.draw(random));
        }
        text
    }

    fn han_text(&self, random: &mut Random, count: usize) -> String {
        let mut text = String::with_capacity(count * 3);
        for number in 1..=count {
            text.push(han(self.han.draw(random)));
            if number % SENTENCE == 0 {
                text.push('。');
            }
        }
        text
    }
}

/// A character of the script without spaces, the most frequent first.
pub(crate) fn han(rank: usize) -> char {
    let offset = u32::try_from(rank).unwrap_or_default() % HAN;
    char::from_u32(HAN_FIRST + offset).unwrap_or('一')
}

/// The word of a rank, the most frequent first.
pub(crate) fn word(rank: usize) -> String {
    let mut text = String::new();
    push_word(&mut text, rank);
    text
}

fn push_word(text: &mut String, rank: usize) {
    let syllables = if rank < SHORT_WORDS { 2 } else { 3 };
    let mut left = rank * SCATTER % SYLLABLES.pow(syllables);
    for _ in 0..syllables {
        let syllable = left % SYLLABLES;
        text.push(char::from(CONSONANTS[syllable / VOWELS.len()]));
        text.push(char::from(VOWELS[syllable % VOWELS.len()]));
        left /= SYLLABLES;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_word_is_another() {
        let words: HashSet<String> = (0..VOCABULARY as usize).map(word).collect();

        assert_eq!(words.len(), VOCABULARY as usize);
        assert!(words.iter().all(|word| word.len() == 4 || word.len() == 6));
    }

    #[test]
    fn texts_have_words_of_both_kinds() {
        let (words, mut random) = (Words::new(), Random::new(1));
        let texts: Vec<String> = (0..200).map(|_| words.text(&mut random, 20)).collect();

        assert!(texts.iter().any(|text| text.is_ascii() && text.contains(' ')));
        assert!(texts.iter().any(|text| !text.is_ascii()));
        assert!(texts.iter().all(|text| !text.is_empty()));
    }
}

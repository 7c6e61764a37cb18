//! When characters count as the same, and which of them make words.
//!
//! Letters are compared in their compatibility form, lower-case, and without the marks that
//! people leave out when they type: accents, and the vowel points of Hebrew and Arabic.
//! Marks that spell, as in the scripts of India or Thailand, stay.

use unicode_normalization::{UnicodeNormalization, char::is_combining_mark};

/// Whether a character belongs to words.
pub(super) fn is_of_word(character: char) -> bool {
    if character.is_ascii() {
        return character.is_ascii_alphanumeric();
    }
    character.is_alphanumeric() || extends(character)
}

/// Whether a character belongs to the one before it: a mark, a joiner, the second half of a
/// Hangul syllable, or the voicing of half-width Katakana.
pub(super) fn extends(character: char) -> bool {
    !character.is_ascii()
        && (is_combining_mark(character)
            || matches!(character,
                '\u{ad}' | '\u{200c}' | '\u{200d}' | '\u{2060}' | '\u{1160}'..='\u{11ff}'
                | '\u{d7b0}'..='\u{d7ff}' | '\u{ff9e}' | '\u{ff9f}'))
}

/// What a character with those that extend it is compared as; empty if nothing is left.
pub(super) fn folded(cluster: &str) -> impl Iterator<Item = char> {
    cluster
        .nfkd()
        .filter(|&character| !is_left_out(character))
        .flat_map(char::to_lowercase)
        .map(|character| if character == 'ς' { 'σ' } else { character })
        .nfc()
        .filter(|&character| character.is_alphanumeric() || is_combining_mark(character))
}

/// Marks that are left out, and characters that only shape their neighbours.
fn is_left_out(character: char) -> bool {
    matches!(character,
        '\u{ad}' | '\u{300}'..='\u{36f}' | '\u{483}'..='\u{489}' | '\u{591}'..='\u{5c7}'
        | '\u{610}'..='\u{61a}' | '\u{640}' | '\u{64b}'..='\u{65f}' | '\u{670}' | '\u{6d6}'..='\u{6ed}'
        | '\u{1ab0}'..='\u{1aff}' | '\u{1dc0}'..='\u{1dff}' | '\u{200c}' | '\u{200d}' | '\u{2060}'
        | '\u{20d0}'..='\u{20ff}' | '\u{fe00}'..='\u{fe0f}' | '\u{fe20}'..='\u{fe2f}'
        | '\u{e0100}'..='\u{e01ef}')
}

/// Whether a character is of a script that writes no spaces between words: Han, Kana,
/// Bopomofo, Thai, Lao, Myanmar, Khmer. Hangul has spaces.
pub(super) fn is_spaceless(character: char) -> bool {
    matches!(character,
        '\u{e01}'..='\u{eff}' | '\u{1000}'..='\u{109f}' | '\u{1780}'..='\u{17ff}'
        | '\u{2e80}'..='\u{2fdf}' | '\u{3005}'..='\u{3007}' | '\u{3021}'..='\u{3029}'
        | '\u{3031}'..='\u{3035}' | '\u{3038}'..='\u{30ff}' | '\u{3105}'..='\u{312f}'
        | '\u{31a0}'..='\u{31bf}' | '\u{31f0}'..='\u{31ff}' | '\u{3400}'..='\u{4dbf}'
        | '\u{4e00}'..='\u{9fff}' | '\u{a9e0}'..='\u{a9ff}' | '\u{aa60}'..='\u{aa7f}'
        | '\u{f900}'..='\u{faff}' | '\u{1aff0}'..='\u{1b16f}' | '\u{20000}'..='\u{3ffff}')
}

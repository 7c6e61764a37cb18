//! When characters count as the same, and which of them make words.
//!
//! Letters are compared in their compatibility form, lower-case, and without the marks that
//! people leave out when they type: accents, and the vowel points of Hebrew and Arabic.
//! Marks that spell, as in the scripts of India or Thailand, stay.

use std::{iter, sync::LazyLock};

use unicode_normalization::{UnicodeNormalization, char::is_combining_mark};

/// Characters below this one are looked up in tables: alphabets, and most marks. What Unicode says
/// of a character takes a hundred times as long to find out.
const TABLES_END: char = '\u{3000}';

/// Whether a character belongs to words.
pub(super) fn is_of_word(character: char) -> bool {
    static OF_WORDS: LazyLock<Vec<bool>> =
        LazyLock::new(|| ('\0'..TABLES_END).map(is_alphanumeric_or_extends).collect());
    match OF_WORDS.get(character as usize) {
        Some(&is_of_word) => is_of_word,
        // Emoji.
        None if matches!(character, '\u{1f300}'..='\u{1faff}') => false,
        None => is_own_form(character) || is_alphanumeric_or_extends(character),
    }
}

fn is_alphanumeric_or_extends(character: char) -> bool {
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

/// What a character with those that extend it is compared as, if that is quick to say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// Nothing is left of it.
    Nothing,
    /// One character.
    One(char),
    /// What `folded` gives.
    Other,
}

/// The form of a character with those that extend it.
pub(super) fn form(cluster: &str) -> Form {
    static FORMS: LazyLock<Vec<Form>> = LazyLock::new(|| ('\0'..TABLES_END).map(form_alone).collect());
    let mut characters = cluster.chars();
    let Some(first) = characters.next() else { return Form::Nothing };
    if characters.any(|extending| !is_left_out(extending)) {
        return Form::Other;
    }
    if is_own_form(first) {
        return Form::One(first);
    }
    FORMS.get(first as usize).copied().unwrap_or(Form::Other)
}

fn form_alone(character: char) -> Form {
    let text = String::from(character);
    let mut folded = folded(&text);
    match (folded.next(), folded.next()) {
        (None, _) => Form::Nothing,
        (Some(one), None) => Form::One(one),
        (Some(_), Some(_)) => Form::Other,
    }
}

/// Whether a character is compared as itself: ideographs, Kana and Hangul.
fn is_own_form(character: char) -> bool {
    matches!(character,
        '\u{3041}'..='\u{3096}' | '\u{30a1}'..='\u{30fa}' | '\u{3400}'..='\u{4dbf}'
        | '\u{4e00}'..='\u{9fff}' | '\u{ac00}'..='\u{d7a3}')
}

/// What a character with those that extend it is compared as; empty if nothing is left.
pub(super) fn folded(cluster: &str) -> impl Iterator<Item = char> {
    cluster
        .nfkd()
        .filter(|&character| !is_left_out(character))
        .flat_map(char::to_lowercase)
        .flat_map(|character| {
            let (character, second) = match character {
                'ς' => ('σ', None),
                'ß' => ('s', Some('s')),
                other => (other, None),
            };
            iter::once(character).chain(second)
        })
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_is_what_the_characters_are_folded_to() {
        for character in '\0'..=char::MAX {
            // Beyond, what is no form of its own is `Other`.
            let has_form = character < TABLES_END || is_own_form(character);
            for marks in ["", "\u{301}", "\u{344}\u{ad}"].iter().filter(|_| has_form) {
                let cluster = format!("{character}{marks}");
                match form(&cluster) {
                    Form::Nothing => assert_eq!(folded(&cluster).count(), 0, "{cluster:?}"),
                    Form::One(one) => assert!(folded(&cluster).eq([one]), "{cluster:?}"),
                    Form::Other => {}
                }
            }
            assert_eq!(is_of_word(character), is_alphanumeric_or_extends(character), "{character:?}");
        }
        assert_eq!(form("É\u{301}"), Form::One('e'));
        assert_eq!(form("東"), Form::One('東'));
        assert_eq!(form("\u{200d}"), Form::Nothing);
        assert_eq!(form("\u{fdfa}"), Form::Other);
    }
}

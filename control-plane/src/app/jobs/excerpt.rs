//! What a model gets to see of a chat whose title it shall write.
//!
//! The first turn says what the chat is for, the last three what has become of it. What
//! lies between is left out, and so is the rest of a text that is too long; a mark stands
//! in its place.

use std::fmt::Write as _;

use crate::store::TurnText;

/// An excerpt has at most this many bytes: a title needs no more, and each is paid for.
const EXCERPT_BYTES_MAX: usize = 16 * 1024;
/// Stands for what is left out.
const GAP: &str = "[...]";
/// What stands before the words of a user.
const PROMPT: &str = "User:";
/// What stands before the words of the model.
const ANSWER: &str = "Assistant:";
/// What a text needs beside its own bytes: its name, a mark, and what separates them.
const FRAME_BYTES: usize = 32;
/// The turns at a chat's end that are shown.
const LAST_TURNS: usize = 3;

/// Characters of a text that are enough for any excerpt.
pub(super) const TEXT_CHARS_MAX: i32 = 16 * 1024;

/// The excerpt of a chat by its turns: the first two and the last three, each once, in
/// order. Empty when nobody has said anything.
pub(super) fn excerpt(turns: &[TurnText]) -> String {
    // More than these, and turns lie between the first one and the last three: the second
    // one is among them, and was asked for to tell.
    let has_gap = turns.len() > 1 + LAST_TURNS;
    let last = turns.len().saturating_sub(LAST_TURNS);
    let shown = turns.iter().enumerate().filter(|(place, _)| !has_gap || *place == 0 || *place >= last);
    let shown: Vec<&TurnText> = shown.map(|(_, turn)| turn).collect();
    let texts =
        shown.iter().flat_map(|turn| [&turn.prompt, &turn.answer]).filter(|text| is_said(text)).count();
    let room = (EXCERPT_BYTES_MAX / texts.max(1)).saturating_sub(FRAME_BYTES);
    let mut excerpt = String::new();
    for (place, turn) in shown.into_iter().enumerate() {
        if has_gap && place == 1 {
            excerpt.push_str(GAP);
            excerpt.push_str("\n\n");
        }
        for (who, text) in [(PROMPT, &turn.prompt), (ANSWER, &turn.answer)] {
            if is_said(text) {
                let (text, mark) = cut(text.trim(), room);
                write!(excerpt, "{who} {text}{mark}\n\n").expect("writing to a String cannot fail");
            }
        }
    }
    excerpt.truncate(excerpt.trim_end().len());
    excerpt
}

fn is_said(text: &str) -> bool {
    !text.trim().is_empty()
}

/// The beginning of a text, and the mark that stands for the rest.
fn cut(text: &str, bytes_max: usize) -> (&str, &'static str) {
    if text.len() <= bytes_max {
        return (text, "");
    }
    (&text[..text.floor_char_boundary(bytes_max)], GAP)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn turn(no: usize) -> TurnText {
        TurnText { prompt: format!("ask {no}"), answer: format!("say {no}") }
    }

    fn lines(turns: &[TurnText]) -> Vec<String> {
        excerpt(turns).split("\n\n").map(str::to_owned).collect()
    }

    #[test]
    fn a_chat_that_begins_shows_its_first_message_alone() {
        let begun = [TurnText { prompt: "  What is in here?\n".to_owned(), answer: String::new() }];

        assert_eq!(excerpt(&begun), "User: What is in here?");
        assert_eq!(excerpt(&[TurnText::default()]), "");
        assert_eq!(excerpt(&[]), "");
    }

    #[test]
    fn up_to_four_turns_are_shown_without_a_gap() {
        let turns = [turn(1), turn(2), turn(3), turn(4)];

        for count in 1..=4 {
            let shown = excerpt(&turns[..count]);
            assert!(!shown.contains(GAP), "{shown}");
            assert_eq!(shown.matches("ask").count(), count);
        }
    }

    #[test]
    fn of_a_longer_chat_the_first_turn_and_the_last_three_are_shown_with_a_mark_between() {
        let known = [turn(1), turn(2), turn(7), turn(8), turn(9)];

        assert_eq!(
            lines(&known),
            [
                "User: ask 1",
                "Assistant: say 1",
                "[...]",
                "User: ask 7",
                "Assistant: say 7",
                "User: ask 8",
                "Assistant: say 8",
                "User: ask 9",
                "Assistant: say 9",
            ]
        );
    }

    #[test]
    fn long_texts_are_cut_at_characters_and_marked_and_the_whole_keeps_its_bound() {
        let long = TurnText { prompt: "\u{2603}".repeat(10_000), answer: "x".repeat(40_000) };
        for turns in [vec![long.clone()], vec![long.clone(); 5], vec![long.clone(), turn(2)]] {
            let shown = excerpt(&turns);
            assert!(shown.len() <= EXCERPT_BYTES_MAX, "{} bytes", shown.len());
            assert!(shown.len() > EXCERPT_BYTES_MAX / 3, "{} bytes", shown.len());
            assert!(shown.contains("\u{2603}[...]"));
        }
    }
}

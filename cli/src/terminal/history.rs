//! What was typed before, to be typed again. Pure, and in memory only.

use std::collections::VecDeque;

/// Entries that are kept.
const ENTRIES_MAX: usize = 1000;
/// Bytes that they may have together. The oldest go first; the last one stays.
const BYTES_MAX: usize = 4 * 1024 * 1024;

/// The entries, and where among them a person is.
#[derive(Default)]
pub(super) struct History {
    /// Oldest first.
    entries: VecDeque<String>,
    /// The entry that is shown; none while something new is typed.
    shown: Option<usize>,
    /// What was being typed when the first one was asked for.
    draft: String,
}

impl History {
    /// Keeps what was entered.
    pub(super) fn remember(&mut self, text: &str) {
        self.shown = None;
        self.draft.clear();
        if text.is_empty() || self.entries.back().is_some_and(|last| last == text) {
            return;
        }
        self.entries.push_back(text.to_owned());
        while self.entries.len() > 1 && self.is_too_large() {
            self.entries.pop_front();
        }
    }

    /// Keeps what was entered before this began, the newest first, as far as there is room.
    pub(super) fn recall(&mut self, older: impl Iterator<Item = String>) {
        if self.shown.is_some() {
            // Somebody is looking at what would move.
            return;
        }
        for text in older.filter(|text| !text.is_empty()) {
            self.entries.push_front(text);
            if self.is_too_large() {
                self.entries.pop_front();
                return;
            }
        }
    }

    fn is_too_large(&self) -> bool {
        let bytes: usize = self.entries.iter().map(String::len).sum();
        self.entries.len() > ENTRIES_MAX || bytes > BYTES_MAX
    }

    /// The entry before the one that is shown.
    pub(super) fn older(&mut self, typed: &str) -> Option<&str> {
        let position = match self.shown {
            None => {
                typed.clone_into(&mut self.draft);
                self.entries.len().checked_sub(1)?
            }
            Some(position) => position.checked_sub(1)?,
        };
        self.shown = Some(position);
        self.entries.get(position).map(String::as_str)
    }

    /// The entry after the one that is shown; after the last one, what was being typed.
    pub(super) fn newer(&mut self) -> Option<&str> {
        let position = self.shown? + 1;
        if position == self.entries.len() {
            self.shown = None;
            return Some(&self.draft);
        }
        self.shown = Some(position);
        self.entries.get(position).map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn older_entries_come_and_the_draft_comes_back() {
        let mut history = History::default();
        ["one", "two", "two", ""].iter().for_each(|text| history.remember(text));

        assert_eq!(history.older("dra"), Some("two"));
        assert_eq!(history.older("two"), Some("one"));
        assert_eq!(history.older("one"), None);
        assert_eq!(history.newer(), Some("two"));
        assert_eq!(history.newer(), Some("dra"));
        assert_eq!(history.newer(), None);
    }

    #[test]
    fn what_was_written_elsewhere_comes_before_what_was_typed_here() {
        let mut history = History::default();
        history.remember("here");

        history.recall(["second", "", "first"].map(str::to_owned).into_iter());

        assert_eq!(history.entries, ["first", "second", "here"]);
        history.recall([String::from("x").repeat(BYTES_MAX)].into_iter());
        assert_eq!(history.entries.len(), 3, "it has no room");
    }

    #[test]
    fn it_is_bounded_by_entries_and_bytes_and_keeps_the_newest() {
        let mut history = History::default();
        (0..ENTRIES_MAX + 5).for_each(|number| history.remember(&number.to_string()));
        assert_eq!((history.entries.len(), history.entries[0].as_str()), (ENTRIES_MAX, "5"));

        for number in 0..5 {
            history.remember(&format!("{number}{}", "x".repeat(BYTES_MAX / 3)));
        }
        assert_eq!(history.entries.iter().map(|entry| &entry[..1]).collect::<Vec<_>>(), ["3", "4"]);
        history.remember(&"y".repeat(BYTES_MAX + 1));
        assert_eq!(history.entries.len(), 1);
    }
}

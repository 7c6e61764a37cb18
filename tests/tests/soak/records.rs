//! What users were promised, to be found again in the database.

use std::{
    cell::{RefCell, RefMut},
    collections::{BTreeMap, BTreeSet},
};

/// What was answered with OK, and what may have been done where nobody knows.
#[derive(Debug, Default)]
pub(crate) struct Records(RefCell<Recorded>);

#[derive(Clone, Debug, Default)]
pub(crate) struct Recorded {
    /// Requests that had an id.
    pub(crate) requests: BTreeSet<String>,
    /// Words that entered the history at once, by chat. Every chat that users created is here.
    pub(crate) entered: BTreeMap<String, BTreeSet<String>>,
    /// Words of calls that may have been done: they are in the history, in the queue, or nowhere.
    pub(crate) possible: BTreeMap<String, BTreeSet<String>>,
    /// Messages that were queued, or whose place in the queue was used, by id.
    pub(crate) queued: BTreeMap<String, Queued>,
    /// Edits of the history, each of which cleared the queue: chat and snapshot.
    pub(crate) edits: BTreeSet<(String, i64)>,
    /// Chats whose history may have been edited.
    pub(crate) possible_edits: BTreeSet<String>,
    /// Copies of chats.
    pub(crate) forks: Vec<Fork>,
}

/// What is known of a queued message.
#[derive(Clone, Debug, Default)]
pub(crate) struct Queued {
    /// What it was accepted with, by the snapshot that it made: the last is what it says.
    pub(crate) words: BTreeMap<i64, String>,
    /// What it may say instead.
    pub(crate) possible: BTreeSet<String>,
    /// The snapshot in which it was deleted by name.
    pub(crate) deleted: Option<i64>,
    /// Whether it may have been deleted by name.
    pub(crate) possibly_deleted: bool,
}

/// A copy of a chat.
#[derive(Clone, Debug)]
pub(crate) struct Fork {
    pub(crate) copy: String,
    pub(crate) source: String,
    /// The last message to copy.
    pub(crate) target: i64,
    /// Version of the source's history before it was copied, and after: one of those from the
    /// one to the other is what was copied.
    pub(crate) history_before: i64,
    pub(crate) history_after: i64,
}

impl Records {
    pub(crate) fn recorded(&self) -> Recorded {
        self.edit().clone()
    }

    pub(crate) fn accepted(&self, request_id: &str) {
        self.edit().requests.insert(request_id.to_owned());
    }

    pub(crate) fn entered(&self, chat: &str, words: String) {
        self.edit().entered.entry(chat.to_owned()).or_default().insert(words);
    }

    pub(crate) fn may_be_said(&self, chat: &str, words: String) {
        self.edit().possible.entry(chat.to_owned()).or_default().insert(words);
    }

    /// It says so from this snapshot on.
    pub(crate) fn queued(&self, queued: &str, snapshot: i64, words: String) {
        self.change(queued, |queued| {
            queued.words.insert(snapshot, words);
        });
    }

    pub(crate) fn may_be_queued(&self, queued: &str, words: String) {
        self.change(queued, |queued| {
            queued.possible.insert(words);
        });
    }

    pub(crate) fn deleted(&self, queued: &str, snapshot: i64) {
        self.change(queued, |queued| queued.deleted = Some(snapshot));
    }

    pub(crate) fn may_be_deleted(&self, queued: &str) {
        self.change(queued, |queued| queued.possibly_deleted = true);
    }

    pub(crate) fn edited(&self, chat: &str, snapshot: i64) {
        self.edit().edits.insert((chat.to_owned(), snapshot));
    }

    pub(crate) fn may_be_edited(&self, chat: &str) {
        self.edit().possible_edits.insert(chat.to_owned());
    }

    pub(crate) fn forked(&self, fork: Fork) {
        self.edit().forks.push(fork);
    }

    fn change(&self, queued: &str, change: impl FnOnce(&mut Queued)) {
        change(self.edit().queued.entry(queued.to_owned()).or_default());
    }

    fn edit(&self) -> RefMut<'_, Recorded> {
        self.0.borrow_mut()
    }
}

/// How often something happened, and calls were refused for which reason: what a run was
/// made of.
#[derive(Debug, Default)]
pub(crate) struct Tally(RefCell<BTreeMap<String, usize>>);

impl Tally {
    pub(crate) fn count(&self, what: &str) {
        *self.0.borrow_mut().entry(what.to_owned()).or_default() += 1;
    }

    pub(crate) fn times(&self, what: &str) -> usize {
        self.0.borrow().get(what).copied().unwrap_or_default()
    }

    pub(crate) fn counted(&self) -> BTreeMap<String, usize> {
        self.0.borrow().clone()
    }
}

//! What users were promised, to be found again in the database.

use std::{
    cell::{RefCell, RefMut},
    collections::{BTreeMap, BTreeSet},
};

/// What was answered with OK.
#[derive(Debug, Default)]
pub(crate) struct Records(RefCell<Recorded>);

#[derive(Clone, Debug, Default)]
pub(crate) struct Recorded {
    /// Requests that had an id.
    pub(crate) requests: BTreeSet<String>,
    /// Words by chat.
    pub(crate) words: BTreeMap<String, Vec<String>>,
    /// Queued messages whose words others took the place of.
    pub(crate) rewritten: BTreeSet<String>,
    /// Queued messages that were deleted by name.
    pub(crate) deleted: BTreeSet<String>,
    /// Chats that are copies.
    pub(crate) forks: BTreeSet<String>,
}

impl Records {
    pub(crate) fn recorded(&self) -> Recorded {
        self.edit().clone()
    }

    pub(crate) fn accepted(&self, request_id: &str) {
        self.edit().requests.insert(request_id.to_owned());
    }

    pub(crate) fn wrote(&self, chat: &str, words: &str) {
        self.edit().words.entry(chat.to_owned()).or_default().push(words.to_owned());
    }

    /// Of two who rewrote the same message, one has the last word.
    pub(crate) fn rewrote(&self, queued: &str) {
        self.edit().rewritten.insert(queued.to_owned());
    }

    pub(crate) fn deleted(&self, queued: &str) {
        self.edit().deleted.insert(queued.to_owned());
    }

    pub(crate) fn forked(&self, chat: &str) {
        self.edit().forks.insert(chat.to_owned());
    }

    fn edit(&self) -> RefMut<'_, Recorded> {
        self.0.borrow_mut()
    }
}

/// How often users did what, and were refused for which reason: what a run was made of.
#[derive(Debug, Default)]
pub(crate) struct Tally(RefCell<BTreeMap<String, usize>>);

impl Tally {
    pub(crate) fn count(&self, what: &str) {
        *self.0.borrow_mut().entry(what.to_owned()).or_default() += 1;
    }

    pub(crate) fn counted(&self) -> BTreeMap<String, usize> {
        self.0.borrow().clone()
    }
}

//! What `ListChats` is asked for: the language of its `q`, as a pure function.
//!
//! A filter is terms `key:value`, all of which must hold. A value is what stands up to the
//! next white space; within quotes white space belongs to it. Nothing in a value has a
//! meaning of its own: `%`, `_` and `*` are what they look like.

mod parse;
#[cfg(test)]
mod tests;

use chatplane_domain::{State, WorkspaceId};
use chrono::{DateTime, Utc};

pub(crate) use parse::parse;

/// Characters of a filter: a person writes a line, and a program no more than that.
pub(crate) const FILTER_CHARS_MAX: usize = 1024;
/// Labels of a filter; each is a condition on every chat that is looked at.
pub(crate) const LABELS_MAX: usize = 10;

/// Which chats are listed: those of which all of it holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ChatFilter {
    /// Whether archived ones are.
    pub archived: Archived,
    /// What they are doing.
    pub state: Option<State>,
    /// Whether there is something the caller has not read.
    pub has_unread: Option<bool>,
    /// Labels that they have, by key and value.
    pub labels: Vec<(String, String)>,
    /// What their title contains, whatever the case.
    pub title: Option<String>,
    /// The model that answers.
    pub model: Option<String>,
    /// Their workspace.
    pub workspace: Option<WorkspaceId>,
    /// Created then or later.
    pub created_after: Option<DateTime<Utc>>,
    /// Created before that.
    pub created_before: Option<DateTime<Utc>>,
    /// Words to search for.
    pub search: Option<SearchText>,
}

/// Which chats as to being archived.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Archived {
    /// Those that are not.
    #[default]
    No,
    /// Those that are.
    Only,
    /// All.
    Any,
}

/// Words to search for, and where they stand: only the search knows whether there is any.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SearchText {
    /// The words.
    pub text: String,
    /// Where the term begins, in characters from 0.
    pub position: usize,
}

/// Why a filter is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FilterError {
    /// Where, in characters from 0.
    pub position: usize,
    /// What is wrong there, and what would be right.
    pub what: &'static str,
}

//! How far a reader of a chat has come.

use chatplane_domain::{MessageId, QueuedMessageId};

/// A place in a chat's history: rows are read in the order of these.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct RowPosition {
    /// Revision of the last row read; 0 before the first.
    pub(crate) revision: i64,
    /// Its id.
    pub(crate) id: MessageId,
}

impl RowPosition {
    /// Before the first row.
    pub(crate) const START: Self = Self { revision: 0, id: MessageId(0) };
}

/// A place among the changes of a chat's queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct QueuePosition {
    /// Revision of the last change read; 0 before the first.
    pub(crate) revision: i64,
    /// How many of that revision's were read.
    pub(crate) through: QueueThrough,
}

/// How much of a revision was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum QueueThrough {
    /// The changes up to this entry's; more may follow.
    Entry(QueuedMessageId),
    /// All of them.
    All,
}

impl QueuePosition {
    /// Before the first change.
    pub(crate) const START: Self = Self { revision: 0, through: QueueThrough::All };
}

/// What a reader asks of [`super::Store::sync`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SyncFrom {
    /// The chat as it is, with its last messages.
    Start {
        /// How many of them; none for all.
        history_limit: Option<u32>,
    },
    /// What is newer than what it has.
    After {
        /// The last row it has.
        row: RowPosition,
        /// The last change of the queue it has.
        queue: QueuePosition,
        /// It has nothing that was removed in this revision or before.
        removed_after: i64,
    },
}

//! One way of a watcher through what is new.

use std::collections::HashMap;

use chatplane_domain::ChatId;

use crate::store::{FeedPosition, FeedSnapshot};

/// The two transactions that last changed a chat: they name what it is.
pub(super) type Version = (i64, i64);

/// On the way through what is new.
#[derive(Debug)]
pub(super) struct Pass {
    pub(super) after: FeedPosition,
    /// Snapshot of the first page.
    pub(super) until: Option<FeedSnapshot>,
    pub(super) pages: usize,
    /// Nothing was running when its pages were read.
    pub(super) is_quiet: bool,
    /// The page that was read last is the last one.
    pub(super) is_read: bool,
    pub(super) ahead: HashMap<ChatId, Version>,
}

impl Pass {
    /// One that begins behind a place.
    pub(super) fn begin(after: FeedPosition) -> Self {
        Self { after, until: None, pages: 0, is_quiet: true, is_read: false, ahead: HashMap::new() }
    }

    /// A page was read; `through` is its last place unless it was the last page.
    pub(super) fn take(&mut self, snapshot: Option<FeedSnapshot>, through: Option<FeedPosition>) {
        self.is_read = through.is_none();
        self.after = through.unwrap_or(self.after);
        self.is_quiet &= snapshot.as_ref().is_none_or(FeedSnapshot::is_quiet);
        self.until = self.until.take().or(snapshot);
        self.pages += 1;
    }

    /// All that its first page's snapshot sees was told, and many other chats.
    pub(super) fn is_long_enough(&self, ahead_max: usize) -> bool {
        self.ahead.len() >= ahead_max
            && self.until.as_ref().is_some_and(|until| self.after.xid >= until.end())
    }
}

//! One watcher of all chats of a user, as a pure core: what it learns in, what it does
//! out.
//!
//! # Theory of operation
//!
//! A chat's rows name the transactions that last changed them, and changes are told in
//! the order of these numbers. The order is that of the transactions' first writes, not
//! of their ends: one may end long after a later one was told. So a watcher does not
//! remember how far it has come, but what it has seen, as a snapshot of PostgreSQL: which
//! transactions had ended. What that does not see is new, however old its number is.
//!
//! - A *pass* tells everything that is new, in pages, each read in a snapshot of its own.
//!   When it has come to the end, what the snapshot of its first page sees has been told.
//!   A chat that changes meanwhile moves to the end and is told there.
//! - What a later page told beyond that first snapshot would be new once more in the next
//!   pass. Those few are remembered until then, and a pass ends early when they get many.
//! - A chat has two rows, its own and its owner's. Its place is that of the later of the
//!   changes that are new; at the place of the other it is passed over.
//! - The cursor cannot hold a snapshot of any size. Below the horizon, where everything
//!   has ended, it is exact. Above, it stays at the horizon: whoever comes back with it
//!   is told the last moments again.
//! - *What* changed is told by comparing with what had been told when the pass began, and
//!   the cursor carries that, too: of a chat that changed twice the first change lies
//!   before its place. After a pass of several pages a kind may be named once more than it
//!   happened, and never once less.
//! - It is pulled: one event at a time leaves when the client can take it, so a watcher
//!   holds one page and one event, whatever the client's pace.
//!
//! Time is an argument, a duration since any fixed point.

use std::{
    collections::{HashMap, VecDeque},
    time::Duration,
};

use chatplane_domain::{ChatId, UserId};

use super::{
    changes::changes,
    cursor::ChatsCursor,
    event::{ChatsAction, ChatsEmitted, ChatsEvent},
    pass::{Pass, Version},
    reads::Reads,
};
use crate::{
    store::{FeedEntry, FeedFrom, FeedPage, FeedPosition, FeedSnapshot},
    watch::{GivenUp, Malformed, Timing},
};

/// Chats that one pass may tell beyond the snapshot of its first page: some 50 bytes each.
const AHEAD_MAX: usize = 1_000;

/// One watcher of all chats of a user.
#[derive(Debug)]
pub(crate) struct ChatsWatcher {
    user: UserId,
    timing: Timing,
    /// Of the last event.
    cursor: ChatsCursor,
    begin: Begin,
    /// What was told.
    seen: FeedSnapshot,
    /// As well as everything up to here; a pass begins behind it.
    floor: FeedPosition,
    /// What of a chat was told, whose turn has not come yet.
    told: FeedSnapshot,
    pass: Option<Pass>,
    /// The versions that the last pass told beyond what is seen.
    ahead: HashMap<ChatId, Version>,
    ahead_max: usize,
    page: VecDeque<FeedEntry>,
    reads: Reads,
    emit_time: Duration,
}

/// How a watcher begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Begin {
    /// With the present, not read yet.
    Start,
    /// With a cursor.
    Resume,
    /// The first event says so.
    Greet,
    /// It has begun.
    Begun,
    /// The cursor has seen what the database has not.
    Expired,
}

impl ChatsWatcher {
    /// A watcher that begins with the present.
    pub(crate) fn start(user: UserId, timing: Timing, now: Duration) -> Self {
        Self::new(user, ChatsCursor::at(0), Begin::Start, timing, now)
    }

    /// A watcher that goes on after a cursor.
    ///
    /// # Errors
    ///
    /// `Malformed`.
    pub(crate) fn resume(
        user: UserId,
        cursor: &str,
        timing: Timing,
        now: Duration,
    ) -> Result<Self, Malformed> {
        Ok(Self::new(user, ChatsCursor::decode(user, cursor)?, Begin::Resume, timing, now))
    }

    fn new(user: UserId, cursor: ChatsCursor, begin: Begin, timing: Timing, now: Duration) -> Self {
        Self {
            user,
            timing,
            cursor,
            begin,
            seen: FeedSnapshot::below(cursor.position.xid),
            floor: cursor.position,
            told: FeedSnapshot::below(cursor.told),
            pass: None,
            ahead: HashMap::new(),
            ahead_max: AHEAD_MAX,
            page: VecDeque::new(),
            reads: Reads::wanted(),
            emit_time: now,
        }
    }

    /// The same with another bound on what one pass tells beyond its first snapshot.
    #[cfg(test)]
    pub(super) fn with_ahead_max(mut self, ahead_max: usize) -> Self {
        self.ahead_max = ahead_max;
        self
    }

    /// Chats may have changed.
    pub(crate) fn on_hint(&mut self) {
        self.reads.is_wanted = true;
    }

    /// The read has a page.
    pub(crate) fn on_page(&mut self, page: FeedPage) {
        self.reads.succeed();
        match (self.begin, page.snapshot) {
            (Begin::Start, Some(present)) => {
                self.begin = Begin::Greet;
                self.cursor = ChatsCursor::at(present.horizon());
                self.told = present.clone();
                self.seen = present;
            }
            (Begin::Resume, Some(present)) => {
                let is_ahead = self.cursor.position.xid > present.end();
                self.begin = if is_ahead { Begin::Expired } else { Begin::Greet };
                self.reads.is_wanted = true;
            }
            (_, snapshot) => {
                if let Some(pass) = &mut self.pass {
                    pass.take(snapshot, page.through);
                    self.page = page.entries.into();
                }
            }
        }
    }

    /// The read has failed; it is tried again after a while.
    ///
    /// # Errors
    ///
    /// `GivenUp`.
    pub(crate) fn on_read_failed(&mut self, now: Duration) -> Result<(), GivenUp> {
        self.reads.fail(&self.timing, now)
    }

    /// What to do next.
    pub(crate) fn poll(&mut self, now: Duration) -> ChatsAction {
        match self.begin {
            Begin::Expired => return ChatsAction::CursorExpired,
            Begin::Greet => {
                self.begin = Begin::Begun;
                return self.emit(ChatsEvent::Progress, now);
            }
            Begin::Start | Begin::Resume | Begin::Begun => {}
        }
        if let Some(event) = self.next_of_page() {
            return self.emit(event, now);
        }
        if let Some(from) = self.next_read(now) {
            return ChatsAction::Read(from);
        }
        // Before the present is known there is no cursor to tell.
        let progress_time =
            (self.begin == Begin::Begun).then(|| self.emit_time + self.timing.progress_interval);
        if progress_time.is_some_and(|time| time <= now) {
            return self.emit(ChatsEvent::Progress, now);
        }
        let read_time = self.reads.next_time().filter(|_| self.wants_read());
        let next = [progress_time, read_time].into_iter().flatten().min();
        ChatsAction::Wait(next.unwrap_or(now + self.timing.progress_interval))
    }

    fn emit(&mut self, event: ChatsEvent, now: Duration) -> ChatsAction {
        self.emit_time = now;
        ChatsAction::Emit(ChatsEmitted { cursor: self.cursor.encode(self.user), event })
    }

    fn wants_read(&self) -> bool {
        self.reads.is_wanted || self.pass.is_some()
    }

    fn next_read(&mut self, now: Duration) -> Option<FeedFrom> {
        if !self.wants_read() || !self.reads.begin(now) {
            return None;
        }
        if self.pass.is_none() {
            // What is learnt from here on may be too late for this read.
            self.reads.is_wanted = false;
        }
        if matches!(self.begin, Begin::Start | Begin::Resume) {
            return Some(FeedFrom::Present);
        }
        let start = self.floor.max(FeedPosition::before(self.seen.horizon()));
        let pass = self.pass.get_or_insert_with(|| Pass::begin(start));
        Some(FeedFrom::After { seen: self.seen.clone(), after: pass.after })
    }

    fn next_of_page(&mut self) -> Option<ChatsEvent> {
        while let Some(entry) = self.page.pop_front() {
            if let Some(event) = self.tell(entry) {
                return Some(event);
            }
        }
        let pass = self.pass.as_ref().filter(|_| !self.reads.is_running())?;
        if pass.is_read || pass.is_long_enough(self.ahead_max) {
            self.end_pass();
        }
        None
    }

    /// The event of a place in the order, unless it is none of this pass.
    fn tell(&mut self, entry: FeedEntry) -> Option<ChatsEvent> {
        let FeedPosition { xid, chat } = entry.position;
        let version = (entry.chat_xid, entry.user_xid);
        let xids = [entry.chat_xid, entry.user_xid];
        let place = xids.into_iter().filter(|xid| !self.seen.sees(*xid)).max();
        if place != Some(xid) {
            return None;
        }
        let pass = self.pass.as_mut()?;
        let until = pass.until.as_ref()?;
        let is_seen = until.sees(entry.chat_xid) && until.sees(entry.user_xid);
        if !is_seen && pass.ahead.len() < self.ahead_max {
            pass.ahead.insert(chat, version);
        }
        let horizon = FeedPosition::before(until.horizon());
        self.cursor.position = self.cursor.position.max(entry.position.min(horizon));
        if self.ahead.get(&chat) == Some(&version) {
            return None;
        }
        match &entry.chat {
            None => Some(ChatsEvent::Deleted(chat)),
            Some(view) => {
                let changes = changes(&entry, view.archived, &self.told);
                entry.chat.map(|chat| ChatsEvent::Changed { chat, changes })
            }
        }
    }

    fn end_pass(&mut self) {
        let Some(Pass { until: Some(until), pages, is_quiet, is_read, ahead, .. }) = self.pass.take() else {
            // Nothing was new: what is seen stays as it is, and so does the cursor.
            return;
        };
        // One page is one snapshot, and nothing moved meanwhile. Over several, what was running
        // may have moved a chat, before it was told, to a place that was passed: the next pass
        // tells it, and must know then what had not been told of it.
        if is_read && (pages == 1 || is_quiet) {
            self.told = until.clone();
        }
        // There is more when it ended early.
        self.reads.is_wanted |= !is_read;
        self.cursor.position = self.cursor.position.max(FeedPosition::before(until.horizon()));
        self.cursor.told = self.cursor.told.max(self.told.horizon());
        self.seen = until;
        self.floor = FeedPosition::before(0);
        self.ahead = ahead;
    }
}

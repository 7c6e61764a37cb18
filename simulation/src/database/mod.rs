//! A model of the database: the domain behind compare-and-set, with the tables of requests, sessions and usage,
//! and one clock. Every statement is atomic; between two statements of a caller anything may happen.
//!
//! It also sees what nobody else can: whether a write is made by whom it may be, from what it may be made from.

mod decision;
mod fork;
mod oracle;
mod sessions;
mod sync;
mod table;

use std::{collections::BTreeMap, rc::Rc, time::Duration};

use chatplane_domain::{Chat, ChatId, Decision, Fence, Outcome, RequestId, SessionId, WriteHeader};
use chrono::{DateTime, TimeDelta, Utc};

pub(crate) use decision::decide_with;
pub(crate) use fork::fork_with;
pub(crate) use oracle::Content;
use sessions::SessionRow;
pub(crate) use sessions::{Overdue, SESSION_TTL, lease_row};
pub(crate) use sync::{Known, TurnNews};
pub(crate) use table::{Fate, Row, Table, queued_view, user, user_message};

use crate::bug::Bug;

/// Why a statement did nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    SessionLost,
}

/// A request that was stored with its effect.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Stored {
    pub(crate) chat: ChatId,
    pub(crate) outcome: Outcome,
}

/// The key of what a model call cost.
pub(crate) type ModelCall = (ChatId, Fence, i64);

/// What a holder's write carries for the oracle.
#[derive(Clone, Debug)]
pub(crate) struct Made {
    pub(crate) header: WriteHeader,
    pub(crate) content: Content,
}

/// One data-modifying statement.
#[derive(Clone, Debug)]
pub(crate) struct Write {
    /// The version that was read; none for a chat that is new.
    pub(crate) read: Option<i64>,
    pub(crate) decision: Decision,
    /// The rows that a copy of a chat begins with.
    pub(crate) copies: Vec<Row>,
    pub(crate) request: Option<RequestId>,
    pub(crate) made: Option<Made>,
    /// The model call that it accounts for.
    pub(crate) model_call: Option<ModelCall>,
}

/// All tables.
#[derive(Debug)]
pub(crate) struct Database {
    pub(crate) now: Duration,
    /// Readers keep the table that they read; a write makes another.
    pub(crate) tables: BTreeMap<ChatId, Rc<Table>>,
    pub(crate) requests: BTreeMap<RequestId, Stored>,
    sessions: BTreeMap<SessionId, SessionRow>,
    /// How often each model call was paid for.
    pub(crate) model_calls: BTreeMap<ModelCall, u32>,
    /// The last outage, from when to when.
    pub(crate) outage: Option<(Duration, Duration)>,
    /// Each chat as it was before its last write, for the bug that reads rows of then.
    before: BTreeMap<ChatId, Rc<Table>>,
    pub(crate) bug: Option<Bug>,
    pub(crate) oracle: oracle::Oracle,
}

impl Database {
    pub(crate) fn new(bug: Option<Bug>) -> Self {
        Self {
            now: Duration::ZERO,
            tables: BTreeMap::new(),
            requests: BTreeMap::new(),
            sessions: BTreeMap::new(),
            model_calls: BTreeMap::new(),
            outage: None,
            before: BTreeMap::new(),
            bug,
            oracle: oracle::Oracle::default(),
        }
    }

    /// The one clock.
    pub(crate) fn clock(&self) -> DateTime<Utc> {
        DateTime::UNIX_EPOCH + TimeDelta::from_std(self.now).expect("a simulated time is short")
    }

    pub(crate) fn chat(&self, chat: ChatId) -> Option<&Chat> {
        self.tables.get(&chat).map(|table| &table.chat)
    }

    /// The chat that has waited longest for a worker.
    pub(crate) fn runnable(&self) -> Option<ChatId> {
        let chats = self.tables.values().map(|table| &table.chat);
        let waiting = chats.filter_map(|chat| match chat.execution {
            chatplane_domain::Execution::Runnable { since } => Some((since, chat.id)),
            _ => None,
        });
        waiting.min().map(|(_, chat)| chat)
    }

    /// What a holder reads, in one snapshot, where the lease is still its own.
    pub(crate) fn turn(
        &self,
        session: SessionId,
        chat: ChatId,
        fence: Fence,
        after: i64,
    ) -> Option<TurnNews> {
        let mut news = self.tables.get(&chat)?.turn(session, fence, after)?;
        if self.bug == Some(Bug::RowsOlderThanVersion)
            && let Some(older) = self.before.get(&chat).and_then(|before| before.turn(session, fence, after))
        {
            news.messages = older.messages;
            news.deleted_from = older.deleted_from;
        }
        Some(news)
    }

    /// Compares and writes. Answers whether it did.
    pub(crate) fn write(&mut self, write: &Write) -> bool {
        let chat = write.decision.chat.id;
        let found = self.chat(chat).map(|chat| chat.versions.snapshot);
        let is_race = write.request.is_some_and(|request| self.requests.contains_key(&request));
        if is_race && self.bug != Some(Bug::OnConflictDoNothing) {
            return false;
        }
        if found != write.read && self.bug != Some(Bug::VersionNotCompared) {
            if self.bug == Some(Bug::RequestStoredWithoutWrite) {
                self.store_request(write);
            }
            return false;
        }
        self.check_write(write);
        self.store_request(write);
        if write.decision.change.is_some() {
            let bug = self.bug;
            match self.tables.get_mut(&chat) {
                Some(table) => {
                    let before = Rc::clone(table);
                    Rc::make_mut(table).apply(&write.decision, bug);
                    self.check_kept(&before);
                    self.before.insert(chat, before);
                }
                None => {
                    self.tables.insert(chat, Rc::new(Table::new(&write.decision, &write.copies)));
                }
            }
            self.check_written(chat);
        }
        if let Some(call) = write.model_call {
            self.report_usage(call);
        }
        true
    }

    fn store_request(&mut self, write: &Write) {
        let Some(request) = write.request else { return };
        let stored = Stored { chat: write.decision.chat.id, outcome: write.decision.outcome.clone() };
        self.requests.entry(request).or_insert(stored);
        *self.oracle.effects.entry(request).or_default() += u32::from(write.decision.change.is_some());
    }

    /// Keeps what a model call cost, once.
    pub(crate) fn report_usage(&mut self, call: ModelCall) {
        let paid = self.model_calls.entry(call).or_default();
        *paid = if self.bug == Some(Bug::UsageWithoutKey) { *paid + 1 } else { 1 };
    }
}

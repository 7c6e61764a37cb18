//! A database in memory: it applies decisions exactly as a store would, row by row,
//! and never looks at the chat that `decide` worked on, so that a row which a
//! decision forgot is noticed.

mod facts;

use std::collections::{BTreeMap, BTreeSet};

use chatplane_domain::{
    Body, CallId, Change, Chat, ClientTool, Decision, Inserted, MessageId, OpenCall, Queued, QueuedMessageId,
    Role, UserMessage, UserPart, Visibility,
};

/// A row of the history.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Row {
    pub(crate) body: Body,
    pub(crate) visibility: Visibility,
    pub(crate) covers_through: Option<MessageId>,
    pub(crate) revision: i64,
    pub(crate) deleted: bool,
}

/// What became of a queued message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    Waiting,
    Entered(MessageId),
    Deleted,
}

/// The write compared `snapshot_version` and found another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CompareLost;

/// All rows of one chat.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Database {
    pub(crate) chat: Chat,
    pub(crate) rows: BTreeMap<MessageId, Row>,
    pub(crate) queue: BTreeMap<QueuedMessageId, Queued>,
    pub(crate) contents: BTreeMap<QueuedMessageId, Vec<UserPart>>,
    pub(crate) calls: BTreeMap<CallId, OpenCall>,
    pub(crate) fates: BTreeMap<QueuedMessageId, Fate>,
    pub(crate) tools: Vec<ClientTool>,
    /// Models that cannot be used any more.
    pub(crate) gone: BTreeSet<String>,
}

impl Database {
    pub(crate) fn create(decision: &Decision) -> Self {
        let mut database = Self::empty(&decision.chat);
        database.apply_rows(decision);
        database
    }

    fn empty(chat: &Chat) -> Self {
        Self {
            chat: chat.clone(),
            rows: BTreeMap::new(),
            queue: BTreeMap::new(),
            contents: BTreeMap::new(),
            calls: BTreeMap::new(),
            fates: BTreeMap::new(),
            tools: Vec::new(),
            gone: BTreeSet::new(),
        }
    }

    /// One statement: compares the version that was read, and writes all or nothing.
    pub(crate) fn write(&mut self, read_version: i64, decision: &Decision) -> Result<(), CompareLost> {
        if self.chat.versions.snapshot != read_version {
            return Err(CompareLost);
        }
        self.apply_rows(decision);
        Ok(())
    }

    fn apply_rows(&mut self, decision: &Decision) {
        let Some(change) = &decision.change else {
            return;
        };
        self.chat = decision.chat.clone();
        // Found anew with every read.
        self.chat.queue.iter_mut().for_each(forget_fallback);
        let revision = self.chat.versions.snapshot;
        self.delete_rows(change, revision);
        for call in &change.calls_opened {
            let earlier = self.calls.insert(call.id, call.clone());
            assert_eq!(earlier, None, "a call is opened once");
        }
        for call in &change.calls_closed {
            assert!(self.calls.remove(call).is_some(), "only an open call is closed");
        }
        self.write_queue(change);
        for inserted in &change.inserted {
            self.insert(inserted, revision);
        }
        if let Some(tools) = &change.client_tools {
            self.tools.clone_from(tools);
        }
        let boundary = |inserted: &Inserted| match inserted {
            Inserted::New(message) => message.covers_through.is_some(),
            Inserted::Queued { .. } => false,
        };
        let deleted = change.delete_from.is_some() || change.delete_one.is_some();
        if deleted || change.inserted.iter().any(boundary) {
            self.chat.history_bytes = self.prompt_bytes();
        }
    }

    fn delete_rows(&mut self, change: &Change, revision: i64) {
        for (id, row) in &mut self.rows {
            let counts = row.covers_through.unwrap_or(*id);
            let behind = change.delete_from.is_some_and(|from| counts >= from);
            let spared = row.body.role() == Role::System;
            if (behind && !spared || change.delete_one == Some(*id)) && !row.deleted {
                row.deleted = true;
                row.revision = revision;
            }
        }
    }

    fn write_queue(&mut self, change: &Change) {
        for queued in &change.queue_upserted {
            let mut queued = queued.clone();
            forget_fallback(&mut queued);
            let earlier = self.queue.insert(queued.id, queued.clone());
            let edited = change.queue_content.as_ref().map(|content| content.id) == Some(queued.id);
            let changed = edited || earlier.as_ref() != Some(&queued);
            assert!(changed, "what is written is new or has changed");
        }
        if let Some(content) = &change.queue_content {
            assert!(self.queue.contains_key(&content.id), "content has a header");
            self.contents.insert(content.id, content.parts.clone());
            self.fates.entry(content.id).or_insert(Fate::Waiting);
        }
        for id in &change.queue_deleted {
            assert!(self.queue.remove(id).is_some(), "only a queued message is deleted");
            let fate = self.fates.insert(*id, Fate::Deleted);
            assert_eq!(fate, Some(Fate::Waiting));
        }
    }

    fn insert(&mut self, inserted: &Inserted, revision: i64) {
        let id = inserted.message_id();
        let (body, visibility, covers_through) = match inserted {
            Inserted::New(message) => (message.body.clone(), message.visibility, message.covers_through),
            Inserted::Queued { queued, message, fallback_model, steering } => {
                let fate = self.fates.insert(*queued, Fate::Entered(*message));
                assert_eq!(fate, Some(Fate::Waiting), "a queued message enters once");
                let header = self.queue.remove(queued).expect("what enters was in the queue");
                assert_eq!(fallback_model, &self.fallback(&header), "only what is gone is replaced");
                assert!(header.steering || !steering, "only what was put into a turn extends it");
                let asked = header.model;
                let message = UserMessage {
                    created_by: header.created_by,
                    parts: self.contents[queued].clone(),
                    model: fallback_model.clone().or_else(|| asked.clone()),
                    requested_model: fallback_model.as_ref().and(asked),
                    effort: header.effort,
                    queued_message_id: Some(*queued),
                };
                (Body::User(message), Visibility::Both, None)
            }
        };
        let row = Row { body, visibility, covers_through, revision, deleted: false };
        let earlier = self.rows.insert(id, row);
        assert_eq!(earlier, None, "a message id is used once");
    }
}

fn forget_fallback(queued: &mut Queued) {
    queued.fallback_model = None;
}

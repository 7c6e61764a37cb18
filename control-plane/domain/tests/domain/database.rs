//! A database in memory: it applies decisions exactly as a store would, row by row,
//! and never looks at the chat that `decide` worked on, so that a row which a
//! decision forgot is noticed.

use std::collections::BTreeMap;

use chatplane_domain::{
    Body, CallId, Change, Chat, Decision, Inserted, MessageId, OpenCall, Queued, QueuedMessageId, Role,
    UserMessage,
};

/// A row of the history.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Row {
    pub(crate) body: Body,
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
#[derive(Clone, Debug)]
pub(crate) struct Database {
    pub(crate) chat: Chat,
    pub(crate) rows: BTreeMap<MessageId, Row>,
    pub(crate) queue: BTreeMap<QueuedMessageId, Queued>,
    pub(crate) contents: BTreeMap<QueuedMessageId, Vec<String>>,
    pub(crate) calls: BTreeMap<CallId, OpenCall>,
    pub(crate) fates: BTreeMap<QueuedMessageId, Fate>,
}

impl Database {
    pub(crate) fn create(decision: &Decision) -> Self {
        let mut database = Self {
            chat: decision.chat.clone(),
            rows: BTreeMap::new(),
            queue: BTreeMap::new(),
            contents: BTreeMap::new(),
            calls: BTreeMap::new(),
            fates: BTreeMap::new(),
        };
        database.apply_rows(decision);
        database
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
    }

    fn delete_rows(&mut self, change: &Change, revision: i64) {
        for (id, row) in &mut self.rows {
            let behind = change.delete_from.is_some_and(|from| *id >= from);
            if (behind || change.delete_one == Some(*id)) && !row.deleted {
                row.deleted = true;
                row.revision = revision;
                let bytes = i64::try_from(row.body.content_bytes()).expect("test messages are small");
                // Only the store knows how large the deleted rows are.
                self.chat.history_bytes -= bytes;
            }
        }
    }

    fn write_queue(&mut self, change: &Change) {
        for queued in &change.queue_upserted {
            let earlier = self.queue.insert(queued.id, queued.clone());
            let edited = change.queue_content.as_ref().map(|content| content.id) == Some(queued.id);
            let changed = edited || earlier.as_ref() != Some(queued);
            assert!(changed, "what is written is new or has changed");
        }
        if let Some(content) = &change.queue_content {
            assert!(self.queue.contains_key(&content.id), "content has a header");
            self.contents.insert(content.id, content.texts.clone());
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
        let body = match inserted {
            Inserted::New(message) => message.body.clone(),
            Inserted::Queued { queued, message } => {
                let fate = self.fates.insert(*queued, Fate::Entered(*message));
                assert_eq!(fate, Some(Fate::Waiting), "a queued message enters once");
                let header = self.queue.remove(queued).expect("what enters was in the queue");
                Body::User(UserMessage {
                    created_by: header.created_by,
                    texts: self.contents[queued].clone(),
                    model: header.model,
                    effort: header.effort,
                    queued_message_id: Some(*queued),
                })
            }
        };
        let row = Row { body, revision, deleted: false };
        let earlier = self.rows.insert(id, row);
        assert_eq!(earlier, None, "a message id is used once");
    }

    /// The live rows, in order.
    pub(crate) fn live(&self) -> impl Iterator<Item = (MessageId, &Row)> {
        let rows = self.rows.iter().filter(|(_, row)| !row.deleted);
        rows.map(|(id, row)| (*id, row))
    }

    /// Role of the live row with this id, as a store reads it for an edit.
    pub(crate) fn role(&self, id: MessageId) -> Option<Role> {
        let row = self.rows.get(&id).filter(|row| !row.deleted);
        row.map(|row| row.body.role())
    }
}

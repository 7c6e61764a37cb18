//! One chat with its rows, each with the revision that last touched it, as decisions write them.

use std::collections::BTreeMap;

use chatplane_domain::{
    Body, Change, Chat, Decision, Effort, Inserted, MessageId, Queued, QueuedMessageId, Role, UserId,
    UserMessage, UserPart, Visibility,
};
use chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::{
    bug::Bug,
    store::{MessageView, QueuedView},
};

/// A row of the history.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) view: MessageView,
    pub(crate) deleted: bool,
}

/// What became of a queued message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    Waits,
    Entered,
    Deleted,
}

/// An entry of the queue, kept when it is gone.
#[derive(Clone, Debug)]
pub(crate) struct QueueRow {
    pub(crate) queued: Queued,
    pub(crate) parts: Vec<UserPart>,
    pub(crate) revision: i64,
    pub(crate) fate: Fate,
}

/// A chat with its rows.
#[derive(Clone, Debug)]
pub(crate) struct Table {
    pub(crate) chat: Chat,
    pub(crate) rows: BTreeMap<MessageId, Row>,
    pub(crate) queue: BTreeMap<QueuedMessageId, QueueRow>,
}

pub(crate) fn user() -> UserId {
    UserId(Uuid::from_u128(2))
}

pub(crate) fn user_message(text: &str) -> UserMessage {
    UserMessage {
        created_by: user(),
        parts: vec![UserPart::Text(text.to_owned())],
        model: None,
        requested_model: None,
        effort: None,
        queued_message_id: None,
    }
}

/// Time plays no part in what is watched.
pub(crate) fn no_time() -> DateTime<Utc> {
    DateTime::UNIX_EPOCH
}

impl Table {
    pub(crate) fn new(decision: &Decision, copies: &[Row]) -> Self {
        let rows = copies.iter().map(|row| (row.view.id, row.clone())).collect();
        let mut table = Self { chat: decision.chat.clone(), rows, queue: BTreeMap::new() };
        table.apply(decision, None);
        table
    }

    /// Writes what was decided. The caller has compared the version.
    pub(crate) fn apply(&mut self, decision: &Decision, bug: Option<Bug>) {
        let Some(change) = &decision.change else { return };
        self.chat = decision.chat.clone();
        let revision = self.chat.versions.snapshot;
        self.delete(change, revision, bug);
        for queued in &change.queue_upserted {
            let content = change.queue_content.as_ref().filter(|content| content.id == queued.id);
            let kept = self.queue.remove(&queued.id).map(|row| row.parts);
            let parts = content.map(|content| content.parts.clone()).or(kept).unwrap_or_default();
            let row = QueueRow { parts, revision, fate: Fate::Waits, queued: queued.clone() };
            self.queue.insert(queued.id, row);
        }
        for id in &change.queue_deleted {
            self.leave_queue(*id, revision, Fate::Deleted);
        }
        for inserted in &change.inserted {
            self.insert(inserted, revision);
        }
    }

    /// A boundary's row that is behind the first deleted and stays gets the revision, too: readers forget all behind
    /// that, and get it again.
    fn delete(&mut self, change: &Change, revision: i64, bug: Option<Bug>) {
        for (id, row) in self.rows.iter_mut().filter(|(_, row)| !row.deleted) {
            let is_behind = |id: MessageId| {
                change.delete_from.is_some_and(|from| row.view.body.role() != Role::System && id >= from)
            };
            let (forgotten, gone) = (is_behind(*id), is_behind(counted(&row.view)));
            let deleted = gone || change.delete_one == Some(*id);
            let keeps = match bug {
                Some(Bug::DeletionKeepsRevision) => deleted,
                Some(Bug::BoundaryNotSentAgain) => !deleted,
                _ => false,
            };
            row.deleted = deleted;
            if (deleted || forgotten) && !keeps {
                row.view.revision = revision;
            }
        }
    }

    fn insert(&mut self, inserted: &Inserted, revision: i64) {
        let id = inserted.message_id();
        let (visibility, body, covers_through) = match inserted {
            Inserted::New(message) => (message.visibility, message.body.clone(), message.covers_through),
            Inserted::Queued { queued, .. } => {
                self.leave_queue(*queued, revision, Fate::Entered);
                let parts = self.queue.get(queued).map(|row| row.parts.clone()).unwrap_or_default();
                let words = UserMessage { parts, queued_message_id: Some(*queued), ..user_message("") };
                (Visibility::Both, Body::User(words), None)
            }
        };
        let view = MessageView {
            id,
            visibility,
            body,
            revision,
            content_bytes: 0,
            create_time: no_time(),
            covers_through,
        };
        self.rows.insert(id, Row { view, deleted: false });
    }

    fn leave_queue(&mut self, id: QueuedMessageId, revision: i64, fate: Fate) {
        if let Some(row) = self.queue.get_mut(&id) {
            row.revision = revision;
            row.fate = fate;
        }
    }

    /// The live rows, in order.
    pub(crate) fn live(&self) -> impl Iterator<Item = &MessageView> {
        self.rows.values().filter(|row| !row.deleted).map(|row| &row.view)
    }

    /// Those that the model sees: instructions, the newest boundary's summary, what is behind that.
    pub(crate) fn prompt(&self) -> impl Iterator<Item = &MessageView> {
        let covered = self.chat.covers_through;
        self.live().filter(|view| view.visibility != Visibility::User).filter(move |view| {
            let is_newest = view.covers_through.is_none() || view.covers_through == covered;
            view.body.role() == Role::System || is_newest && Some(view.id) > covered
        })
    }

    /// Those that a summary through a message is made from.
    pub(crate) fn summarized(&self, through: MessageId) -> Vec<MessageId> {
        let said = self.prompt().filter(|view| view.body.role() != Role::System);
        said.filter(|view| view.covers_through.is_some() || view.id <= through).map(|view| view.id).collect()
    }

    /// Those that users see.
    pub(crate) fn shown(&self) -> impl Iterator<Item = &MessageView> {
        self.live().filter(|view| is_shown(view))
    }

    /// The queue, by id.
    pub(crate) fn waiting(&self) -> impl Iterator<Item = &QueueRow> {
        self.queue.values().filter(|row| row.fate == Fate::Waits)
    }
}

/// The id by which a row is deleted and copied: a boundary's rows go with what it covers.
pub(crate) fn counted(view: &MessageView) -> MessageId {
    view.covers_through.unwrap_or(view.id)
}

pub(crate) fn is_shown(view: &MessageView) -> bool {
    view.visibility != Visibility::Model && view.body.role() != Role::System
}

pub(crate) fn queued_view(row: &QueueRow) -> QueuedView {
    QueuedView {
        id: row.queued.id,
        position: row.queued.position,
        steering: row.queued.steering,
        preview_text: chatplane_domain::texts(&row.parts).collect(),
        created_by: row.queued.created_by,
        model: row.queued.model.clone(),
        effort: row.queued.effort.filter(|effort| *effort != Effort::Unspecified),
        create_time: no_time(),
        parts: Vec::new(),
    }
}

//! A database in memory: the domain behind compare-and-set, with rows that carry their
//! revisions, read in pages of a few rows.

use std::collections::BTreeMap;

use chatplane_domain::{
    ACTION_TIMEOUT_DEFAULT, AnswerPart, Body, Change, Chat, ChatId, Command, Context, Covered, CreateChat,
    Decision, Effort, HistoryEnds, Inserted, MessageId, OrganizationId, Outcome, Queued, QueuedMessageId,
    Rejection, Role, UserId, UserMessage, UserPart, Visibility, create, decide, texts,
};
use chrono::{DateTime, TimeDelta, Utc};
use uuid::Uuid;

use crate::store::{
    Beside, ChatView, MessageChange, MessageView, MetadataView, QueueChange, QueuePosition, QueueThrough,
    QueuedView, RowPosition, SyncFrom, SyncPage,
};

/// Few, so that most syncs take several pages.
const PAGE_ROWS_MAX: usize = 2;

struct Row {
    view: MessageView,
    deleted: bool,
}

struct QueueRow {
    queued: Queued,
    parts: Vec<UserPart>,
    revision: i64,
    removed: bool,
}

/// One chat with its rows.
pub(super) struct Database {
    pub(super) chat: Chat,
    pub(super) metadata: MetadataView,
    rows: BTreeMap<MessageId, Row>,
    queue: BTreeMap<QueuedMessageId, QueueRow>,
}

pub(super) fn user_message(text: &str, model: Option<&str>) -> UserMessage {
    UserMessage {
        created_by: UserId(Uuid::from_u128(2)),
        parts: vec![UserPart::Text(text.to_owned())],
        model: model.map(str::to_owned),
        effort: None,
        queued_message_id: None,
        requested_model: None,
    }
}

impl Database {
    pub(super) fn new(chat: ChatId) -> Self {
        let decision = create(
            CreateChat {
                id: chat,
                organization: OrganizationId(Uuid::from_u128(1)),
                owner: UserId(Uuid::from_u128(2)),
                model: "first".to_owned(),
                effort: Effort::default(),
                workspace: None,
                deployment_prompt: Some("a prompt that no user sees".to_owned()),
                system_prompt: None,
                client_tools: Vec::new(),
                action_timeout: ACTION_TIMEOUT_DEFAULT,
                message: user_message("hello", None),
            },
            context(time()),
        );
        let mut database = Self {
            chat: decision.chat.clone(),
            metadata: MetadataView {
                metadata_version: 1,
                title: "hello".to_owned(),
                labels: BTreeMap::new(),
            },
            rows: BTreeMap::new(),
            queue: BTreeMap::new(),
        };
        database.apply(decision);
        database
    }

    pub(super) fn transact(&mut self, command: Command) -> Result<Outcome, Rejection> {
        self.transact_at(command, time())
    }

    /// The same when every deadline has passed.
    pub(super) fn transact_late(&mut self, command: Command) -> Result<Outcome, Rejection> {
        self.transact_at(command, time() + TimeDelta::days(2))
    }

    fn transact_at(&mut self, command: Command, now: DateTime<Utc>) -> Result<Outcome, Rejection> {
        let decision = decide(&self.chat, command, context(now))?;
        let outcome = decision.outcome.clone();
        self.apply(decision);
        Ok(outcome)
    }

    fn apply(&mut self, decision: Decision) {
        self.chat = decision.chat;
        let Some(change) = decision.change else { return };
        let revision = self.chat.versions.snapshot;
        self.delete(&change, revision);
        let mut content = change.queue_content;
        for queued in change.queue_upserted {
            let parts = content.take_if(|content| content.id == queued.id).map(|content| content.parts);
            let kept = self.queue.remove(&queued.id).map(|row| row.parts);
            let row = QueueRow {
                parts: parts.or(kept).expect("a new entry has content"),
                revision,
                removed: false,
                queued,
            };
            self.queue.insert(row.queued.id, row);
        }
        for id in change.queue_deleted {
            self.remove_queued(id, revision);
        }
        for inserted in change.inserted {
            self.insert(inserted, revision);
        }
    }

    /// What an edit spares of what stands behind it has its revision from then on: readers
    /// forget it with the rest, and get it again.
    fn delete(&mut self, change: &Change, revision: i64) {
        for (id, row) in self.rows.iter_mut().filter(|(_, row)| !row.deleted) {
            let is_deleted = change.delete_one == Some(*id)
                || change.delete_from.is_some_and(|from| !is_system(row) && place(row) >= from);
            let is_spared = change.delete_from.is_some_and(|from| is_boundary(row) && *id >= from);
            row.deleted = is_deleted;
            if is_deleted || is_spared {
                row.view.revision = revision;
            }
        }
    }

    fn insert(&mut self, inserted: Inserted, revision: i64) {
        let id = inserted.message_id();
        let mut covers_through = None;
        let (visibility, body) = match inserted {
            Inserted::New(message) => {
                covers_through = message.covers_through;
                (message.visibility, message.body)
            }
            Inserted::Queued { queued, .. } => {
                self.remove_queued(queued, revision);
                let row = &self.queue[&queued];
                let message = UserMessage {
                    parts: row.parts.clone(),
                    queued_message_id: Some(queued),
                    ..user_message("", row.queued.model.as_deref())
                };
                (Visibility::Both, Body::User(message))
            }
        };
        let create_time = time();
        let view =
            MessageView { id, visibility, body, revision, content_bytes: 0, create_time, covers_through };
        self.rows.insert(id, Row { view, deleted: false });
    }

    fn remove_queued(&mut self, id: QueuedMessageId, revision: i64) {
        let row = self.queue.get_mut(&id).expect("only what is queued is removed");
        row.removed = true;
        row.revision = revision;
    }

    /// The live rows that users see.
    pub(super) fn messages(&self) -> impl Iterator<Item = &MessageView> {
        let rows = self.rows.values().filter(|row| !row.deleted && is_visible(&row.view));
        rows.map(|row| &row.view)
    }

    /// What commands ask for beside the chat: the newest rows that are no boundary's.
    pub(super) fn history_ends(&self) -> HistoryEnds {
        let ids = |is_meant: fn(&Row) -> bool| {
            let rows = self.rows.iter().filter(|(_, row)| !row.deleted && !is_boundary(row) && is_meant(row));
            rows.map(|(id, _)| *id).next_back()
        };
        HistoryEnds {
            last: ids(|row| !is_system(row)),
            last_answer: ids(|row| row.view.body.role() == Role::Assistant),
        }
    }

    pub(super) fn boundary_below(&self, target: MessageId) -> Option<MessageId> {
        let boundaries = self.rows.values().filter(|row| !row.deleted);
        boundaries.filter_map(|row| row.view.covers_through).filter(|covered| *covered < target).max()
    }

    pub(super) fn answered_below(&self, target: MessageId) -> bool {
        let below = self.rows.range(..target).map(|(_, row)| row);
        below
            .filter(|row| !row.deleted && !is_boundary(row))
            .any(|row| row.view.body.role() == Role::Assistant)
    }

    pub(super) fn covered(&self, through: MessageId, history_version: i64) -> Covered {
        let row = self.rows.get(&through);
        Covered {
            live: row.is_some_and(|row| !row.deleted && !is_boundary(row) && !is_system(row)),
            changed_since: self.rows.range(..=through).any(|(_, row)| row.view.revision > history_version),
        }
    }

    pub(super) fn queue(&self) -> impl Iterator<Item = QueuedView> {
        self.queue.values().filter(|row| !row.removed).map(queued_view)
    }

    pub(super) fn view(&self) -> ChatView {
        let metadata = self.metadata.clone();
        let beside = Beside { metadata, create_time: time(), update_time: time(), ..Beside::default() };
        ChatView::of(&self.chat, beside)
    }

    pub(super) fn sync(&self, from: SyncFrom) -> SyncPage {
        let (start, queue_start, removed_after) = match from {
            SyncFrom::Start { history_limit } => {
                (self.before_last(history_limit), QueuePosition::START, i64::MAX)
            }
            SyncFrom::After { row, queue, removed_after } => (row, queue, removed_after),
        };
        let mut messages: Vec<MessageChange> = self
            .rows
            .values()
            .filter(|row| position(&row.view) > start && is_visible(&row.view))
            .filter(|row| !row.deleted || row.view.revision > removed_after)
            .map(message_change)
            .collect();
        messages.sort_by_key(|change| match change {
            MessageChange::Live(view) => (view.revision, view.id),
            MessageChange::Deleted { id, revision } => (*revision, *id),
        });
        let mut queue: Vec<&QueueRow> = self
            .queue
            .values()
            .filter(|row| queue_position(row) > queue_start && (!row.removed || row.revision > removed_after))
            .collect();
        queue.sort_by_key(|row| queue_position(row));
        let more = messages.len() > PAGE_ROWS_MAX || queue.len() > PAGE_ROWS_MAX;
        queue.truncate(if messages.len() > PAGE_ROWS_MAX { 0 } else { PAGE_ROWS_MAX });
        messages.truncate(PAGE_ROWS_MAX);
        SyncPage {
            chat: self.view(),
            live_at: None,
            open_calls: self.chat.open_calls.iter().map(|call| call.id).collect(),
            messages,
            start,
            queue: queue.into_iter().map(queue_change).collect(),
            more,
        }
    }

    fn before_last(&self, history_limit: Option<u32>) -> RowPosition {
        let visible: Vec<&MessageView> = self.messages().collect();
        let limit = history_limit.map_or(usize::MAX, |limit| usize::try_from(limit).expect("it is small"));
        let before = visible.len().checked_sub(limit + usize::from(limit < usize::MAX));
        before.map_or(RowPosition::START, |index| position(visible[index]))
    }
}

fn is_system(row: &Row) -> bool {
    matches!(row.view.body, Body::System(_))
}

fn is_boundary(row: &Row) -> bool {
    row.view.covers_through.is_some()
}

/// By what a row is deleted.
fn place(row: &Row) -> MessageId {
    row.view.covers_through.unwrap_or(row.view.id)
}

fn is_visible(view: &MessageView) -> bool {
    view.visibility != Visibility::Model && !matches!(view.body, Body::System(_))
}

fn position(view: &MessageView) -> RowPosition {
    RowPosition { revision: view.revision, id: view.id }
}

fn queue_position(row: &QueueRow) -> QueuePosition {
    QueuePosition { revision: row.revision, through: QueueThrough::Entry(row.queued.id) }
}

fn message_change(row: &Row) -> MessageChange {
    if row.deleted {
        return MessageChange::Deleted { id: row.view.id, revision: row.view.revision };
    }
    MessageChange::Live(row.view.clone())
}

fn queue_change(row: &QueueRow) -> QueueChange {
    let revision = row.revision;
    if row.removed {
        return QueueChange::Removed { id: row.queued.id, revision };
    }
    let entry = queued_view(row);
    QueueChange::Upserted { entry, revision }
}

fn queued_view(row: &QueueRow) -> QueuedView {
    QueuedView {
        id: row.queued.id,
        position: row.queued.position,
        steering: row.queued.steering,
        preview_text: texts(&row.parts).collect(),
        created_by: row.queued.created_by,
        model: row.queued.model.clone(),
        effort: row.queued.effort,
        create_time: time(),
        parts: Vec::new(),
    }
}

/// Time plays no part in what is watched.
fn time() -> DateTime<Utc> {
    DateTime::UNIX_EPOCH
}

fn context(now: DateTime<Utc>) -> Context {
    Context { now, queue_max: 8, lease_offer: None }
}

/// An answer's part without what only its provider understands.
pub(super) fn answer_part(content: chatplane_domain::AnswerContent) -> AnswerPart {
    AnswerPart { content, provider_state: Vec::new() }
}

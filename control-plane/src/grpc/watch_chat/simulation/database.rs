//! A database in memory: the domain behind compare-and-set, with rows that carry their
//! revisions, read in pages of a few rows.

use std::collections::BTreeMap;

use chatplane_domain::{
    AnswerPart, Body, Chat, ChatId, Command, Context, CreateChat, Decision, Effort, Inserted, MessageId,
    OrganizationId, Outcome, Queued, QueuedMessageId, Rejection, UserId, UserMessage, Visibility, create,
    decide,
};
use chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::store::{
    ChatView, MessageChange, MessageView, MetadataView, QueueChange, QueuePosition, QueueThrough, QueuedView,
    RowPosition, SyncFrom, SyncPage,
};

/// Few, so that most syncs take several pages.
const PAGE_ROWS_MAX: usize = 2;

struct Row {
    view: MessageView,
    deleted: bool,
}

struct QueueRow {
    queued: Queued,
    texts: Vec<String>,
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
        texts: vec![text.to_owned()],
        model: model.map(str::to_owned),
        effort: None,
        queued_message_id: None,
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
                workspace_notice: None,
                message: user_message("hello", None),
            },
            context(),
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
        let decision = decide(&self.chat, command, context())?;
        let outcome = decision.outcome.clone();
        self.apply(decision);
        Ok(outcome)
    }

    fn apply(&mut self, decision: Decision) {
        self.chat = decision.chat;
        let Some(change) = decision.change else { return };
        let revision = self.chat.versions.snapshot;
        for (id, row) in &mut self.rows {
            let named = change.delete_one == Some(*id) || change.delete_from.is_some_and(|from| *id >= from);
            if named && !row.deleted {
                row.deleted = true;
                row.view.revision = revision;
            }
        }
        let mut content = change.queue_content;
        for queued in change.queue_upserted {
            let texts = content.take_if(|content| content.id == queued.id).map(|content| content.texts);
            let kept = self.queue.remove(&queued.id).map(|row| row.texts);
            let row = QueueRow {
                texts: texts.or(kept).expect("a new entry has content"),
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

    fn insert(&mut self, inserted: Inserted, revision: i64) {
        let id = inserted.message_id();
        let (visibility, body) = match inserted {
            Inserted::New(message) => (message.visibility, message.body),
            Inserted::Queued { queued, .. } => {
                self.remove_queued(queued, revision);
                let row = &self.queue[&queued];
                let message = UserMessage {
                    texts: row.texts.clone(),
                    queued_message_id: Some(queued),
                    ..user_message("", row.queued.model.as_deref())
                };
                (Visibility::Both, Body::User(message))
            }
        };
        let view = MessageView { id, visibility, body, revision, content_bytes: 0, create_time: time() };
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

    pub(super) fn queue(&self) -> impl Iterator<Item = QueuedView> {
        self.queue.values().filter(|row| !row.removed).map(queued_view)
    }

    pub(super) fn view(&self) -> ChatView {
        ChatView::of(&self.chat, self.metadata.clone(), time(), time())
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
        preview_text: row.texts.concat(),
        created_by: row.queued.created_by,
        model: row.queued.model.clone(),
        effort: row.queued.effort,
        create_time: time(),
    }
}

/// Time plays no part in what is watched.
fn time() -> DateTime<Utc> {
    DateTime::UNIX_EPOCH
}

fn context() -> Context {
    Context { now: time(), queue_max: 8, lease_offer: None }
}

/// An answer's part without what only its provider understands.
pub(super) fn answer_part(content: chatplane_domain::AnswerContent) -> AnswerPart {
    AnswerPart { content, provider_state: Vec::new() }
}

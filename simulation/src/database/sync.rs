//! What readers ask of a chat: watchers in pages of a few rows, lease holders all at once.

use chatplane_domain::{Body, CallId, CallKind, Execution, Fence, MessageId, SessionId};

use super::{
    Table,
    table::{QueueRow, Row, is_shown, no_time, queued_view},
};
use crate::store::{
    Beside, ChatView, MessageChange, MessageView, MetadataView, QueueChange, QueuePosition, QueueThrough,
    RowPosition, SyncFrom, SyncPage,
};

/// Few, so that most syncs take several pages.
const PAGE_ROWS_MAX: usize = 3;

/// A message as a lease holder knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Known {
    /// Instructions.
    System,
    /// Words of a user.
    Words,
    /// The summary of what is covered.
    Summary,
    /// An answer with these calls.
    Answer(Vec<CallKind>),
    /// The result of a call.
    Result(CallId),
}

/// A turn as its holder reads it.
#[derive(Clone, Debug)]
pub(crate) struct TurnNews {
    pub(crate) snapshot: i64,
    pub(crate) history: i64,
    pub(crate) attempt: u32,
    pub(crate) last_write_no: i64,
    pub(crate) interrupting: bool,
    pub(crate) deleted_from: Option<MessageId>,
    pub(crate) messages: Vec<(MessageId, Known)>,
    /// For the replica alone: which settings the holder reads.
    pub(crate) settings: crate::scheduler::SettingsMark,
}

impl Table {
    pub(crate) fn view(&self) -> ChatView {
        let metadata = MetadataView { metadata_version: 1, ..MetadataView::default() };
        let beside = Beside { metadata, create_time: no_time(), update_time: no_time(), ..Beside::default() };
        ChatView::of(&self.chat, beside)
    }

    pub(crate) fn sync(&self, from: SyncFrom) -> SyncPage {
        let (start, queue_start, removed_after) = match from {
            SyncFrom::Start { history_limit } => {
                (self.before_last(history_limit), QueuePosition::START, i64::MAX)
            }
            SyncFrom::After { row, queue, removed_after } => (row, queue, removed_after),
        };
        let mut rows: Vec<&Row> = self
            .rows
            .values()
            .filter(|row| position(row) > start && is_shown(&row.view))
            .filter(|row| !row.deleted || row.view.revision > removed_after)
            .collect();
        rows.sort_by_key(|row| position(row));
        let is_removed = |row: &QueueRow| row.fate != super::Fate::Waits;
        let mut queue: Vec<&QueueRow> = self
            .queue
            .values()
            .filter(|row| queue_position(row) > queue_start)
            .filter(|row| !is_removed(row) || row.revision > removed_after)
            .collect();
        queue.sort_by_key(|row| queue_position(row));
        let rows_missing = rows.len() > PAGE_ROWS_MAX;
        let more = rows_missing || queue.len() > PAGE_ROWS_MAX;
        rows.truncate(PAGE_ROWS_MAX);
        queue.truncate(if rows_missing { 0 } else { PAGE_ROWS_MAX });
        SyncPage {
            chat: self.view(),
            open_calls: self.chat.open_calls.iter().map(|call| call.id).collect(),
            messages: rows.into_iter().map(message_change).collect(),
            start,
            queue: queue.into_iter().map(queue_change).collect(),
            more,
            live_at: None,
        }
    }

    fn before_last(&self, history_limit: Option<u32>) -> RowPosition {
        let shown: Vec<_> = self.shown().collect();
        let limit = history_limit.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX));
        let before = shown.len().checked_sub(limit.saturating_add(1));
        before.map_or(RowPosition::START, |index| RowPosition {
            revision: shown[index].revision,
            id: shown[index].id,
        })
    }

    /// What a holder reads, where the lease is still its own.
    pub(crate) fn turn(&self, session: SessionId, fence: Fence, after: i64) -> Option<TurnNews> {
        let chat = &self.chat;
        let lease = chat.live_lease()?;
        if (lease.session, lease.fence) != (session, fence) {
            return None;
        }
        let is_other =
            |row: &Row| row.view.revision > after && (row.deleted || row.view.covers_through.is_some());
        let deleted_from = (after > 0 && self.rows.values().any(is_other)).then_some(MessageId::FIRST);
        let messages = self
            .prompt()
            .filter(|view| view.revision > after || deleted_from.is_some())
            .map(|view| (view.id, known(view)))
            .collect();
        Some(TurnNews {
            snapshot: chat.versions.snapshot,
            history: chat.versions.history,
            attempt: chat.attempt,
            last_write_no: lease.last_write.map_or(0, |last| last.write_no),
            interrupting: matches!(chat.execution, Execution::Interrupting { .. }),
            deleted_from,
            messages,
            settings: crate::scheduler::SettingsMark::of(&chat.settings),
        })
    }
}

fn known(view: &MessageView) -> Known {
    match &view.body {
        Body::System(_) => Known::System,
        Body::User(_) if view.covers_through.is_some() => Known::Summary,
        Body::User(_) => Known::Words,
        Body::Assistant(answer) => Known::Answer(answer.calls().map(|call| call.kind).collect()),
        Body::Tool(result) => Known::Result(result.call),
    }
}

fn position(row: &Row) -> RowPosition {
    RowPosition { revision: row.view.revision, id: row.view.id }
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
    if row.fate == super::Fate::Waits {
        return QueueChange::Upserted { entry: queued_view(row), revision };
    }
    QueueChange::Removed { id: row.queued.id, revision }
}

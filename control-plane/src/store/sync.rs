//! What has changed in a chat since a position.

mod position;
#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, io, time::Duration};

use chatplane_domain::{
    ChatError, ChatId, Effort, Fence, MessageId, QueuedMessageId, ReplicaId, Retry, UserId,
};
use chrono::{DateTime, Utc};
use serde::Deserialize;
use sqlx::types::Json;
use tokio::time;
use uuid::Uuid;

use super::{
    Error, FileView, LiveAt, MessageChange, QueueChange, QueuedView, Store, SyncPage,
    chats::ChatViewRow,
    content,
    rows::{CallRow, MessageRow},
};

pub(crate) use position::{QueuePosition, QueueThrough, RowPosition, SyncFrom};

/// A page has at most this many rows, and as many entries of the queue.
const PAGE_ROWS_MAX: i64 = 200;
/// A page has at most this many bytes of content, which is what a watcher holds at a
/// time; a larger message is a page of its own.
const PAGE_BYTES_MAX: i64 = 1024 * 1024;

/// A watcher's read takes milliseconds; after this long it had better be tried again.
const SYNC_TIMEOUT: Duration = Duration::from_secs(10);

/// A change of the history as `sync.sql` gives it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum MessageChangeRow {
    Live(Box<MessageRow>),
    Deleted { id: i64, revision: i64 },
}

/// A change of the queue as `sync.sql` gives it.
#[derive(Debug, Deserialize)]
struct QueueChangeRow {
    queued_message_id: Uuid,
    position: i64,
    steering: bool,
    preview_text: String,
    created_by: Uuid,
    model: Option<String>,
    effort: Option<Effort>,
    create_time: DateTime<Utc>,
    removed: bool,
    revision: i64,
}

/// What of a chat is new to a watcher when it changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct WatchedVersions {
    /// Version of the chat.
    snapshot: i64,
    /// Version of its metadata.
    metadata: i64,
    /// Counts the openings of the session that holds it: a session that moves to another
    /// replica writes nothing of the chat, and its live parts go with it.
    connection: Option<i64>,
}

/// What of a chat is asked for.
struct Newer {
    row: RowPosition,
    queue: QueuePosition,
    removed_after: i64,
}

impl Newer {
    /// The last entry of its queue's revision that a reader has.
    fn queue_entry(&self) -> Uuid {
        match self.queue.through {
            QueueThrough::Entry(id) => id.0,
            QueueThrough::All => Uuid::max(),
        }
    }
}

impl Store {
    /// What is newer in a chat than what a reader has; none when there is no such chat.
    ///
    /// # Errors
    ///
    /// What the database says.
    pub(crate) async fn sync(
        &self,
        chat: ChatId,
        viewer: UserId,
        from: SyncFrom,
    ) -> Result<Option<SyncPage>, Error> {
        match time::timeout(SYNC_TIMEOUT, self.sync_untimed(chat, viewer, from)).await {
            Ok(page) => page,
            Err(_) => Err(Error::Unavailable(io::Error::from(io::ErrorKind::TimedOut).into())),
        }
    }

    async fn sync_untimed(
        &self,
        chat: ChatId,
        viewer: UserId,
        from: SyncFrom,
    ) -> Result<Option<SyncPage>, Error> {
        let newer = match from {
            // What is removed or added between this statement and the next is seen by the
            // next: the limit is about, the page is of one snapshot.
            SyncFrom::Start { history_limit } => Newer {
                row: self.before_last_messages(chat, history_limit).await?,
                queue: QueuePosition::START,
                removed_after: i64::MAX,
            },
            SyncFrom::After { row, queue, removed_after } => Newer { row, queue, removed_after },
        };
        self.sync_newer(chat, viewer, newer).await
    }

    async fn sync_newer(
        &self,
        chat: ChatId,
        viewer: UserId,
        newer: Newer,
    ) -> Result<Option<SyncPage>, Error> {
        let Some(row) = sqlx::query_file!(
            "src/store/sync.sql",
            chat.0,
            newer.row.revision,
            newer.row.id.0,
            newer.queue.revision,
            newer.queue_entry(),
            newer.removed_after,
            PAGE_ROWS_MAX,
            PAGE_BYTES_MAX,
            viewer.0,
        )
        .fetch_optional(&self.connections)
        .await?
        else {
            return Ok(None);
        };
        let open_calls = row.open_calls.iter().flat_map(|calls| &calls.0).map(CallRow::id).collect();
        let view = ChatViewRow {
            chat_id: row.chat_id,
            organization_id: row.organization_id,
            owner_id: row.owner_id,
            workspace_id: row.workspace_id,
            model: row.model,
            effort: row.effort,
            client_tools: row.client_tools,
            action_timeout_ms: row.action_timeout_ms,
            state: row.state,
            archived: row.archived,
            queue_length: row.queue_length,
            snapshot_version: row.snapshot_version,
            history_version: row.history_version,
            queue_version: row.queue_version,
            retry_version: row.retry_version,
            error_version: row.error_version,
            retry: row.retry,
            last_error: row.last_error,
            fence: row.fence,
            leased: row.leased,
            action_deadline: row.action_deadline,
            open_calls: row.open_calls,
            last_turn_summary: row.last_turn_summary,
            compact_requested: row.compact_requested,
            create_time: row.create_time,
            update_time: row.update_time,
            metadata_version: row.metadata_version,
            title: row.title,
            labels: row.labels,
            parent_chat_id: row.parent_chat_id,
            archive_time: row.archive_time,
            pin_order: row.pin_order,
            read_message_id: row.read_message_id,
            has_unread: row.has_unread,
            files: row.files,
        };
        let messages = row.messages.map(|rows| rows.0).unwrap_or_default();
        let queue = row.queue.map(|rows| rows.0).unwrap_or_default();
        let found = usize::try_from(row.messages_found).unwrap_or(usize::MAX);
        let (queue, more) = shown_queue(queue, found > messages.len());
        Ok(Some(SyncPage {
            chat: view.view()?,
            open_calls,
            live_at: live_at(row.replica_id, row.connection, row.fence),
            messages: messages.into_iter().map(MessageChangeRow::change).collect::<Result<_, _>>()?,
            start: newer.row,
            queue,
            more,
        }))
    }

    /// The place behind which a chat has this many live messages.
    async fn before_last_messages(
        &self,
        chat: ChatId,
        history_limit: Option<u32>,
    ) -> Result<RowPosition, Error> {
        let Some(limit) = history_limit else {
            return Ok(RowPosition::START);
        };
        let row = sqlx::query!(
            "select revision, id \
             from messages \
             where chat_id = $1 \
             and not deleted \
             and role <> 'system' \
             and visibility <> 'model' \
             order by id desc \
             offset $2 \
             limit 1",
            chat.0,
            i64::from(limit),
        )
        .fetch_optional(&self.connections)
        .await?;
        Ok(row
            .map_or(RowPosition::START, |row| RowPosition { revision: row.revision, id: MessageId(row.id) }))
    }

    /// The versions of chats, in any order.
    ///
    /// # Errors
    ///
    /// What the database says.
    pub(crate) async fn versions(&self, chats: &[ChatId]) -> Result<Vec<(ChatId, WatchedVersions)>, Error> {
        let chats: Vec<Uuid> = chats.iter().map(|chat| chat.0).collect();
        let rows = sqlx::query!(
            r#"select c.chat_id, c.snapshot_version, d.metadata_version, s.connection as "connection?"
               from chats c
               join chat_metadata d on d.chat_id = c.chat_id
               left join sessions s on c.leased and s.session_id = c.session_id and s.close_time is null
               where c.chat_id = any ($1)"#,
            &chats,
        )
        .fetch_all(&self.connections)
        .await?;
        let versions = rows.into_iter().map(|row| {
            let (snapshot, metadata) = (row.snapshot_version, row.metadata_version);
            (ChatId(row.chat_id), WatchedVersions { snapshot, metadata, connection: row.connection })
        });
        Ok(versions.collect())
    }
}

/// Where a lease's session is, if it has one that is open.
fn live_at(replica: Option<Uuid>, connection: Option<i64>, fence: i64) -> Option<LiveAt> {
    let (replica, connection) = replica.zip(connection)?;
    Some(LiveAt { connection, replica: ReplicaId(replica), fence: Fence(fence) })
}

/// The queue's part of a page, which comes behind all messages; and whether more follows.
fn shown_queue(mut rows: Vec<QueueChangeRow>, messages_missing: bool) -> (Vec<QueueChange>, bool) {
    let page_rows_max = usize::try_from(PAGE_ROWS_MAX).expect("a page is small");
    let queue_missing = rows.len() > page_rows_max;
    rows.truncate(if messages_missing { 0 } else { page_rows_max });
    (rows.into_iter().map(QueueChangeRow::change).collect(), messages_missing || queue_missing)
}

impl MessageChangeRow {
    fn change(self) -> Result<MessageChange, Error> {
        match self {
            Self::Live(row) => Ok(MessageChange::Live(row.view()?)),
            Self::Deleted { id, revision } => {
                let id = MessageId(id);
                Ok(MessageChange::Deleted { id, revision })
            }
        }
    }
}

impl QueueChangeRow {
    fn change(self) -> QueueChange {
        let id = QueuedMessageId(self.queued_message_id);
        let revision = self.revision;
        if self.removed {
            return QueueChange::Removed { id, revision };
        }
        let entry = QueuedView {
            id,
            position: self.position,
            steering: self.steering,
            preview_text: content::unescape(self.preview_text),
            created_by: UserId(self.created_by),
            model: self.model,
            effort: self.effort,
            create_time: self.create_time,
            parts: Vec::new(),
        };
        QueueChange::Upserted { entry, revision }
    }
}

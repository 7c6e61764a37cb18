//! Reading the queue as users see it.

use chatplane_domain::{ChatId, Effort, QueuedMessageId, UserId, UserPart};
use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::{Error, QueuedView, Store, content, messages::PAGE_BYTES_MAX, rows::word, transact::read_error};

/// More entries than any queue has.
const QUEUE_ROWS_MAX: i64 = 1000;

/// A page of the queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct QueuePage {
    /// The entries in order, with their content.
    pub entries: Vec<QueuedView>,
    /// Whether there are more: the next page is after the last one's position.
    pub has_more: bool,
}

struct QueuedRow {
    queued_message_id: Uuid,
    position: i64,
    steering: bool,
    preview_text: String,
    created_by: Uuid,
    model: Option<String>,
    effort: Option<String>,
    create_time: DateTime<Utc>,
}

impl QueuedRow {
    fn view(self, parts: Vec<UserPart>) -> Result<QueuedView, Error> {
        Ok(QueuedView {
            id: QueuedMessageId(self.queued_message_id),
            position: self.position,
            steering: self.steering,
            preview_text: content::unescape(self.preview_text),
            created_by: UserId(self.created_by),
            model: self.model,
            effort: self.effort.as_deref().map(word::<Effort>).transpose()?,
            create_time: self.create_time,
            parts,
        })
    }
}

impl Store {
    /// The queue, in order, without content.
    ///
    /// # Errors
    ///
    /// What the database says.
    pub(crate) async fn queue(&self, chat: ChatId) -> Result<Vec<QueuedView>, Error> {
        let rows = sqlx::query_as!(
            QueuedRow,
            "select queued_message_id, position, steering, preview_text, created_by, model, effort, \
                 create_time \
             from queued_messages \
             where chat_id = $1 \
             and not removed \
             order by position \
             limit $2",
            chat.0,
            QUEUE_ROWS_MAX,
        )
        .fetch_all(&self.connections)
        .await?;
        rows.into_iter().map(|row| row.view(Vec::new())).collect()
    }

    /// A page of the queue after a position, whole messages: of at most so many, and of a
    /// bounded number of bytes or one message.
    ///
    /// # Errors
    ///
    /// What the database says.
    pub(crate) async fn queue_page(
        &self,
        chat: ChatId,
        after: Option<i64>,
        limit: usize,
    ) -> Result<QueuePage, Error> {
        let rows = sqlx::query!(
            r#"select
                   q.queued_message_id, q.position, q.steering, q.preview_text, q.created_by, q.model,
                   q.effort, q.create_time, q.content_version, q.content, q.found as "found!"
               from (
                   select
                       q.*,
                       row_number() over (order by q.position) as place,
                       (sum(q.content_bytes) over (order by q.position))::bigint as bytes,
                       count(*) over () as found
                   from (
                       select *
                       from queued_messages
                       where chat_id = $1
                       and not removed
                       and position > $2
                       order by position
                       -- One more than a page has, by which it is seen that there are more.
                       limit $3::bigint + 1
                   ) q
               ) q
               where q.place = 1
               or (q.place <= $3 and q.bytes <= $4)
               order by q.position"#,
            chat.0,
            after.unwrap_or(i64::MIN),
            i64::try_from(limit).unwrap_or(i64::MAX),
            PAGE_BYTES_MAX,
        )
        .fetch_all(&self.connections)
        .await
        .map_err(read_error)?;
        let shown = i64::try_from(rows.len()).unwrap_or(i64::MAX);
        let has_more = rows.first().is_some_and(|row| row.found > shown);
        let entries = rows.into_iter().map(|row| {
            let parts = content::decode_parts(row.content_version, row.content)?;
            let row = QueuedRow {
                queued_message_id: row.queued_message_id,
                position: row.position,
                steering: row.steering,
                preview_text: row.preview_text,
                created_by: row.created_by,
                model: row.model,
                effort: row.effort,
                create_time: row.create_time,
            };
            row.view(parts)
        });
        Ok(QueuePage { entries: entries.collect::<Result<_, Error>>()?, has_more })
    }
}

//! Reading messages and the queue as users see them.

use chatplane_domain::{ChatId, Effort, MessageId, QueuedMessageId, UserId};
use sqlx::types::Json;

use super::{
    Error, MessageView, QueuedView, Store, content,
    rows::{MessageRow, word},
};

/// A page of messages has at most this many bytes of content, so that it fits the
/// 3 MiB that no message on any wire exceeds; a larger message is a page of its own.
const PAGE_BYTES_MAX: i64 = 2 * 1024 * 1024;
/// More entries than any queue has.
const QUEUE_ROWS_MAX: i64 = 1000;

/// Which messages a page may show.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct MessageBounds {
    /// Only below this id.
    pub before: Option<MessageId>,
    /// Only above this id.
    pub after: Option<MessageId>,
}

/// A page of messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MessagePage {
    /// The messages, newest first.
    pub messages: Vec<MessageView>,
    /// Whether more lie within the bounds.
    pub has_more: bool,
}

impl Store {
    /// Live messages that users see, newest first.
    ///
    /// # Errors
    ///
    /// What the database says.
    pub(crate) async fn messages(
        &self,
        chat: ChatId,
        bounds: MessageBounds,
        limit: usize,
    ) -> Result<MessagePage, Error> {
        let one_more = i64::try_from(limit + 1).unwrap_or(i64::MAX);
        // The sum over what comes before a row decides, so that the first is always shown.
        let rows = sqlx::query!(
            r#"select
                   to_jsonb(m) - 'internal' - 'before_bytes' || '{"internal": null}'
                       as "row!: Json<MessageRow>",
                   m.before_bytes as "before_bytes!"
               from (
                   select
                       m.*,
                       (sum(m.content_bytes) over (order by m.id desc) - m.content_bytes)::bigint
                           as before_bytes
                   from (
                       select *
                       from messages
                       where chat_id = $1
                       and not deleted
                       and role <> 'system'
                       and visibility <> 'model'
                       and ($2::bigint is null or id < $2)
                       and ($3::bigint is null or id > $3)
                       order by id desc
                       limit $4
                   ) m
               ) m
               where m.before_bytes < $5
               order by m.id desc"#,
            chat.0,
            bounds.before.map(|id| id.0),
            bounds.after.map(|id| id.0),
            one_more,
            PAGE_BYTES_MAX,
        )
        .fetch_all(&self.connections)
        .await?;
        let mut messages = Vec::with_capacity(rows.len().min(limit));
        let mut bytes = 0;
        let found = rows.len();
        for row in rows.into_iter().take(limit) {
            let row = row.row.0;
            bytes += row.content_bytes;
            if !messages.is_empty() && bytes > PAGE_BYTES_MAX {
                return Ok(MessagePage { messages, has_more: true });
            }
            messages.push(row.view()?);
        }
        let cut_by_bytes = bytes >= PAGE_BYTES_MAX && found <= limit;
        let has_more = found > limit
            || (cut_by_bytes && self.any_older(chat, bounds, messages.last().map(|last| last.id)).await?);
        Ok(MessagePage { messages, has_more })
    }

    /// Whether messages lie below the last one of a page that its bytes may have cut.
    async fn any_older(
        &self,
        chat: ChatId,
        bounds: MessageBounds,
        last: Option<MessageId>,
    ) -> Result<bool, Error> {
        let any = sqlx::query_scalar!(
            r#"select exists (
                   select
                   from messages
                   where chat_id = $1
                   and not deleted
                   and role <> 'system'
                   and visibility <> 'model'
                   and id < $2
                   and ($3::bigint is null or id > $3)
               ) as "any!""#,
            chat.0,
            last.map_or(0, |id| id.0),
            bounds.after.map(|id| id.0),
        )
        .fetch_one(&self.connections)
        .await?;
        Ok(any)
    }

    /// Messages by their ids, deleted ones too: a repeated request gets the same reply.
    ///
    /// # Errors
    ///
    /// What the database says.
    pub(crate) async fn messages_by_id(
        &self,
        chat: ChatId,
        ids: &[MessageId],
    ) -> Result<Vec<MessageView>, Error> {
        let ids: Vec<i64> = ids.iter().map(|id| id.0).collect();
        let rows = sqlx::query_scalar!(
            r#"select to_jsonb(m) - 'internal' || '{"internal": null}' as "row!: Json<MessageRow>"
               from messages m
               where m.chat_id = $1
               and m.id = any ($2)
               order by m.id"#,
            chat.0,
            &ids,
        )
        .fetch_all(&self.connections)
        .await?;
        rows.into_iter().map(|row| row.0.view()).collect()
    }

    /// The queue, in order.
    ///
    /// # Errors
    ///
    /// What the database says.
    pub(crate) async fn queue(&self, chat: ChatId) -> Result<Vec<QueuedView>, Error> {
        let rows = sqlx::query!(
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
        rows.into_iter()
            .map(|row| {
                Ok(QueuedView {
                    id: QueuedMessageId(row.queued_message_id),
                    position: row.position,
                    steering: row.steering,
                    preview_text: content::unescape(row.preview_text),
                    created_by: UserId(row.created_by),
                    model: row.model,
                    effort: row.effort.as_deref().map(word::<Effort>).transpose()?,
                    create_time: row.create_time,
                })
            })
            .collect()
    }
}

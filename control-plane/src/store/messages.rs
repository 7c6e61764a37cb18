//! Reading messages as users see them.

use chatplane_domain::{ChatId, MessageId};
use sqlx::types::Json;

use super::{Error, MessageView, Store, rows::MessageRow, transact::read_error};

/// A page of messages has at most this many bytes of content, so that it fits the
/// 3 MiB that no message on any wire exceeds; a larger message is a page of its own.
pub(super) const PAGE_BYTES_MAX: i64 = 2 * 1024 * 1024;
/// Below every message.
const NO_MESSAGE: MessageId = MessageId(0);
/// Above every message.
pub(super) const ALL_MESSAGES: MessageId = MessageId(i64::MAX);

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
    /// The messages: oldest first where only a lower bound was given, newest first else.
    pub messages: Vec<MessageView>,
    /// Whether more lie within the bounds.
    pub has_more: bool,
}

impl Store {
    /// Live messages that users see: oldest first where only a lower bound is given, newest
    /// first else.
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
        let page = match bounds {
            MessageBounds { before: None, after: Some(after) } => {
                self.messages_after(chat, after, limit).await?
            }
            MessageBounds { before, after } => {
                let bounds = (after.unwrap_or(NO_MESSAGE), before.unwrap_or(ALL_MESSAGES));
                self.messages_before(chat, bounds, limit).await?
            }
        };
        let has_more = page.first().is_some_and(|row| row.found > count(page.len()));
        let messages = page.into_iter().map(|row| row.row.0.view()).collect::<Result<_, _>>()?;
        Ok(MessagePage { messages, has_more })
    }

    /// Between two bounds, newest first.
    async fn messages_before(
        &self,
        chat: ChatId,
        (after, before): (MessageId, MessageId),
        limit: usize,
    ) -> Result<Vec<PageRow>, Error> {
        let rows = sqlx::query_as!(
            PageRow,
            r#"select
                   to_jsonb(m) - 'internal' - 'place' - 'bytes' - 'found' || '{"internal": null}'
                       as "row!: Json<MessageRow>",
                   m.found as "found!"
               from (
                   select
                       m.*,
                       row_number() over (order by m.id desc) as place,
                       (sum(m.content_bytes) over (order by m.id desc))::bigint as bytes,
                       count(*) over () as found
                   from (
                       select *
                       from message_rows
                       where chat_id = $1
                       and exists (select from chats c where c.chat_id = $1 and c.delete_time is null)
                       and not deleted
                       and role <> 'system'
                       and visibility <> 'model'
                       and id > $2
                       and id < $3
                       order by id desc
                       -- One more than a page has, by which it is seen that there are more.
                       limit $4::bigint + 1
                   ) m
               ) m
               where m.place = 1
               or (m.place <= $4 and m.bytes <= $5)
               order by m.id desc"#,
            chat.0,
            after.0,
            before.0,
            count(limit),
            PAGE_BYTES_MAX,
        )
        .fetch_all(&self.connections)
        .await
        .map_err(read_error)?;
        Ok(rows)
    }

    /// Above a bound, oldest first.
    async fn messages_after(
        &self,
        chat: ChatId,
        after: MessageId,
        limit: usize,
    ) -> Result<Vec<PageRow>, Error> {
        let rows = sqlx::query_as!(
            PageRow,
            r#"select
                   to_jsonb(m) - 'internal' - 'place' - 'bytes' - 'found' || '{"internal": null}'
                       as "row!: Json<MessageRow>",
                   m.found as "found!"
               from (
                   select
                       m.*,
                       row_number() over (order by m.id) as place,
                       (sum(m.content_bytes) over (order by m.id))::bigint as bytes,
                       count(*) over () as found
                   from (
                       select *
                       from message_rows
                       where chat_id = $1
                       and exists (select from chats c where c.chat_id = $1 and c.delete_time is null)
                       and not deleted
                       and role <> 'system'
                       and visibility <> 'model'
                       and id > $2
                       order by id
                       limit $3::bigint + 1
                   ) m
               ) m
               where m.place = 1
               or (m.place <= $3 and m.bytes <= $4)
               order by m.id"#,
            chat.0,
            after.0,
            count(limit),
            PAGE_BYTES_MAX,
        )
        .fetch_all(&self.connections)
        .await
        .map_err(read_error)?;
        Ok(rows)
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
               from message_rows m
               where m.chat_id = $1
               and exists (select from chats c where c.chat_id = $1 and c.delete_time is null)
               and m.id = any ($2)
               order by m.id"#,
            chat.0,
            &ids,
        )
        .fetch_all(&self.connections)
        .await?;
        rows.into_iter().map(|row| row.0.view()).collect()
    }
}

/// A row of a page, with how many rows were found for it.
struct PageRow {
    row: Json<MessageRow>,
    found: i64,
}

fn count(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

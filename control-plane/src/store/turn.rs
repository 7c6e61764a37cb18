//! A turn's input as its lease holder reads it, and what model calls cost.
//!
//! A long history is read in pages, without a transaction that would stay open while a
//! worker reads: rows change only together with `history_version`, so pages that all
//! found the same one are of one snapshot.

use chatplane_domain::{ChatId, Fence, MessageId, SessionId};
use sqlx::types::Json;

use super::{Error, MessageView, ModelCall, Store, rows::MessageRow, transact::read_error};

/// A piece of a turn's input has at most this many messages, whatever their content: it
/// does not count ids, names and numbers, up to 2.5 KiB of them in an answer of 100
/// parts. With 1 MiB of content or of tools a piece stays below 3 MiB.
pub(crate) const TURN_ROWS_MAX: i64 = 500;

/// Which part of which turn's input is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TurnBounds {
    /// The chat.
    pub(crate) chat: ChatId,
    /// The lease's fence.
    pub(crate) fence: Fence,
    /// Who was given the lease.
    pub(crate) session: SessionId,
    /// The version of the history that every page has to find.
    pub(crate) history_version: i64,
    /// Only what changed after it.
    pub(crate) after_revision: i64,
    /// Also what has this id or a higher one.
    pub(crate) resent_from: Option<MessageId>,
}

/// A page of a turn's input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TurnPage {
    /// Live messages that the model sees, by id.
    pub(crate) messages: Vec<MessageView>,
    /// Whether this is the last page.
    pub(crate) is_last: bool,
}

impl Store {
    /// The lowest id among messages that were deleted after a revision. Answers none
    /// when there is none.
    ///
    /// # Errors
    ///
    /// What the database says.
    pub(crate) async fn deleted_from(
        &self,
        chat: ChatId,
        after_revision: i64,
    ) -> Result<Option<MessageId>, Error> {
        let id = sqlx::query_scalar!(
            "select min(m.id) \
             from messages m \
             where m.chat_id = $1 \
             and m.revision > $2 \
             and m.deleted",
            chat.0,
            after_revision,
        )
        .fetch_one(&self.connections)
        .await?;
        Ok(id.map(MessageId))
    }

    /// The next page after a message, of at most this many bytes or one message. Answers
    /// none when the lease has ended or the history is another.
    ///
    /// # Errors
    ///
    /// What the database says.
    pub(crate) async fn turn_page(
        &self,
        bounds: TurnBounds,
        after: MessageId,
        bytes_max: i64,
    ) -> Result<Option<TurnPage>, Error> {
        let row = sqlx::query!(
            r#"with lease as (
                   select c.chat_id
                   from chats c
                   where c.chat_id = $1
                   and c.fence = $2
                   and c.session_id = $3
                   and c.leased
                   and c.history_version = $4
               ),
               page as (
                   select m.*, (sum(m.content_bytes) over (order by m.id))::bigint as total_bytes
                   from (
                       select m.*
                       from messages m
                       join lease on lease.chat_id = m.chat_id
                       where m.id > $5
                       and not m.deleted
                       and m.visibility <> 'user'
                       and (m.revision > $6 or m.id >= $7)
                       order by m.id
                       limit $8
                   ) m
               ),
               -- The first row is part of its page, however large it is.
               fitting as (
                   select *
                   from page p
                   where p.total_bytes <= $9
                   or p.total_bytes = p.content_bytes
               )
               select
                   (
                       select coalesce(jsonb_agg(to_jsonb(f) - 'total_bytes' order by f.id), '[]')
                       from fitting f
                   ) as "messages!: Json<Vec<MessageRow>>",
                   (select count(*) from fitting) as "fitting!",
                   (select count(*) from page) as "found!"
               from lease"#,
            bounds.chat.0,
            bounds.fence.0,
            bounds.session.0,
            bounds.history_version,
            after.0,
            bounds.after_revision,
            bounds.resent_from.map_or(i64::MAX, |id| id.0),
            TURN_ROWS_MAX,
            bytes_max,
        )
        .fetch_optional(&self.connections)
        .await
        .map_err(read_error)?;
        let Some(row) = row else { return Ok(None) };
        let messages = row.messages.0.into_iter().map(MessageRow::view).collect::<Result<_, _>>()?;
        let is_last = row.fitting == row.found && row.found < TURN_ROWS_MAX;
        Ok(Some(TurnPage { messages, is_last }))
    }

    /// Keeps what a model call cost, once. It is taken for any lease of the chat so far:
    /// a refused answer was still paid for. Answers false when there was no such lease.
    ///
    /// # Errors
    ///
    /// What the database says.
    pub(crate) async fn report_usage(
        &self,
        chat: ChatId,
        session: SessionId,
        call: &ModelCall,
    ) -> Result<bool, Error> {
        let was_leased = sqlx::query_scalar!(
            r#"with lease as (
                   select c.chat_id
                   from chats c
                   where c.chat_id = $1
                   and $2::bigint between 1 and c.fence
                   -- Whom an earlier lease was given to is not kept; that it was a worker is.
                   and (c.session_id = $3 or $2 < c.fence)
                   and exists (
                       select
                       from sessions s
                       where s.session_id = $3
                   )
               ),
               reported as (
                   insert into model_calls (
                       chat_id, fence, model_call, model, input_tokens, output_tokens,
                       cache_read_tokens, cache_write_tokens, reasoning_tokens
                   )
                   select lease.chat_id, $2, $4, $5, $6, $7, $8, $9, $10
                   from lease
                   -- A commit may have written the same call; a second write has no effect.
                   on conflict (chat_id, fence, model_call) do nothing
               )
               select exists (select from lease) as "was_leased!""#,
            chat.0,
            call.fence.0,
            session.0,
            call.number,
            call.model,
            call.usage.input_tokens,
            call.usage.output_tokens,
            call.usage.cache_read_tokens,
            call.usage.cache_write_tokens,
            call.usage.reasoning_tokens,
        )
        .fetch_one(&self.connections)
        .await?;
        Ok(was_leased)
    }
}

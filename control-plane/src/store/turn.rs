//! A turn's input as its lease holder reads it, and what model calls cost.
//!
//! A long history is read in pages, without a transaction that would stay open while a
//! worker reads: rows change only together with `history_version`, so pages that all
//! found the same one are of one snapshot.

use std::collections::BTreeMap;

use chatplane_domain::{ChatId, ClientTool, Fence, MessageId, SessionId};
use serde::{Deserialize, Deserializer};
use sqlx::types::Json;

use super::{
    Error, MessageView, ModelCall, ModelRow, Store, catalog::is_percentage, rows::MessageRow,
    transact::read_error,
};

/// A piece of a turn's input has at most this many messages, whatever their content: it
/// does not count ids, names and numbers, up to 2.5 KiB of them in an answer of 100
/// parts. With 1 MiB of content a piece stays below 2.5 MiB. So does a header but for its names:
/// a workspace's tools have at most 1 MiB, and a client's 1.5 MiB.
pub(crate) const TURN_ROWS_MAX: i64 = 500;

/// What a turn is run with beside its messages, as it is read with its input.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub(crate) struct TurnSettings {
    /// Tools that the client runs.
    #[serde(default)]
    pub(crate) client_tools: Vec<ClientTool>,
    /// The owner's own instructions; empty for none.
    #[serde(deserialize_with = "or_default")]
    pub(crate) user_instructions: String,
    /// The owner's own thresholds, in percent, by model: another one may answer than did
    /// when they were read.
    #[serde(deserialize_with = "or_default")]
    pub(crate) compaction_thresholds: BTreeMap<String, i32>,
    /// Whether model calls are recorded for debugging.
    #[serde(deserialize_with = "or_default")]
    pub(crate) debug_recording: bool,
}

impl TurnSettings {
    /// Percent of a model's context at which the history is summarized: the owner's own
    /// before the model's.
    #[must_use]
    pub(crate) fn compaction_threshold_percent(&self, model: &ModelRow) -> i32 {
        let own = self.compaction_thresholds.get(&model.name).copied();
        own.filter(is_percentage).unwrap_or_else(|| model.compaction_threshold_percent())
    }
}

/// What is not there is null.
fn or_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

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
    /// From where on a holder that has what was there at a revision must get everything
    /// anew: from the start, when rows were deleted or a boundary came or went since, which
    /// changes what the model sees below it, too. Answers none when it needs only what is
    /// newer.
    ///
    /// # Errors
    ///
    /// What the database says.
    pub(crate) async fn deleted_from(
        &self,
        chat: ChatId,
        after_revision: i64,
    ) -> Result<Option<MessageId>, Error> {
        let is_other = sqlx::query_scalar!(
            r#"select exists (
                   select
                   from messages m
                   where m.chat_id = $1
                   and m.revision > $2
                   and (m.deleted or m.covers_through is not null)
               ) as "is_other!""#,
            chat.0,
            after_revision,
        )
        .fetch_one(&self.connections)
        .await?;
        Ok(is_other.then_some(MessageId::FIRST))
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
        let row = sqlx::query_file!(
            "src/store/turn_page.sql",
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
            call.storable_model(),
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

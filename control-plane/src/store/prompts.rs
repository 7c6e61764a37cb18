//! What users wrote, for recall in a composer.

use chatplane_domain::{ChatId, MessageId};
use chrono::{DateTime, Utc};

use super::{
    Error, Store, content,
    messages::{ALL_MESSAGES, PAGE_BYTES_MAX},
    transact::read_error,
};

/// Something that a user wrote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Prompt {
    /// The message.
    pub message: MessageId,
    /// Its text parts, joined as they are.
    pub text: String,
    /// When it was stored.
    pub create_time: DateTime<Utc>,
}

/// What users wrote, newest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct PromptPage {
    /// The prompts, without those of white space alone.
    pub prompts: Vec<Prompt>,
    /// Whether bytes made it shorter than asked for: the next is below the last prompt.
    pub has_more: bool,
}

impl Store {
    /// What users wrote below a message, or at all, among the newest `limit` of their
    /// messages.
    ///
    /// # Errors
    ///
    /// What the database says.
    pub(crate) async fn prompts(
        &self,
        chat: ChatId,
        before: Option<MessageId>,
        limit: usize,
    ) -> Result<PromptPage, Error> {
        let mut before = before.unwrap_or(ALL_MESSAGES);
        let mut left = i64::try_from(limit).unwrap_or(i64::MAX);
        loop {
            let (page, last, looked_at) = self.prompts_below(chat, before, left).await?;
            // A page of nothing but white space has no last prompt to go on from.
            match last {
                Some(last) if page.has_more && page.prompts.is_empty() => {
                    before = last;
                    left -= looked_at;
                }
                Some(_) | None => return Ok(page),
            }
        }
    }

    /// A page with the last message that was looked at for it, and how many there were.
    async fn prompts_below(
        &self,
        chat: ChatId,
        before: MessageId,
        limit: i64,
    ) -> Result<(PromptPage, Option<MessageId>, i64), Error> {
        let rows = sqlx::query_file!("src/store/list_prompts.sql", chat.0, before.0, limit, PAGE_BYTES_MAX,)
            .fetch_all(&self.connections)
            .await
            .map_err(read_error)?;
        let looked_at = i64::try_from(rows.len()).unwrap_or(i64::MAX);
        let has_more = rows.first().is_some_and(|row| row.found > looked_at);
        let last = rows.last().map(|row| MessageId(row.id));
        let prompts = rows.into_iter().filter_map(|row| {
            let text = content::joined_text(&row.content).filter(|text| !text.trim().is_empty())?;
            Some(Prompt { message: MessageId(row.id), text, create_time: row.create_time })
        });
        Ok((PromptPage { prompts: prompts.collect(), has_more }, last, looked_at))
    }
}

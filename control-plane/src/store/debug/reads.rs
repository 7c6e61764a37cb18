//! Reading what was recorded.

use chatplane_domain::{ChatError, ChatId, MessageId, Usage};
use sqlx::types::Json;
use uuid::Uuid;

use super::{
    super::{Error, Store, transact::read_error},
    DebugAttempt, DebugPage, DebugRunView, DebugStep, DebugStepView,
};

/// Which runs of a chat are read.
#[derive(Clone, Copy, Debug)]
enum Runs {
    /// This one.
    One(Uuid),
    /// Those before it, newest first.
    Before(Option<Uuid>),
}

impl Store {
    /// Runs of a chat, newest first.
    ///
    /// # Errors
    ///
    /// What the database says.
    pub(crate) async fn debug_runs(
        &self,
        chat: ChatId,
        before: Option<Uuid>,
        limit: usize,
    ) -> Result<DebugPage<DebugRunView>, Error> {
        let one_more = i64::try_from(limit + 1).unwrap_or(i64::MAX);
        let mut entries = self.runs(chat, Runs::Before(before), one_more).await?;
        let has_more = entries.len() > limit;
        entries.truncate(limit);
        Ok(DebugPage { entries, has_more })
    }

    /// One run of a chat.
    ///
    /// # Errors
    ///
    /// What the database says.
    pub(crate) async fn debug_run(&self, chat: ChatId, run: Uuid) -> Result<Option<DebugRunView>, Error> {
        Ok(self.runs(chat, Runs::One(run), 1).await?.pop())
    }

    async fn runs(&self, chat: ChatId, runs: Runs, limit: i64) -> Result<Vec<DebugRunView>, Error> {
        let (one, before) = match runs {
            Runs::One(run) => (Some(run), None),
            Runs::Before(before) => (None, before),
        };
        let rows = sqlx::query_file!("src/store/debug/runs.sql", chat.0, one, before, limit)
            .fetch_all(&self.connections)
            .await?;
        let view = rows.into_iter().map(|row| DebugRunView {
            run_id: row.run_id,
            chat,
            trigger: row.trigger_message_id.map(MessageId),
            history_tip: row.history_tip_message_id.map(MessageId),
            step_count: row.step_count,
            start_time: row.start_time,
            end_time: row.end_time,
            usage: Usage {
                input_tokens: row.input_tokens,
                output_tokens: row.output_tokens,
                cache_read_tokens: row.cache_read_tokens,
                cache_write_tokens: row.cache_write_tokens,
                reasoning_tokens: row.reasoning_tokens,
            },
        });
        Ok(view.collect())
    }

    /// Steps of a run in order, after the one with this number: at most so many, and so many
    /// bytes, or one.
    ///
    /// # Errors
    ///
    /// What the database says.
    pub(crate) async fn debug_steps(
        &self,
        (chat, run): (ChatId, Uuid),
        after: i32,
        limit: usize,
        bytes_max: i64,
    ) -> Result<DebugPage<DebugStepView>, Error> {
        let one_more = i64::try_from(limit + 1).unwrap_or(i64::MAX);
        let rows = sqlx::query_file_as!(
            StepRow,
            "src/store/debug/steps.sql",
            chat.0,
            run,
            after,
            one_more,
            bytes_max
        )
        .fetch_all(&self.connections)
        .await
        .map_err(read_error)?;
        let found = rows.first().map_or(0, |row| usize::try_from(row.found).unwrap_or(usize::MAX));
        let entries: Vec<DebugStepView> = rows.into_iter().take(limit).map(StepRow::view).collect();
        let has_more = found > entries.len();
        Ok(DebugPage { entries, has_more })
    }
}

struct StepRow {
    step: i32,
    assistant_message_id: Option<i64>,
    history_tip_message_id: Option<i64>,
    model: String,
    request: String,
    response: String,
    truncated: bool,
    usage: Json<Usage>,
    attempts: Json<Vec<DebugAttempt>>,
    error: Option<Json<ChatError>>,
    start_time: chrono::DateTime<chrono::Utc>,
    first_token_ms: i64,
    duration_ms: i64,
    found: i64,
}

impl StepRow {
    fn view(self) -> DebugStepView {
        let step = DebugStep {
            assistant_message: self.assistant_message_id.map(MessageId),
            history_tip: self.history_tip_message_id.map(MessageId),
            model: self.model,
            request_json: self.request,
            response_json: self.response,
            truncated: self.truncated,
            usage: self.usage.0,
            attempts: self.attempts.0,
            error: self.error.map(|error| error.0),
            start_time: self.start_time,
            first_token_ms: self.first_token_ms,
            duration_ms: self.duration_ms,
        };
        DebugStepView { number: self.step, step }
    }
}

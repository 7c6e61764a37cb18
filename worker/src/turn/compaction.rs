//! Summaries of one lease.
//!
//! At most one is on its way at a time, in a task of its own, so that it goes on whatever
//! the loop waits for. One that was made beside the turn rides on the next step's commit if
//! it is ready by then. Where the turn has to wait for one, it waits for that which is on
//! its way, or for a new one, and commits it by itself. An answer that ends the turn waits a
//! moment for the one beside it: in a chat whose turns are single steps, none would ever be
//! ready for a later one.
//!
//! One that was late or has failed is remembered beyond the lease, so that the next turns do not
//! pay for the same ([`super::vain`]).
//!
//! A summary that no write has taken is dropped with its tokens reported: when rows that it
//! may cover are gone, when the user stops the turn, and when the turn ends before it does.

use std::{mem, time::Duration};

use chatplane_domain::{ChatError, ErrorKind, Usage};
use futures::StreamExt;
use tokio::{
    task::{JoinError, JoinSet},
    time::{Instant, timeout},
};

use super::{
    Exit, Turn,
    model::{ModelStream, cut_short, unknown_provider},
    recording::{Begun, Purpose, Recording},
    usage::UsageGuard,
    write::{Written, settle},
};
use crate::{
    link::{Disposition, LivePartKind, LiveStream, NewStep, NewSummary, Outcome, Write},
    llm::{Answer, CallFailure, ModelEvent, PartKind, StopReason},
    step::{self, After, InVain, SummaryPlan},
};

/// Tokens that a summary may have, as part of the model's context: so much is usually left
/// when the turn waits for it. Thinking counts too.
const SUMMARY_TOKENS_PART: i64 = 20;
/// The least and the most of that: less is no summary, more is no summary either.
const SUMMARY_TOKENS_MIN: i64 = 4 * 1024;
const SUMMARY_TOKENS_MAX: i64 = 16 * 1024;
/// The part of the context that it never has more of, so that a small one stays mostly the
/// conversation's.
const SUMMARY_TOKENS_PART_MAX: i64 = 4;
/// Summaries in a row that the control plane may leave. The history that they are made from
/// is the one that they are committed on, so that even one is a wonder.
const IGNORED_MAX: u32 = 3;

/// The summaries of a lease.
#[derive(Default)]
pub(super) struct Summaries {
    /// Empty, or the one that is on its way.
    task: JoinSet<Result<Summarized, SummaryFailure>>,
    /// The last one beside this turn failed: what is wrong with it is likely to be so again.
    has_failed: bool,
    /// One was cut off at the limit of its tokens: further ones of this turn may have twice as
    /// many.
    needs_room: bool,
    /// How many in a row were not taken.
    ignored: u32,
    /// When the one beside the turn was begun, until it is known what became of it.
    beside: Option<InVain>,
}

impl Summaries {
    /// Whether one may begin beside the turn.
    pub(super) fn may_begin(&self) -> bool {
        self.task.is_empty() && !self.has_failed
    }

    /// Stops the one that is on its way: its connection is closed, its tokens are reported.
    pub(super) fn drop_all(&mut self) {
        self.task = JoinSet::new();
    }

    /// A new turn begins.
    pub(super) fn begin_turn(&mut self) {
        *self = Summaries::default();
    }

    /// One that was made beside the turn, if it did not fail.
    fn if_made(&mut self, ended: Result<Summarized, SummaryFailure>) -> Option<Summarized> {
        match ended {
            Ok(summary) => Some(summary),
            Err(failure) if self.makes_room(&failure) => None,
            Err(SummaryFailure { failure, .. }) => {
                tracing::info!(kind = ?failure.error.kind, "a summary beside the turn has failed");
                self.has_failed = true;
                None
            }
        }
    }

    /// Whether the next one has more room than this one, and that may mend it.
    fn makes_room(&mut self, failure: &SummaryFailure) -> bool {
        failure.needs_room && !mem::replace(&mut self.needs_room, true)
    }

    /// Waits for the one that is on its way.
    async fn ended(&mut self) -> Option<Result<Summarized, SummaryFailure>> {
        self.task.join_next().await.map(joined)
    }
}

fn joined(
    joined: Result<Result<Summarized, SummaryFailure>, JoinError>,
) -> Result<Summarized, SummaryFailure> {
    joined.unwrap_or_else(|error| {
        tracing::error!(%error, "a summary has panicked");
        Err(SummaryFailure { covers_through: i64::MAX, needs_room: false, failure: defect() })
    })
}

/// A summary that is ready to be committed.
pub(super) struct Summarized {
    pub(super) summary: NewSummary,
    live: LiveStream,
    usage: UsageGuard,
}

impl Summarized {
    /// A write has stored it with its tokens.
    fn stored(self) {
        self.usage.stored();
        self.live.commit();
    }
}

/// A summary that came to nothing.
struct SummaryFailure {
    covers_through: i64,
    /// It was cut off, and the model may write more than it was given room for.
    needs_room: bool,
    failure: CallFailure,
}

/// A summary on its way.
struct SummaryCall {
    /// Everything but its text, its tokens and its time.
    summary: NewSummary,
    since: Instant,
    provider: String,
    /// Whether the model may write more than it is given room for.
    has_less_room: bool,
    live: LiveStream,
    usage: UsageGuard,
    recording: Option<Recording>,
}

/// What became of a summary that was to begin.
pub(super) enum Started {
    /// It is on its way.
    Begun,
    /// Something else is wanted first.
    Later,
    /// It cannot be made.
    Failed(ChatError),
}

impl SummaryCall {
    async fn run(mut self, stream: ModelStream) -> Result<Summarized, SummaryFailure> {
        let (covers_through, has_less_room) = (self.summary.covers_through, self.has_less_room);
        let mut answer = Answer::default();
        let mut recording = self.recording.take();
        let followed = self.follow(stream, &mut answer, recording.as_mut()).await;
        if let Some(recording) = &mut recording {
            recording.try_ended(followed.as_ref().err().map(|failure| &failure.error));
        }
        let needs_room = has_less_room && answer.stop_reason == Some(StopReason::MaxTokens);
        followed.map_err(|failure| SummaryFailure { covers_through, needs_room, failure })
    }

    async fn follow(
        mut self,
        mut stream: ModelStream,
        answer: &mut Answer,
        mut recording: Option<&mut Recording>,
    ) -> Result<Summarized, CallFailure> {
        let mut is_text = false;
        loop {
            let event = stream.next().await.unwrap_or_else(|| Err(cut_short(&self.provider)))?;
            answer.apply(&event);
            if let Some(recording) = &mut recording {
                recording.event(&event);
            }
            match event {
                ModelEvent::PartStarted(kind) => {
                    is_text = kind == PartKind::Text;
                    if is_text {
                        self.live.start_part(LivePartKind::Summary);
                    }
                }
                // What it thinks is nobody's summary.
                ModelEvent::Delta(text) if is_text => self.live.append(text.as_bytes()),
                ModelEvent::Delta(_) | ModelEvent::PartFinished { .. } => {}
                ModelEvent::Usage(usage) => self.usage.spent(usage),
                ModelEvent::Finished(_) => break,
            }
        }
        let SummaryCall { mut summary, since, live, usage, .. } = self;
        summary.text = step::summary_text(answer)?;
        summary.usage = answer.usage;
        summary.runtime = since.elapsed();
        Ok(Summarized { summary, live, usage })
    }
}

impl Turn {
    /// Begins a summary in a task of its own; tries of it began at this time.
    pub(super) async fn start_summary(&mut self, plan: SummaryPlan, since: Instant) -> Result<Started, Exit> {
        let model = &self.settings.model;
        let Some(provider) = (self.context.providers)(&model.provider) else {
            return Ok(Started::Failed(unknown_provider(&model.provider)));
        };
        let name = model.name.clone();
        let intake = provider.intake(&model.endpoint, &model.provider_model);
        let SummaryPlan { covers_through, context_tokens, context_percent, prompt, .. } = plan;
        let Some(ready) = self.with_files(prompt, intake).await? else {
            return Ok(Started::Later);
        };
        let mut call = self.model_call(ready);
        let answer_tokens_max = call.output_tokens_max;
        call.output_tokens_max = answer_tokens_max.min(self.summary_tokens_max());
        self.model_calls += 1;
        let model_call = self.model_calls;
        let begun = Begun {
            purpose: Purpose::Summary,
            call: &call,
            model_call,
            attempt: self.attempt,
            tip: covers_through,
        };
        let summary_call = SummaryCall {
            usage: self.context.usage.guard(self.holder.clone(), model_call, name.clone()),
            summary: NewSummary {
                covers_through,
                history_version: self.versions.history,
                text: String::new(),
                model: name,
                usage: Usage::default(),
                runtime: Duration::ZERO,
                model_call,
                context_tokens,
                context_percent,
            },
            since,
            provider: self.settings.model.provider.clone(),
            has_less_room: call.output_tokens_max < answer_tokens_max,
            live: self.live.open(),
            recording: self.record(None, &begun),
        };
        tracing::debug!(chat_id = %self.holder.key.chat_id, context_percent, "a summary begins");
        self.summaries.task.spawn(summary_call.run(provider.call(call)));
        Ok(Started::Begun)
    }

    /// The room of the next summary. A lower effort would need less of it, but to some providers
    /// another effort is another prompt, of which nothing is in their cache.
    fn summary_tokens_max(&self) -> i64 {
        let context = self.settings.model.context_tokens_max;
        let room = (context / SUMMARY_TOKENS_PART).clamp(SUMMARY_TOKENS_MIN, SUMMARY_TOKENS_MAX);
        let is_known = context > 0;
        let room = if is_known { room.min(context / SUMMARY_TOKENS_PART_MAX) } else { room };
        if self.summaries.needs_room { room * 2 } else { room }
    }

    /// Begins a summary beside the turn.
    pub(super) async fn start_summary_beside(&mut self, plan: SummaryPlan) -> Result<Started, Exit> {
        let SummaryPlan { context_percent, summary_before, .. } = plan;
        let started = self.start_summary(plan, Instant::now()).await?;
        if let Started::Begun = started {
            self.summaries.beside = Some(InVain { context_percent, summary: summary_before });
        }
        Ok(started)
    }

    /// The summary beside the turn, if it is ready.
    pub(super) fn summary_if_ready(&mut self) -> Option<Summarized> {
        let ended = joined(self.summaries.task.try_join_next()?);
        let made = self.summaries.if_made(ended);
        if self.summaries.has_failed {
            self.summary_was_in_vain();
        }
        made
    }

    /// The summary on its way, for which the last answer of a turn waits a moment. Whatever is
    /// wanted meanwhile ends the wait.
    pub(super) async fn summary_in_time(&mut self) -> Option<Summarized> {
        let grace = self.context.limits.summary_grace;
        let mut summaries = mem::take(&mut self.summaries);
        let ended = tokio::select! {
            biased;
            ended = timeout(grace, summaries.ended()) => Some(ended),
            _ = self.next_signal_but(None) => None,
        };
        self.summaries = summaries;
        let made = match ended? {
            Ok(ended) => self.summaries.if_made(ended?),
            Err(_) => None,
        };
        if made.is_none() {
            self.summary_was_in_vain();
        }
        made
    }

    /// Later turns need not pay for the same.
    fn summary_was_in_vain(&mut self) {
        if let Some(summary) = self.summaries.beside.take() {
            self.context.vain_summaries.remember(self.holder.key.chat_id, summary);
        }
    }

    /// Summarizes while the turn waits, and hands the summary in.
    pub(super) async fn summarize(&mut self, plan: SummaryPlan) -> Result<(), Exit> {
        if self.summaries.task.is_empty() {
            if !self.may_start().await {
                return Ok(());
            }
            self.tries.not_before = None;
            let since = *self.tries.since.get_or_insert_with(Instant::now);
            match self.start_summary(plan, since).await? {
                Started::Begun => {}
                Started::Later => return Ok(()),
                Started::Failed(error) => return self.fail(error).await,
            }
        }
        // Apart, so that the loop can look at everything else meanwhile.
        let mut summaries = mem::take(&mut self.summaries);
        let ended = tokio::select! {
            biased;
            _ = self.next_signal_but(None) => None,
            ended = summaries.ended() => ended,
        };
        self.summaries = summaries;
        match ended {
            // Something else comes first. The task goes on unless that ends it.
            None => Ok(()),
            Some(Ok(summarized)) => self.commit_summary(summarized).await,
            Some(Err(SummaryFailure { covers_through, failure, .. }))
                if failure.error.kind == ErrorKind::ContextLength =>
            {
                self.tries.summary_refused_through = Some(covers_through);
                Ok(())
            }
            Some(Err(failure)) if self.summaries.makes_room(&failure) => Ok(()),
            Some(Err(SummaryFailure { failure, .. })) => self.call_failed(failure).await,
        }
    }

    async fn commit_summary(&mut self, summarized: Summarized) -> Result<(), Exit> {
        let after = if self.settings.compact_requested { After::Finish } else { After::Continue };
        let summary = Some(summarized.summary.clone());
        let step = NewStep { answer: None, summary, after };
        let written = self.write(Write::CommitStep(Box::new(step))).await?;
        let Written::Applied(outcome) = written else {
            return written.settled();
        };
        self.summary_handed_in(Some(summarized), &outcome);
        // Also where it was not taken: only the control plane knows why.
        self.unread_from(0);
        let goes_on = outcome.disposition == Disposition::Continues;
        if goes_on && self.summaries.ignored >= IGNORED_MAX {
            return self.fail(step::not_accepted()).await;
        }
        settle(&outcome)
    }

    /// Learns what became of a summary that was part of a step.
    pub(super) fn summary_handed_in(&mut self, summarized: Option<Summarized>, outcome: &Outcome) {
        let Some(summarized) = summarized else {
            return;
        };
        if !outcome.has_boundary {
            self.summaries.ignored += 1;
            tracing::info!(chat_id = %self.holder.key.chat_id, "a summary was not taken");
            return;
        }
        self.summaries.ignored = 0;
        let covers_through = summarized.summary.covers_through;
        self.answers_summarized = self.history.answers_covered(covers_through, self.answers_summarized);
        self.unread_from(0);
        summarized.stored();
    }
}

fn defect() -> CallFailure {
    let error = ChatError {
        kind: ErrorKind::CompactionFailed,
        message: "The chat could not be summarized because of a defect of chatplane. Send a message to try \
                  again."
            .to_owned(),
        detail: String::new(),
        provider: String::new(),
        status_code: None,
        retryable: true,
    };
    CallFailure { error, retry_after: None }
}

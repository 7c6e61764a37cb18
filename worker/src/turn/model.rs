//! One model call: stream the answer, show it as it grows, commit it.

use chatplane_domain::{ChatError, ErrorKind};
use futures::{StreamExt, stream::BoxStream};
use tokio::time::Instant;

use super::{
    Exit, Turn,
    compaction::Started,
    control::Signal,
    files::ReadyPrompt,
    recording::{Begun, Purpose, Recording},
    usage::UsageGuard,
    wait_for,
    write::{Written, settle},
};
use crate::{
    limits::ANSWER_BYTES_MAX,
    link::{LivePartKind, LiveStream, NewAnswer, NewStep, Outcome, Write},
    llm::{Answer, CallFailure, CallLimits, ModelCall, ModelEvent, PartKind},
    step::{self, After, Content, Message, PastAnswer, Prompt, SummaryPlan},
    tools::Toolbox,
};

/// An answer on its way.
struct AnswerInProgress {
    answer: Answer,
    /// The model that was called.
    model: String,
    /// Counts the lease's model calls.
    model_call: i64,
    /// The tools that it was offered; the settings may change meanwhile.
    tools: Toolbox,
    live: LiveStream,
    /// Reports the tokens unless a write has stored them.
    usage: UsageGuard,
    /// Where the turn is recorded.
    recording: Option<Recording>,
}

/// How a model call ends.
enum CallEnd {
    /// The answer is complete.
    Answered,
    /// The provider failed.
    Failed(CallFailure),
    /// The user stopped it.
    Interrupted,
    /// The answer would be to an outdated history, or the lease is given back.
    Dropped,
}

pub(super) type ModelStream = BoxStream<'static, Result<ModelEvent, CallFailure>>;

impl Turn {
    /// Calls the model once and hands in what comes of it. A summary may begin beside it.
    pub(super) async fn call_model(
        &mut self,
        prompt: Prompt,
        beside: Option<SummaryPlan>,
    ) -> Result<(), Exit> {
        let model = self.settings.model.clone();
        let Some(provider) = (self.context.providers)(&model.provider) else {
            return self.fail(unknown_provider(&model.provider)).await;
        };
        if !self.may_start().await {
            return Ok(());
        }
        let tip = prompt.tip;
        let intake = provider.intake(&model.endpoint, &model.provider_model);
        let Some(ready) = self.with_files(prompt, intake).await? else {
            return Ok(());
        };
        if let Some(plan) = beside {
            match self.start_summary_beside(plan).await? {
                Started::Begun => {}
                Started::Later => return Ok(()),
                Started::Failed(error) => return self.fail(error).await,
            }
        }
        self.model_calls += 1;
        self.tries.not_before = None;
        self.tries.since.get_or_insert_with(Instant::now);
        let mut progress = AnswerInProgress {
            answer: Answer::default(),
            usage: self.context.usage.guard(self.holder.clone(), self.model_calls, model.name.clone()),
            model: model.name,
            model_call: self.model_calls,
            tools: self.settings.tools.clone(),
            live: self.live.open(),
            recording: None,
        };
        let call = self.model_call(ready);
        let begun = Begun {
            purpose: Purpose::Answer,
            call: &call,
            model_call: self.model_calls,
            attempt: self.attempt,
            tip,
        };
        let before = self.recording.take();
        progress.recording = self.record(before, &begun);
        let mut stream = provider.call(call);
        let end = self.follow(&mut stream, &mut progress).await?;
        drop(stream);
        progress.ended(&end);
        match end {
            CallEnd::Answered => self.commit(progress).await,
            CallEnd::Failed(failure) => {
                self.recording = progress.given_up();
                if failure.error.kind == ErrorKind::ContextLength {
                    return self.context_is_full(failure.error).await;
                }
                self.call_failed(failure).await
            }
            CallEnd::Interrupted => self.commit_partial(progress).await,
            CallEnd::Dropped => Ok(()),
        }
    }

    /// The provider has refused the history: it is summarized, if that can help.
    async fn context_is_full(&mut self, refusal: ChatError) -> Result<(), Exit> {
        let hopeless = step::refused(&self.history, &self.situation().compaction, refusal);
        if let Some(error) = hopeless {
            return self.fail(error).await;
        }
        self.tries.is_refused = true;
        Ok(())
    }

    /// What a provider is asked; the same but for the messages, whatever the call is for.
    pub(super) fn model_call(&self, prompt: ReadyPrompt) -> ModelCall {
        let model = &self.settings.model;
        ModelCall {
            endpoint: model.endpoint.clone(),
            api_key: model.api_key.0.clone(),
            provider_model: model.provider_model.clone(),
            effort: self.settings.effort,
            output_tokens_max: model.output_tokens_max,
            system: prompt.system,
            messages: prompt.messages,
            tools: self.settings.tools.offered(),
            limits: CallLimits {
                first_token_timeout: model.first_token_timeout,
                silence_timeout: model.silence_timeout,
                answer_duration_max: self.context.limits.answer_duration_max,
                answer_bytes_max: ANSWER_BYTES_MAX,
            },
        }
    }

    async fn follow(
        &mut self,
        stream: &mut ModelStream,
        progress: &mut AnswerInProgress,
    ) -> Result<CallEnd, Exit> {
        // A read goes on beside the answer: a control plane that is slow to tell the news
        // must not stall a model that is answering.
        let mut reading = None;
        loop {
            let known = reading.as_ref().map(|_| Signal::Reload);
            tokio::select! {
                biased;
                signal = self.next_signal_but(known) => match signal {
                    Signal::Interrupt => return Ok(CallEnd::Interrupted),
                    Signal::GiveBack => return Ok(CallEnd::Dropped),
                    Signal::Reload => reading = Some(self.reading()),
                },
                news = wait_for(reading.as_mut()) => {
                    reading = None;
                    let known_history = self.versions.history;
                    self.learn(news?);
                    if self.versions.history != known_history {
                        return Ok(CallEnd::Dropped);
                    }
                }
                event = stream.next() => match event {
                    Some(Ok(event)) => {
                        if progress.apply(&event) {
                            return Ok(CallEnd::Answered);
                        }
                    }
                    Some(Err(failure)) => return Ok(CallEnd::Failed(failure)),
                    None => return Ok(CallEnd::Failed(cut_short(&self.settings.model.provider))),
                },
            }
        }
    }

    async fn commit(&mut self, progress: AnswerInProgress) -> Result<(), Exit> {
        let parts = match step::check(&progress.answer) {
            Ok(parts) => parts,
            Err(error) => return self.fail(error).await,
        };
        let answer = self.new_answer(&progress, parts);
        let (usage, client_calls) = (answer.usage, answer.client_calls.clone());
        let past = PastAnswer { parts: answer.parts.clone(), client_calls, usage };
        let after = step::after(&progress.answer, &answer.client_calls);
        let summarized = match after {
            After::Continue => self.summary_if_ready(),
            After::Finish | After::Suspend => self.summary_in_time().await,
        };
        let summary = summarized.as_ref().map(|summarized| summarized.summary.clone());
        let known_history = self.versions.history;
        let step = NewStep { answer: Some(answer), summary, after };
        let written = self.write(Write::CommitStep(Box::new(step))).await?;
        let Written::Applied(outcome) = written else {
            // Not stored: the stream is given up and the tokens are reported by themselves.
            return written.settled();
        };
        progress.stored(&outcome);
        match outcome.committed_ids[..] {
            [id] => {
                let content = Content::Assistant(past);
                self.history.put(Message::new(id, outcome.history_version, content));
            }
            _ => self.unread_from(known_history),
        }
        self.summary_handed_in(summarized, &outcome);
        settle(&outcome)
    }

    async fn commit_partial(&mut self, progress: AnswerInProgress) -> Result<(), Exit> {
        let parts = step::partial(&progress.answer);
        if parts.is_empty() {
            drop(progress);
            return self.finish_interruption(None, Vec::new()).await;
        }
        let partial = self.new_answer(&progress, parts);
        let written = self.write_interruption(Some(partial), Vec::new()).await?;
        if let Written::Applied(outcome) = &written {
            progress.stored(outcome);
        }
        written.settled()
    }

    fn new_answer(&self, progress: &AnswerInProgress, parts: Vec<crate::llm::AnswerPart>) -> NewAnswer {
        let client_calls = progress.tools.client_calls(&parts);
        NewAnswer {
            parts,
            client_calls,
            model: progress.model.clone(),
            usage: progress.answer.usage,
            runtime: self.tries.since.map(|since| since.elapsed()).unwrap_or_default(),
            model_call: progress.model_call,
        }
    }
}

impl AnswerInProgress {
    /// Takes the next event; true when the answer is complete.
    fn apply(&mut self, event: &ModelEvent) -> bool {
        self.answer.apply(event);
        if let Some(recording) = &mut self.recording {
            recording.event(event);
        }
        match event {
            ModelEvent::PartStarted(kind) => self.live.start_part(live_kind(kind)),
            ModelEvent::Delta(text) => self.live.append(text.as_bytes()),
            ModelEvent::PartFinished { .. } => {}
            ModelEvent::Usage(usage) => self.usage.spent(*usage),
            ModelEvent::Finished(_) => return true,
        }
        false
    }

    /// The model says nothing more.
    fn ended(&mut self, end: &CallEnd) {
        let Some(recording) = &mut self.recording else { return };
        match end {
            CallEnd::Failed(failure) => recording.try_ended(Some(&failure.error)),
            CallEnd::Answered | CallEnd::Interrupted | CallEnd::Dropped => recording.try_ended(None),
        }
    }

    /// Nothing of it is stored: its stream is given up, its tokens are reported, and what was
    /// recorded goes on with the next try.
    fn given_up(self) -> Option<Recording> {
        self.recording
    }

    /// A write has stored the answer and its tokens.
    fn stored(self, outcome: &Outcome) {
        self.usage.stored();
        self.live.commit();
        if let Some(recording) = self.recording {
            recording.stored(outcome.committed_ids.first().copied().unwrap_or_default());
        }
    }
}

fn live_kind(kind: &PartKind) -> LivePartKind {
    match kind {
        PartKind::Text => LivePartKind::Text,
        PartKind::Reasoning => LivePartKind::Reasoning,
        PartKind::ToolCall { tool_name } => LivePartKind::ToolCall { tool_name: tool_name.clone() },
    }
}

pub(super) fn unknown_provider(provider: &str) -> ChatError {
    ChatError {
        kind: ErrorKind::ModelUnusable,
        message: "This worker does not know the model's provider. Choose another model.".to_owned(),
        detail: String::new(),
        provider: provider.to_owned(),
        status_code: None,
        retryable: false,
    }
}

pub(super) fn cut_short(provider: &str) -> CallFailure {
    let error = ChatError {
        kind: ErrorKind::MalformedResponse,
        message: "The provider's answer ended in the middle.".to_owned(),
        detail: String::new(),
        provider: provider.to_owned(),
        status_code: None,
        retryable: true,
    };
    CallFailure { error, retry_after: None }
}

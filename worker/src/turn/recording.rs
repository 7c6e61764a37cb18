//! What model calls were, handed in for debugging where that is wanted.
//!
//! A [`Recording`] gathers one model call with all its tries. It is handed in when it is
//! dropped, however that comes about: with the answer's id once a write has stored it, with
//! the last failure when the turn gave up, and as far as it came otherwise. It goes through a
//! bounded queue, so that no turn ever waits for it: a step too many is lost, and so is one
//! that the control plane does not take.

use std::time::{Duration, SystemTime};

use chatplane_domain::{ChatError, Usage};
use tokio::{sync::mpsc, time::Instant};

use super::{Turn, normal_form};
use crate::{
    link::{Client, DebugAttempt, DebugStep, Holder},
    llm::{Answer, ModelCall, ModelEvent},
};

/// Steps that wait to be handed in, of some 2 MiB at most.
const STEPS_MAX: usize = 16;

/// Where steps go.
#[derive(Clone)]
pub(crate) struct DebugSteps {
    sender: mpsc::Sender<DebugStep>,
}

impl DebugSteps {
    /// The two ends of the queue.
    pub(crate) fn new() -> (Self, mpsc::Receiver<DebugStep>) {
        let (sender, receiver) = mpsc::channel(STEPS_MAX);
        (DebugSteps { sender }, receiver)
    }
}

/// Hands steps in until all their senders are gone. One that fails is not repeated: others
/// wait, and nothing depends on it.
pub(crate) async fn record_all(client: Client, mut steps: mpsc::Receiver<DebugStep>) {
    while let Some(step) = steps.recv().await {
        let chat_id = step.holder.key.chat_id;
        if let Err(error) = client.record_debug_step(step).await {
            tracing::info!(%chat_id, %error, "a model call could not be recorded for debugging");
        }
    }
}

/// Which turn a model call belongs to.
#[derive(Clone, Copy, Debug)]
pub(super) struct RunOrigin {
    /// The user message that started the turn, or a later message of it; 0 for none.
    pub(super) trigger_message_id: i64,
    /// The last message when the turn began under this lease.
    pub(super) history_tip_message_id: i64,
}

/// What a model is called for.
#[derive(Clone, Copy, Debug)]
pub(super) enum Purpose {
    /// The turn's next answer.
    Answer,
    /// A summary.
    Summary,
}

/// A try of a model call that begins.
pub(super) struct Begun<'a> {
    pub(super) purpose: Purpose,
    pub(super) call: &'a ModelCall,
    /// Counts the lease's model calls.
    pub(super) model_call: i64,
    pub(super) attempt: i32,
    /// The last message that the model sees.
    pub(super) tip: i64,
}

/// One model call with its tries.
pub(super) struct Recording {
    steps: DebugSteps,
    step: DebugStep,
    since: Instant,
    /// The try that goes on.
    current: Option<Try>,
    /// Whether the request that is kept was cut.
    request_is_cut: bool,
    /// Whether the response was.
    response_is_cut: bool,
    /// The key of the last try, which nothing of it may hold.
    api_key: String,
}

struct Try {
    attempt: i32,
    since: Instant,
    /// What the model has said.
    answer: Answer,
}

impl Turn {
    /// Records that a model is called: in what is recorded of its tries so far, or anew. None
    /// where nothing is to be recorded.
    pub(super) fn record(&mut self, before: Option<Recording>, begun: &Begun<'_>) -> Option<Recording> {
        if !self.settings.debug_recording {
            return None;
        }
        let (trigger_message_id, history_tip_message_id) = self.history.origin();
        let origin = match self.settings.compact_requested {
            // What makes nothing but a summary was started by no message.
            true => RunOrigin { trigger_message_id: 0, history_tip_message_id },
            false => *self.origin.get_or_insert(RunOrigin { trigger_message_id, history_tip_message_id }),
        };
        let mut recording =
            before.unwrap_or_else(|| Recording::new(self.context.debug.clone(), self.holder.clone(), origin));
        recording.step.model.clone_from(&self.settings.model.name);
        recording.try_begins(begun);
        Some(recording)
    }
}

impl Recording {
    /// Begins with nothing but whose it is.
    fn new(steps: DebugSteps, holder: Holder, origin: RunOrigin) -> Self {
        let step = DebugStep {
            holder,
            model_call: 0,
            trigger_message_id: origin.trigger_message_id,
            run_history_tip_message_id: origin.history_tip_message_id,
            assistant_message_id: 0,
            history_tip_message_id: 0,
            model: String::new(),
            request_json: String::new(),
            response_json: String::new(),
            truncated: false,
            usage: Usage::default(),
            attempts: Vec::new(),
            error: None,
            start_time: SystemTime::now(),
            first_token: Duration::ZERO,
            duration: Duration::ZERO,
        };
        Recording {
            steps,
            step,
            since: Instant::now(),
            current: None,
            request_is_cut: false,
            response_is_cut: false,
            api_key: String::new(),
        }
    }

    /// The model is called, for the first time or again.
    fn try_begins(&mut self, begun: &Begun<'_>) {
        let request = normal_form::request(begun.purpose, begun.call);
        self.step.model_call = begun.model_call;
        self.step.history_tip_message_id = begun.tip;
        self.request_is_cut = request.is_cut;
        self.step.request_json = request.json;
        self.api_key.clone_from(&begun.call.api_key);
        let (attempt, since) = (begun.attempt, Instant::now());
        self.current = Some(Try { attempt, since, answer: Answer::default() });
    }

    /// The model says something.
    pub(super) fn event(&mut self, event: &ModelEvent) {
        let is_token = matches!(event, ModelEvent::PartStarted(_) | ModelEvent::Delta(_));
        if is_token && self.step.first_token.is_zero() {
            self.step.first_token = self.since.elapsed();
        }
        if let Some(current) = &mut self.current {
            current.answer.apply(event);
        }
    }

    /// The try ended: with an answer, whole or as far as it came, or with an error.
    pub(super) fn try_ended(&mut self, error: Option<&ChatError>) {
        let Some(Try { attempt, since, answer }) = self.current.take() else { return };
        // What broke off in the middle tells more than a later try that never began.
        if !answer.parts.is_empty() || answer.stop_reason.is_some() {
            let response = normal_form::response(&answer, &self.api_key);
            self.response_is_cut = response.is_cut;
            self.step.response_json = response.json;
        }
        let error = error.cloned();
        self.step.error.clone_from(&error);
        self.step.attempts.push(DebugAttempt { attempt, duration: since.elapsed(), error });
        self.step.duration = self.since.elapsed();
        let (sum, usage) = (&mut self.step.usage, answer.usage);
        *sum = Usage {
            input_tokens: sum.input_tokens.saturating_add(usage.input_tokens),
            output_tokens: sum.output_tokens.saturating_add(usage.output_tokens),
            cache_read_tokens: sum.cache_read_tokens.saturating_add(usage.cache_read_tokens),
            cache_write_tokens: sum.cache_write_tokens.saturating_add(usage.cache_write_tokens),
            reasoning_tokens: sum.reasoning_tokens.saturating_add(usage.reasoning_tokens),
        };
    }

    /// A write has stored the answer in this message.
    pub(super) fn stored(mut self, assistant_message_id: i64) {
        self.step.assistant_message_id = assistant_message_id;
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        // The lease was lost in the middle of it.
        self.try_ended(None);
        if self.step.attempts.is_empty() {
            return;
        }
        self.step.truncated = self.request_is_cut || self.response_is_cut;
        if self.steps.sender.try_send(self.step.clone()).is_err() {
            tracing::info!("a model call could not be recorded for debugging: too many at once");
        }
    }
}

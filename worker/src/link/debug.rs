//! What model calls were, handed in for debugging.

use std::time::{Duration, SystemTime};

use chatplane_domain::{ChatError, Usage};
use chatplane_proto::{chat::v1 as chat, worker::v1 as proto};

use super::{
    client::{Client, Service},
    convert,
    status::CallError,
    types::Holder,
};

/// What a model call was.
#[derive(Clone)]
pub(crate) struct DebugStep {
    pub(crate) holder: Holder,
    /// Counts the lease's model calls from 1.
    pub(crate) model_call: i64,
    /// The user message that started the turn; 0 for none.
    pub(crate) trigger_message_id: i64,
    /// The last message of the history when the turn began under this lease.
    pub(crate) run_history_tip_message_id: i64,
    /// The answer's message; 0 when none was stored.
    pub(crate) assistant_message_id: i64,
    /// The last message that the model saw.
    pub(crate) history_tip_message_id: i64,
    pub(crate) model: String,
    pub(crate) request_json: String,
    /// Empty when nothing was answered.
    pub(crate) response_json: String,
    /// One of the two was cut.
    pub(crate) truncated: bool,
    pub(crate) usage: Usage,
    pub(crate) attempts: Vec<DebugAttempt>,
    pub(crate) error: Option<ChatError>,
    pub(crate) start_time: SystemTime,
    /// Zero when no token came.
    pub(crate) first_token: Duration,
    pub(crate) duration: Duration,
}

/// One try of a model call.
#[derive(Clone, Debug)]
pub(crate) struct DebugAttempt {
    pub(crate) attempt: i32,
    pub(crate) duration: Duration,
    pub(crate) error: Option<ChatError>,
}

impl Client {
    /// Hands in what a model call was.
    pub(crate) async fn record_debug_step(&self, step: DebugStep) -> Result<(), CallError> {
        let request = proto::RecordDebugStepRequest {
            session_id: step.holder.session_id.to_string(),
            chat_id: step.holder.key.chat_id.to_string(),
            fence: step.holder.key.fence,
            model_call: step.model_call,
            trigger_message_id: step.trigger_message_id,
            run_history_tip_message_id: step.run_history_tip_message_id,
            step: Some(chat::DebugStep {
                step: 0,
                assistant_message_id: step.assistant_message_id,
                history_tip_message_id: step.history_tip_message_id,
                model: step.model,
                request_json: step.request_json,
                response_json: step.response_json,
                truncated: step.truncated,
                usage: Some(convert::from_usage(step.usage)),
                attempts: step.attempts.iter().map(attempt).collect(),
                error: step.error.as_ref().map(convert::from_error),
                start_time: Some(step.start_time.into()),
                first_token_ms: convert::millis(step.first_token),
                duration_ms: convert::millis(step.duration),
            }),
        };
        let call = async |mut client: Service, request| client.record_debug_step(request).await;
        self.unary(request, call).await?;
        Ok(())
    }
}

fn attempt(attempt: &DebugAttempt) -> chat::DebugAttempt {
    chat::DebugAttempt {
        attempt: attempt.attempt,
        duration_ms: convert::millis(attempt.duration),
        error: attempt.error.as_ref().map(convert::from_error),
    }
}

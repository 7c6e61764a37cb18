//! What follows a failed model call.

use chatplane_domain::{ChatError, ErrorKind};
use tokio::time::Instant;

use super::{
    Exit, Turn,
    write::{Written, settle},
};
use crate::{link::Write, llm::CallFailure};

impl Turn {
    /// Repeats the call after a pause, or ends the turn.
    pub(super) async fn call_failed(&mut self, failure: CallFailure) -> Result<(), Exit> {
        let limits = self.context.limits.clone();
        let CallFailure { error, retry_after } = failure;
        let asked = retry_after.unwrap_or_default();
        if !error.retryable || asked > limits.retry_after_max {
            return self.fail(error).await;
        }
        let is_wasted = matches!(
            error.kind,
            ErrorKind::Timeout | ErrorKind::MalformedResponse | ErrorKind::CompactionFailed
        );
        self.tries.wasted = if is_wasted { self.tries.wasted + 1 } else { 0 };
        if self.attempt >= limits.attempts_max || self.tries.wasted >= limits.wasted_max {
            return self.fail(exhausted(error, self.attempt)).await;
        }
        self.tries.failures += 1;
        let failures = self.tries.failures.max(self.attempt.unsigned_abs());
        let delay = limits.recall.pause(failures, rand::random()).max(asked);
        tracing::info!(
            chat_id = %self.holder.key.chat_id, kind = ?error.kind, attempt = self.attempt, ?delay,
            "the model call failed and is repeated",
        );
        let written = self.write(Write::RecordRetry { error, delay }).await?;
        let Written::Applied(outcome) = written else {
            return written.settled();
        };
        self.tries.not_before = Some(Instant::now() + delay);
        settle(&outcome)
    }
}

/// Says what the last attempt met.
fn exhausted(last: ChatError, attempts: i32) -> ChatError {
    if last.kind == ErrorKind::CompactionFailed {
        // Its sentence says what to do; that it was tried often does not help.
        return ChatError { retryable: false, ..last };
    }
    ChatError {
        kind: ErrorKind::AttemptsExhausted,
        message: format!("The model call failed {attempts} times, at last with: {}", last.message),
        retryable: false,
        ..last
    }
}

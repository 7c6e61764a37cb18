//! Moves between states.

use chrono::{DateTime, Utc};

use super::Draft;
use crate::{
    ATTEMPTS_MAX, ChatError, Effect, ErrorKind, Execution, Fence, Lease, SessionId, SyntheticReason,
    turn_summary,
};

impl Draft<'_> {
    /// A worker should take the chat.
    pub(crate) fn run(&mut self) {
        if !matches!(self.chat.execution, Execution::Runnable { .. } | Execution::Leased) {
            self.chat.attempt = 0;
        }
        self.chat.retry = None;
        self.chat.execution = Execution::Runnable { since: self.now() };
    }

    /// The head enters and the chat runs, or it waits.
    pub(crate) fn run_head_or_wait(&mut self) {
        if self.enter_head() {
            self.run();
        } else {
            self.wait();
        }
    }

    pub(crate) fn wait(&mut self) {
        self.make_steering_ordinary();
        self.chat.attempt = 0;
        self.chat.retry = None;
        self.chat.compact_requested = false;
        self.chat.execution = Execution::Waiting { archived: false };
    }

    pub(crate) fn stop_with(&mut self, error: ChatError) {
        self.close_open_calls(SyntheticReason::Failed);
        self.end_turn(turn_summary::ERROR);
        self.make_steering_ordinary();
        self.chat.retry = None;
        self.chat.compact_requested = false;
        self.chat.execution = Execution::Error { error, archived: false };
    }

    pub(crate) fn interrupt(&mut self) {
        self.make_steering_ordinary();
        self.chat.retry = None;
        self.chat.execution = Execution::Interrupting { since: self.now() };
        if let Some((session, fence)) = self.holder() {
            self.effects.push(Effect::Interrupt(session, fence));
        }
    }

    /// What anybody has said or configured goes; what it cost, and of an error the kind, stays.
    pub(crate) fn erase(&mut self) {
        self.touch_history();
        let snapshot = self.chat.versions.snapshot;
        self.chat.queue.clear();
        if let Execution::Error { error, .. } = &mut self.chat.execution {
            error.detail.clear();
        }
        self.chat.settings.client_tools.clear();
        self.chat.settings.client_tools_version = snapshot;
        self.chat.system_prompt = None;
        self.chat.covers_through = None;
        self.chat.history_bytes = 0;
        self.chat.last_turn_summary.clear();
        self.change.erased = true;
    }

    /// The user has stopped the turn: its calls are closed, and so is the turn.
    pub(crate) fn end_interrupted(&mut self, reason: SyntheticReason) {
        self.close_open_calls(reason);
        self.end_turn(turn_summary::INTERRUPTED);
    }

    pub(crate) fn suspend(&mut self, deadline: DateTime<Utc>) {
        self.chat.retry = None;
        self.chat.compact_requested = false;
        self.chat.execution = Execution::Suspended { deadline };
    }

    /// The lease goes on, from `interrupting` too.
    pub(crate) fn keep_lease(&mut self) {
        self.chat.retry = None;
        self.chat.execution = Execution::Leased;
    }

    /// Gives the chat to a session, or ends it when it has had its tries.
    pub(crate) fn lease(&mut self, session: SessionId) {
        if self.chat.attempt >= ATTEMPTS_MAX {
            self.stop_with(attempts_exhausted(None));
            return;
        }
        let fence = self.chat.last_lease.as_ref().map_or(Fence::FIRST, |lease| lease.fence.next());
        let lease = Lease { fence, session, last_write: None };
        self.chat.attempt += 1;
        self.chat.retry = None;
        self.chat.execution = Execution::Leased;
        self.chat.last_lease = Some(lease.clone());
        self.effects.push(Effect::Deliver(lease));
    }

    /// Says in one line what the turn came to.
    pub(crate) fn end_turn(&mut self, summary: impl Into<String>) {
        self.chat.last_turn_summary = summary.into();
    }

    fn holder(&self) -> Option<(SessionId, Fence)> {
        self.chat.last_lease.as_ref().map(|lease| (lease.session, lease.fence))
    }

    pub(crate) fn tell_reload(&mut self) {
        if let Some((session, fence)) = self.holder() {
            self.effects.push(Effect::Reload(session, fence));
        }
    }

    pub(crate) fn tell_lost(&mut self) {
        if let Some((session, fence)) = self.holder() {
            self.effects.push(Effect::Lost(session, fence));
        }
    }
}

/// The error of a chat whose model call was tried too often.
pub(crate) fn attempts_exhausted(last: Option<&ChatError>) -> ChatError {
    ChatError {
        kind: ErrorKind::AttemptsExhausted,
        message: format!("The model call failed {ATTEMPTS_MAX} times; send a message to try again."),
        detail: last.map(|error| error.detail.clone()).unwrap_or_default(),
        provider: last.map(|error| error.provider.clone()).unwrap_or_default(),
        status_code: last.and_then(|error| error.status_code),
        retryable: false,
    }
}

//! A write in the making: the moves that every command is composed of.

mod calls;
mod history;
mod queue;
mod states;

use chrono::{DateTime, Utc};

use crate::{
    ATTEMPTS_MAX, Change, Chat, ClientTool, Context, Decision, Disposition, Effect, Execution, LastWrite,
    MessageId, Outcome, Queued, WriteOutcome, queue::find,
};

pub(crate) use states::attempts_exhausted;

/// The chat as it will be, and the rows that go with it.
pub(crate) struct Draft<'a> {
    before: &'a Chat,
    pub(crate) chat: Chat,
    context: Context,
    change: Change,
    effects: Vec<Effect>,
    entered: Vec<MessageId>,
    boundary: i64,
    committed: i64,
}

impl<'a> Draft<'a> {
    pub(crate) fn new(before: &'a Chat, context: Context) -> Self {
        let mut chat = before.clone();
        chat.versions.snapshot += 1;
        Self {
            before,
            chat,
            context,
            change: Change::default(),
            effects: Vec::new(),
            entered: Vec::new(),
            boundary: 0,
            committed: 0,
        }
    }

    pub(crate) fn now(&self) -> DateTime<Utc> {
        self.context.now
    }

    /// These take the place of all tools that the client ran so far.
    pub(crate) fn define_client_tools(&mut self, tools: Vec<ClientTool>) {
        self.chat.settings.client_tools = tools.iter().map(|tool| tool.name.clone()).collect();
        self.chat.settings.client_tools_version = self.chat.versions.snapshot;
        self.change.client_tools = Some(tools);
    }

    /// A client's command. A chat that has become runnable goes to the offered session.
    pub(crate) fn finish_client(mut self, queued: Option<Queued>) -> Decision {
        self.take_offer();
        let queued = queued
            .and_then(|queued| find(&self.chat.queue, queued.id).map(|index| self.chat.queue[index].clone()));
        let entered = std::mem::take(&mut self.entered);
        self.finish(Outcome::Client { entered, queued })
    }

    pub(crate) fn finish_applied(self) -> Decision {
        self.finish(Outcome::Applied)
    }

    /// A holder's command; its outcome is kept for a repeat.
    pub(crate) fn finish_written(mut self, write_no: i64, disposition: Disposition) -> Decision {
        let inserted = i64::try_from(self.change.inserted.len()).expect("rows of one write are few");
        let outcome = WriteOutcome {
            snapshot_version: self.chat.versions.snapshot,
            history_version: self.chat.versions.history,
            disposition,
            first_message_id: self.before.next_message_id,
            boundary: self.boundary,
            committed: self.committed,
            added: inserted - self.boundary - self.committed,
        };
        if let Some(lease) = &mut self.chat.last_lease {
            lease.last_write = Some(LastWrite { write_no, outcome });
        }
        self.finish(Outcome::Written(outcome))
    }

    fn take_offer(&mut self) {
        let became_runnable = matches!(self.chat.execution, Execution::Runnable { .. });
        if became_runnable
            && self.chat.attempt < ATTEMPTS_MAX
            && let Some(session) = self.context.lease_offer
        {
            self.lease(session);
        }
    }

    fn finish(mut self, outcome: Outcome) -> Decision {
        let before = self.before;
        let snapshot = self.chat.versions.snapshot;
        let content = self.change.queue_content.as_ref().map(|content| content.id);
        self.change.queue_upserted = self
            .chat
            .queue
            .iter()
            .filter(|queued| content == Some(queued.id) || !before.queue.contains(queued))
            .cloned()
            .collect();
        if content.is_some() || self.chat.queue != before.queue {
            self.chat.versions.queue = snapshot;
        }
        if self.chat.retry != before.retry {
            self.chat.versions.retry = snapshot;
        }
        if self.chat.last_error() != before.last_error() {
            self.chat.versions.error = snapshot;
        }
        match self.chat.execution {
            Execution::Runnable { .. } => self.effects.push(Effect::Runnable),
            // The holder's next model call is under way with the write that asks for it.
            Execution::Leased => self.chat.attempt = self.chat.attempt.max(1),
            Execution::Waiting { .. }
            | Execution::Error { .. }
            | Execution::Interrupting { .. }
            | Execution::Suspended { .. } => {}
        }
        Decision { chat: self.chat, change: Some(self.change), effects: self.effects, outcome }
    }
}

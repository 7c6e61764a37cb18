//! A write in the making: the moves that every command is composed of.

use chrono::{DateTime, Utc};

use crate::{
    ATTEMPTS_MAX, Answer, Body, CallId, CallKind, Change, Chat, ChatError, Context, Decision, Disposition,
    Effect, ErrorKind, Execution, Fence, Inserted, LastWrite, Lease, Message, MessageId, OpenCall, Outcome,
    QueueContent, Queued, QueuedMessageId, SessionId, SyntheticReason, ToolResult, UserMessage, Visibility,
    WriteOutcome,
    queue::{self, find},
};

/// The chat as it will be, and the rows that go with it.
pub(crate) struct Draft<'a> {
    before: &'a Chat,
    pub(crate) chat: Chat,
    context: Context,
    change: Change,
    effects: Vec<Effect>,
    entered: Vec<MessageId>,
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
            committed: 0,
        }
    }

    pub(crate) fn now(&self) -> DateTime<Utc> {
        self.context.now
    }

    // History.

    /// Every change of the history starts the count of tries anew.
    fn touch_history(&mut self) {
        self.chat.versions.history = self.chat.versions.snapshot;
        self.chat.attempt = 0;
        self.chat.retry = None;
    }

    fn next_id(&mut self) -> MessageId {
        let id = self.chat.next_message_id;
        self.chat.next_message_id = id.next();
        self.touch_history();
        id
    }

    pub(crate) fn insert(&mut self, visibility: Visibility, body: Body) -> MessageId {
        let id = self.next_id();
        let bytes = i64::try_from(body.content_bytes()).expect("content is bounded far below 2^63");
        self.chat.history_bytes += bytes;
        self.change.inserted.push(Inserted::New(Message { id, visibility, body }));
        id
    }

    pub(crate) fn insert_user(&mut self, message: UserMessage) {
        self.use_settings_of(message.model.as_ref(), message.effort);
        let id = self.insert(Visibility::Both, Body::User(message));
        self.entered.push(id);
    }

    /// The chat's model is that of its last message.
    fn use_settings_of(&mut self, model: Option<&String>, effort: Option<crate::Effort>) {
        if let Some(model) = model {
            self.chat.settings.model.clone_from(model);
        }
        if let Some(effort) = effort {
            self.chat.settings.effort = effort;
        }
    }

    pub(crate) fn delete_from(&mut self, id: MessageId) {
        self.touch_history();
        self.change.delete_from = Some(id);
        // A prompt that was set after the message goes with it.
        self.chat.system_prompt = self.chat.system_prompt.filter(|prompt| *prompt < id);
    }

    pub(crate) fn delete_one(&mut self, id: MessageId) {
        self.touch_history();
        self.change.delete_one = Some(id);
    }

    // Queue.

    pub(crate) fn queue_push(&mut self, id: QueuedMessageId, message: UserMessage, steering: bool) -> Queued {
        let content_bytes = message.content_bytes();
        let queued = Queued {
            id,
            position: 0,
            steering,
            created_by: message.created_by,
            model: message.model,
            effort: message.effort,
            content_bytes: i64::try_from(content_bytes).expect("content is bounded far below 2^63"),
        };
        self.change.queue_content = Some(QueueContent { id, texts: message.texts });
        queue::push(&mut self.chat.queue, queued)
    }

    pub(crate) fn queue_move(&mut self, from: usize, to: usize) {
        queue::move_to(&mut self.chat.queue, from, to);
    }

    pub(crate) fn queue_edit(&mut self, index: usize, texts: Vec<String>) {
        let bytes: usize = texts.iter().map(String::len).sum();
        let queued = &mut self.chat.queue[index];
        queued.content_bytes = i64::try_from(bytes).expect("content is bounded far below 2^63");
        self.change.queue_content = Some(QueueContent { id: queued.id, texts });
    }

    pub(crate) fn queue_delete(&mut self, index: usize) {
        let queued = self.chat.queue.remove(index);
        self.change.queue_deleted.push(queued.id);
    }

    pub(crate) fn queue_clear(&mut self) {
        let cleared = std::mem::take(&mut self.chat.queue);
        self.change.queue_deleted.extend(cleared.into_iter().map(|queued| queued.id));
    }

    fn enter(&mut self, index: usize) {
        let queued = self.chat.queue.remove(index);
        self.use_settings_of(queued.model.as_ref(), queued.effort);
        let message = self.next_id();
        self.chat.history_bytes += queued.content_bytes;
        self.change.inserted.push(Inserted::Queued { queued: queued.id, message });
        self.entered.push(message);
    }

    /// Exactly one message, the head, enters the history. Answers whether there was one.
    pub(crate) fn enter_head(&mut self) -> bool {
        let any = !self.chat.queue.is_empty();
        if any {
            self.enter(0);
        }
        any
    }

    /// All steering messages enter the history, in order.
    pub(crate) fn enter_steering(&mut self) -> bool {
        let mut any = false;
        while let Some(index) = self.chat.queue.iter().position(|queued| queued.steering) {
            self.enter(index);
            any = true;
        }
        any
    }

    fn make_steering_ordinary(&mut self) {
        for queued in &mut self.chat.queue {
            queued.steering = false;
        }
    }

    // Calls.

    /// Stores an answer and opens its calls.
    pub(crate) fn commit_answer(&mut self, answer: Answer, journal: Option<crate::JournalId>) {
        let calls: Vec<(String, CallKind)> =
            answer.calls().map(|call| (call.tool_name.clone(), call.kind)).collect();
        let message = self.insert(Visibility::Both, Body::Assistant(answer));
        self.chat.answered = true;
        self.committed += 1;
        for (index, (tool_name, kind)) in (0_i32..).zip(calls) {
            let workspace = self.chat.settings.workspace;
            let id = CallId { message, index };
            let call = OpenCall { id, tool_name, kind, workspace, journal: workspace.and(journal) };
            self.chat.open_calls.push(call.clone());
            self.change.calls_opened.push(call);
        }
    }

    /// Stores a call's result. Answers false when the call is not open.
    pub(crate) fn settle(&mut self, call: CallId, result: impl FnOnce(&OpenCall) -> ToolResult) -> bool {
        let Some(index) = self.chat.open_calls.iter().position(|open| open.id == call) else {
            return false;
        };
        let open = self.chat.open_calls.remove(index);
        let body = Body::Tool(result(&open));
        self.insert(Visibility::Both, body);
        self.change.calls_closed.push(call);
        true
    }

    pub(crate) fn count_committed(&mut self) {
        self.committed += 1;
    }

    /// Gives every call without a result a synthetic one: a single orphaned call
    /// makes a provider refuse the chat for ever.
    pub(crate) fn close_open_calls(&mut self, reason: SyntheticReason) {
        let open: Vec<OpenCall> = self.chat.open_calls.clone();
        self.cancel(&open);
        for call in open {
            self.settle(call.id, |call| ToolResult {
                call: call.id,
                tool_name: call.tool_name.clone(),
                output: reason.sentence().to_owned(),
                is_error: true,
                synthetic: Some(reason),
                runtime_ms: 0,
            });
        }
    }

    /// Drops open calls whose message is deleted with them.
    pub(crate) fn forget_open_calls(&mut self) {
        let open = std::mem::take(&mut self.chat.open_calls);
        self.cancel(&open);
        self.change.calls_closed.extend(open.into_iter().map(|call| call.id));
    }

    fn cancel(&mut self, open: &[OpenCall]) {
        let running: Vec<CallId> =
            open.iter().filter(|call| call.kind == CallKind::Worker).map(|call| call.id).collect();
        if !running.is_empty() {
            self.effects.push(Effect::CancelCalls(running));
        }
    }

    // States.

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
        self.chat.execution = Execution::Waiting { archived: false };
    }

    pub(crate) fn stop_with(&mut self, error: ChatError) {
        self.close_open_calls(SyntheticReason::Failed);
        self.make_steering_ordinary();
        self.chat.retry = None;
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

    pub(crate) fn suspend(&mut self, deadline: DateTime<Utc>) {
        self.chat.retry = None;
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

    // The end.

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
            committed: self.committed,
            added: inserted - self.committed,
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

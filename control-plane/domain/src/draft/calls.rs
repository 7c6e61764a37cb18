//! Moves of tool calls: an answer opens them, a result settles each.

use super::Draft;
use crate::{
    Answer, Body, CallId, CallKind, Effect, JournalId, OpenCall, SyntheticReason, ToolResult, Visibility,
};

impl Draft<'_> {
    /// Stores an answer and opens its calls.
    pub(crate) fn commit_answer(&mut self, answer: Answer, journal: Option<JournalId>) {
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
            self.settle(call.id, |call| synthetic(call, reason));
        }
    }

    /// The same for calls of rows that were copied: here they are nobody's to run.
    pub(crate) fn close_copied_calls(&mut self, unanswered: Vec<OpenCall>) {
        for call in unanswered {
            let result = synthetic(&call, SyntheticReason::Forked);
            self.insert(Visibility::Both, Body::Tool(result));
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
}

fn synthetic(call: &OpenCall, reason: SyntheticReason) -> ToolResult {
    ToolResult {
        call: call.id,
        tool_name: call.tool_name.clone(),
        output: reason.sentence().to_owned(),
        is_error: true,
        synthetic: Some(reason),
        runtime_ms: 0,
    }
}

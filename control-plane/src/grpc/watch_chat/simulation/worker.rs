//! A worker as watchers see it: live streams, then commits.

use std::{collections::BTreeMap, sync::Arc};

use chatplane_domain::{
    Answer, AnswerContent, CallId, CallKind, Chat, ChatError, Command, CommitStep, Disposition, ErrorKind,
    Execution, Fence, FinishedCall, HolderCommand, HolderWrite, NextStep, Outcome, Rejection, SessionId,
    ToolCall, Usage, WriteHeader,
};

use super::database::{Database, answer_part};
use crate::relay::{
    Budget, LiveStreams, PartHeader, PartKind, PartOffset, StreamHeader, StreamId, StreamKind,
};

/// So little that streams are cut now and then.
const RELAY_BYTES_MAX: usize = 160;

/// A replica without streams.
pub(super) fn relay() -> LiveStreams {
    LiveStreams::new(Arc::new(Budget::new(RELAY_BYTES_MAX)))
}

/// The holder of a lease.
pub(super) struct Worker {
    session: SessionId,
    fence: Fence,
    write_no: i64,
    history: i64,
    base: i64,
    next_index: i64,
    answer: Option<StreamHeader>,
    calls: BTreeMap<CallId, StreamHeader>,
}

type Said = BTreeMap<StreamId, Vec<Vec<u8>>>;

impl Worker {
    pub(super) fn new(session: SessionId, chat: &Chat) -> Self {
        let lease = chat.live_lease().expect("it was just leased");
        Self {
            session,
            fence: lease.fence,
            write_no: 0,
            history: chat.versions.history,
            base: chat.versions.snapshot,
            next_index: 0,
            answer: None,
            calls: BTreeMap::new(),
        }
    }

    /// Begins or grows a stream of what runs: the calls, or else the answer.
    pub(super) fn write_live(
        &mut self,
        chat: &Chat,
        (a, b): (usize, usize),
        live: &mut LiveStreams,
        said: &mut Said,
    ) {
        let mut fresh = StreamHeader {
            id: StreamId { base_version: self.base, index: self.next_index },
            fence: self.fence,
            kind: StreamKind::Answer,
        };
        // It knows the chat as of its last write: an edit it has not heard of changes nothing.
        let open = if chat.versions.history == self.history { &chat.open_calls[..] } else { &[] };
        let header = match open.get(a % open.len().max(1)) {
            Some(call) => {
                fresh.kind = StreamKind::Call(call.id);
                *self.calls.entry(call.id).or_insert(fresh)
            }
            None if self.calls.is_empty() => *self.answer.get_or_insert(fresh),
            None => return,
        };
        if header == fresh {
            self.next_index += 1;
        }
        let parts = said.entry(header.id).or_default();
        if parts.is_empty() || (b % 4 == 0 && header.kind == StreamKind::Answer) {
            parts.push(Vec::new());
            let part = parts.len() - 1;
            live.begin_part(header, part, part_header(header.kind, part)).expect("it is the next part");
        }
        let part = parts.len() - 1;
        let bytes = &mut parts[part];
        let at = PartOffset { part, offset: bytes.len() };
        let text = ["a", "is é", "long: 𝄞 or not", "€"][b % 4];
        // Pieces may be cut anywhere; what is shown may not.
        let cut = 1 + b % text.len();
        bytes.extend(&text.as_bytes()[..cut]);
        live.append(header.fence, header.id, at, &text.as_bytes()[..cut]).expect("it follows");
        let rest = PartOffset { part, offset: bytes.len() };
        bytes.extend(&text.as_bytes()[cut..]);
        if b % 3 > 0 {
            live.append(header.fence, header.id, rest, &text.as_bytes()[cut..]).expect("it follows");
        } else {
            // A repeat of what is there, and the rest.
            live.append(header.fence, header.id, at, text.as_bytes()).expect("it follows");
        }
    }

    /// The worker opens its session on another replica.
    pub(super) fn resend(&self, live: &mut LiveStreams, said: &Said) {
        for header in self.answer.iter().chain(self.calls.values()) {
            for (part, bytes) in said[&header.id].iter().enumerate() {
                live.begin_part(*header, part, part_header(header.kind, part)).expect("it is the next part");
                let at = PartOffset { part, offset: 0 };
                live.append(header.fence, header.id, at, bytes).expect("it follows");
            }
        }
    }

    /// One write of the holder. Answers whether it holds the lease after it.
    pub(super) fn commit(
        &mut self,
        (a, b): (usize, usize),
        database: &mut Database,
        closing: &mut Vec<(Fence, StreamId)>,
    ) -> bool {
        let Some(write) = self.next_write(&database.chat, (a, b)) else {
            return true;
        };
        let ends_answer = !matches!(write, HolderWrite::CommitToolResults(_));
        let settled = match &write {
            HolderWrite::CommitToolResults(results) => results.iter().map(|result| result.call).collect(),
            _ => Vec::new(),
        };
        let header = WriteHeader {
            session: self.session,
            fence: self.fence,
            write_no: self.write_no + 1,
            history_version: self.history,
        };
        let outcome = match database.transact(Command::Holder(HolderCommand { header, write })) {
            Ok(Outcome::Written(outcome)) => outcome,
            Err(Rejection::Superseded) => {
                // GetTurn: everything begins anew from what is there.
                self.close_all(closing);
                self.history = database.chat.versions.history;
                self.base = database.chat.versions.snapshot;
                self.next_index = 0;
                return true;
            }
            other => panic!("a write of the simulated holder fails: {other:?}"),
        };
        self.write_no += 1;
        self.history = outcome.history_version;
        self.base = outcome.snapshot_version;
        self.next_index = 0;
        for call in settled {
            closing.extend(self.calls.remove(&call).map(|stream| (stream.fence, stream.id)));
        }
        if ends_answer || database.chat.open_calls.is_empty() {
            self.close_all(closing);
        }
        outcome.disposition != Disposition::Released
    }

    fn next_write(&self, chat: &Chat, (a, b): (usize, usize)) -> Option<HolderWrite> {
        let interrupting = matches!(chat.execution, Execution::Interrupting { .. });
        if b % 9 == 0 {
            return Some(HolderWrite::Release);
        }
        if b % 11 == 0 {
            return Some(HolderWrite::Fail(failure()));
        }
        let knows = chat.versions.history == self.history;
        if let Some(open) = chat.open_calls.get(a % chat.open_calls.len().max(1)).filter(|_| knows) {
            return Some(if interrupting && b % 2 == 0 {
                HolderWrite::FinishInterruption { partial: None, results: Vec::new() }
            } else {
                HolderWrite::CommitToolResults(vec![FinishedCall {
                    call: open.id,
                    output: "done".to_owned(),
                    is_error: false,
                    runtime_ms: 1,
                }])
            });
        }
        if interrupting {
            let partial = (a % 2 == 0 && knows).then(|| answer(0));
            return Some(HolderWrite::FinishInterruption { partial, results: Vec::new() });
        }
        if a % 5 == 0 {
            let delay = std::time::Duration::from_secs(1);
            return Some(HolderWrite::RecordRetry { error: failure(), delay });
        }
        let calls = a % 3;
        let next = if calls > 0 { NextStep::Continue } else { NextStep::Finish };
        Some(HolderWrite::CommitStep(CommitStep { answer: Some(answer(calls)), next, journal: None }))
    }

    fn close_all(&mut self, closing: &mut Vec<(Fence, StreamId)>) {
        let answer = self.answer.take();
        let calls = std::mem::take(&mut self.calls).into_values();
        closing.extend(calls.chain(answer).map(|stream| (stream.fence, stream.id)));
    }
}

fn part_header(kind: StreamKind, part: usize) -> PartHeader {
    let (kind, tool_name) = match kind {
        StreamKind::Call(_) => (PartKind::ToolOutput, "execute"),
        StreamKind::Answer if part.is_multiple_of(2) => (PartKind::Reasoning, ""),
        StreamKind::Answer => (PartKind::Text, ""),
    };
    PartHeader { kind, tool_name: tool_name.to_owned() }
}

fn answer(calls: usize) -> Answer {
    let call = || {
        answer_part(AnswerContent::ToolCall(ToolCall {
            tool_name: "execute".to_owned(),
            arguments_json: "{}".to_owned(),
            kind: CallKind::Worker,
        }))
    };
    let text = answer_part(AnswerContent::Text("an answer".to_owned()));
    Answer {
        parts: std::iter::once(text).chain((0..calls).map(|_| call())).collect(),
        model: "first".to_owned(),
        usage: Usage::default(),
        runtime_ms: 1,
        interrupted: false,
    }
}

fn failure() -> ChatError {
    ChatError {
        kind: ErrorKind::Overloaded,
        message: "try again".to_owned(),
        detail: String::new(),
        provider: String::new(),
        status_code: None,
        retryable: true,
    }
}

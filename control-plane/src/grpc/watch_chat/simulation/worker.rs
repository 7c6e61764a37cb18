//! A worker as watchers see it: live streams, then commits.

use std::{collections::BTreeMap, sync::Arc};

use chatplane_domain::{
    Answer, AnswerContent, CallId, CallKind, Chat, ChatError, Command, CommitStep, Disposition, ErrorKind,
    Execution, Fence, FinishedCall, HolderCommand, HolderWrite, MessageId, NextStep, Outcome, Rejection,
    SessionId, Summary, ToolCall, Usage, WriteHeader,
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
    /// A summary that is being made beside the answer, and what it is made from.
    summary: Option<(StreamHeader, i64)>,
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
            summary: None,
        }
    }

    /// Begins or grows a stream of what runs: the calls, or else the answer, and now and
    /// then a summary.
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
        let runs: Vec<_> = open.iter().filter(|call| call.kind == CallKind::Worker).collect();
        let header = match runs.get(a % runs.len().max(1)) {
            _ if a.is_multiple_of(4) => {
                fresh.kind = StreamKind::Summary;
                self.summary.get_or_insert((fresh, self.history)).0
            }
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
        let summary = self.summary.as_ref().map(|(header, _)| header);
        for header in self.answer.iter().chain(self.calls.values()).chain(summary) {
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
        let Some(write) = self.next_write(database, (a, b)) else {
            return true;
        };
        let ends_answer = !matches!(write, HolderWrite::CommitToolResults(_));
        let had_summary = matches!(&write, HolderWrite::CommitStep(CommitStep { summary: Some(_), .. }));
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
                // GetTurn: everything begins anew from what is there. A summary may go on: what
                // it covers is perhaps as it was.
                self.close_step(closing);
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
            self.close_step(closing);
        }
        let goes_on = outcome.disposition != Disposition::Released;
        if had_summary || !goes_on {
            closing.extend(self.give_up_summary());
        }
        goes_on
    }

    fn next_write(&self, database: &Database, (a, b): (usize, usize)) -> Option<HolderWrite> {
        let chat = &database.chat;
        let interrupting = matches!(chat.execution, Execution::Interrupting { .. });
        if b % 9 == 0 {
            return Some(HolderWrite::Release);
        }
        if b % 11 == 0 {
            return Some(HolderWrite::Fail(failure()));
        }
        let knows = chat.versions.history == self.history;
        let runs: Vec<_> = chat.open_calls.iter().filter(|call| call.kind == CallKind::Worker).collect();
        if let Some(open) = runs.get(a % runs.len().max(1)).filter(|_| knows) {
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
            let has_room = knows && chat.open_calls.is_empty();
            let partial = (a % 2 == 0 && has_room).then(|| answer(0, 0));
            return Some(HolderWrite::FinishInterruption { partial, results: Vec::new() });
        }
        if a % 5 == 0 {
            let delay = std::time::Duration::from_secs(1);
            return Some(HolderWrite::RecordRetry { error: failure(), delay });
        }
        if !chat.open_calls.is_empty() && knows {
            return Some(step(None, NextStep::Suspend, None));
        }
        let summary = self.ready_summary(database, (a, b));
        if chat.compact_requested && knows {
            return summary.map(|summary| step(None, NextStep::Finish, Some(summary)));
        }
        if summary.is_some() && b.is_multiple_of(5) {
            return Some(step(None, NextStep::Continue, summary));
        }
        let (calls, of_client) = (a % 3, b % 3);
        let next = match (calls, of_client) {
            (0, 0) => NextStep::Finish,
            (0, _) if b.is_multiple_of(2) => NextStep::Suspend,
            _ => NextStep::Continue,
        };
        Some(step(Some(answer(calls, of_client)), next, summary))
    }

    /// What is covered may be gone, be a boundary itself, or have changed: then it is ignored.
    fn ready_summary(&self, database: &Database, (a, b): (usize, usize)) -> Option<Summary> {
        let (_, made_from) = self.summary?;
        let ids = database.chat.next_message_id.0 - 1;
        let covers_through = MessageId(1 + i64::try_from(a + b).ok()? % ids);
        Some(Summary {
            covers_through,
            covered: database.covered(covers_through, made_from),
            text: "what was said".to_owned(),
            model: "first".to_owned(),
            usage: Usage::default(),
            runtime_ms: 1,
            context_tokens: 70,
            context_percent: 70,
        })
    }

    /// Nothing comes of its summary.
    pub(super) fn give_up_summary(&mut self) -> Option<(Fence, StreamId)> {
        self.summary.take().map(|(stream, _)| (stream.fence, stream.id))
    }

    fn close_step(&mut self, closing: &mut Vec<(Fence, StreamId)>) {
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
        StreamKind::Summary => (PartKind::Summary, ""),
    };
    PartHeader { kind, tool_name: tool_name.to_owned() }
}

fn step(answer: Option<Answer>, next: NextStep, summary: Option<Summary>) -> HolderWrite {
    HolderWrite::CommitStep(CommitStep { answer, next, journal: None, summary })
}

/// So many calls of the worker's tools, then of the client's.
fn answer(calls: usize, of_client: usize) -> Answer {
    let call = |kind| {
        answer_part(AnswerContent::ToolCall(ToolCall {
            tool_name: "execute".to_owned(),
            arguments_json: "{}".to_owned(),
            kind,
        }))
    };
    let text = answer_part(AnswerContent::Text("an answer".to_owned()));
    let calls = (0..calls).map(|_| call(CallKind::Worker));
    let of_client = (0..of_client).map(|_| call(CallKind::Client));
    Answer {
        parts: std::iter::once(text).chain(calls).chain(of_client).collect(),
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

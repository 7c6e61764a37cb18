//! What a turn reads and writes, and what it learns from the answers.

use std::time::Duration;

use chatplane_domain::{
    Answer, AnswerContent, AnswerPart, CallId, CallKind, ChatError, CommitStep, Disposition, ErrorKind,
    FinishedCall, HolderWrite, MessageId, NextStep, ToolCall, Usage, WriteHeader, WriteOutcome,
};

use super::{
    World,
    message::{Call, CallError, HolderCall, Reply},
    summary::Ready,
    turn::{Doing, Io, IoOf, Plan, Turn},
    usage::paid,
    worker::Asked,
};
use crate::{
    database::{Content, Known, TurnNews},
    relay::StreamId,
    scheduler::LeaseKey,
    session::RunEnd,
};

impl World {
    // Out.

    pub(super) fn read(&mut self, no: usize, turn: &mut Turn, after: i64) {
        self.send(no, turn, IoOf::Read { after });
    }

    fn send(&mut self, no: usize, turn: &mut Turn, what: IoOf) {
        let call = match &what {
            IoOf::Read { after } => Call::GetTurn { session: turn.session, key: turn.key, after: *after },
            IoOf::Write { write, .. } => Call::Holder(write.clone()),
        };
        let call = self.worker_calls(no, call, Asked::Turn(turn.key));
        turn.io = Some(Io { call: Some(call), again_at: Duration::ZERO, what });
    }

    /// What had no answer is sent again, under its number.
    pub(super) fn send_again(&mut self, no: usize, turn: &mut Turn) {
        let is_due = turn.io.as_ref().is_some_and(|io| io.call.is_none() && io.again_at <= self.now);
        if let Some(io) = turn.io.take_if(|_| is_due) {
            self.send(no, turn, io.what);
        }
    }

    fn write(&mut self, no: usize, turn: &mut Turn, write: HolderWrite, model_call: Option<i64>) {
        let makes_answer = match &write {
            HolderWrite::CommitStep(step) => step.answer.is_some(),
            HolderWrite::FinishInterruption { partial, .. } => partial.is_some(),
            _ => false,
        };
        let made_from = makes_answer.then(|| turn.known.keys().copied().collect());
        let header = WriteHeader {
            session: turn.session,
            fence: turn.key.fence,
            write_no: turn.write_no + 1,
            history_version: turn.versions.history,
        };
        let summary = match &write {
            HolderWrite::CommitStep(CommitStep { summary: Some(_), .. }) => turn.summary.take(),
            _ => None,
        };
        let summary_since = summary.as_ref().map(|summary| summary.since);
        let content =
            Content { mark: self.fresh(), made_from, summary_of: summary.map(|summary| summary.of) };
        let closes = match &write {
            HolderWrite::CommitToolResults(_) => Vec::new(),
            _ => turn.live.keys().copied().collect(),
        };
        let write =
            Box::new(HolderCall { chat: turn.key.chat, header, write, content, model_call, summary_since });
        self.send(no, turn, IoOf::Write { write, closes });
    }

    pub(super) fn release(&mut self, no: usize, turn: &mut Turn) {
        self.write(no, turn, HolderWrite::Release, None);
    }

    pub(super) fn suspend(&mut self, no: usize, turn: &mut Turn) {
        self.hand_in_step(no, turn, None, NextStep::Suspend, None);
    }

    pub(super) fn hand_in_step(
        &mut self,
        no: usize,
        turn: &mut Turn,
        answer: Option<Answer>,
        next: NextStep,
        model_call: Option<i64>,
    ) {
        let summary = turn.summary.as_ref().filter(|_| next != NextStep::Suspend).map(Ready::summary);
        let step = CommitStep { answer, next, journal: None, summary };
        self.write(no, turn, HolderWrite::CommitStep(step), model_call);
    }

    pub(super) fn hand_in_results(&mut self, no: usize, turn: &mut Turn) {
        let Doing::Tools { finished, .. } = &mut turn.doing else { return };
        let results = std::mem::take(finished).into_iter().map(finished_call).collect();
        self.write(no, turn, HolderWrite::CommitToolResults(results), None);
    }

    /// Ends an interruption with what there is.
    pub(super) fn hand_in_interrupted(&mut self, no: usize, turn: &mut Turn) {
        let (mut partial, mut results, mut stores) = (None, Vec::new(), None);
        match std::mem::replace(&mut turn.doing, Doing::Nothing) {
            Doing::Nothing => {}
            Doing::Model { stream, model_call, .. } => {
                let has_words = turn.live.get(&stream).is_some_and(|live| !live.bytes.is_empty());
                if has_words {
                    partial = Some(answer(&[]));
                    stores = Some(model_call);
                } else {
                    self.report(no, paid(turn, model_call));
                }
            }
            Doing::Tools { finished, .. } => results = finished.into_iter().map(finished_call).collect(),
        }
        self.write(no, turn, HolderWrite::FinishInterruption { partial, results }, stores);
    }

    /// Lets go of what runs.
    pub(super) fn let_go(&mut self, no: usize, turn: &mut Turn) {
        if let Doing::Model { model_call, .. } = std::mem::replace(&mut turn.doing, Doing::Nothing) {
            self.report(no, paid(turn, model_call));
        }
        let open: Vec<StreamId> = turn.live.keys().copied().collect();
        self.close_live(no, turn, &open);
    }

    pub(super) fn model_ends(&mut self, no: usize, turn: &mut Turn) {
        let Doing::Model { model_call, plan, .. } = std::mem::replace(&mut turn.doing, Doing::Nothing) else {
            return;
        };
        match plan {
            Plan::Answers(kinds) => {
                let next = match kinds.as_slice() {
                    [] => NextStep::Finish,
                    kinds if kinds.contains(&CallKind::Worker) => NextStep::Continue,
                    _ => NextStep::Suspend,
                };
                self.hand_in_step(no, turn, Some(answer(&kinds)), next, Some(model_call));
            }
            Plan::Fails => {
                self.report(no, paid(turn, model_call));
                let delay = Duration::from_millis(300);
                self.write(no, turn, HolderWrite::RecordRetry { error: failure(), delay }, None);
                turn.not_before = self.now + delay;
            }
            Plan::FailsForGood => {
                self.report(no, paid(turn, model_call));
                self.write(no, turn, HolderWrite::Fail(failure()), None);
            }
        }
    }

    // Back.

    pub(super) fn turn_replied(
        &mut self,
        no: usize,
        key: LeaseKey,
        call: u64,
        reply: Result<Box<Reply>, CallError>,
    ) {
        let Some(mut turn) = self.workers[no].turns.remove(&key) else { return };
        let io = turn.io.take_if(|io| io.call == Some(call));
        let end = match io {
            Some(io) => self.learn_from(no, &mut turn, io, reply.map(|reply| *reply)),
            None => None,
        };
        self.workers[no].turns.insert(key, turn);
        match end {
            Some(end) => {
                self.drop_turn(no, key);
                self.run_ended(no, key, end);
            }
            None => self.turn_advances(no, key),
        }
    }

    fn learn_from(
        &mut self,
        no: usize,
        turn: &mut Turn,
        io: Io,
        reply: Result<Reply, CallError>,
    ) -> Option<RunEnd> {
        match (io.what, reply) {
            (what, Err(CallError::Unavailable)) => {
                let pause = self.random.between(Duration::from_millis(1), Duration::from_millis(150));
                turn.io = Some(Io { call: None, again_at: self.now + pause, what });
                None
            }
            (what, Err(CallError::LeaseLost)) => {
                self.report_refused(no, turn, &what);
                Some(RunEnd::LeaseEnded)
            }
            (IoOf::Read { .. }, Ok(Reply::Turn(news))) => {
                self.learn(no, turn, *news);
                None
            }
            (IoOf::Write { write, closes }, Ok(Reply::Written(outcome))) => {
                self.written(no, turn, &write, outcome, &closes)
            }
            (what @ IoOf::Write { .. }, Err(CallError::Stale)) => {
                self.report_refused(no, turn, &what);
                let IoOf::Write { closes, .. } = what else { return None };
                self.database.saw("a holder that is behind");
                self.let_go(no, turn);
                self.close_live(no, turn, &closes);
                turn.unread_from(turn.versions.history);
                None
            }
            (IoOf::Write { write, .. }, Err(CallError::Refused)) => {
                self.database.violate(|| format!("an honest write is refused: {write:?}"));
                Some(RunEnd::Failed)
            }
            (_, _) => Some(RunEnd::Failed),
        }
    }

    fn learn(&mut self, no: usize, turn: &mut Turn, news: TurnNews) {
        if turn.unread_after == Some(0) {
            turn.known.clear();
        }
        if let Some(from) = news.deleted_from {
            turn.known.split_off(&from);
        }
        turn.known.extend(news.messages);
        let has_changed = news.history != turn.versions.history;
        turn.unread_after = None;
        turn.versions = crate::versions::Versions::read(news.snapshot, news.history);
        turn.told = news.snapshot;
        turn.rebase(news.snapshot);
        turn.interrupting = news.interrupting;
        turn.attempt = news.attempt;
        if has_changed {
            self.let_go(no, turn);
        }
    }

    fn written(
        &mut self,
        no: usize,
        turn: &mut Turn,
        write: &HolderCall,
        outcome: WriteOutcome,
        closes: &[StreamId],
    ) -> Option<RunEnd> {
        let place = (turn.key.chat, turn.key.fence, write.header.write_no);
        if self.database.oracle.applied.get(&place) != Some(&write.content.mark) {
            self.database.violate(|| format!("{place:?} was said to be applied, and is not: {write:?}"));
        }
        turn.write_no += 1;
        let known_history = turn.versions.history;
        let first = outcome.first_message_id.0;
        match &write.write {
            HolderWrite::CommitToolResults(results) => {
                turn.versions.wrote_results(outcome.history_version);
                let rows = (first..).map(MessageId).zip(results);
                turn.known.extend(rows.map(|(id, result)| (id, Known::Result(result.call))));
                let settled: Vec<StreamId> = turn
                    .live
                    .iter()
                    .filter(|(_, live)| {
                        results.iter().any(|result| live.kind == crate::relay::StreamKind::Call(result.call))
                    })
                    .map(|(id, _)| *id)
                    .collect();
                self.close_live(no, turn, &settled);
            }
            other => {
                if matches!(other, HolderWrite::FinishInterruption { .. }) {
                    turn.unread_from(known_history);
                }
                if !matches!(other, HolderWrite::RecordRetry { .. }) {
                    turn.interrupting = false;
                }
                turn.versions.wrote(outcome.snapshot_version, outcome.history_version);
                turn.told = outcome.snapshot_version;
                self.close_live(no, turn, closes);
            }
        }
        if let Some(answer) = write.step().and_then(|step| step.answer.as_ref()) {
            let kinds = answer.calls().map(|call| call.kind).collect();
            turn.known.insert(MessageId(first + outcome.boundary), Known::Answer(kinds));
        }
        if outcome.boundary > 0 {
            self.database.saw("a summary");
        }
        if outcome.added > 0 || outcome.boundary > 0 || outcome.disposition == Disposition::NextTurn {
            turn.unread_from(known_history);
        }
        if turn.unread_after.is_some() {
            if matches!(turn.doing, Doing::Model { .. }) {
                self.database.violate(|| format!("{place:?} costs its holder the model call that it makes"));
            }
            self.let_go(no, turn);
        }
        turn.rebase(outcome.snapshot_version);
        (outcome.disposition == Disposition::Released).then_some(RunEnd::LeaseEnded)
    }
}

fn finished_call(call: CallId) -> FinishedCall {
    FinishedCall { call, output: "done".to_owned(), is_error: false, runtime_ms: 1 }
}

fn answer(kinds: &[CallKind]) -> Answer {
    let call = |kind: &CallKind| {
        AnswerContent::ToolCall(ToolCall {
            tool_name: "execute".to_owned(),
            arguments_json: "{}".to_owned(),
            kind: *kind,
        })
    };
    let contents = std::iter::once(AnswerContent::Text("an answer".to_owned())).chain(kinds.iter().map(call));
    Answer {
        parts: contents.map(|content| AnswerPart { content, provider_state: Vec::new() }).collect(),
        model: "demo".to_owned(),
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

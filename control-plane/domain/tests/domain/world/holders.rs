//! What the holders of the world's chat write, and how they must be answered.

use chatplane_domain::{
    Body, CallKind, Chat, CommitStep, Covered, Decision, Disposition, ErrorKind, HolderWrite, Inserted,
    MessageId, NextStep, Outcome, Rejection, Summary, WriteHeader, WriteOutcome,
};

use super::{Verdict, World};
use crate::{
    actions::{Covers, Header, Next, Write},
    fixtures::{answer, chat_error, finished, holder as held, retry, session, summary},
};

impl World {
    pub(super) fn index(&self, from_newest: u8) -> Option<usize> {
        let count = self.holders.len();
        (count > 0).then(|| count - 1 - usize::from(from_newest) % count)
    }

    pub(super) fn write(&mut self, from_newest: u8, change: Header, what: &Write, reply_lost: bool) {
        let Some(index) = self.index(from_newest) else {
            return;
        };
        let header = self.header(index, change);
        let verdict = self.verdict(&header);
        let write = self.holder_write(what, header.history_version);

        let before = self.chat().clone();
        let decided = self.apply(held(header, write), None);

        let told = match decided {
            Ok(decision) => self.check_accepted(&before, &decision, verdict),
            Err(rejection) => {
                check_refused(&rejection, verdict);
                None
            }
        };
        if let Some(outcome) = told.filter(|_| !reply_lost) {
            let holder = &mut self.holders[index];
            holder.known_write_no = header.write_no;
            holder.known_history = outcome.history_version;
        }
    }

    fn header(&self, index: usize, change: Header) -> WriteHeader {
        let holder = &self.holders[index];
        let honest = WriteHeader {
            session: holder.session,
            fence: holder.fence,
            write_no: holder.known_write_no + 1,
            history_version: holder.known_history,
        };
        match change {
            Header::Honest => honest,
            Header::WrongNumber(by) => WriteHeader { write_no: honest.write_no + i64::from(by), ..honest },
            Header::OtherSession => WriteHeader { session: session(77), ..honest },
            Header::OtherHistory => WriteHeader { history_version: honest.history_version - 1, ..honest },
        }
    }

    /// The order of the specification: fence and session, replay, number, lease, history.
    fn verdict(&self, header: &WriteHeader) -> Verdict {
        let newest = self.holders.last().expect("somebody writes");
        if (newest.session, newest.fence) != (header.session, header.fence) {
            return Verdict::LeaseLost;
        }
        let last = i64::try_from(newest.outcomes.len()).expect("tests write little");
        match newest.outcomes.last() {
            Some(outcome) if header.write_no == last => Verdict::Replayed(*outcome),
            _ if header.write_no != last + 1 => Verdict::WrongNumber,
            _ if self.chat().live_lease().is_none() => Verdict::LeaseLost,
            _ if header.history_version != self.chat().versions.history => Verdict::Superseded,
            _ => Verdict::Considered,
        }
    }

    fn check_accepted(
        &mut self,
        before: &Chat,
        decision: &Decision,
        verdict: Verdict,
    ) -> Option<WriteOutcome> {
        match decision.outcome {
            Outcome::Replayed(outcome) => {
                assert_eq!(Verdict::Replayed(outcome), verdict, "a repeat gets the same answer");
                Some(outcome)
            }
            Outcome::Written(outcome) => {
                assert_eq!(verdict, Verdict::Considered);
                check_outcome(before, decision, &outcome);
                let newest = self.holders.last_mut().expect("somebody writes");
                newest.outcomes.push(outcome);
                Some(outcome)
            }
            Outcome::Client { .. } | Outcome::Applied => panic!("a holder is told what came of its write"),
        }
    }

    fn holder_write(&self, what: &Write, history_version: i64) -> HolderWrite {
        match what {
            Write::Step { calls, next, summary } => HolderWrite::CommitStep(CommitStep {
                answer: calls.as_deref().map(answer),
                next: self.next_step(calls.as_deref(), *next, summary.is_some()),
                journal: None,
                summary: summary.and_then(|covers| self.summary(covers, history_version)),
            }),
            Write::Results { count } => HolderWrite::CommitToolResults(self.results(*count)),
            Write::Retry => retry(),
            Write::Finish { partial, results } => HolderWrite::FinishInterruption {
                partial: partial.as_deref().map(answer),
                results: self.results(*results),
            },
            Write::Fail => HolderWrite::Fail(chat_error(ErrorKind::Refused)),
            Write::Release => HolderWrite::Release,
        }
    }

    /// A summary made from this version of the history, or an older one.
    fn summary(&self, covers: Covers, history_version: i64) -> Option<Summary> {
        let (through, made_from) = match covers {
            Covers::Honest | Covers::Wordless => (self.database.coverable()?, history_version),
            Covers::Row(row, age) => (MessageId(row.into()), history_version - i64::from(age)),
            Covers::Cut => (self.database.last_calls()?, history_version),
            Covers::Again => (self.chat().covers_through?, history_version),
            Covers::Beyond => (self.chat().next_message_id, history_version),
        };
        let covered: Covered = self.database.covered(through, made_from);
        let text = if matches!(covers, Covers::Wordless) { " \n" } else { "what happened" };
        Some(Summary { covered, text: text.to_owned(), ..summary(through.0) })
    }

    fn next_step(&self, calls: Option<&[CallKind]>, next: Next, summarized: bool) -> NextStep {
        let fitting = match calls {
            Some([]) => Next::Finish,
            Some(calls) if calls.contains(&CallKind::Worker) => Next::Continue,
            None if summarized && self.chat().compact_requested => Next::Finish,
            None if summarized => Next::Continue,
            Some(_) | None => Next::Suspend,
        };
        match if matches!(next, Next::Fitting) { fitting } else { next } {
            Next::Continue => NextStep::Continue,
            Next::Finish => NextStep::Finish,
            Next::Suspend | Next::Fitting => NextStep::Suspend,
        }
    }

    fn results(&self, count: u8) -> Vec<chatplane_domain::FinishedCall> {
        let calls = self.open(CallKind::Worker, count);
        calls.into_iter().map(finished).collect()
    }
}

fn check_refused(rejection: &Rejection, verdict: Verdict) {
    let fits = match rejection {
        Rejection::LeaseLost => verdict == Verdict::LeaseLost,
        Rejection::Superseded => verdict == Verdict::Superseded,
        Rejection::FieldInvalid { field: "write_no", .. } => verdict == Verdict::WrongNumber,
        Rejection::FieldInvalid { .. } | Rejection::StateForbids { .. } => verdict == Verdict::Considered,
        _ => false,
    };
    assert!(fits, "{rejection:?} instead of {verdict:?}");
}

/// Invariant 6, and what a reply says of the rows.
fn check_outcome(before: &Chat, decision: &Decision, outcome: &WriteOutcome) {
    let after = &decision.chat;
    assert_eq!(outcome.snapshot_version, after.versions.snapshot);
    assert_eq!(outcome.history_version, after.versions.history);
    assert_eq!(outcome.first_message_id, before.next_message_id);
    let same = |chat: &Chat| chat.last_lease.as_ref().map(|lease| (lease.session, lease.fence));
    assert_eq!(same(after), same(before), "a holder's write leases to nobody");
    let released = outcome.disposition == Disposition::Released;
    assert_eq!(released, after.live_lease().is_none());

    let ends_the_turn = outcome.disposition == Disposition::NextTurn;
    assert!(!ends_the_turn || !after.compact_requested, "the next turn is not asked for a summary");

    let inserted = &decision.change.as_ref().expect("a write changes something").inserted;
    let boundary = usize::try_from(outcome.boundary).expect("counts are not negative");
    let committed = usize::try_from(outcome.committed).expect("counts are not negative");
    let added = usize::try_from(outcome.added).expect("counts are not negative");
    assert_eq!(inserted.len(), boundary + committed + added);
    assert!([0, 3].contains(&boundary), "a summary has three rows");
    let (boundary, others) = inserted.split_at(boundary);
    for row in boundary {
        let covers = matches!(row, Inserted::New(message) if message.covers_through.is_some());
        assert!(covers, "the rows of the boundary come first");
    }
    for (place, row) in others.iter().enumerate() {
        let of_the_holder = match row {
            Inserted::Queued { .. } => false,
            Inserted::New(message) => match &message.body {
                Body::Assistant(_) => true,
                Body::Tool(result) => result.synthetic.is_none(),
                Body::System(_) | Body::User(_) => panic!("a holder writes answers and results"),
            },
        };
        assert_eq!(of_the_holder, place < committed, "the holder's rows come first");
    }
}

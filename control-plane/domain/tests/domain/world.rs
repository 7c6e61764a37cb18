//! One chat, its database, its clients and all who ever held it.
//!
//! A holder knows only what it was told: its knowledge lags when a reply is lost or
//! when a client changes the history. What its write must then be answered with is
//! computed here from the specification alone.

use std::time::Duration;

use chatplane_domain::{
    Body, CallId, CallKind, Chat, ChatId, Command, CommitStep, Context, CreateChat, Decision, Disposition,
    Effect, Effort, ErrorKind, Execution, ExpireCause, Fence, HolderWrite, Inserted, MessageId, NextStep,
    OrganizationId, Outcome, Rejection, SessionId, WriteHeader, WriteOutcome, create, decide,
};
use chrono::{DateTime, TimeDelta, Utc};
use uuid::Uuid;

use crate::{
    actions::{Action, Header, Next, Write},
    checks::{check_decision, check_rows},
    database::Database,
    fixtures::{
        QUEUE_MAX, answer, chat_error, expire, finished, holder as held, now, session, user, user_message,
    },
};

/// Somebody who was given the chat, and what it knows.
struct Holder {
    session: SessionId,
    fence: Fence,
    known_write_no: i64,
    known_history: i64,
    /// What its writes really came to, by number from 1.
    outcomes: Vec<WriteOutcome>,
}

/// How a holder's write must be answered, by its header alone.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Verdict {
    LeaseLost,
    Replayed(WriteOutcome),
    WrongNumber,
    Superseded,
    Considered,
}

/// The chat and everybody around it.
pub(crate) struct World {
    pub(crate) database: Database,
    now: DateTime<Utc>,
    holders: Vec<Holder>,
    sent: u128,
}

impl World {
    pub(crate) fn new() -> Self {
        let first = CreateChat {
            id: ChatId(Uuid::from_u128(1)),
            organization: OrganizationId(Uuid::from_u128(2)),
            owner: user(),
            model: "demo".to_owned(),
            effort: Effort::Unspecified,
            workspace: None,
            deployment_prompt: Some("be brief".to_owned()),
            system_prompt: None,
            workspace_notice: None,
            message: user_message("first"),
        };
        let context = Context { now: now(), queue_max: QUEUE_MAX, lease_offer: None };
        let database = Database::create(&create(first, context));
        check_rows(&database);
        Self { database, now: now(), holders: Vec::new(), sent: 0 }
    }

    pub(crate) fn chat(&self) -> &Chat {
        &self.database.chat
    }

    /// Numbers the messages that clients send.
    pub(crate) fn next_sent(&mut self) -> u128 {
        self.sent += 1;
        self.sent
    }

    fn context(&self, lease_offer: Option<SessionId>) -> Context {
        Context { now: self.now, queue_max: QUEUE_MAX, lease_offer }
    }

    pub(crate) fn act(&mut self, action: Action) {
        match action {
            Action::Client { ask, offer } => {
                let command = self.ask(&ask);
                if let Some(offered) = offer.map(|number| session(number.into())) {
                    self.check_offer(&command, offered);
                }
                let _ = self.apply(command, offer.map(|number| session(number.into())));
            }
            Action::Lease { session: number } => {
                let _ = self.apply(Command::Lease(session(number.into())), None);
            }
            Action::Write { holder, header, what, reply_lost } => {
                self.write(holder, header, &what, reply_lost);
            }
            Action::Repeat { holder } => self.write(holder, Header::WrongNumber(-1), &Write::Release, true),
            Action::GetTurn { holder } => self.get_turn(holder),
            Action::SessionEnds { stale } => self.expire(stale, ExpireCause::SessionEnded),
            Action::InterruptionOverdue => self.expire(false, ExpireCause::InterruptionOverdue),
            Action::ExpireCalls => {
                let _ = self.apply(Command::ExpireCalls, None);
            }
            Action::FailRunnable => {
                let _ = self.apply(Command::FailRunnable(chat_error(ErrorKind::ModelUnusable)), None);
            }
            Action::Crashes { times } => (0..times).for_each(|_| self.crash()),
            Action::Pass { seconds } => self.now += TimeDelta::seconds(seconds.into()),
        }
    }

    /// Reads, decides, writes, and checks all that must hold.
    pub(crate) fn apply(
        &mut self,
        command: Command,
        offer: Option<SessionId>,
    ) -> Result<Decision, Rejection> {
        let before = self.database.chat.clone();
        let decision = decide(&before, command, self.context(offer))?;
        check_decision(&before, &decision);
        let compared = self.database.write(before.versions.snapshot, &decision);
        assert_eq!(compared, Ok(()));
        if decision.change.is_some() {
            let late = self.database.write(before.versions.snapshot, &decision);
            assert!(late.is_err(), "what was read before this write is too old now");
        }
        for effect in &decision.effects {
            if let Effect::Deliver(lease) = effect {
                self.holders.push(Holder {
                    session: lease.session,
                    fence: lease.fence,
                    known_write_no: 0,
                    known_history: decision.chat.versions.history,
                    outcomes: Vec::new(),
                });
            }
        }
        check_rows(&self.database);
        Ok(decision)
    }

    /// A lease in a client's write is that write and then the lease, with one version.
    fn check_offer(&self, command: &Command, offered: SessionId) {
        let chat = self.chat();
        let alone = decide(chat, command.clone(), self.context(None));
        let offered_too = decide(chat, command.clone(), self.context(Some(offered)));
        let leased = alone.clone().ok().and_then(|alone| {
            alone.change.as_ref()?;
            let lease = decide(&alone.chat, Command::Lease(offered), self.context(None)).ok()?;
            lease.chat.live_lease()?;
            Some((alone, lease))
        });
        let Some((alone, mut lease)) = leased else {
            assert_eq!(offered_too, alone, "there was nothing to lease");
            return;
        };
        lease.chat.versions.snapshot -= 1;
        let mut effects = alone.effects;
        effects.retain(|effect| *effect != Effect::Runnable);
        effects.extend(lease.effects);
        let both = Decision { chat: lease.chat, change: alone.change, effects, outcome: alone.outcome };
        assert_eq!(offered_too, Ok(both));
    }

    fn index(&self, from_newest: u8) -> Option<usize> {
        let count = self.holders.len();
        (count > 0).then(|| count - 1 - usize::from(from_newest) % count)
    }

    fn write(&mut self, from_newest: u8, change: Header, what: &Write, reply_lost: bool) {
        let Some(index) = self.index(from_newest) else {
            return;
        };
        let header = self.header(index, change);
        let verdict = self.verdict(&header);
        let write = self.holder_write(what);

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

    fn holder_write(&self, what: &Write) -> HolderWrite {
        match what {
            Write::Step { calls, next } => HolderWrite::CommitStep(CommitStep {
                answer: calls.as_deref().map(answer),
                next: next_step(calls.as_deref(), *next),
                journal: None,
            }),
            Write::Results { count } => HolderWrite::CommitToolResults(self.results(*count)),
            Write::Retry => HolderWrite::RecordRetry {
                error: chat_error(ErrorKind::Overloaded),
                delay: Duration::from_secs(2),
            },
            Write::Finish { partial, results } => HolderWrite::FinishInterruption {
                partial: partial.as_deref().map(answer),
                results: self.results(*results),
            },
            Write::Fail => HolderWrite::Fail(chat_error(ErrorKind::Refused)),
            Write::Release => HolderWrite::Release,
        }
    }

    fn results(&self, count: u8) -> Vec<chatplane_domain::FinishedCall> {
        let calls = self.open(CallKind::Worker, count);
        calls.into_iter().map(finished).collect()
    }

    /// The first open calls of a kind; three stands for one that is not open.
    pub(crate) fn open(&self, kind: CallKind, count: u8) -> Vec<CallId> {
        if count == 3 {
            let message = MessageId::FIRST;
            return vec![CallId { message, index: 0 }];
        }
        let open = self.chat().open_calls.iter().filter(|call| call.kind == kind);
        open.map(|call| call.id).take(count.into()).collect()
    }

    /// The answer to a `GetTurn` tells the holder what it has missed.
    fn get_turn(&mut self, from_newest: u8) {
        let (leased, history) = (self.chat().live_lease().is_some(), self.chat().versions.history);
        if let Some(index) = self.index(from_newest)
            && leased
            && index + 1 == self.holders.len()
        {
            let holder = &mut self.holders[index];
            holder.known_write_no = i64::try_from(holder.outcomes.len()).expect("tests write little");
            holder.known_history = history;
        }
    }

    fn expire(&mut self, stale: bool, cause: ExpireCause) {
        let Some(newest) = self.holders.last() else {
            return;
        };
        let fence = Fence(newest.fence.0 - i64::from(stale));
        let expired = self.apply(expire(fence, cause), None);
        assert!(!stale || expired.is_err(), "only the lease that the sweep saw ends");
    }

    /// A worker takes the chat and dies, or has died.
    pub(crate) fn crash(&mut self) {
        let _ = self.apply(Command::Lease(session(0)), None);
        self.expire(false, ExpireCause::SessionEnded);
    }

    /// Whatever was going on comes to its end when everybody does their part.
    pub(crate) fn settle(&mut self) {
        let _ = self.apply(Command::UnarchiveChat, None);
        for _ in 0..60 {
            self.now += TimeDelta::seconds(3600);
            self.get_turn(0);
            match self.chat().execution {
                Execution::Waiting { .. } => return,
                Execution::Error { .. } => self.act(Action::Client {
                    ask: crate::actions::Ask::Send {
                        busy: chatplane_domain::BusyBehavior::Queue,
                        model: false,
                    },
                    offer: None,
                }),
                Execution::Runnable { .. } => self.act(Action::Lease { session: 0 }),
                Execution::Suspended { .. } => self.act(Action::ExpireCalls),
                Execution::Leased => self.go_on(),
                Execution::Interrupting { .. } => self.honestly(&Write::Finish { partial: None, results: 0 }),
            }
        }
        panic!("the chat does not come to rest: {:?}", self.chat());
    }

    /// What an honest holder does next.
    fn go_on(&mut self) {
        let worker = self.open(CallKind::Worker, 2).len();
        let what = if worker > 0 {
            Write::Results { count: 2 }
        } else if self.chat().open_calls.is_empty() {
            Write::Step { calls: Some(Vec::new()), next: Next::Finish }
        } else {
            Write::Step { calls: None, next: Next::Suspend }
        };
        self.honestly(&what);
    }

    fn honestly(&mut self, what: &Write) {
        let before = self.chat().versions.snapshot;
        self.write(0, Header::Honest, what, false);
        assert_eq!(self.chat().versions.snapshot, before + 1, "an honest holder gets on: {what:?}");
    }
}

fn next_step(calls: Option<&[CallKind]>, next: Next) -> NextStep {
    let fitting = match calls {
        Some([]) => Next::Finish,
        Some(calls) if calls.contains(&CallKind::Worker) => Next::Continue,
        Some(_) | None => Next::Suspend,
    };
    match if matches!(next, Next::Fitting) { fitting } else { next } {
        Next::Continue => NextStep::Continue,
        Next::Finish => NextStep::Finish,
        Next::Suspend | Next::Fitting => NextStep::Suspend(Duration::from_secs(60)),
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

    let inserted = &decision.change.as_ref().expect("a write changes something").inserted;
    let committed = usize::try_from(outcome.committed).expect("counts are not negative");
    let added = usize::try_from(outcome.added).expect("counts are not negative");
    assert_eq!(inserted.len(), committed + added);
    for (place, row) in inserted.iter().enumerate() {
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

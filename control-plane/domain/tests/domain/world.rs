//! One chat, its database, its clients and all who ever held it.
//!
//! A holder knows only what it was told: its knowledge lags when a reply is lost or
//! when a client changes the history. What its write must then be answered with is
//! computed here from the specification alone.

mod holders;

use chatplane_domain::{
    CallId, CallKind, Chat, Command, Context, CreateChat, Decision, Effect, ErrorKind, Execution,
    ExpireCause, Fence, MessageId, Rejection, SessionId, WriteOutcome, create, decide, fork,
};
use chrono::{DateTime, TimeDelta, Utc};

use crate::{
    actions::{Action, Covers, Header, Next, Write},
    checks::{check_decision, check_fork, check_model, check_rows},
    database::Database,
    fixtures::{QUEUE_MAX, chat_error, creation, expire, now, session},
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
        let first = CreateChat { deployment_prompt: Some("be brief".to_owned()), ..creation("first") };
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
            Action::Fork { row, go_on } => self.fork(MessageId(row.into()), go_on),
            Action::ModelGoes { nth } => {
                let queued = self.chat().queue.get(usize::from(nth));
                let model = queued.and_then(|queued| queued.model.clone());
                self.database.gone.extend(model);
            }
            Action::Pass { seconds } => self.now += TimeDelta::seconds(seconds.into()),
        }
    }

    /// Reads, decides, writes, and checks all that must hold.
    pub(crate) fn apply(
        &mut self,
        command: Command,
        offer: Option<SessionId>,
    ) -> Result<Decision, Rejection> {
        let before = self.database.read();
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
        if decision.change.is_some() {
            check_model(&self.database);
        }
        Ok(decision)
    }

    /// Copies the chat up to a row, if the row is there.
    fn fork(&mut self, target: MessageId, go_on: bool) {
        if self.database.role(target).is_none() {
            return;
        }
        let source = self.database.read();
        let decision = fork(&source, self.database.fork_of(target), self.context(Some(session(0))));
        let copy = self.database.forked(target, &decision);
        check_fork(&self.database, target, &decision, &copy);
        check_rows(&copy);
        if go_on {
            self.database = copy;
            self.holders.clear();
        }
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
        let covered = self.chat().covers_through;
        let compacts = self.chat().compact_requested;
        let worker = self.open(CallKind::Worker, 2).len();
        let what = if worker > 0 {
            Write::Results { count: 2 }
        } else if !self.chat().open_calls.is_empty() {
            Write::Step { calls: None, next: Next::Suspend, summary: None }
        } else if compacts {
            Write::Step { calls: None, next: Next::Finish, summary: Some(Covers::Honest) }
        } else {
            Write::Step { calls: Some(Vec::new()), next: Next::Finish, summary: None }
        };
        self.honestly(&what);
        let summarized = matches!(what, Write::Step { summary: Some(_), .. });
        assert!(!summarized || self.chat().covers_through > covered, "what was asked for is made");
    }

    fn honestly(&mut self, what: &Write) {
        let before = self.chat().versions.snapshot;
        self.write(0, Header::Honest, what, false);
        assert_eq!(self.chat().versions.snapshot, before + 1, "an honest holder gets on: {what:?}");
    }
}

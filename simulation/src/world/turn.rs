//! The loop of one lease, as a small pure model of the worker's own: it looks at what it knows, does the one
//! thing that comes next, and looks again. What it knows of versions is the worker's own [`Versions`].

use std::{collections::BTreeMap, time::Duration};

use chatplane_domain::{CallId, CallKind, MessageId, NextStep, SessionId};

use super::{
    World,
    live::Live,
    message::{HolderCall, Node, Timer},
    summary::Ready,
    usage::paid,
};
use crate::{
    bug::Bug,
    database::{Known, TurnNews},
    relay::{StreamId, StreamKind},
    scheduler::LeaseKey,
    session::{Control, Drain},
    versions::Versions,
};

/// How a model call will end.
#[derive(Clone, Debug)]
pub(crate) enum Plan {
    Answers(Vec<CallKind>),
    Fails,
    FailsForGood,
}

/// What is being done.
#[derive(Clone, Debug)]
pub(crate) enum Doing {
    Nothing,
    Model { stream: StreamId, model_call: i64, ticks_left: u32, tick_at: Duration, plan: Plan },
    Tools { running: BTreeMap<CallId, (Duration, StreamId)>, finished: Vec<CallId> },
}

/// A read or a write on its way. Without a call it waits to be sent again.
#[derive(Clone, Debug)]
pub(crate) struct Io {
    pub(super) call: Option<u64>,
    pub(super) again_at: Duration,
    pub(super) what: IoOf,
}

#[derive(Clone, Debug)]
pub(crate) enum IoOf {
    Read { after: i64 },
    Write { write: Box<HolderCall>, closes: Vec<StreamId> },
}

/// One lease at work.
#[derive(Clone, Debug)]
pub(crate) struct Turn {
    pub(super) key: LeaseKey,
    pub(super) session: SessionId,
    pub(super) control: Control,
    pub(super) versions: Versions,
    pub(super) known: BTreeMap<MessageId, Known>,
    pub(super) unread_after: Option<i64>,
    pub(super) interrupting: bool,
    pub(super) write_no: i64,
    pub(super) attempt: u32,
    pub(super) not_before: Duration,
    pub(super) base: i64,
    pub(super) next_index: i64,
    pub(super) model_calls: i64,
    pub(super) doing: Doing,
    pub(super) io: Option<Io>,
    pub(super) live: BTreeMap<StreamId, Live>,
    pub(super) closed: Vec<StreamId>,
    pub(super) summary: Option<Ready>,
    /// The version that it was last told of, by a read or by a write that ends a step: the oracle's own count.
    pub(super) told: i64,
    /// The last stop that it acted on, for the bug that compares nothing else.
    handled: i64,
    wakes_at: Option<Duration>,
}

/// What is wanted of it, the most urgent first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Signal {
    Interrupt,
    GiveBack,
    Reload,
}

enum Next {
    Model,
    Tools(Vec<CallId>),
    Suspend,
}

impl Turn {
    pub(super) fn new(key: LeaseKey, session: SessionId, news: TurnNews) -> Self {
        Self {
            key,
            session,
            control: Control::default(),
            versions: Versions::read(news.snapshot, news.history),
            known: news.messages.into_iter().collect(),
            unread_after: None,
            interrupting: news.interrupting,
            write_no: news.last_write_no,
            attempt: news.attempt,
            not_before: Duration::ZERO,
            base: news.snapshot,
            next_index: 0,
            model_calls: 0,
            doing: Doing::Nothing,
            io: None,
            live: BTreeMap::new(),
            closed: Vec::new(),
            summary: None,
            told: news.snapshot,
            handled: 0,
            wakes_at: None,
        }
    }

    fn signal(&self, bug: Option<Bug>) -> Option<Signal> {
        let ignores_versions =
            bug == Some(Bug::LateInterruptNotIgnored) && self.control.interrupt > self.handled;
        if self.interrupting || self.versions.interrupted_by(self.control) || ignores_versions {
            Some(Signal::Interrupt)
        } else if self.control.drain == Drain::Now {
            Some(Signal::GiveBack)
        } else if self.versions.outdated_by(self.control) {
            Some(Signal::Reload)
        } else {
            None
        }
    }

    /// What the history asks for.
    fn next(&self) -> Next {
        let mut open: BTreeMap<CallId, CallKind> = BTreeMap::new();
        for (id, known) in &self.known {
            match known {
                Known::System | Known::Words | Known::Summary => {}
                Known::Answer(kinds) => open.extend(
                    (0_i32..).zip(kinds).map(|(index, kind)| (CallId { message: *id, index }, *kind)),
                ),
                Known::Result(call) => {
                    open.remove(call);
                }
            }
        }
        let of_worker: Vec<CallId> =
            open.iter().filter(|(_, kind)| **kind == CallKind::Worker).map(|(call, _)| *call).collect();
        match (of_worker.is_empty(), open.is_empty()) {
            (false, _) => Next::Tools(of_worker),
            (true, false) => Next::Suspend,
            (true, true) => Next::Model,
        }
    }

    /// What starts from now on starts from this version.
    pub(super) fn rebase(&mut self, version: i64) {
        if version > self.base {
            self.base = version;
            self.next_index = 0;
        }
    }

    pub(super) fn unread_from(&mut self, revision: i64) {
        self.unread_after = Some(self.unread_after.map_or(revision, |known| known.min(revision)));
    }
}

impl World {
    pub(super) fn turn_advances(&mut self, no: usize, key: LeaseKey) {
        let Some(mut turn) = self.workers[no].turns.remove(&key) else { return };
        self.advance(no, &mut turn);
        self.plan_wake(no, &mut turn);
        self.workers[no].turns.insert(key, turn);
    }

    fn plan_wake(&mut self, no: usize, turn: &mut Turn) {
        let io = turn.io.as_ref().filter(|io| io.call.is_none()).map(|io| io.again_at);
        let doing = match &turn.doing {
            Doing::Nothing => (turn.not_before > self.now).then_some(turn.not_before),
            Doing::Model { tick_at, .. } => Some(*tick_at),
            Doing::Tools { running, .. } => running.values().map(|(end, _)| *end).min(),
        };
        let Some(at) = io.into_iter().chain(doing).min() else { return };
        if turn.wakes_at.is_none_or(|planned| planned > at || planned <= self.now) {
            turn.wakes_at = Some(at);
            let after = at.saturating_sub(self.now).max(Duration::from_nanos(1));
            self.timer(Node::Worker(no), after, Timer::Turn(turn.key));
        }
    }

    pub(super) fn turn_timed(&mut self, no: usize, key: LeaseKey) {
        let Some(mut turn) = self.workers[no].turns.remove(&key) else { return };
        if turn.wakes_at.is_some_and(|wakes_at| wakes_at <= self.now) {
            turn.wakes_at = None;
        }
        self.send_again(no, &mut turn);
        let now = self.now;
        let is_writing = matches!(&turn.io, Some(Io { what: IoOf::Write { .. }, .. }));
        match &mut turn.doing {
            Doing::Model { tick_at, .. } if *tick_at <= now && !is_writing => self.model_ticks(no, &mut turn),
            Doing::Tools { running, finished } => {
                let ended: Vec<CallId> =
                    running.iter().filter(|(_, (end, _))| *end <= now).map(|(call, _)| *call).collect();
                for call in ended {
                    running.remove(&call);
                    finished.push(call);
                }
            }
            Doing::Model { .. } | Doing::Nothing => {}
        }
        self.advance(no, &mut turn);
        self.plan_wake(no, &mut turn);
        self.workers[no].turns.insert(key, turn);
    }

    /// Does what comes next, until something is waited for.
    pub(super) fn advance(&mut self, no: usize, turn: &mut Turn) {
        loop {
            let signal = turn.signal(self.bug);
            match &turn.io {
                Some(Io { what: IoOf::Write { .. }, .. }) => return,
                Some(_) if signal == Some(Signal::Interrupt) && !matches!(turn.doing, Doing::Nothing) => {
                    turn.io = None;
                }
                Some(_) => return,
                None => {}
            }
            if signal == Some(Signal::Interrupt) && turn.unread_after.is_none() {
                self.check_stop(turn);
                turn.handled = turn.control.interrupt;
                return self.hand_in_interrupted(no, turn);
            }
            match (&turn.doing, signal) {
                (Doing::Nothing, _) => {
                    if !self.begin_next(no, turn, signal) {
                        return;
                    }
                }
                (_, Some(Signal::Reload)) => return self.read(no, turn, turn.versions.history),
                (Doing::Tools { finished, .. }, _) if !finished.is_empty() => {
                    return self.hand_in_results(no, turn);
                }
                (_, Some(Signal::GiveBack)) => self.let_go(no, turn),
                (Doing::Tools { running, .. }, _) if running.is_empty() => turn.doing = Doing::Nothing,
                (Doing::Tools { .. } | Doing::Model { .. }, _) => return,
            }
        }
    }

    /// Answers whether to look again.
    fn begin_next(&mut self, no: usize, turn: &mut Turn, signal: Option<Signal>) -> bool {
        if let Some(after) = turn.unread_after {
            self.read(no, turn, after);
            return false;
        }
        match signal {
            Some(Signal::GiveBack) => {
                self.release(no, turn);
                return false;
            }
            Some(Signal::Reload) => {
                self.read(no, turn, turn.versions.history);
                return false;
            }
            Some(Signal::Interrupt) | None => {}
        }
        let next = turn.next();
        if matches!(next, Next::Suspend) {
            self.suspend(no, turn);
            return false;
        }
        if turn.control.drain != Drain::No {
            self.release(no, turn);
            return false;
        }
        if !turn.control.may_start || turn.not_before > self.now {
            return false;
        }
        match next {
            Next::Tools(calls) => self.begin_tools(no, turn, calls),
            Next::Model | Next::Suspend => self.begin_model(no, turn),
        }
        false
    }

    fn begin_tools(&mut self, no: usize, turn: &mut Turn, calls: Vec<CallId>) {
        let mut running = BTreeMap::new();
        for call in calls {
            let lasts = self.random.between(Duration::from_millis(5), Duration::from_millis(700));
            let stream = self.open_live(no, turn, StreamKind::Call(call));
            self.grow(no, turn, stream);
            running.insert(call, (self.now + lasts, stream));
        }
        turn.doing = Doing::Tools { running, finished: Vec::new() };
    }

    fn begin_model(&mut self, no: usize, turn: &mut Turn) {
        if self.poison == Some(turn.key.chat) {
            self.timer(Node::Worker(no), Duration::from_millis(1), Timer::Act);
        }
        turn.model_calls += 1;
        self.database.oracle.owed.insert(paid(turn, turn.model_calls), no);
        let kinds = [CallKind::Worker, CallKind::Worker, CallKind::Client];
        let calls = (0..self.random.below(3)).map(|_| kinds[self.random.index(3)]).collect();
        let plan = match self.random.below(100) {
            _ if self.healed => Plan::Answers(Vec::new()),
            0..40 => Plan::Answers(Vec::new()),
            40..85 => Plan::Answers(calls),
            85..97 => Plan::Fails,
            _ => Plan::FailsForGood,
        };
        let ticks_left = 1 + u32::try_from(self.random.below(5)).unwrap_or_default();
        let tick_at = self.now + self.random.between(Duration::from_millis(1), Duration::from_millis(200));
        if turn.summary.is_none() && self.random.happens(200) {
            turn.summary = Ready::of(turn);
        }
        let stream = self.open_live(no, turn, StreamKind::Answer);
        turn.doing = Doing::Model { stream, model_call: turn.model_calls, ticks_left, tick_at, plan };
        if self.bug == Some(Bug::SummaryBesideStep) && turn.summary.is_some() {
            self.hand_in_step(no, turn, None, NextStep::Continue, None);
        }
    }

    /// The model says a word, or ends.
    fn model_ticks(&mut self, no: usize, turn: &mut Turn) {
        let lasts = self.random.between(Duration::from_millis(1), Duration::from_millis(250));
        let now = self.now;
        let Doing::Model { stream, ticks_left, tick_at, .. } = &mut turn.doing else { return };
        *tick_at = now + lasts;
        let stream = *stream;
        if *ticks_left > 0 {
            *ticks_left -= 1;
            return self.grow(no, turn, stream);
        }
        turn.io = None;
        self.model_ends(no, turn);
    }

    /// Somebody must have stopped the turn since this holder was last told how it stands.
    fn check_stop(&mut self, turn: &Turn) {
        let stops = self.database.oracle.stops.get(&turn.key.chat);
        let is_stopped = stops.is_some_and(|stops| stops.iter().any(|stop| *stop > turn.told));
        if !turn.interrupting && !is_stopped {
            let key = turn.key;
            self.database.violate(|| format!("{key:?} is stopped, and nobody has stopped it"));
        }
    }
}

//! The worker's end of the session protocol, as a pure core: events in, actions out.
//!
//! # Theory of operation
//!
//! A worker holds one session, and the session holds leases. The session outlives its
//! connections: when a stream breaks, it is resumed on the next replica by its id, and
//! the leases go on. What ends a session is the control plane alone (`SESSION_LOST`);
//! then every lease is lost and a new session begins.
//!
//! Three rules keep a chat from being run twice, or by nobody:
//!
//! - The set of held leases is told at once whenever it changes, and with every pong.
//!   A lease that the control plane gave and that is not told is delivered again, so
//!   delivery must be idempotent: a fence that is held, or that has ended here, or that
//!   is below one of these, is old news. One that cannot be taken is given back.
//! - How long ago the session was last renewed in the database is known from the pings,
//!   and grows while none comes. Halfway through the session's life another replica is
//!   tried; before its end nothing new is started. What runs goes on: the fence decides.
//! - Control messages carry the version of their write. The core keeps the highest
//!   of each kind; the turn compares with what its own replies have told it, because
//!   only it knows them at the moment it looks (see [`Control`]).
//!
//! Time is an argument, a duration since any fixed point; so is chance.

mod control;
mod ended;
mod message;
#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

pub(crate) use control::{Control, Drain};
use ended::EndedLeases;
pub(crate) use message::{Action, Closed, Event, LeaseKey, Resumed, ResumedChat, RunEnd, Timing};

/// Where the connection stands.
#[derive(Debug)]
enum Phase {
    /// Dials at this time.
    Apart { dial_at: Duration },
    /// Has sent `Open` with these leases.
    Opening { give_up_at: Duration, told: BTreeSet<LeaseKey> },
    /// Has told these leases.
    Open { told: BTreeSet<LeaseKey> },
    /// Ends.
    Stopped,
}

/// The worker's end of a session.
#[derive(Debug)]
pub(crate) struct Session {
    timing: Timing,
    slots_total: usize,
    addresses: usize,
    address: usize,
    session_id: Option<String>,
    phase: Phase,
    /// Failures to hold a healthy connection since there was one.
    failures: u32,
    held: BTreeMap<LeaseKey, Control>,
    giving_back: BTreeSet<LeaseKey>,
    ended: EndedLeases,
    renewed_at: Option<Duration>,
    may_start: bool,
    drain: Drain,
    drain_since: Option<Duration>,
}

impl Session {
    /// A session that dials at its first tick.
    pub(crate) fn new(timing: Timing, slots_total: usize, addresses: usize) -> Self {
        Session {
            timing,
            slots_total,
            addresses,
            address: 0,
            session_id: None,
            phase: Phase::Apart { dial_at: Duration::ZERO },
            failures: 0,
            held: BTreeMap::new(),
            giving_back: BTreeSet::new(),
            ended: EndedLeases::default(),
            renewed_at: None,
            may_start: false,
            drain: Drain::No,
            drain_since: None,
        }
    }

    /// The session's id, secret to the worker and the control plane.
    pub(crate) fn id(&self) -> Option<&str> {
        self.session_id.as_deref()
    }

    /// When the next [`Event::Tick`] is due.
    pub(crate) fn deadline(&self) -> Option<Duration> {
        let renewed = self.renewed_at.unwrap_or_default();
        let connection = match &self.phase {
            Phase::Apart { dial_at } => Some(*dial_at),
            Phase::Opening { give_up_at, .. } => Some(*give_up_at),
            Phase::Open { .. } => Some(renewed + self.timing.hop_after),
            Phase::Stopped => return None,
        };
        let pause = self.may_start.then_some(renewed + self.timing.pause_after);
        [connection, pause, self.drain_deadline()].into_iter().flatten().min()
    }

    /// Takes an event and says what to do, in order. `chance` is a random number from 0 to 1.
    pub(crate) fn handle(&mut self, now: Duration, chance: f64, event: Event) -> Vec<Action> {
        let mut actions = Vec::new();
        if matches!(self.phase, Phase::Stopped) {
            return actions;
        }
        match event {
            Event::Opened { session_id, leases } => self.opened(now, session_id, &leases, &mut actions),
            Event::Closed(closed) => self.closed(now, chance, closed, &mut actions),
            Event::Leased(key) => self.leased(key, &mut actions),
            Event::Ping { ping_no, renewed_age } => self.ping(now, ping_no, renewed_age, &mut actions),
            Event::Interrupt { key, version } => {
                self.control(key, |control| control.interrupt = control.interrupt.max(version), &mut actions);
            }
            Event::Reload { key, version } => {
                self.control(key, |control| control.reload = control.reload.max(version), &mut actions);
            }
            Event::Lost(key) => self.lose(key, &mut actions),
            Event::ReplicaDrains => self.hop(now, chance, &mut actions),
            Event::RunEnded { key, end } => self.run_ended(key, end),
            Event::GivenBack { key, done } => self.given_back(key, done),
            Event::Shutdown => self.shut_down(now, &mut actions),
            Event::Tick => {}
        }
        self.pass_time(now, chance, &mut actions);
        self.tell_leases(&mut actions);
        actions
    }

    fn opened(&mut self, now: Duration, session_id: String, leases: &[Resumed], actions: &mut Vec<Action>) {
        let Phase::Opening { told, .. } = &mut self.phase else {
            return;
        };
        self.phase = Phase::Open { told: std::mem::take(told) };
        self.session_id = Some(session_id);
        self.renewed_at = Some(now);
        for lease in leases {
            match lease.chat {
                None => self.lose(lease.key, actions),
                Some(chat) => self.resumed(lease.key, chat, actions),
            }
        }
        if self.drain != Drain::No {
            actions.push(Action::Draining);
        }
    }

    /// Control messages may have been lost with the old connection; the chat's version says so.
    fn resumed(&mut self, key: LeaseKey, chat: ResumedChat, actions: &mut Vec<Action>) {
        let catch_up = |control: &mut Control| {
            let seen = if chat.interrupting { &mut control.interrupt } else { &mut control.reload };
            *seen = (*seen).max(chat.version);
        };
        self.control(key, catch_up, actions);
    }

    fn closed(&mut self, now: Duration, chance: f64, closed: Closed, actions: &mut Vec<Action>) {
        if !matches!(self.phase, Phase::Opening { .. } | Phase::Open { .. }) {
            return;
        }
        match closed {
            Closed::Broken => {}
            Closed::SessionLost => {
                self.session_id = None;
                for key in self.held.keys().copied().collect::<Vec<_>>() {
                    self.lose(key, actions);
                }
            }
            Closed::Refused => {
                self.phase = Phase::Stopped;
                actions.push(Action::GiveUp);
                return;
            }
        }
        self.redial(now, chance);
    }

    /// A lease that is held, given back or over is old news; so is any older fence.
    fn leased(&mut self, key: LeaseKey, actions: &mut Vec<Action>) {
        let newest_held =
            self.held.keys().filter(|held| held.chat_id == key.chat_id).map(|held| held.fence).max();
        let is_old = newest_held.is_some_and(|fence| key.fence <= fence) || self.ended.includes(key);
        if is_old || self.giving_back.contains(&key) || !matches!(self.phase, Phase::Open { .. }) {
            return;
        }
        // A newer fence proves that the older lease has ended.
        if let Some(fence) = newest_held {
            self.lose(LeaseKey { fence, ..key }, actions);
        }
        let is_full = self.held.len() >= self.slots_total;
        if is_full || self.drain != Drain::No || self.ended.has_failed(key) {
            self.giving_back.insert(key);
            actions.push(Action::GiveBack(key));
            return;
        }
        let control = Control { may_start: self.may_start, drain: self.drain, ..Control::default() };
        self.held.insert(key, control);
        actions.push(Action::Start(key));
        actions.push(Action::Control { key, control });
    }

    fn ping(&mut self, now: Duration, ping_no: i64, renewed_age: Duration, actions: &mut Vec<Action>) {
        if !matches!(self.phase, Phase::Open { .. }) {
            return;
        }
        self.renewed_at = Some(now.saturating_sub(renewed_age));
        if renewed_age < self.timing.hop_after {
            self.failures = 0;
        }
        let leases: Vec<LeaseKey> = self.held.keys().copied().collect();
        self.phase = Phase::Open { told: leases.iter().copied().collect() };
        actions.push(Action::Pong { ping_no, leases });
    }

    fn control(&mut self, key: LeaseKey, change: impl FnOnce(&mut Control), actions: &mut Vec<Action>) {
        let Some(control) = self.held.get_mut(&key) else {
            return;
        };
        let before = *control;
        change(control);
        if *control != before {
            actions.push(Action::Control { key, control: *control });
        }
    }

    fn control_all(&mut self, change: impl Fn(&mut Control), actions: &mut Vec<Action>) {
        for key in self.held.keys().copied().collect::<Vec<_>>() {
            self.control(key, &change, actions);
        }
    }

    /// Exactly this lease: a newer fence of the same chat is another lease.
    fn lose(&mut self, key: LeaseKey, actions: &mut Vec<Action>) {
        self.ended.add(key);
        if self.held.remove(&key).is_some() {
            actions.push(Action::Abandon(key));
        }
    }

    fn run_ended(&mut self, key: LeaseKey, end: RunEnd) {
        if self.held.remove(&key).is_none() {
            return;
        }
        match end {
            RunEnd::LeaseEnded => self.ended.add(key),
            RunEnd::Failed => self.ended.add_failed(key),
        }
    }

    fn given_back(&mut self, key: LeaseKey, done: bool) {
        self.giving_back.remove(&key);
        if done {
            self.ended.add(key);
        }
    }

    fn shut_down(&mut self, now: Duration, actions: &mut Vec<Action>) {
        if self.drain_since.is_some() {
            return;
        }
        self.drain_since = Some(now);
        self.drain = Drain::AtBoundary;
        if matches!(self.phase, Phase::Open { .. }) {
            actions.push(Action::Draining);
        }
        self.control_all(|control| control.drain = Drain::AtBoundary, actions);
    }

    fn hop(&mut self, now: Duration, chance: f64, actions: &mut Vec<Action>) {
        if matches!(self.phase, Phase::Opening { .. } | Phase::Open { .. }) {
            actions.push(Action::HangUp);
            self.redial(now, chance);
        }
    }

    fn redial(&mut self, now: Duration, chance: f64) {
        self.failures = self.failures.saturating_add(1);
        self.address = (self.address + 1) % self.addresses.max(1);
        self.phase = Phase::Apart { dial_at: now + self.timing.redial.pause(self.failures, chance) };
    }

    /// Everything that comes with time alone.
    fn pass_time(&mut self, now: Duration, chance: f64, actions: &mut Vec<Action>) {
        self.pass_drain(now, actions);
        if matches!(self.phase, Phase::Stopped) {
            return;
        }
        let renewed_within = |limit| self.renewed_at.is_some_and(|renewed_at| now < renewed_at + limit);
        let may_start = renewed_within(self.timing.pause_after);
        let is_stale = !renewed_within(self.timing.hop_after);
        if may_start != self.may_start {
            self.may_start = may_start;
            self.control_all(|control| control.may_start = may_start, actions);
        }
        match &self.phase {
            Phase::Apart { dial_at } if *dial_at <= now => self.dial(now, actions),
            Phase::Opening { give_up_at, .. } if *give_up_at <= now => self.hop(now, chance, actions),
            Phase::Open { .. } if is_stale => self.hop(now, chance, actions),
            Phase::Apart { .. } | Phase::Opening { .. } | Phase::Open { .. } | Phase::Stopped => {}
        }
    }

    fn dial(&mut self, now: Duration, actions: &mut Vec<Action>) {
        let leases: Vec<LeaseKey> = self.held.keys().copied().collect();
        let told = leases.iter().copied().collect();
        self.phase = Phase::Opening { give_up_at: now + self.timing.open_timeout, told };
        actions.push(Action::Dial { address: self.address, session_id: self.session_id.clone(), leases });
    }

    /// First the steps that run get their time, then the leases are given back, then it ends anyway.
    fn pass_drain(&mut self, now: Duration, actions: &mut Vec<Action>) {
        if self.drain == Drain::No {
            return;
        }
        if self.drain == Drain::AtBoundary && self.drain_deadline().is_some_and(|at| at <= now) {
            self.drain = Drain::Now;
            self.control_all(|control| control.drain = Drain::Now, actions);
        }
        let is_over = self.drain == Drain::Now && self.drain_deadline().is_some_and(|at| at <= now);
        if is_over || (self.held.is_empty() && self.giving_back.is_empty()) {
            self.tell_leases(actions);
            self.phase = Phase::Stopped;
            actions.push(Action::Stop);
        }
    }

    fn drain_deadline(&self) -> Option<Duration> {
        let drained_at = self.drain_since? + self.timing.drain_timeout;
        Some(if self.drain == Drain::Now { drained_at + self.timing.release_grace } else { drained_at })
    }

    fn tell_leases(&mut self, actions: &mut Vec<Action>) {
        let Phase::Open { told } = &mut self.phase else {
            return;
        };
        if !told.iter().eq(self.held.keys()) {
            *told = self.held.keys().copied().collect();
            actions.push(Action::LeasesChanged(self.held.keys().copied().collect()));
        }
    }
}

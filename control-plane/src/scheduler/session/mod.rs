//! A replica's end of the session protocol, as a pure core: events in, actions out.
//!
//! # Theory of operation
//!
//! A session is one worker process, connected by one stream to one replica at a time.
//! This is what its replica knows of it. The database is the truth about leases: a
//! lease is made by a write, and ends by one. What is kept here proposes (a session
//! with a free slot) and repairs (a lease that the worker does not know of). A session
//! that moves to another replica takes nothing from here along but its rows.
//!
//! - **Delivery.** A lease that the database gives to the session is sent until the
//!   worker lists it. Messages of one stream stay in order, so a pong that answers a
//!   ping sent after the lease proves that the worker has seen the lease; if it does
//!   not list it then, the lease is read and sent again. Reading finds out too when the
//!   lease has ended meanwhile.
//! - **Silence.** One ping is outstanding at a time. A worker that has not answered it
//!   when the next would be due is silent: it is offered nothing, sent nothing and not
//!   renewed, so that a stopped process is no black hole and ends after one TTL.
//! - **Renewal.** The age of the last pong is counted from its ping: the worker was
//!   alive at some time after that. The answer of a renewal holds the session's leases
//!   as the database has them, and is the net for whatever was lost on the way: a lease
//!   nobody delivered, a stop or an edit whose hint went missing, a lease that ended.
//!   Only what was known before the question was asked may be judged by its answer ⚠.
//!   After a hint of another replica the same is asked of single chats.
//! - **Grace.** A stream that breaks leaves the worker a moment to come back, here or
//!   elsewhere. Then the session is closed, where its row still names this connection.
//!
//! Time is an argument, a duration since any fixed point.

mod held;
#[cfg(test)]
mod properties;
mod protocol;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet},
    mem,
    time::Duration,
};

use chatplane_domain::{ChatId, Fence};
use held::{Held, Standing};
pub(crate) use protocol::{Action, Event, HangUp, LeaseKey, LeaseRow, Opening, SettingsMark, Timing};

/// Where the connection stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Connected,
    Broken { since: Duration },
    Ended,
}

#[derive(Clone, Copy, Debug)]
struct Ping {
    no: i64,
    sent_at: Duration,
}

/// The replica's end of one connection of a session.
#[derive(Debug)]
pub(crate) struct Session {
    timing: Timing,
    connection: i64,
    slots_total: usize,
    phase: Phase,
    /// The worker or the replica takes no part in new work.
    draining: bool,
    last_ping: Ping,
    is_ping_outstanding: bool,
    /// The worker was alive at this time or later.
    alive_at: Duration,
    renewed_at: Duration,
    leases: BTreeMap<LeaseKey, Held>,
    /// Slots promised to writes that are under way.
    reserved: usize,
    outbox: Vec<Action>,
}

impl Session {
    /// A session whose row was just written.
    pub(crate) fn open(timing: Timing, now: Duration, opening: Opening) -> Self {
        let mut session = Self {
            timing,
            connection: opening.connection,
            slots_total: opening.slots_total,
            phase: Phase::Connected,
            draining: false,
            last_ping: Ping { no: 0, sent_at: now },
            is_ping_outstanding: false,
            alive_at: now,
            renewed_at: now,
            leases: BTreeMap::new(),
            reserved: 0,
            outbox: Vec::new(),
        };
        for row in opening.rows {
            if opening.listed.contains(&row.key) {
                session.leases.insert(row.key, Held::resumed(now, &row));
            } else {
                session.grant(now, row.key);
            }
        }
        session
    }

    /// Which opening of the session this is.
    pub(crate) fn connection(&self) -> i64 {
        self.connection
    }

    /// How many chats its worker runs at a time.
    pub(crate) fn slots_total(&self) -> usize {
        self.slots_total
    }

    /// How many chats may be offered to it now.
    pub(crate) fn free_slots(&self, now: Duration) -> usize {
        if !self.is_available(now) {
            return 0;
        }
        self.slots_total.saturating_sub(self.leases.len()).saturating_sub(self.reserved)
    }

    /// Whether it takes anything new, slots aside: a silent worker is a black hole.
    pub(crate) fn is_available(&self, now: Duration) -> bool {
        !self.draining && self.phase == Phase::Connected && !self.is_silent(now)
    }

    /// Promises a free slot to a write.
    pub(crate) fn reserve(&mut self, now: Duration) -> bool {
        let is_free = self.free_slots(now) > 0;
        self.reserved += usize::from(is_free);
        is_free
    }

    /// Takes a promise back: the write gave no lease, or its lease is granted.
    pub(crate) fn unreserve(&mut self) {
        self.reserved = self.reserved.saturating_sub(1);
    }

    /// The age of the last pong, if the session shall be renewed.
    pub(crate) fn renewal(&self, now: Duration) -> Option<Duration> {
        let is_alive = self.phase == Phase::Connected && !self.is_silent(now);
        is_alive.then(|| now.saturating_sub(self.alive_at))
    }

    /// Whether the database gave the session this lease, as far as is known here.
    pub(crate) fn has_lease(&self, key: LeaseKey) -> bool {
        self.leases.get(&key).is_some_and(|held| held.is_given)
    }

    /// The leases of a chat, as far as is known here: while one lease follows another, two.
    pub(crate) fn leases_of(&self, chat: ChatId) -> impl Iterator<Item = LeaseKey> {
        let key = |fence| LeaseKey { chat, fence: Fence(fence) };
        self.leases.range(key(i64::MIN)..=key(i64::MAX)).map(|(key, _)| *key)
    }

    /// All leases, as far as is known here.
    pub(crate) fn leases(&self) -> impl Iterator<Item = LeaseKey> {
        self.leases.keys().copied()
    }

    /// Whether a lease that was read shall still be sent.
    pub(crate) fn awaits(&self, key: LeaseKey) -> bool {
        self.phase == Phase::Connected
            && self.leases.get(&key).is_some_and(|held| matches!(held.standing, Standing::Reading { .. }))
    }

    /// Whether nothing more will come of it.
    pub(crate) fn is_over(&self) -> bool {
        self.phase == Phase::Ended && self.outbox.is_empty()
    }

    /// When the next [`Event::Tick`] is due.
    pub(crate) fn deadline(&self) -> Option<Duration> {
        match self.phase {
            Phase::Connected if self.is_ping_outstanding => {
                Some(self.last_ping.sent_at + self.timing.silence_max)
            }
            Phase::Connected => Some(self.last_ping.sent_at + self.timing.ping_every),
            Phase::Broken { since } => Some(since + self.timing.close_grace),
            Phase::Ended => None,
        }
    }

    /// What is to be done, in order. What waits here is bounded by the leases.
    pub(crate) fn take_actions(&mut self) -> Vec<Action> {
        mem::take(&mut self.outbox)
    }

    /// Takes an event.
    pub(crate) fn handle(&mut self, now: Duration, event: Event) {
        match (self.phase, event) {
            (_, Event::Tick) => {}
            (Phase::Connected, event) => self.handle_connected(now, event),
            // Reads and writes under way may end later than the stream. The rows tell
            // whoever opens the session next.
            (Phase::Broken { .. }, Event::NotRenewed) => self.end(),
            (Phase::Broken { .. } | Phase::Ended, _) => {}
        }
        self.pass_time(now);
    }

    fn handle_connected(&mut self, now: Duration, event: Event) {
        match event {
            Event::Tick => {}
            Event::Pong { ping_no, leases } => self.pong(now, ping_no, &leases),
            Event::LeasesChanged(leases) => self.list(now, &leases),
            Event::WorkerDrains => self.draining = true,
            Event::ReplicaDrains => self.drain(),
            Event::StreamBroken => self.break_off(now),
            Event::Renewed { asked_at, rows } => {
                self.renewed_at = asked_at;
                self.compare(now, asked_at, &rows, |_| true);
            }
            Event::LeaseRead { asked_at, chat, row } => {
                self.compare(now, asked_at, row.as_slice(), |key| key.chat == chat);
            }
            Event::NotRenewed => {
                self.end();
                self.push(Action::HangUp(HangUp::SessionLost));
            }
            Event::Granted(key) => self.grant(now, key),
            Event::Sent { key, snapshot_version, settings } => self.sent(key, snapshot_version, settings),
            Event::NotSent(key) => self.not_sent(key),
            Event::Gone(key) | Event::Lost(key) => self.lose(key),
            Event::Interrupt { key, version } => self.interrupt(key, version),
            Event::Reload { key, version } => self.reload(key, version),
        }
    }

    fn is_silent(&self, now: Duration) -> bool {
        self.is_ping_outstanding && now >= self.last_ping.sent_at + self.timing.ping_every
    }

    fn pong(&mut self, now: Duration, ping_no: i64, leases: &BTreeSet<LeaseKey>) {
        self.list(now, leases);
        if !self.is_ping_outstanding || ping_no != self.last_ping.no {
            return;
        }
        self.is_ping_outstanding = false;
        self.alive_at = self.last_ping.sent_at;
        let unheard: Vec<LeaseKey> = self
            .leases
            .iter()
            .filter(|(_, held)| held.standing.is_unheard(ping_no))
            .map(|(key, _)| *key)
            .collect();
        for key in unheard {
            self.deliver(key);
        }
    }

    /// The worker's own list: what it has, it need not be sent; what it has left, it is
    /// done with, or the next renewal shows that it is not.
    fn list(&mut self, now: Duration, listed: &BTreeSet<LeaseKey>) {
        for key in listed {
            self.leases.entry(*key).or_insert_with(|| Held::claimed(now)).standing = Standing::Listed;
        }
        let left: Vec<LeaseKey> = self
            .leases
            .iter()
            .filter(|(key, held)| held.standing == Standing::Listed && !listed.contains(key))
            .map(|(key, _)| *key)
            .collect();
        for key in left {
            self.forget(key);
        }
    }

    fn drain(&mut self) {
        self.draining = true;
        self.push(Action::SendDrain);
    }

    /// What was to be sent is void. The live streams are kept for a worker that comes
    /// back in time.
    fn break_off(&mut self, now: Duration) {
        self.phase = Phase::Broken { since: now };
        self.outbox.retain(|action| matches!(action, Action::DropStreams(_)));
    }

    /// The live streams go on where the worker goes.
    fn end(&mut self) {
        self.phase = Phase::Ended;
        self.outbox.retain(|action| matches!(action, Action::DropStreams(_)));
        for (key, held) in mem::take(&mut self.leases) {
            self.drop_streams(key, &held);
        }
    }

    /// The worker has come back to this replica: what the earlier connection kept goes
    /// on, but for leases that have ended.
    pub(crate) fn succeed(&mut self, mut previous: Self) {
        for (key, held) in mem::take(&mut previous.leases) {
            if !self.leases.contains_key(&key) {
                previous.drop_streams(key, &held);
            }
        }
        let kept =
            |action: &Action| matches!(action, Action::DropStreams(key) if !self.leases.contains_key(key));
        previous.outbox.retain(kept);
        self.outbox.splice(0..0, previous.outbox);
    }

    /// Compares what is known here with the answer of the database. `was_asked` says of which
    /// leases the answer knows at all.
    fn compare(
        &mut self,
        now: Duration,
        asked_at: Duration,
        rows: &[LeaseRow],
        was_asked: impl Fn(&LeaseKey) -> bool,
    ) {
        let given: BTreeSet<LeaseKey> = rows.iter().map(|row| row.key).collect();
        let ended: Vec<LeaseKey> = self
            .leases
            .iter()
            // The answer knows nothing of a lease that was made after the question.
            .filter(|(key, held)| was_asked(key) && held.known_since < asked_at && !given.contains(key))
            .map(|(key, _)| *key)
            .collect();
        for key in ended {
            self.lose(key);
        }
        for row in rows {
            let Some(held) = self.leases.get_mut(&row.key) else {
                self.grant(now, row.key);
                continue;
            };
            held.is_given = true;
            for action in held.catch_up(row) {
                self.push(action);
            }
        }
    }

    fn grant(&mut self, now: Duration, key: LeaseKey) {
        if let Some(held) = self.leases.get_mut(&key) {
            held.is_given = true;
            return;
        }
        self.leases.insert(key, Held::granted(now));
        self.deliver(key);
    }

    fn deliver(&mut self, key: LeaseKey) {
        if let Some(held) = self.leases.get_mut(&key) {
            held.standing = Standing::Reading { interrupt: 0, reload: 0 };
            self.push(Action::Deliver(key));
        }
    }

    fn sent(&mut self, key: LeaseKey, snapshot_version: i64, settings: SettingsMark) {
        let after_ping = self.last_ping.no;
        let Some(held) = self.leases.get_mut(&key) else {
            return;
        };
        // What came while the input was read may be older or newer than the input.
        let waiting = mem::replace(&mut held.standing, Standing::Sent { after_ping });
        held.told = held.told.max(snapshot_version);
        held.settings = Some(settings);
        match waiting {
            Standing::Reading { interrupt, reload } => {
                if interrupt > snapshot_version {
                    self.interrupt(key, interrupt);
                }
                if reload > snapshot_version {
                    self.reload(key, reload);
                }
            }
            Standing::Listed => held.standing = Standing::Listed,
            Standing::Sent { .. } | Standing::Unread => {}
        }
    }

    fn not_sent(&mut self, key: LeaseKey) {
        if let Some(held) = self.leases.get_mut(&key)
            && matches!(held.standing, Standing::Reading { .. })
        {
            held.standing = Standing::Unread;
        }
    }

    fn interrupt(&mut self, key: LeaseKey, version: i64) {
        if let Some(action) = self.leases.get_mut(&key).and_then(|held| held.interrupt(key, version)) {
            self.push(action);
        }
    }

    fn reload(&mut self, key: LeaseKey, version: i64) {
        if let Some(action) = self.leases.get_mut(&key).and_then(|held| held.reload(key, version)) {
            self.push(action);
        }
    }

    /// What a worker merely says it holds may be another session's: its streams are not
    /// this session's to end.
    fn drop_streams(&mut self, key: LeaseKey, held: &Held) {
        if held.is_given {
            self.push(Action::DropStreams(key));
        }
    }

    /// The lease has ended; the worker may or may not know.
    fn lose(&mut self, key: LeaseKey) {
        if self.forget(key).is_some_and(|held| held.standing.was_sent()) {
            self.push(Action::SendLost(key));
        }
    }

    fn forget(&mut self, key: LeaseKey) -> Option<Held> {
        let held = self.leases.remove(&key)?;
        self.outbox.retain(|action| action.lease() != Some(key));
        self.drop_streams(key, &held);
        Some(held)
    }

    /// One message of a kind is enough for each lease: the latest.
    fn push(&mut self, action: Action) {
        self.outbox.retain(|waiting| !waiting.is_replaced_by(&action));
        self.outbox.push(action);
    }

    /// Everything that comes with time alone.
    fn pass_time(&mut self, now: Duration) {
        match self.phase {
            Phase::Connected if self.is_ping_outstanding => {
                if now >= self.last_ping.sent_at + self.timing.silence_max {
                    self.end();
                    self.push(Action::HangUp(HangUp::Silent));
                }
            }
            Phase::Connected => {
                if now >= self.last_ping.sent_at + self.timing.ping_every {
                    self.ping(now);
                }
            }
            Phase::Broken { since } => {
                if now >= since + self.timing.close_grace {
                    self.end();
                    self.push(Action::Close);
                }
            }
            Phase::Ended => {}
        }
    }

    fn ping(&mut self, now: Duration) {
        self.last_ping = Ping { no: self.last_ping.no + 1, sent_at: now };
        self.is_ping_outstanding = true;
        let renewed_age = now.saturating_sub(self.renewed_at);
        self.push(Action::SendPing { ping_no: self.last_ping.no, renewed_age });
    }
}

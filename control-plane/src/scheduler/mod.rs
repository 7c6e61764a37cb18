//! The sessions of this replica: which worker has a free slot, and what each is told.
//!
//! What is known here is in memory and only proposes; leases are made and ended by
//! writes. The rules are pure ([`session`] for one session, [`roster`] for all of them);
//! this is their shell: a lock, a clock, and somebody to wake. The tasks that speak with
//! workers and the database are those of `app::dispatch`.

mod jobs;
mod roster;
mod session;
mod turn;
mod wire;

use std::{
    collections::{BTreeSet, HashMap, VecDeque},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
    },
    time::Duration,
};

use chatplane_domain::{ChatId, SessionId};
use tokio::{sync::Notify, time::Instant};
use tokio_util::task::TaskTracker;

pub(crate) use jobs::{Job, JobWork};
pub(crate) use roster::{Holder, Load, Renewal};
use roster::{Roster, Slot};
pub(crate) use session::LeaseKey;
use session::Timing;
pub(crate) use session::{Action, Event, HangUp, LeaseRow, Opening, SettingsMark};
pub(crate) use turn::{ModelConfig, Turn, TurnHeader, TurnInput, TurnModel};
pub(crate) use wire::{AliveLease, FromWorker, Opened, ResumedLease, ToWorker};

use crate::pubsub::Hub;

/// Times and sizes of sessions, leases and sweeps.
#[derive(Clone, Copy, Debug)]
pub struct SchedulerLimits {
    /// Between two pings, and how long an answer may take.
    pub ping_every: Duration,
    /// How long a worker whose stream broke may be gone before its session is closed.
    pub close_grace: Duration,
    /// How long a session lives without a renewal.
    pub session_ttl: Duration,
    /// Between two renewals of all sessions.
    pub renew_every: Duration,
    /// Between two sweeps.
    pub sweep_every: Duration,
    /// How long one statement or one chat of a renewal, a sweep or a claim may keep the
    /// others waiting.
    pub statement_timeout: Duration,
}

impl Default for SchedulerLimits {
    fn default() -> Self {
        Self {
            ping_every: Duration::from_secs(1),
            close_grace: Duration::from_millis(500),
            session_ttl: Duration::from_secs(8),
            renew_every: Duration::from_secs(2),
            sweep_every: Duration::from_secs(1),
            statement_timeout: Duration::from_secs(3),
        }
    }
}

/// The sessions of this replica.
#[derive(Clone, Debug)]
pub(crate) struct Scheduler {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    limits: SchedulerLimits,
    epoch: Instant,
    state: Mutex<State>,
    runnable: Notify,
    jobs_waiting: Notify,
    /// Chats may be waiting that no slot was free for, or that nobody has looked for yet.
    has_backlog: AtomicBool,
    /// And one was seen to wait: not only a look that is a net had no slot.
    is_known: AtomicBool,
    /// Workers that came back after the grace, since the start.
    came_too_late: AtomicU64,
    tasks: TaskTracker,
}

#[derive(Debug)]
struct State {
    roster: Roster,
    /// Wakes the task of each session's connection.
    wakes: HashMap<SessionId, Arc<Notify>>,
    /// Inputs of leases that were read with the write that made them.
    prepared: HashMap<LeaseKey, Box<TurnInput>>,
    /// Jobs that the task of each session's connection shall send.
    jobs: HashMap<SessionId, VecDeque<Job>>,
}

/// A slot promised to a write that may give a lease; free again when this is dropped.
/// Once the lease is granted, it counts by itself.
#[derive(Debug)]
pub(crate) struct Promise {
    scheduler: Scheduler,
    slot: Slot,
}

/// With what a claim begins.
pub(crate) enum Begun {
    /// This slot is for what it finds.
    Kept(Promise),
    /// There was a free slot.
    Free,
}

impl Promise {
    /// Whose slot it is.
    #[must_use]
    pub(crate) fn session(&self) -> SessionId {
        self.slot.session
    }
}

impl Drop for Promise {
    fn drop(&mut self) {
        self.scheduler.lock().roster.withdraw(self.slot);
        self.scheduler.serve_backlog();
    }
}

impl Scheduler {
    /// No sessions.
    #[must_use]
    pub(crate) fn new(limits: SchedulerLimits) -> Self {
        let timing = Timing {
            ping_every: limits.ping_every,
            close_grace: limits.close_grace,
            silence_max: limits.session_ttl,
        };
        let state = State {
            roster: Roster::new(timing),
            wakes: HashMap::new(),
            prepared: HashMap::new(),
            jobs: HashMap::new(),
        };
        let inner = Inner {
            limits,
            epoch: Instant::now(),
            state: Mutex::new(state),
            runnable: Notify::new(),
            jobs_waiting: Notify::new(),
            has_backlog: AtomicBool::new(false),
            is_known: AtomicBool::new(false),
            came_too_late: AtomicU64::new(0),
            tasks: TaskTracker::new(),
        };
        Self { inner: Arc::new(inner) }
    }

    /// Promises a slot for a chat, should it become runnable. Nobody gets one while
    /// others wait: they are served in order.
    #[must_use]
    pub(crate) fn promise(&self, chat: Option<ChatId>) -> Option<Promise> {
        if self.inner.has_backlog.load(SeqCst) {
            return None;
        }
        self.promise_for(chat, None)
    }

    /// Promises a slot for a chat that waits.
    pub(crate) fn promise_for(&self, chat: Option<ChatId>, ran_by: Option<SessionId>) -> Option<Promise> {
        let slot = self.lock().roster.promise(self.now(), chat, ran_by)?;
        Some(Promise { scheduler: self.clone(), slot })
    }

    /// Takes a promise back that was not used.
    pub(crate) fn withdraw(&self, promise: Promise) {
        drop(promise);
    }

    /// A chat is runnable: claim it, if a slot is free, here or at another replica.
    pub(crate) fn wake(&self, hub: &Hub) {
        self.inner.is_known.store(true, SeqCst);
        self.inner.has_backlog.store(true, SeqCst);
        self.inner.runnable.notify_one();
        hub.chat_waits();
    }

    /// The user stopped a turn.
    pub(crate) fn interrupt(&self, session: SessionId, key: LeaseKey, version: i64) {
        self.tell(session, Event::Interrupt { key, version });
    }

    /// History or settings have changed under a holder.
    pub(crate) fn reload(&self, session: SessionId, key: LeaseKey, version: i64) {
        self.tell(session, Event::Reload { key, version });
    }

    /// A lease was ended without its holder.
    pub(crate) fn lost(&self, session: SessionId, key: LeaseKey) {
        self.tell(session, Event::Lost(key));
    }

    /// A write gave a session a lease, whose input it may have read too.
    pub(crate) fn granted(&self, session: SessionId, key: LeaseKey, input: Option<Box<TurnInput>>) {
        {
            let mut state = self.lock();
            let now = self.now();
            if !state.roster.tell(now, session, Event::Granted(key)) {
                return;
            }
            if let Some(input) = input.filter(|_| state.roster.is_reading(session, key)) {
                state.prepared.insert(key, input);
            }
        }
        self.rouse(session);
    }

    /// Whether a session is here.
    pub(crate) fn has_session(&self, session: SessionId) -> bool {
        self.lock().roster.contains(session)
    }

    /// The input of a lease that is to be delivered, if it was read with its write.
    pub(crate) fn take_prepared(&self, key: LeaseKey) -> Option<Box<TurnInput>> {
        self.lock().prepared.remove(&key)
    }

    /// A session was opened here or came here. Answers what wakes its connection, or none
    /// when a later connection is here already.
    pub(crate) fn open(&self, session: SessionId, opening: Opening) -> Option<Arc<Notify>> {
        let wake = Arc::new(Notify::new());
        {
            let mut state = self.lock();
            let keys: Vec<LeaseKey> = opening.rows.iter().map(|row| row.key).collect();
            if !state.roster.open(self.now(), session, opening) {
                return None;
            }
            // What an earlier connection did not come to send may be old by now.
            for key in keys {
                state.prepared.remove(&key);
            }
            if let Some(previous) = state.wakes.insert(session, Arc::clone(&wake)) {
                previous.notify_one();
            }
        }
        self.serve_backlog();
        Some(wake)
    }

    /// Hands an event to one connection of a session.
    pub(crate) fn handle(&self, session: SessionId, connection: i64, event: Event) {
        self.lock().roster.handle(self.now(), session, connection, event);
        self.serve_backlog();
    }

    /// The same, for whoever is not the connection's own task.
    pub(crate) fn handle_and_wake(&self, session: SessionId, connection: i64, event: Event) {
        self.handle(session, connection, event);
        self.rouse(session);
    }

    /// What a connection has to do; none when it is not the session's any more.
    pub(crate) fn take_actions(&self, session: SessionId, connection: i64) -> Option<Vec<Action>> {
        let mut state = self.lock();
        let actions = state.roster.take_actions(session, connection);
        if !state.roster.contains(session) {
            state.wakes.remove(&session);
            state.jobs.remove(&session);
        }
        let ended = |action: &Action| match action {
            Action::DropStreams(key) => Some(*key),
            _ => None,
        };
        for key in actions.iter().flatten().filter_map(ended) {
            state.prepared.remove(&key);
        }
        actions
    }

    /// Whether a connection's last actions are due now, whatever else waits.
    pub(crate) fn is_ending(&self, session: SessionId, connection: i64) -> bool {
        self.lock().roster.is_ending(session, connection)
    }

    /// When a connection is to be ticked.
    pub(crate) fn deadline(&self, session: SessionId, connection: i64) -> Option<Instant> {
        let deadline = self.lock().roster.deadline(session, connection)?;
        Some(self.inner.epoch + deadline)
    }

    /// Whether a lease that was read shall still be sent.
    pub(crate) fn awaits(&self, session: SessionId, connection: i64, key: LeaseKey) -> bool {
        self.lock().roster.awaits(session, connection, key)
    }

    /// Whether the database gave the session this lease, as far as is known here.
    pub(crate) fn has_lease(&self, session: SessionId, connection: i64, key: LeaseKey) -> bool {
        self.lock().roster.has_lease(session, connection, key)
    }

    /// The sessions that shall be renewed.
    pub(crate) fn renewals(&self) -> Vec<Renewal> {
        self.lock().roster.renewals(self.now())
    }

    /// Who has a lease of these chats, as far as is known here.
    pub(crate) fn holders_of(&self, chats: &BTreeSet<ChatId>) -> Vec<Holder> {
        self.lock().roster.holders_of(chats)
    }

    /// The chats of which a session here has a lease, as far as is known here.
    pub(crate) fn leased(&self) -> BTreeSet<ChatId> {
        self.lock().roster.leased()
    }

    /// How many chats this replica could take now.
    pub(crate) fn free_slots(&self) -> usize {
        self.lock().roster.free_slots(self.now())
    }

    /// What the workers of this replica can take.
    pub(crate) fn load(&self) -> Load {
        self.lock().roster.load(self.now())
    }

    /// Offers nothing any more, and sends the workers to other replicas.
    pub(crate) fn drain(&self) {
        let wakes: Vec<Arc<Notify>> = {
            let mut state = self.lock();
            state.roster.drain(self.now());
            state.wakes.values().cloned().collect()
        };
        for wake in wakes {
            wake.notify_one();
        }
    }

    /// Look for waiting chats: a hint may have been lost.
    pub(crate) fn look(&self) {
        self.inner.runnable.notify_one();
    }

    /// Another replica has a chat that waits. Without a free slot that is remembered, and the next one that comes
    /// free is for it.
    pub(crate) fn hear(&self) {
        if self.free_slots() == 0 {
            self.inner.is_known.store(true, SeqCst);
        }
        self.look();
    }

    /// Returns when a runnable chat may be waiting.
    pub(crate) async fn runnable(&self) {
        self.inner.runnable.notified().await;
    }

    /// Before a look for waiting chats, after so many others. Where chats are known to wait a slot is kept
    /// for what it will find, so that no message takes it meanwhile; a look that is only a net keeps
    /// none. Nothing when there is no slot; then the next one that comes free wakes whoever waits for
    /// [`Self::runnable`].
    #[must_use]
    pub(crate) fn begin_claim(&self, looks_before: usize) -> Option<Begun> {
        // In this order: a slot that comes free after the look sees the backlog.
        self.inner.has_backlog.store(true, SeqCst);
        let is_known = self.inner.is_known.swap(false, SeqCst) || looks_before > 0;
        let begun = if is_known {
            self.promise_for(None, None).map(Begun::Kept)
        } else {
            (self.free_slots() > 0).then_some(Begun::Free)
        };
        if begun.is_some() {
            self.inner.has_backlog.store(false, SeqCst);
        } else if is_known {
            self.inner.is_known.store(true, SeqCst);
        }
        begun
    }

    /// For the chat that a claim found, the slot of the session that ran it last, if that has one;
    /// else the slot with which the claim began.
    #[must_use]
    pub(crate) fn promise_found(&self, held: Promise, chat: ChatId, ran_by: Option<SessionId>) -> Promise {
        self.promise_for(Some(chat), ran_by).unwrap_or(held)
    }

    /// A chat that was looked at still waits: the next free slot is for it, and nobody
    /// overtakes it.
    pub(crate) fn still_waiting(&self) {
        self.inner.is_known.store(true, SeqCst);
        self.inner.has_backlog.store(true, SeqCst);
        // A slot that came free since it was looked for has found no backlog.
        self.serve_backlog();
    }

    /// A worker came back after the grace. Answers how many have since the start: where
    /// it grows, the grace is too short.
    pub(crate) fn came_too_late(&self) -> u64 {
        self.inner.came_too_late.fetch_add(1, SeqCst) + 1
    }

    pub(crate) fn limits(&self) -> &SchedulerLimits {
        &self.inner.limits
    }

    /// The owner of the tasks of sessions and of registrations of agents.
    pub(crate) fn tasks(&self) -> &TaskTracker {
        &self.inner.tasks
    }

    pub(crate) fn now(&self) -> Duration {
        self.inner.epoch.elapsed()
    }

    fn tell(&self, session: SessionId, event: Event) {
        self.lock().roster.tell(self.now(), session, event);
        self.rouse(session);
        // It may have freed a slot.
        self.serve_backlog();
    }

    fn rouse(&self, session: SessionId) {
        if let Some(wake) = self.lock().wakes.get(&session) {
            wake.notify_one();
        }
    }

    fn serve_backlog(&self) {
        if self.inner.has_backlog.load(SeqCst) && self.free_slots() > 0 {
            self.inner.runnable.notify_one();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic elsewhere leaves the roster whole: its rules do not panic.
        self.inner.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;

//! The sessions of this replica, and whom a chat is offered to. Pure, like its sessions.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Duration,
};

use chatplane_domain::{ChatId, SessionId};

use super::session::{Action, Event, LeaseKey, Opening, Session, Timing};

/// How many chats are remembered with the session that ran them last. What falls out
/// costs a worker the prefix it might have kept.
const CHATS_REMEMBERED_MAX: usize = 16_384;

/// The sessions of this replica.
#[derive(Debug)]
pub(crate) struct Roster {
    timing: Timing,
    sessions: BTreeMap<SessionId, Session>,
    last_ran: BTreeMap<ChatId, SessionId>,
    remembered: VecDeque<ChatId>,
    is_draining: bool,
}

/// A slot promised to a write that may give a lease. It is taken back in any case: once
/// the lease is granted, it counts by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Slot {
    /// Whose slot it is.
    pub(crate) session: SessionId,
    connection: i64,
}

/// A session that shall be renewed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Renewal {
    /// The session.
    pub(crate) session: SessionId,
    /// Which opening of it is meant.
    pub(crate) connection: i64,
    /// How long ago its worker was certainly alive.
    pub(crate) pong_age: Duration,
}

/// A lease of a session that is here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Holder {
    /// The session.
    pub(crate) session: SessionId,
    /// Which opening of it is meant.
    pub(crate) connection: i64,
    /// The lease.
    pub(crate) key: LeaseKey,
}

/// What the workers of a replica can take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Load {
    /// Workers that are connected, alive when last asked, and leaving nobody.
    pub(crate) sessions: usize,
    /// Chats that these run at a time.
    pub(crate) slots: usize,
    /// Chats that could be taken now.
    pub(crate) free: usize,
}

impl Roster {
    /// No sessions.
    pub(crate) fn new(timing: Timing) -> Self {
        Self {
            timing,
            sessions: BTreeMap::new(),
            last_ran: BTreeMap::new(),
            remembered: VecDeque::new(),
            is_draining: false,
        }
    }

    /// A session was opened here or came here. Answers false when a later connection of
    /// it is here already.
    pub(crate) fn open(&mut self, now: Duration, id: SessionId, opening: Opening) -> bool {
        if self.connection(id).is_some_and(|connection| connection >= opening.connection) {
            return false;
        }
        for row in &opening.rows {
            self.remember(row.key.chat, id);
        }
        let mut session = Session::open(self.timing, now, opening);
        if let Some(previous) = self.sessions.remove(&id) {
            session.succeed(previous);
        }
        if self.is_draining {
            session.handle(now, Event::ReplicaDrains);
        }
        self.sessions.insert(id, session);
        true
    }

    /// Hands an event to one connection of a session, if it is still the one.
    pub(crate) fn handle(&mut self, now: Duration, id: SessionId, connection: i64, event: Event) {
        if let Some(session) = self.of_connection(id, connection) {
            session.handle(now, event);
        }
    }

    /// Tells a session what a write has done to a lease. Answers whether it is here.
    pub(crate) fn tell(&mut self, now: Duration, id: SessionId, event: Event) -> bool {
        if let Event::Granted(key) = &event {
            self.remember(key.chat, id);
        }
        let session = self.sessions.get_mut(&id);
        session.map(|session| session.handle(now, event)).is_some()
    }

    /// What a connection has to do, in order; nothing when it is not the session's any more.
    pub(crate) fn take_actions(&mut self, id: SessionId, connection: i64) -> Option<Vec<Action>> {
        let session = self.of_connection(id, connection)?;
        let actions = session.take_actions();
        if session.is_over() {
            self.sessions.remove(&id);
        }
        Some(actions)
    }

    /// When a connection is to be ticked.
    pub(crate) fn deadline(&self, id: SessionId, connection: i64) -> Option<Duration> {
        let session = self.sessions.get(&id)?;
        (session.connection() == connection).then(|| session.deadline())?
    }

    /// Whether a lease that was read shall still be sent.
    pub(crate) fn awaits(&self, id: SessionId, connection: i64, key: LeaseKey) -> bool {
        self.sessions
            .get(&id)
            .is_some_and(|session| session.connection() == connection && session.awaits(key))
    }

    /// Whether a session is here and waits for this lease's input.
    pub(crate) fn is_reading(&self, id: SessionId, key: LeaseKey) -> bool {
        self.sessions.get(&id).is_some_and(|session| session.awaits(key))
    }

    /// Who has a lease of these chats, as far as is known here.
    pub(crate) fn holders_of(&self, chats: &BTreeSet<ChatId>) -> Vec<Holder> {
        let of_session = |(id, session): (&SessionId, &Session)| {
            let (session_id, connection) = (*id, session.connection());
            let keys: Vec<LeaseKey> = chats.iter().flat_map(|chat| session.leases_of(*chat)).collect();
            keys.into_iter().map(move |key| Holder { session: session_id, connection, key })
        };
        self.sessions.iter().flat_map(of_session).collect()
    }

    /// The chats of which a session here has a lease, as far as is known here.
    pub(crate) fn leased(&self) -> BTreeSet<ChatId> {
        self.sessions.values().flat_map(Session::leases).map(|key| key.chat).collect()
    }

    /// Whether a session is here, connected or in its grace.
    pub(crate) fn contains(&self, id: SessionId) -> bool {
        self.sessions.contains_key(&id)
    }

    /// Whether this is the connection of a session that is here.
    pub(crate) fn is_connection(&self, id: SessionId, connection: i64) -> bool {
        self.connection(id) == Some(connection)
    }

    /// The sessions that are connected, alive when last asked, and leaving nobody.
    pub(crate) fn available(&self, now: Duration) -> Vec<SessionId> {
        let available = self.sessions.iter().filter(|(_, session)| session.is_available(now));
        available.map(|(id, _)| *id).collect()
    }

    /// Whether nothing more will happen to a connection.
    pub(crate) fn is_ending(&self, id: SessionId, connection: i64) -> bool {
        self.sessions
            .get(&id)
            .is_none_or(|session| session.connection() != connection || session.deadline().is_none())
    }

    /// Whether the database gave the session this lease, as far as is known here.
    pub(crate) fn has_lease(&self, id: SessionId, connection: i64, key: LeaseKey) -> bool {
        self.sessions
            .get(&id)
            .is_some_and(|session| session.connection() == connection && session.has_lease(key))
    }

    /// Promises a slot for a chat: of the session that ran it last while that has one,
    /// else of the session with the most.
    pub(crate) fn promise(
        &mut self,
        now: Duration,
        chat: Option<ChatId>,
        ran_by: Option<SessionId>,
    ) -> Option<Slot> {
        let ran_by = ran_by.or_else(|| self.last_ran.get(&chat?).copied());
        let has_free =
            |id: &SessionId| self.sessions.get(id).is_some_and(|session| session.free_slots(now) > 0);
        let id = ran_by.filter(has_free).or_else(|| self.freest(now))?;
        let session = self.sessions.get_mut(&id)?;
        session.reserve(now).then(|| Slot { session: id, connection: session.connection() })
    }

    /// Takes a promise back.
    pub(crate) fn withdraw(&mut self, promise: Slot) {
        if let Some(session) = self.of_connection(promise.session, promise.connection) {
            session.unreserve();
        }
    }

    /// How many chats this replica could take now.
    pub(crate) fn free_slots(&self, now: Duration) -> usize {
        self.sessions.values().map(|session| session.free_slots(now)).sum()
    }

    /// What its workers can take.
    pub(crate) fn load(&self, now: Duration) -> Load {
        let available = self.sessions.values().filter(|session| session.is_available(now));
        let (sessions, slots) = available
            .fold((0, 0), |(sessions, slots), session| (sessions + 1, slots + session.slots_total()));
        Load { sessions, slots, free: self.free_slots(now) }
    }

    /// The sessions that shall be renewed.
    pub(crate) fn renewals(&self, now: Duration) -> Vec<Renewal> {
        let renewal = |(id, session): (&SessionId, &Session)| {
            Some(Renewal { session: *id, connection: session.connection(), pong_age: session.renewal(now)? })
        };
        self.sessions.iter().filter_map(renewal).collect()
    }

    /// The replica is leaving: nothing is offered any more.
    pub(crate) fn drain(&mut self, now: Duration) {
        self.is_draining = true;
        for session in self.sessions.values_mut() {
            session.handle(now, Event::ReplicaDrains);
        }
    }

    fn connection(&self, id: SessionId) -> Option<i64> {
        self.sessions.get(&id).map(Session::connection)
    }

    fn of_connection(&mut self, id: SessionId, connection: i64) -> Option<&mut Session> {
        self.sessions.get_mut(&id).filter(|session| session.connection() == connection)
    }

    fn freest(&self, now: Duration) -> Option<SessionId> {
        self.sessions
            .iter()
            .map(|(id, session)| (session.free_slots(now), *id))
            .filter(|(free, _)| *free > 0)
            .max_by_key(|(free, _)| *free)
            .map(|(_, id)| id)
    }

    fn remember(&mut self, chat: ChatId, id: SessionId) {
        if self.last_ran.insert(chat, id).is_none() {
            self.remembered.push_back(chat);
        }
        if self.remembered.len() > CHATS_REMEMBERED_MAX
            && let Some(oldest) = self.remembered.pop_front()
        {
            self.last_ran.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use chatplane_domain::Fence;
    use uuid::Uuid;

    use super::{
        BTreeSet, ChatId, Duration, Event, Holder, LeaseKey, Opening, Roster, SessionId, Slot, Timing,
    };

    const NOW: Duration = Duration::from_secs(1);

    fn roster(slots: &[usize]) -> Roster {
        let mut roster = Roster::new(Timing {
            ping_every: Duration::from_secs(1),
            close_grace: Duration::from_millis(500),
            silence_max: Duration::from_secs(8),
        });
        for (no, slots_total) in (0..).zip(slots) {
            assert!(roster.open(NOW, session(no), opening(1, *slots_total)));
        }
        roster
    }

    fn opening(connection: i64, slots_total: usize) -> Opening {
        Opening { connection, slots_total, listed: BTreeSet::new(), rows: Vec::new() }
    }

    fn session(no: u128) -> SessionId {
        SessionId(Uuid::from_u128(no))
    }

    fn chat(no: u128) -> ChatId {
        ChatId(Uuid::from_u128(1000 + no))
    }

    fn offered(promise: Option<Slot>) -> Option<SessionId> {
        promise.map(|promise| promise.session)
    }

    #[test]
    fn a_chat_is_offered_to_the_session_with_the_most_free_slots() {
        let mut roster = roster(&[1, 3, 2]);

        let offers: Vec<_> = (0..7).map(|no| offered(roster.promise(NOW, Some(chat(no)), None))).collect();

        let of = |no| Some(session(no));
        assert_eq!(offers[0], of(1));
        assert_eq!(offers.iter().filter(|offer| **offer == of(0)).count(), 1);
        assert_eq!(offers.iter().filter(|offer| **offer == of(1)).count(), 3);
        assert_eq!(offers.iter().filter(|offer| **offer == of(2)).count(), 2);
        assert_eq!(offers[6], None);
    }

    #[test]
    fn a_chat_prefers_the_session_that_ran_it_last_while_that_has_a_free_slot() {
        let mut roster = roster(&[1, 3]);
        let key = LeaseKey { chat: chat(0), fence: Fence(1) };
        assert!(roster.tell(NOW, session(0), Event::Granted(key)));
        roster.handle(NOW, session(0), 1, Event::LeasesChanged([key].into()));
        roster.handle(NOW, session(0), 1, Event::LeasesChanged(BTreeSet::new()));

        let first = roster.promise(NOW, Some(chat(0)), None);
        let second = roster.promise(NOW, Some(chat(0)), None);

        assert_eq!(offered(first), Some(session(0)));
        assert_eq!(offered(second), Some(session(1)));
    }

    #[test]
    fn a_promise_taken_back_frees_its_slot() {
        let mut roster = roster(&[1]);
        let promise = roster.promise(NOW, Some(chat(0)), None).expect("a slot is free");
        assert_eq!(roster.promise(NOW, Some(chat(1)), None), None);

        roster.withdraw(promise);

        assert_eq!(roster.free_slots(NOW), 1);
    }

    #[test]
    fn a_promise_of_an_earlier_connection_frees_nothing_of_the_next() {
        let mut roster = roster(&[1]);
        let earlier = roster.promise(NOW, Some(chat(0)), None).expect("a slot is free");
        assert!(roster.open(NOW, session(0), opening(2, 1)));
        let later = roster.promise(NOW, Some(chat(0)), None);
        assert_eq!(offered(later), Some(session(0)));

        roster.withdraw(earlier);

        assert_eq!(roster.free_slots(NOW), 0);
    }

    #[test]
    fn an_earlier_connection_does_not_replace_a_later_one() {
        let mut roster = roster(&[1]);
        assert!(roster.open(NOW, session(0), opening(3, 1)));

        assert!(!roster.open(NOW, session(0), opening(2, 1)));

        assert_eq!(roster.take_actions(session(0), 2), None);
        assert_eq!(roster.take_actions(session(0), 3), Some(Vec::new()));
    }

    #[test]
    fn a_hint_finds_those_who_have_a_lease_of_its_chat() {
        let mut roster = roster(&[1, 3]);
        let key = |no, fence| LeaseKey { chat: chat(no), fence: Fence(fence) };
        for (session_no, key) in [(0, key(0, 1)), (1, key(0, 2)), (1, key(1, 1))] {
            assert!(roster.tell(NOW, session(session_no), Event::Granted(key)));
        }

        let holders = roster.holders_of(&BTreeSet::from([chat(0), chat(7)]));

        let holder = |no, key| Holder { session: session(no), connection: 1, key };
        assert_eq!(holders, [holder(0, key(0, 1)), holder(1, key(0, 2))]);
        assert_eq!(roster.leased(), BTreeSet::from([chat(0), chat(1)]));
    }

    #[test]
    fn a_draining_replica_offers_nothing() {
        let mut roster = roster(&[2]);

        roster.drain(NOW);
        assert!(roster.open(NOW, session(7), opening(1, 2)));

        assert_eq!(roster.promise(NOW, Some(chat(0)), None), None);
    }
}

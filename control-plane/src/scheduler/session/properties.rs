//! A model of the database, the wire and the worker around one session, and random
//! faults: whatever happens, nothing is promised twice and nothing is forgotten.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Duration,
};

use chatplane_domain::{ChatId, Fence};
use proptest::prelude::{Just, Strategy, any, prop_oneof, proptest};
use uuid::Uuid;

use super::{Action, Event, LeaseKey, LeaseRow, Opening, Session, SettingsMark, Timing};

const SLOTS: usize = 3;

/// What happens next. Numbers choose among what there is.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// Time passes.
    Wait(u64),
    /// A write takes a promise, and gives a lease or none.
    Offer { gives: bool },
    /// A read of a lease's input ends.
    Read { which: usize, fails: bool },
    /// The worker takes its next message, or loses it.
    WorkerReceives { drops: bool },
    /// The replica takes the worker's next message.
    ReplicaReceives,
    /// The worker finishes a lease by a commit.
    Finish(usize),
    /// The user stops a turn; the hint may be lost.
    Stop { which: usize, hint: bool },
    /// Somebody else ends a lease; the hint may be lost.
    EndElsewhere { which: usize, hint: bool },
    /// A renewal is asked for.
    AskRenewal,
    /// A renewal is answered.
    AnswerRenewal,
    /// A lease is asked for, after a hint of another replica.
    AskLease(usize),
    /// That is answered.
    AnswerLease,
    /// The stream breaks, and the worker resumes here.
    Reconnect,
    /// The worker stops or goes on.
    Freeze(bool),
}

fn step() -> impl Strategy<Value = Step> {
    let which = any::<usize>();
    prop_oneof![
        3 => (1_u64..1500).prop_map(Step::Wait),
        6 => any::<bool>().prop_map(|gives| Step::Offer { gives }),
        6 => (which, any::<bool>()).prop_map(|(which, fails)| Step::Read { which, fails }),
        8 => (0_u8..8).prop_map(|chance| Step::WorkerReceives { drops: chance == 0 }),
        8 => Just(Step::ReplicaReceives),
        4 => which.prop_map(Step::Finish),
        2 => (which, any::<bool>()).prop_map(|(which, hint)| Step::Stop { which, hint }),
        1 => (which, any::<bool>()).prop_map(|(which, hint)| Step::EndElsewhere { which, hint }),
        2 => Just(Step::AskRenewal),
        2 => Just(Step::AnswerRenewal),
        2 => which.prop_map(Step::AskLease),
        2 => Just(Step::AnswerLease),
        1 => Just(Step::Reconnect),
        1 => any::<bool>().prop_map(Step::Freeze),
    ]
}

enum Down {
    Ping(i64),
    Lease(LeaseKey, LeaseRow),
    Interrupt(LeaseKey, i64),
    Lost(LeaseKey),
}

#[derive(Clone)]
enum Up {
    Pong(i64, BTreeSet<LeaseKey>),
    Leases(BTreeSet<LeaseKey>),
}

/// What the worker knows of a lease.
#[derive(Clone, Copy)]
struct Work {
    known: i64,
    interrupted: bool,
}

struct World {
    now: Duration,
    timing: Timing,
    session: Session,
    connection: i64,
    next_chat: u128,
    rows: BTreeMap<LeaseKey, LeaseRow>,
    reading: Vec<LeaseKey>,
    down: VecDeque<Down>,
    up: VecDeque<Up>,
    work: BTreeMap<LeaseKey, Work>,
    done: BTreeSet<LeaseKey>,
    is_frozen: bool,
    asked: Option<(Duration, Vec<LeaseRow>)>,
    asked_leases: VecDeque<(Duration, ChatId, Option<LeaseRow>)>,
    unanswered_pings: u32,
}

impl World {
    fn new() -> Self {
        let timing = Timing {
            ping_every: Duration::from_secs(1),
            close_grace: Duration::from_millis(500),
            silence_max: Duration::from_secs(1_000_000),
        };
        let now = Duration::from_secs(1);
        let opening =
            Opening { connection: 1, slots_total: SLOTS, listed: BTreeSet::new(), rows: Vec::new() };
        Self {
            now,
            timing,
            session: Session::open(timing, now, opening),
            connection: 1,
            next_chat: 0,
            rows: BTreeMap::new(),
            reading: Vec::new(),
            down: VecDeque::new(),
            up: VecDeque::new(),
            work: BTreeMap::new(),
            done: BTreeSet::new(),
            is_frozen: false,
            asked: None,
            asked_leases: VecDeque::new(),
            unanswered_pings: 0,
        }
    }

    fn handle(&mut self, event: Event) {
        self.session.handle(self.now, event);
        for action in self.session.take_actions() {
            match action {
                Action::SendPing { ping_no, .. } => {
                    self.unanswered_pings += 1;
                    self.down.push_back(Down::Ping(ping_no));
                }
                Action::Deliver(key) => self.reading.push(key),
                Action::SendInterrupt { key, version } => self.down.push_back(Down::Interrupt(key, version)),
                Action::SendLost(key) => self.down.push_back(Down::Lost(key)),
                Action::SendReload { .. } | Action::DropStreams(_) => {}
                Action::SendDrain | Action::HangUp(_) | Action::Close => {
                    panic!("nobody asked for {action:?}")
                }
            }
        }
    }

    fn pick(&self, which: usize) -> Option<LeaseKey> {
        (!self.rows.is_empty()).then(|| *self.rows.keys().nth(which % self.rows.len()).unwrap())
    }

    fn step(&mut self, step: Step) {
        // Two things never happen at the very same instant.
        self.now += Duration::from_millis(1);
        match step {
            Step::Wait(ms) => {
                self.now += Duration::from_millis(ms);
                self.handle(Event::Tick);
            }
            Step::Offer { gives } => self.offer(gives),
            Step::Read { which, fails } => self.read(which, fails),
            Step::WorkerReceives { drops } => self.worker_receives(drops),
            Step::ReplicaReceives => self.replica_receives(),
            Step::Finish(which) => self.finish(which),
            Step::Stop { which, hint } => self.stop(which, hint),
            Step::EndElsewhere { which, hint } => {
                if let Some(key) = self.pick(which) {
                    self.rows.remove(&key);
                    if hint {
                        self.handle(Event::Lost(key));
                    }
                }
            }
            Step::AskRenewal => {
                if self.session.renewal(self.now).is_some() {
                    self.asked = Some((self.now, self.rows.values().copied().collect()));
                }
            }
            Step::AnswerRenewal => {
                if let Some((asked_at, rows)) = self.asked.take() {
                    self.handle(Event::Renewed { asked_at, rows });
                }
            }
            Step::AskLease(which) => {
                // Of a chat that is leased, or that was.
                let chats = self.rows.keys().chain(&self.done).map(|key| key.chat).collect::<BTreeSet<_>>();
                if let Some(chat) = chats.iter().nth(which % chats.len().max(1)) {
                    let row = self.rows.values().find(|row| row.key.chat == *chat).copied();
                    self.asked_leases.push_back((self.now, *chat, row));
                }
            }
            Step::AnswerLease => {
                if let Some((asked_at, chat, row)) = self.asked_leases.pop_front() {
                    self.handle(Event::LeaseRead { asked_at, chat, row });
                }
            }
            Step::Reconnect => self.reconnect(),
            Step::Freeze(is_frozen) => self.is_frozen = is_frozen,
        }
    }

    fn offer(&mut self, gives: bool) {
        let is_silent = self.session.renewal(self.now).is_none();
        let is_promised = self.session.reserve(self.now);
        assert!(!(is_promised && is_silent), "a silent session was offered a chat");
        if !is_promised {
            return;
        }
        if gives {
            self.next_chat += 1;
            let key = LeaseKey { chat: ChatId(Uuid::from_u128(self.next_chat)), fence: Fence(1) };
            let row = LeaseRow {
                key,
                interrupting: false,
                snapshot_version: 2,
                history_version: 1,
                last_write_version: 0,
                settings: SettingsMark(0),
            };
            self.rows.insert(key, row);
            self.handle(Event::Granted(key));
        }
        self.session.unreserve();
    }

    fn read(&mut self, which: usize, fails: bool) {
        if self.reading.is_empty() {
            return;
        }
        let key = self.reading.remove(which % self.reading.len());
        if fails {
            self.handle(Event::NotSent(key));
        } else if let Some(row) = self.rows.get(&key).copied() {
            if self.session.awaits(key) {
                self.down.push_back(Down::Lease(key, row));
                let (snapshot_version, settings) = (row.snapshot_version, row.settings);
                self.handle(Event::Sent { key, snapshot_version, settings });
            }
        } else {
            self.handle(Event::Gone(key));
        }
    }

    fn worker_receives(&mut self, drops: bool) {
        if self.is_frozen {
            return;
        }
        let Some(message) = self.down.pop_front() else {
            return;
        };
        let before: BTreeSet<LeaseKey> = self.work.keys().copied().collect();
        match message {
            Down::Ping(no) => self.up.push_back(Up::Pong(no, before.clone())),
            Down::Lease(..) if drops => {}
            Down::Lease(key, row) => {
                if !self.done.contains(&key) {
                    let work = Work { known: row.snapshot_version, interrupted: row.interrupting };
                    self.work.entry(key).or_insert(work);
                }
            }
            Down::Interrupt(key, version) => {
                if let Some(work) = self.work.get_mut(&key) {
                    work.interrupted |= version > work.known;
                }
            }
            Down::Lost(key) => {
                assert!(!self.rows.contains_key(&key), "a lease that lives was called lost");
                self.work.remove(&key);
                self.done.insert(key);
            }
        }
        self.tell(&before);
    }

    fn tell(&mut self, before: &BTreeSet<LeaseKey>) {
        let after: BTreeSet<LeaseKey> = self.work.keys().copied().collect();
        if after != *before {
            self.up.push_back(Up::Leases(after));
        }
    }

    fn replica_receives(&mut self) {
        match self.up.pop_front() {
            Some(Up::Pong(ping_no, leases)) => {
                self.unanswered_pings -= 1;
                self.handle(Event::Pong { ping_no, leases });
            }
            Some(Up::Leases(leases)) => self.handle(Event::LeasesChanged(leases)),
            None => {}
        }
    }

    /// Commits, and the lease ends by it; the worker knows at once.
    fn finish(&mut self, which: usize) {
        if self.work.is_empty() || self.is_frozen {
            return;
        }
        let before: BTreeSet<LeaseKey> = self.work.keys().copied().collect();
        let key = *before.iter().nth(which % before.len()).unwrap();
        self.rows.remove(&key);
        self.work.remove(&key);
        self.done.insert(key);
        self.tell(&before);
    }

    fn stop(&mut self, which: usize, hint: bool) {
        let Some(key) = self.pick(which) else { return };
        let row = self.rows.get_mut(&key).unwrap();
        if row.interrupting {
            // The holder hands in a tool's result, and the reply hides the stop.
            row.snapshot_version += 1;
            row.last_write_version = row.snapshot_version;
            row.history_version = row.snapshot_version;
            if let Some(work) = self.work.get_mut(&key) {
                work.known = row.snapshot_version;
            }
            return;
        }
        row.interrupting = true;
        row.snapshot_version += 1;
        let version = row.snapshot_version;
        if hint {
            self.handle(Event::Interrupt { key, version });
        }
    }

    fn reconnect(&mut self) {
        self.handle(Event::StreamBroken);
        self.connection += 1;
        self.down.clear();
        self.up.clear();
        self.reading.clear();
        self.asked = None;
        self.asked_leases.clear();
        self.unanswered_pings = 0;
        let listed: BTreeSet<LeaseKey> = self.work.keys().copied().collect();
        let rows: Vec<LeaseRow> = self.rows.values().copied().collect();
        // The answer to `Open` says which are lost, and what the others' chats do.
        self.work.retain(|key, _| self.rows.contains_key(key));
        for (key, work) in &mut self.work {
            work.interrupted |= self.rows[key].interrupting;
        }
        let opening = Opening { connection: self.connection, slots_total: SLOTS, listed, rows };
        let previous = std::mem::replace(&mut self.session, Session::open(self.timing, self.now, opening));
        self.session.succeed(previous);
        self.handle(Event::Tick);
    }

    fn check(&self) {
        assert!(self.rows.len() <= SLOTS, "more leases than slots");
        assert!(self.unanswered_pings <= 1, "more than one ping is outstanding");
        for key in self.rows.keys() {
            assert!(self.session.has_lease(*key), "a lease of the row is forgotten");
        }
    }

    /// Nothing fails for some seconds.
    fn settle(&mut self) {
        self.is_frozen = false;
        for _ in 0..6 {
            self.step(Step::AskRenewal);
            self.step(Step::AnswerRenewal);
            while !(self.reading.is_empty() && self.down.is_empty() && self.up.is_empty()) {
                self.step(Step::Read { which: 0, fails: false });
                self.step(Step::WorkerReceives { drops: false });
                self.step(Step::ReplicaReceives);
            }
            self.step(Step::Wait(1000));
        }
    }
}

proptest! {
    #[test]
    fn every_lease_reaches_its_worker_and_no_slot_is_given_twice(
        steps in proptest::collection::vec(step(), 1..120),
    ) {
        let mut world = World::new();
        for step in steps {
            world.step(step);
            world.check();
        }

        world.settle();

        let held: BTreeSet<LeaseKey> = world.work.keys().copied().collect();
        let given: BTreeSet<LeaseKey> = world.rows.keys().copied().collect();
        assert_eq!(held, given, "the worker holds exactly what the rows give it");
        assert_eq!(world.session.free_slots(world.now), SLOTS - given.len());
        for (key, row) in &world.rows {
            assert_eq!(world.work[key].interrupted, row.interrupting, "a stop was lost");
        }
    }
}

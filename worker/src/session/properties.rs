//! What holds whatever happens, in any order and at any time.

use std::collections::BTreeSet;

use proptest::{collection::vec, option, prelude::*};

use uuid::Uuid;

use super::*;
use crate::backoff::Backoff;

const TIMING: Timing = Timing {
    open_timeout: Duration::from_secs(5),
    hop_after: Duration::from_secs(4),
    pause_after: Duration::from_secs(6),
    redial: Backoff { first: Duration::from_millis(100), max: Duration::from_secs(5) },
    drain_timeout: Duration::from_secs(30),
    release_grace: Duration::from_secs(2),
};

const SLOTS: usize = 3;

/// Few chats and fences, so that they meet.
fn keys() -> impl Strategy<Value = LeaseKey> {
    (0_u128..4, 1_i64..5).prop_map(|(chat, fence)| LeaseKey { chat_id: Uuid::from_u128(chat), fence })
}

fn resumed() -> impl Strategy<Value = Resumed> {
    let chat =
        (1_i64..20, any::<bool>()).prop_map(|(version, interrupting)| ResumedChat { version, interrupting });
    (keys(), option::of(chat)).prop_map(|(key, chat)| Resumed { key, chat })
}

fn events() -> impl Strategy<Value = Event> {
    let end = prop_oneof![3 => Just(RunEnd::LeaseEnded), 1 => Just(RunEnd::Failed)];
    let closed = prop_oneof![4 => Just(Closed::Broken), 1 => Just(Closed::SessionLost)];
    prop_oneof![
        8 => keys().prop_map(Event::Leased),
        4 => Just(Event::Tick),
        4 => (0_u64..8000).prop_map(|age| {
            Event::Ping { ping_no: 1, renewed_age: Duration::from_millis(age) }
        }),
        4 => vec(resumed(), 0..3).prop_map(|leases| {
            Event::Opened { session_id: "secret".to_owned(), leases }
        }),
        2 => (keys(), 1_i64..20).prop_map(|(key, version)| Event::Interrupt { key, version }),
        2 => (keys(), 1_i64..20).prop_map(|(key, version)| Event::Reload { key, version }),
        2 => keys().prop_map(Event::Lost),
        2 => (keys(), end).prop_map(|(key, end)| Event::RunEnded { key, end }),
        2 => (keys(), any::<bool>()).prop_map(|(key, done)| Event::GivenBack { key, done }),
        1 => closed.prop_map(Event::Closed),
        1 => Just(Event::ReplicaDrains),
    ]
}

/// What the world sees of a session.
#[derive(Default)]
struct World {
    running: BTreeSet<LeaseKey>,
    ever_started: BTreeSet<LeaseKey>,
    controls: BTreeMap<LeaseKey, Control>,
    /// What the replica was told, while there is one.
    told: Option<BTreeSet<LeaseKey>>,
    stopped: bool,
}

impl World {
    fn before(&mut self, event: &Event) {
        match event {
            Event::RunEnded { key, .. } => {
                self.running.remove(key);
            }
            Event::Closed(_) => self.told = None,
            _ => {}
        }
    }

    fn act(&mut self, action: &Action) -> Result<(), TestCaseError> {
        match action {
            Action::Start(key) => {
                prop_assert!(self.ever_started.insert(*key), "run twice: {key:?}");
                let same_chat = self.running.iter().any(|running| running.chat_id == key.chat_id);
                prop_assert!(!same_chat, "two runs of a chat: {key:?}");
                self.running.insert(*key);
                prop_assert!(self.running.len() <= SLOTS);
            }
            Action::Abandon(key) => prop_assert!(self.running.remove(key), "abandoned what does not run"),
            Action::GiveBack(key) => prop_assert!(!self.running.contains(key), "gives back what runs"),
            Action::Control { key, control } => {
                prop_assert!(self.running.contains(key));
                let before = self.controls.insert(*key, *control).unwrap_or_default();
                prop_assert!(before.interrupt <= control.interrupt && before.reload <= control.reload);
                prop_assert!(before.drain <= control.drain);
            }
            Action::Dial { leases, .. } => {
                prop_assert!(self.told.is_none(), "a second stream");
                self.told = Some(leases.iter().copied().collect());
            }
            Action::HangUp => self.told = None,
            Action::Pong { leases, .. } | Action::LeasesChanged(leases) => {
                prop_assert!(self.told.is_some(), "talks to nobody");
                self.told = Some(leases.iter().copied().collect());
            }
            Action::Draining => prop_assert!(self.told.is_some()),
            Action::Stop | Action::GiveUp => self.stopped = true,
        }
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, ..ProptestConfig::default() })]

    /// Never two runs of a lease or of a chat, never more than slots; what an open replica
    /// was told is what runs; control only grows; there is always a next deadline.
    #[test]
    fn leases_run_once_within_slots_and_are_told(
        happenings in vec((events(), 0_u64..2500, 0.0_f64..1.0), 1..120),
        shutdown_at in option::of(0_usize..120),
    ) {
        let mut session = Session::new(TIMING, SLOTS, 2);
        let mut world = World::default();
        let mut now = Duration::ZERO;
        for (index, (event, passed, chance)) in happenings.into_iter().enumerate() {
            now += Duration::from_millis(passed);
            let shutdown = (shutdown_at == Some(index)).then_some(Event::Shutdown);
            for event in shutdown.into_iter().chain([event]) {
                let unheard = matches!(&event, Event::Closed(_)) && world.told.is_none();
                if !unheard {
                    world.before(&event);
                }
                for action in session.handle(now, chance, event) {
                    prop_assert!(!world.stopped, "acts after its end");
                    world.act(&action)?;
                }
            }
            if world.stopped {
                prop_assert_eq!(session.deadline(), None);
                continue;
            }
            prop_assert!(session.deadline().is_some());
            prop_assert_eq!(session.held.keys().copied().collect::<BTreeSet<_>>(), world.running.clone());
            if matches!(session.phase, Phase::Open { .. }) {
                prop_assert_eq!(world.told.as_ref(), Some(&world.running));
            }
            for key in &world.running {
                prop_assert_eq!(world.controls[key].may_start, session.may_start);
            }
        }
    }

    /// A session that is only ticked at its deadlines is never in a loop without time
    /// passing, and ends within its drain time.
    #[test]
    fn deadlines_lead_forward(
        happenings in vec((events(), 0.0_f64..1.0), 1..60),
        ticks in 1_usize..20,
    ) {
        let mut session = Session::new(TIMING, SLOTS, 2);
        let mut now = Duration::ZERO;
        for (event, chance) in happenings {
            session.handle(now, chance, event);
            for _ in 0..ticks {
                let Some(deadline) = session.deadline() else { break };
                now = now.max(deadline);
                session.handle(now, 0.5, Event::Tick);
                prop_assert!(session.deadline().is_none_or(|next| next > now), "{:?}", session);
            }
        }
        session.handle(now, 0.5, Event::Shutdown);
        let end = now + TIMING.drain_timeout + TIMING.release_grace;
        while let Some(deadline) = session.deadline() {
            prop_assert!(deadline <= end);
            now = now.max(deadline);
            session.handle(now, 0.5, Event::Tick);
        }
    }
}

//! Whom this replica calls, and when it tries again. Pure: time and chance are arguments.
//!
//! Of each pair the replica with the greater id calls: ids grow with time, so it is the newer
//! one, which knows of the other from its first look at the table. Who is dialled comes from
//! the table; that the table cannot be read changes nothing.

use std::{collections::BTreeMap, time::Duration};

use chatplane_domain::ReplicaId;

/// After a first failure.
const DELAY_MIN: Duration = Duration::from_millis(50);
/// So many failures in a row, some three seconds of them, are no news yet.
const FAILURES_UNTOLD: u32 = 6;
/// After many.
const DELAY_MAX: Duration = Duration::from_secs(2);

/// The replicas that this one calls.
#[derive(Debug)]
pub(crate) struct Dialing {
    own: ReplicaId,
    peers: BTreeMap<ReplicaId, Peer>,
}

#[derive(Debug)]
struct Peer {
    phase: Phase,
    failures: u32,
    /// It stood in the table when that was read last.
    is_listed: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Waiting { until: Duration },
    Dialling,
    Up { since: Duration },
}

impl Dialing {
    /// Nobody is known yet.
    pub(crate) fn new(own: ReplicaId) -> Self {
        Self { own, peers: BTreeMap::new() }
    }

    /// What the table says: who there is. Those that are gone are not called any more.
    pub(crate) fn known(&mut self, now: Duration, replicas: impl IntoIterator<Item = ReplicaId>) {
        let mut before = std::mem::take(&mut self.peers);
        for replica in replicas.into_iter().filter(|replica| *replica < self.own) {
            let waiting = Phase::Waiting { until: now };
            let known = before.remove(&replica).map_or((waiting, 0), |peer| (peer.phase, peer.failures));
            self.peers.insert(replica, Peer { phase: known.0, failures: known.1, is_listed: true });
        }
        // A call that is under way comes to its end by itself, and a link lives while it does.
        before.retain(|_, peer| !matches!(peer.phase, Phase::Waiting { .. }));
        self.peers
            .extend(before.into_iter().map(|(replica, peer)| (replica, Peer { is_listed: false, ..peer })));
    }

    /// The next that is to be called now; it then counts as being dialled.
    pub(crate) fn next(&mut self, now: Duration) -> Option<ReplicaId> {
        let due = |phase: Phase| matches!(phase, Phase::Waiting { until } if until <= now);
        let (replica, peer) = self.peers.iter_mut().find(|(_, peer)| due(peer.phase))?;
        peer.phase = Phase::Dialling;
        Some(*replica)
    }

    /// When the next is to be called.
    pub(crate) fn due(&self) -> Option<Duration> {
        let waiting = self.peers.values().filter_map(|peer| match peer.phase {
            Phase::Waiting { until } => Some(until),
            Phase::Dialling | Phase::Up { .. } => None,
        });
        waiting.min()
    }

    /// The call was answered.
    pub(crate) fn up(&mut self, now: Duration, replica: ReplicaId) {
        if let Some(peer) = self.peers.get_mut(&replica) {
            peer.phase = Phase::Up { since: now };
        }
    }

    /// Whether the call that fails now is the one to be told: the last of some in a row. One that is leaving
    /// is in the table for a moment longer.
    pub(crate) fn is_to_be_told(&self, replica: ReplicaId) -> bool {
        self.peers.get(&replica).is_some_and(|peer| peer.failures == FAILURES_UNTOLD)
    }

    /// The call failed, or the link broke. `chance` is in 0..1. Who left the table meanwhile is called
    /// when it is back there.
    pub(crate) fn down(&mut self, now: Duration, replica: ReplicaId, chance: f64) {
        if self.peers.get(&replica).is_some_and(|peer| !peer.is_listed) {
            self.peers.remove(&replica);
        }
        if let Some(peer) = self.peers.get_mut(&replica) {
            // A link that breaks as soon as it is up is no better than a call that fails.
            if matches!(peer.phase, Phase::Up { since } if now.saturating_sub(since) >= DELAY_MAX) {
                peer.failures = 0;
            }
            let delay = DELAY_MIN.saturating_mul(1 << peer.failures.min(16)).min(DELAY_MAX);
            peer.failures = peer.failures.saturating_add(1);
            // At least half of it, so that chance cannot make it nothing.
            peer.phase = Phase::Waiting { until: now + delay.mul_f64(0.5 + chance / 2.0) };
        }
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn replica(no: u128) -> ReplicaId {
        ReplicaId(Uuid::from_u128(no))
    }

    fn at(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn of_each_pair_the_greater_id_calls() {
        let mut dialing = Dialing::new(replica(2));

        dialing.known(at(0), [replica(1), replica(2), replica(3)]);

        assert_eq!(dialing.next(at(0)), Some(replica(1)));
        assert_eq!(dialing.next(at(0)), None);
    }

    #[test]
    fn a_failed_dial_is_tried_again_later_and_later_but_never_much_later() {
        let mut dialing = Dialing::new(replica(2));
        dialing.known(at(0), [replica(1)]);
        let mut now = at(0);
        let mut waits = Vec::new();

        for _ in 0..10 {
            assert_eq!(dialing.next(now), Some(replica(1)));
            dialing.down(now, replica(1), 0.999);
            let due = dialing.due().expect("it is tried again");
            waits.push((due - now).as_millis());
            assert_eq!(dialing.next(due - at(1)), None);
            now = due;
        }

        assert!(waits.is_sorted(), "{waits:?}");
        assert!(waits[0] >= 25 && waits[0] <= 50 && waits[9] > 1900 && waits[9] <= 2000, "{waits:?}");
    }

    #[test]
    fn a_link_that_drops_is_called_again_at_once_each_time_that_it_had_come_up() {
        let mut dialing = Dialing::new(replica(2));
        dialing.known(at(0), [replica(1)]);
        let mut now = at(0);

        for _ in 0..5 {
            assert_eq!(dialing.next(now), Some(replica(1)));
            dialing.up(now, replica(1));
            assert_eq!(dialing.due(), None);
            now += DELAY_MAX;
            dialing.down(now, replica(1), 0.5);
            let due = dialing.due().expect("it is called again");
            assert!(due - now <= DELAY_MIN);
            now = due;
        }
    }

    #[test]
    fn one_failure_of_a_row_is_told_and_none_of_a_replica_that_soon_leaves() {
        let mut dialing = Dialing::new(replica(2));
        let mut now = at(0);
        for after_a_link in [false, true] {
            dialing.known(now, [replica(1)]);
            if after_a_link {
                dialing.next(now);
                dialing.up(now, replica(1));
                now += DELAY_MAX;
                dialing.down(now, replica(1), 0.5);
            }
            let told: Vec<u32> = (0..20)
                .filter(|_| {
                    now = dialing.due().expect("it is called again").max(now);
                    assert_eq!(dialing.next(now), Some(replica(1)));
                    let is_told = dialing.is_to_be_told(replica(1));
                    dialing.down(now, replica(1), 0.5);
                    is_told
                })
                .collect();
            assert!(told.len() == 1 && told[0] > 3, "{told:?}");
            dialing.known(now, []);
        }
    }

    #[test]
    fn a_link_that_breaks_as_soon_as_it_is_up_is_called_later_and_later() {
        let mut dialing = Dialing::new(replica(2));
        dialing.known(at(0), [replica(1)]);
        let mut now = at(0);
        let mut wait = Duration::ZERO;

        for _ in 0..10 {
            assert_eq!(dialing.next(now), Some(replica(1)));
            dialing.up(now, replica(1));
            dialing.down(now, replica(1), 0.999);
            let due = dialing.due().expect("it is called again");
            wait = due - now;
            now = due;
        }

        assert!(wait > DELAY_MAX.mul_f64(0.9), "{wait:?}");
    }

    #[test]
    fn a_table_that_cannot_be_read_keeps_nobody_from_being_called_again() {
        let mut dialing = Dialing::new(replica(2));
        dialing.known(at(0), [replica(1)]);
        assert_eq!(dialing.next(at(0)), Some(replica(1)));

        // No word of the table any more.
        dialing.down(at(5), replica(1), 0.0);

        assert_eq!(dialing.next(at(5000)), Some(replica(1)));
    }

    #[test]
    fn a_replica_that_has_left_the_table_is_not_called_again() {
        let mut dialing = Dialing::new(replica(3));
        dialing.known(at(0), [replica(1), replica(2)]);
        assert_eq!(dialing.next(at(0)), Some(replica(1)));

        dialing.known(at(1), []);
        dialing.down(at(2), replica(1), 0.0);

        assert_eq!(dialing.next(at(5000)), None);
        assert_eq!(dialing.due(), None);
    }

    #[test]
    fn a_replica_that_comes_back_into_the_table_is_called_again_whenever_its_link_broke() {
        let mut dialing = Dialing::new(replica(2));
        dialing.known(at(0), [replica(1)]);
        assert_eq!(dialing.next(at(0)), Some(replica(1)));
        dialing.up(at(0), replica(1));

        dialing.known(at(1), []);
        dialing.down(at(2), replica(1), 0.0);
        assert_eq!(dialing.next(at(3)), None);
        dialing.known(at(4), [replica(1)]);

        assert_eq!(dialing.next(at(4)), Some(replica(1)));
    }

    #[test]
    fn a_link_that_outlives_its_replicas_place_in_the_table_is_not_called_beside() {
        let mut dialing = Dialing::new(replica(2));
        dialing.known(at(0), [replica(1)]);
        assert_eq!(dialing.next(at(0)), Some(replica(1)));
        dialing.up(at(0), replica(1));

        dialing.known(at(1), []);
        dialing.known(at(2), [replica(1)]);

        assert_eq!(dialing.next(at(3)), None);
    }
}

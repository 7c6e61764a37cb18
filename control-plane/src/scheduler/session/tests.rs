//! One story each.

use std::{collections::BTreeSet, time::Duration};

use chatplane_domain::{ChatId, Fence};
use uuid::Uuid;

use super::{Action, Event, HangUp, LeaseKey, LeaseRow, Opening, Session, SettingsMark, Timing};

const START: Duration = Duration::from_secs(100);

fn at(ms: u64) -> Duration {
    START + Duration::from_millis(ms)
}

fn key(no: u128) -> LeaseKey {
    LeaseKey { chat: ChatId(Uuid::from_u128(no)), fence: Fence(1) }
}

fn row(key: LeaseKey) -> LeaseRow {
    LeaseRow {
        key,
        interrupting: false,
        snapshot_version: 2,
        history_version: 1,
        last_write_version: 0,
        settings: SettingsMark(0),
    }
}

fn open(listed: &[LeaseKey], rows: &[LeaseKey]) -> Session {
    let timing = Timing {
        ping_every: Duration::from_secs(1),
        close_grace: Duration::from_millis(500),
        silence_max: Duration::from_secs(8),
    };
    let rows = rows.iter().map(|key| row(*key)).collect();
    let opening = Opening { connection: 1, slots_total: 2, listed: set(listed), rows };
    Session::open(timing, START, opening)
}

fn set(keys: &[LeaseKey]) -> BTreeSet<LeaseKey> {
    keys.iter().copied().collect()
}

fn sent(key: LeaseKey) -> Event {
    Event::Sent { key, snapshot_version: 2, settings: SettingsMark(0) }
}

fn pong(ping_no: i64, leases: &[LeaseKey]) -> Event {
    Event::Pong { ping_no, leases: set(leases) }
}

fn ping(ping_no: i64, renewed_age_ms: u64) -> Action {
    Action::SendPing { ping_no, renewed_age: Duration::from_millis(renewed_age_ms) }
}

/// A session whose one lease the worker lists.
fn holding(key: LeaseKey) -> Session {
    let mut session = open(&[], &[]);
    session.handle(at(0), Event::Granted(key));
    session.handle(at(1), sent(key));
    session.handle(at(2), Event::LeasesChanged(set(&[key])));
    assert_eq!(session.take_actions(), [Action::Deliver(key)]);
    session
}

#[test]
fn a_session_is_pinged_each_second_and_told_its_renewal() {
    let mut session = open(&[], &[]);

    session.handle(at(999), Event::Tick);
    assert_eq!(session.take_actions(), []);
    session.handle(at(1000), Event::Tick);
    assert_eq!(session.take_actions(), [ping(1, 1000)]);
    session.handle(at(1001), pong(1, &[]));
    session.handle(at(1500), Event::Renewed { asked_at: at(1400), rows: Vec::new() });
    session.handle(at(2000), Event::Tick);

    assert_eq!(session.take_actions(), [ping(2, 600)]);
    assert_eq!(session.deadline(), Some(at(10_000)));
}

#[test]
fn the_age_of_a_pong_is_counted_from_its_ping() {
    let mut session = open(&[], &[]);
    session.handle(at(1000), Event::Tick);
    session.handle(at(1900), pong(1, &[]));

    assert_eq!(session.renewal(at(1950)), Some(Duration::from_millis(950)));
}

#[test]
fn a_session_that_did_not_answer_its_last_ping_gets_no_further_lease() {
    let mut session = open(&[], &[]);
    session.handle(at(1000), Event::Tick);
    assert_eq!(session.free_slots(at(1999)), 2);

    assert_eq!(session.free_slots(at(2000)), 0);
    assert!(!session.reserve(at(2000)));
    assert_eq!(session.renewal(at(2000)), None);

    session.handle(at(2500), pong(1, &[]));
    assert_eq!(session.free_slots(at(2500)), 2);
}

#[test]
fn a_session_silent_for_its_whole_life_is_hung_up_on() {
    let mut session = open(&[], &[]);
    session.handle(at(1000), Event::Tick);
    session.take_actions();

    session.handle(at(9000), Event::Tick);

    assert_eq!(session.take_actions(), [Action::HangUp(HangUp::Silent)]);
    assert!(session.is_over());
}

#[test]
fn a_lease_given_and_not_listed_is_delivered_again() {
    let mut session = open(&[], &[]);
    session.handle(at(0), Event::Granted(key(1)));
    assert_eq!(session.take_actions(), [Action::Deliver(key(1))]);
    session.handle(at(1000), Event::Tick);
    session.handle(at(1001), sent(key(1)));
    session.handle(at(1002), pong(1, &[]));
    assert_eq!(session.take_actions(), [ping(1, 1000)], "the ping was sent before the lease");

    session.handle(at(2000), Event::Tick);
    session.handle(at(2001), pong(2, &[]));

    assert_eq!(session.take_actions(), [ping(2, 2000), Action::Deliver(key(1))]);
}

#[test]
fn a_lease_that_could_not_be_read_is_tried_again_at_the_next_pong() {
    let mut session = open(&[], &[]);
    session.handle(at(0), Event::Granted(key(1)));
    session.handle(at(1), Event::NotSent(key(1)));
    session.handle(at(1000), Event::Tick);
    session.take_actions();

    session.handle(at(1001), pong(1, &[]));

    assert_eq!(session.take_actions(), [Action::Deliver(key(1))]);
}

#[test]
fn a_lease_that_ended_while_it_was_read_frees_its_slot() {
    let mut session = open(&[], &[]);
    session.handle(at(0), Event::Granted(key(1)));
    assert_eq!(session.free_slots(at(0)), 1);
    session.take_actions();

    session.handle(at(1), Event::Gone(key(1)));

    assert_eq!(session.free_slots(at(1)), 2);
    assert_eq!(session.take_actions(), [Action::DropStreams(key(1))]);
}

#[test]
fn slots_in_use_are_leases_listed_and_leases_granted_and_promises() {
    let mut session = holding(key(1));
    assert_eq!(session.free_slots(at(10)), 1);

    assert!(session.reserve(at(10)));
    assert!(!session.reserve(at(10)));
    session.handle(at(11), Event::Granted(key(2)));
    session.unreserve();
    assert_eq!(session.free_slots(at(11)), 0);

    session.handle(at(12), Event::LeasesChanged(set(&[])));
    assert_eq!(session.free_slots(at(12)), 1, "the granted lease still counts");
}

#[test]
fn a_draining_worker_is_offered_nothing() {
    let mut session = open(&[], &[]);

    session.handle(at(1), Event::WorkerDrains);

    assert_eq!(session.free_slots(at(1)), 0);
    assert_eq!(session.renewal(at(1)), Some(Duration::from_millis(1)));
}

#[test]
fn a_broken_stream_has_its_grace_before_the_session_is_closed() {
    let mut session = holding(key(1));
    session.handle(at(100), Event::StreamBroken);
    assert_eq!(session.free_slots(at(100)), 0);
    assert_eq!(session.renewal(at(100)), None);
    session.handle(at(599), Event::Tick);
    assert_eq!(session.take_actions(), []);

    session.handle(at(600), Event::Tick);

    assert_eq!(session.take_actions(), [Action::DropStreams(key(1)), Action::Close]);
    assert_eq!(session.deadline(), None);
}

#[test]
fn a_worker_that_comes_back_here_keeps_the_streams_of_the_leases_it_kept() {
    let mut before = holding(key(1));
    before.handle(at(3), Event::Granted(key(2)));
    before.take_actions();
    before.handle(at(100), Event::StreamBroken);

    let mut after = open(&[key(1)], &[key(1)]);
    after.succeed(before);

    assert_eq!(after.take_actions(), [Action::DropStreams(key(2))]);
    assert!(after.has_lease(key(1)));
}

#[test]
fn a_resumed_session_is_delivered_what_it_does_not_list() {
    let mut session = open(&[key(1)], &[key(1), key(2)]);

    assert_eq!(session.take_actions(), [Action::Deliver(key(2))]);
    assert_eq!(session.free_slots(at(0)), 0);
}

#[test]
fn a_session_that_is_no_longer_this_connection_is_hung_up_on() {
    let mut session = holding(key(1));

    session.handle(at(10), Event::NotRenewed);

    assert_eq!(session.take_actions(), [Action::DropStreams(key(1)), Action::HangUp(HangUp::SessionLost)]);
}

#[test]
fn a_stop_that_comes_while_the_lease_is_read_follows_it() {
    let mut session = open(&[], &[]);
    session.handle(at(0), Event::Granted(key(1)));
    session.handle(at(1), Event::Interrupt { key: key(1), version: 3 });
    assert_eq!(session.take_actions(), [Action::Deliver(key(1))]);

    session.handle(at(2), sent(key(1)));

    assert_eq!(session.take_actions(), [Action::SendInterrupt { key: key(1), version: 3 }]);
}

#[test]
fn a_stop_that_the_input_already_shows_does_not_follow_it() {
    let mut session = open(&[], &[]);
    session.handle(at(0), Event::Granted(key(1)));
    session.handle(at(1), Event::Interrupt { key: key(1), version: 2 });
    session.take_actions();

    session.handle(at(2), sent(key(1)));

    assert_eq!(session.take_actions(), []);
}

#[test]
fn an_edit_that_comes_while_the_lease_is_read_follows_it_unless_the_input_shows_it() {
    for (version, follows) in [(2, vec![]), (3, vec![Action::SendReload { key: key(1), version: 3 }])] {
        let mut session = open(&[], &[]);
        session.handle(at(0), Event::Granted(key(1)));
        session.handle(at(1), Event::Reload { key: key(1), version });
        assert_eq!(session.take_actions(), [Action::Deliver(key(1))]);

        session.handle(at(2), sent(key(1)));

        assert_eq!(session.take_actions(), follows);
    }
}

#[test]
fn a_renewal_repeats_a_stop_whose_hint_was_lost() {
    let mut session = holding(key(1));
    let stopped = LeaseRow { interrupting: true, snapshot_version: 5, ..row(key(1)) };

    session.handle(at(2000), Event::Renewed { asked_at: at(1999), rows: vec![stopped] });
    session.handle(at(4000), Event::Renewed { asked_at: at(3999), rows: vec![stopped] });

    // Above the version that the holder's own write after the stop has told it.
    let actions = session.take_actions();
    assert!(actions.contains(&Action::SendInterrupt { key: key(1), version: 6 }), "{actions:?}");
    assert_eq!(actions.len(), 2, "one stop, one ping: {actions:?}");
}

#[test]
fn a_renewal_repeats_an_edit_whose_hint_was_lost() {
    let mut session = holding(key(1));
    let edited = LeaseRow { snapshot_version: 7, history_version: 6, last_write_version: 5, ..row(key(1)) };

    session.handle(at(500), Event::Renewed { asked_at: at(499), rows: vec![edited] });
    session.handle(at(600), Event::Renewed { asked_at: at(599), rows: vec![edited] });

    assert_eq!(session.take_actions(), [Action::SendReload { key: key(1), version: 6 }]);
}

#[test]
fn a_renewal_repeats_a_configuration_whose_hint_was_lost() {
    let mut session = holding(key(1));
    let configured = LeaseRow { snapshot_version: 4, settings: SettingsMark(9), ..row(key(1)) };

    session.handle(at(500), Event::Renewed { asked_at: at(499), rows: vec![configured] });
    session.handle(at(600), Event::Renewed { asked_at: at(599), rows: vec![configured] });

    assert_eq!(session.take_actions(), [Action::SendReload { key: key(1), version: 4 }]);
}

#[test]
fn the_history_that_the_holder_wrote_itself_is_no_reload() {
    let mut session = holding(key(1));
    let written = LeaseRow { snapshot_version: 6, history_version: 6, last_write_version: 6, ..row(key(1)) };

    session.handle(at(500), Event::Renewed { asked_at: at(499), rows: vec![written] });

    assert_eq!(session.take_actions(), []);
}

#[test]
fn a_renewal_that_was_asked_before_a_lease_was_made_says_nothing_of_it() {
    let mut session = holding(key(1));
    session.handle(at(600), Event::Granted(key(2)));
    session.take_actions();

    session.handle(at(601), Event::Renewed { asked_at: at(599), rows: Vec::new() });

    assert_eq!(session.take_actions(), [Action::DropStreams(key(1)), Action::SendLost(key(1))]);
    assert!(session.has_lease(key(2)));
}

#[test]
fn a_lease_that_was_read_after_a_hint_tells_the_worker_what_a_renewal_would() {
    let mut session = holding(key(1));
    let stopped = LeaseRow { interrupting: true, snapshot_version: 5, ..row(key(1)) };

    session.handle(at(500), Event::LeaseRead { asked_at: at(499), chat: key(1).chat, row: Some(stopped) });
    session.handle(at(600), Event::LeaseRead { asked_at: at(599), chat: key(1).chat, row: None });

    let actions = session.take_actions();
    assert_eq!(actions, [Action::DropStreams(key(1)), Action::SendLost(key(1))], "what ended needs no stop");
    let mut session = holding(key(1));
    session.handle(at(500), Event::LeaseRead { asked_at: at(499), chat: key(1).chat, row: Some(stopped) });
    assert_eq!(session.take_actions(), [Action::SendInterrupt { key: key(1), version: 6 }]);
}

#[test]
fn a_lease_that_was_read_says_nothing_of_other_chats_nor_of_a_renewal() {
    let mut session = holding(key(1));

    session.handle(at(700), Event::LeaseRead { asked_at: at(699), chat: key(2).chat, row: None });
    session.handle(at(1000), Event::Tick);

    assert_eq!(session.take_actions(), [ping(1, 1000)]);
    assert!(session.has_lease(key(1)));
}

#[test]
fn a_lease_that_was_made_after_the_question_is_not_judged_by_its_answer() {
    let mut session = holding(key(1));
    session.handle(at(600), Event::Granted(key(2)));
    session.take_actions();

    session.handle(at(601), Event::LeaseRead { asked_at: at(599), chat: key(2).chat, row: None });

    assert_eq!(session.take_actions(), []);
    assert!(session.has_lease(key(2)));
}

#[test]
fn the_next_lease_of_the_same_chat_follows_the_one_that_has_ended() {
    let mut session = holding(key(1));
    let next = LeaseKey { fence: Fence(2), ..key(1) };

    session.handle(at(500), Event::LeaseRead { asked_at: at(499), chat: next.chat, row: Some(row(next)) });

    assert_eq!(
        session.take_actions(),
        [Action::DropStreams(key(1)), Action::SendLost(key(1)), Action::Deliver(next)]
    );
    assert_eq!(session.leases_of(next.chat).collect::<Vec<_>>(), [next]);
}

#[test]
fn a_lease_that_only_the_worker_knows_of_is_not_one() {
    let mut session = open(&[], &[]);
    session.handle(at(1), Event::LeasesChanged(set(&[key(1)])));
    assert!(!session.has_lease(key(1)));

    session.handle(at(500), Event::Renewed { asked_at: at(499), rows: Vec::new() });

    assert_eq!(session.take_actions(), [Action::SendLost(key(1))]);
}

#[test]
fn of_many_messages_of_a_kind_only_the_latest_waits_for_a_slow_worker() {
    let mut session = holding(key(1));

    for version in 3..1000 {
        session.handle(at(10), Event::Interrupt { key: key(1), version });
        session.handle(at(10), Event::Reload { key: key(1), version });
    }

    assert_eq!(
        session.take_actions(),
        [
            Action::SendInterrupt { key: key(1), version: 999 },
            Action::SendReload { key: key(1), version: 999 },
        ]
    );
}

#[test]
fn a_lease_that_is_merely_claimed_ends_nobodys_streams() {
    let given = key(1);
    let claimed = LeaseKey { fence: Fence(i64::MAX), ..key(2) };
    let mut session = holding(given);

    session.handle(at(1), Event::LeasesChanged(set(&[given, claimed])));
    session.handle(at(2), Event::LeasesChanged(set(&[given])));
    session.handle(at(3), Event::Lost(claimed));

    assert!(!session.take_actions().contains(&Action::DropStreams(claimed)));
}

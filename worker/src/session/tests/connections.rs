//! Connections that break, stall and end.

use super::*;

#[test]
fn a_broken_stream_is_resumed_on_the_next_replica_with_its_leases() {
    let mut session = open_session(2);
    session.handle(at(10), 0.0, Event::Leased(key(1, 3)));

    assert_eq!(session.handle(at(100), 1.0, Event::Closed(Closed::Broken)), []);
    assert_eq!(session.deadline(), Some(at(200)), "a first repeat comes soon");
    let dialed = session.handle(at(200), 0.0, Event::Tick);

    let session_id = Some("secret".to_owned());
    assert_eq!(dialed, [Action::Dial { address: 1, session_id, leases: vec![key(1, 3)] }]);
}

#[test]
fn repeats_grow_apart_until_a_connection_is_healthy() {
    let mut session = open_session(1);
    let mut pauses = Vec::new();
    let mut now = at(0);
    for _ in 0..8 {
        session.handle(now, 1.0, Event::Closed(Closed::Broken));
        let Phase::Apart { dial_at } = session.phase else { panic!("{:?}", session.phase) };
        pauses.push((dial_at - now).as_millis());
        now = dial_at;
        session.handle(now, 1.0, Event::Tick);
    }
    assert_eq!(pauses, [100, 200, 400, 800, 1600, 3200, 5000, 5000]);

    session.handle(now, 1.0, opened(vec![]));
    session.handle(now, 1.0, ping(at(0)));
    session.handle(now, 1.0, Event::Closed(Closed::Broken));

    assert_eq!(session.deadline(), Some(now + at(100)));
}

#[test]
fn a_resume_tells_what_was_missed() {
    let mut session = open_session(3);
    for chat in 1..=3 {
        session.handle(at(10), 0.0, Event::Leased(key(chat, 1)));
    }
    session.handle(at(20), 0.0, Event::Closed(Closed::Broken));
    session.handle(at(20), 0.0, Event::Tick);

    let chat = |version, interrupting| Some(ResumedChat { version, interrupting });
    let actions = session.handle(
        at(30),
        0.0,
        opened(vec![
            Resumed { key: key(1, 1), chat: None },
            Resumed { key: key(2, 1), chat: chat(8, true) },
            Resumed { key: key(3, 1), chat: chat(9, false) },
        ]),
    );

    assert_eq!(
        actions,
        [
            Action::Abandon(key(1, 1)),
            Action::Control { key: key(2, 1), control: Control { interrupt: 8, ..running(true) } },
            Action::Control { key: key(3, 1), control: Control { reload: 9, ..running(true) } },
            Action::LeasesChanged(vec![key(2, 1), key(3, 1)]),
        ]
    );
}

#[test]
fn a_lease_that_ends_while_the_stream_is_down_is_told_when_it_is_up() {
    let mut session = open_session(1);
    session.handle(at(10), 0.0, Event::Leased(key(1, 1)));
    session.handle(at(20), 0.0, Event::Closed(Closed::Broken));
    session.handle(at(20), 0.0, Event::Tick);

    let ended = session.handle(at(30), 0.0, Event::RunEnded { key: key(1, 1), end: RunEnd::LeaseEnded });
    let resumed = session.handle(at(40), 0.0, opened(vec![]));

    assert_eq!(ended, []);
    assert_eq!(resumed, [Action::LeasesChanged(vec![])]);
}

#[test]
fn a_lost_session_loses_its_leases_and_a_new_one_is_opened() {
    let mut session = open_session(2);
    session.handle(at(10), 0.0, Event::Leased(key(1, 3)));

    let lost = session.handle(at(20), 0.0, Event::Closed(Closed::SessionLost));

    let dial = Action::Dial { address: 1, session_id: None, leases: vec![] };
    assert_eq!(lost, [Action::Abandon(key(1, 3)), dial]);
}

#[test]
fn a_session_that_is_not_renewed_looks_for_another_replica_and_then_starts_nothing() {
    let mut session = open_session(1);
    session.handle(at(10), 0.0, Event::Leased(key(1, 1)));
    session.handle(at(3500), 0.0, ping(at(3500)));
    assert_eq!(session.deadline(), Some(at(4000)));

    let stale = session.handle(at(4000), 1.0, Event::Tick);
    assert_eq!(stale, [Action::HangUp]);
    let dialed = session.handle(at(4100), 1.0, Event::Tick);
    assert!(matches!(dialed[..], [Action::Dial { address: 1, .. }]), "{dialed:?}");
    let paused = session.handle(at(6000), 1.0, Event::Tick);

    assert_eq!(paused, [Action::Control { key: key(1, 1), control: running(false) }]);
    let reopened = session.handle(at(6100), 1.0, opened(vec![]));
    assert_eq!(reopened, [Action::Control { key: key(1, 1), control: running(true) }]);
}

#[test]
fn silence_counts_like_a_renewal_that_fails() {
    let mut session = open_session(1);
    assert_eq!(session.deadline(), Some(at(4000)));

    assert_eq!(session.handle(at(3999), 0.0, Event::Tick), []);
    assert_eq!(session.handle(at(4000), 1.0, Event::Tick), [Action::HangUp]);
}

#[test]
fn a_replica_that_does_not_answer_is_left() {
    let mut session = Session::new(TIMING, 1, 2);
    session.handle(at(0), 0.0, Event::Tick);

    assert_eq!(session.deadline(), Some(at(5000)));
    let actions = session.handle(at(5000), 1.0, Event::Tick);

    assert_eq!(actions, [Action::HangUp]);
}

#[test]
fn a_replica_that_leaves_is_left_at_once() {
    let mut session = open_session(1);

    let actions = session.handle(at(50), 0.0, Event::ReplicaDrains);

    let dial = Action::Dial { address: 1, session_id: Some("secret".to_owned()), leases: vec![] };
    assert_eq!(actions, [Action::HangUp, dial]);
}

#[test]
fn a_refusal_for_good_ends_the_worker() {
    let mut session = Session::new(TIMING, 1, 1);
    session.handle(at(0), 0.0, Event::Tick);

    assert_eq!(session.handle(at(10), 0.0, Event::Closed(Closed::Refused)), [Action::GiveUp]);
    assert_eq!(session.deadline(), None);
}

#[test]
fn a_worker_without_leases_stops_at_once() {
    let mut session = open_session(1);

    assert_eq!(session.handle(at(10), 0.0, Event::Shutdown), [Action::Draining, Action::Stop]);
}

#[test]
fn a_draining_worker_takes_nothing_and_stops_when_its_runs_have_ended() {
    let mut session = open_session(2);
    session.handle(at(10), 0.0, Event::Leased(key(1, 1)));

    let draining = session.handle(at(20), 0.0, Event::Shutdown);
    let control = Control { drain: Drain::AtBoundary, ..running(true) };
    assert_eq!(draining, [Action::Draining, Action::Control { key: key(1, 1), control }]);
    assert_eq!(session.handle(at(30), 0.0, Event::Leased(key(2, 1))), [Action::GiveBack(key(2, 1))]);
    session.handle(at(40), 0.0, Event::RunEnded { key: key(1, 1), end: RunEnd::LeaseEnded });
    let ended = session.handle(at(50), 0.0, Event::GivenBack { key: key(2, 1), done: true });

    assert_eq!(ended, [Action::Stop]);
}

#[test]
fn a_drain_that_takes_too_long_gives_back_and_then_stops_anyway() {
    let mut session = open_session(1);
    session.handle(at(10), 0.0, Event::Leased(key(1, 1)));
    session.handle(at(20), 0.0, Event::Shutdown);

    session.handle(at(30_010), 0.0, ping(at(0)));
    let now = session.handle(at(30_020), 0.0, Event::Tick);
    let stopped = session.handle(at(32_020), 0.0, Event::Tick);

    let control = |drain, may_start| Control { drain, ..running(may_start) };
    assert_eq!(now, [Action::Control { key: key(1, 1), control: control(Drain::Now, true) }]);
    assert_eq!(stopped.last(), Some(&Action::Stop));
}

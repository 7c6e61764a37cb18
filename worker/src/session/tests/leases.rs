//! Leases that come and go.

use super::*;

#[test]
fn a_lease_is_run_and_told_at_once() {
    let mut session = open_session(1);

    let actions = session.handle(at(10), 0.0, Event::Leased(key(1, 3)));

    let control = Action::Control { key: key(1, 3), control: running(true) };
    assert_eq!(actions, [Action::Start(key(1, 3)), control, Action::LeasesChanged(vec![key(1, 3)])]);
}

#[test]
fn a_lease_that_is_delivered_again_is_not_run_again() {
    let mut session = open_session(2);
    session.handle(at(10), 0.0, Event::Leased(key(1, 3)));

    assert_eq!(session.handle(at(20), 0.0, Event::Leased(key(1, 3))), []);
    assert_eq!(session.handle(at(20), 0.0, Event::Leased(key(1, 2))), []);
}

#[test]
fn a_lease_that_has_ended_here_is_not_run_again() {
    let mut session = open_session(2);
    session.handle(at(10), 0.0, Event::Leased(key(1, 3)));

    let ended = session.handle(at(20), 0.0, Event::RunEnded { key: key(1, 3), end: RunEnd::LeaseEnded });

    assert_eq!(ended, [Action::LeasesChanged(vec![])]);
    assert_eq!(session.handle(at(30), 0.0, Event::Leased(key(1, 3))), []);
}

#[test]
fn a_lease_that_could_not_be_run_is_given_back_at_its_next_delivery() {
    let mut session = open_session(2);
    session.handle(at(10), 0.0, Event::Leased(key(1, 3)));
    session.handle(at(20), 0.0, Event::RunEnded { key: key(1, 3), end: RunEnd::Failed });

    assert_eq!(session.handle(at(30), 0.0, Event::Leased(key(1, 3))), [Action::GiveBack(key(1, 3))]);
}

#[test]
fn a_lease_without_a_slot_is_given_back_until_that_is_heard() {
    let mut session = open_session(1);
    session.handle(at(10), 0.0, Event::Leased(key(1, 3)));

    assert_eq!(session.handle(at(20), 0.0, Event::Leased(key(2, 1))), [Action::GiveBack(key(2, 1))]);
    assert_eq!(session.handle(at(30), 0.0, Event::Leased(key(2, 1))), [], "it is on its way back");
    session.handle(at(40), 0.0, Event::GivenBack { key: key(2, 1), done: false });
    assert_eq!(session.handle(at(50), 0.0, Event::Leased(key(2, 1))), [Action::GiveBack(key(2, 1))]);
    session.handle(at(60), 0.0, Event::GivenBack { key: key(2, 1), done: true });
    assert_eq!(session.handle(at(70), 0.0, Event::Leased(key(2, 1))), [], "it has ended");
}

#[test]
fn losing_a_lease_leaves_a_newer_fence_of_the_same_chat_untouched() {
    let mut session = open_session(2);
    session.handle(at(10), 0.0, Event::Leased(key(1, 4)));

    assert_eq!(session.handle(at(20), 0.0, Event::Lost(key(1, 3))), []);
    assert_eq!(
        session.handle(at(30), 0.0, Event::Lost(key(1, 4))),
        [Action::Abandon(key(1, 4)), Action::LeasesChanged(vec![])]
    );
}

#[test]
fn a_newer_fence_ends_the_older_run_of_its_chat() {
    let mut session = open_session(1);
    session.handle(at(10), 0.0, Event::Leased(key(1, 3)));

    let actions = session.handle(at(20), 0.0, Event::Leased(key(1, 4)));

    assert_eq!(actions[..2], [Action::Abandon(key(1, 3)), Action::Start(key(1, 4))]);
    assert_eq!(*actions.last().unwrap(), Action::LeasesChanged(vec![key(1, 4)]));
}

#[test]
fn a_pong_lists_the_leases() {
    let mut session = open_session(2);
    session.handle(at(10), 0.0, Event::Leased(key(1, 3)));

    let actions = session.handle(at(20), 0.0, Event::Ping { ping_no: 7, renewed_age: at(0) });

    assert_eq!(actions, [Action::Pong { ping_no: 7, leases: vec![key(1, 3)] }]);
}

#[test]
fn only_newer_control_is_handed_on() {
    let mut session = open_session(1);
    session.handle(at(10), 0.0, Event::Leased(key(1, 1)));

    let first = session.handle(at(20), 0.0, Event::Interrupt { key: key(1, 1), version: 5 });
    let again = session.handle(at(30), 0.0, Event::Interrupt { key: key(1, 1), version: 5 });
    let older = session.handle(at(30), 0.0, Event::Interrupt { key: key(1, 1), version: 4 });
    let other = session.handle(at(30), 0.0, Event::Interrupt { key: key(1, 2), version: 9 });

    let control = Control { interrupt: 5, ..running(true) };
    assert_eq!(first, [Action::Control { key: key(1, 1), control }]);
    assert_eq!((again, older, other), (vec![], vec![], vec![]));
}

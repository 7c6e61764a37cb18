//! The rules, one by one.

use super::*;

const NOW_S: u64 = 1_000;

fn limits() -> Limits {
    Limits {
        entries_max: 3,
        bytes_max: 10 * ENTRY_BYTES_MAX,
        committed_for: Duration::from_secs(30),
        foreign_for: Duration::from_secs(60),
        refusals_max: 2,
    }
}

fn ledger() -> Ledger<&'static str> {
    Ledger::load(limits(), Vec::new())
}

fn key(call_index: i32) -> CallKey {
    CallKey { chat_id: Uuid::from_u128(1), message_id: 7, call_index }
}

fn input() -> Input {
    Input::of("write_file", "{}")
}

fn found(call_index: i32, has_answer: bool) -> Found {
    let readable = Some((Uuid::nil(), input()));
    Found { key: key(call_index), readable, has_answer, bytes: 500, written: SystemTime::UNIX_EPOCH }
}

/// A clock that starts anywhere.
fn clock() -> impl Fn(u64) -> Instant {
    let start = Instant::now();
    move |seconds| start + Duration::from_secs(NOW_S + seconds)
}

#[test]
fn a_call_runs_and_then_has_its_answer() {
    let mut ledger = ledger();
    assert_eq!(ledger.known(key(0), &input()), None);

    ledger.begin(key(0), input(), "run").unwrap();
    assert_eq!(ledger.known(key(0), &input()), Some(Known::Running("run")));
    assert_eq!((ledger.open_len(), ledger.run(key(0))), (1, Some("run")));

    ledger.recorded(key(0), 300);
    assert_eq!(ledger.known(key(0), &input()), Some(Known::Recorded));
    assert_eq!((ledger.open_len(), ledger.run(key(0)), ledger.bytes), (0, None, 300));
    assert_eq!(ledger.keys(), [key(0)]);
}

#[test]
fn another_input_is_refused_whatever_became_of_the_call() {
    let other = Input::of("write_file", "{ }");
    let mut ledger = Ledger::load(limits(), vec![found(0, true), found(1, false)]);
    ledger.begin(key(2), input(), "run").unwrap();

    for call_index in 0..3 {
        assert_eq!(ledger.known(key(call_index), &other), Some(Known::Told(Answer::OtherInput)));
    }
}

#[test]
fn a_start_finds_answers_and_calls_that_were_lost() {
    let damaged = Found { readable: None, ..found(2, false) };
    let ledger = Ledger::<()>::load(limits(), vec![found(0, true), found(1, false), damaged]);

    let unknown = Some(Known::Told(Answer::OutcomeUnknown));
    assert_eq!(ledger.known(key(0), &input()), Some(Known::Recorded));
    assert_eq!(ledger.known(key(1), &input()), unknown);
    assert_eq!(ledger.known(key(2), &Input::of("any", "thing")), unknown);
    assert_eq!((ledger.len(), ledger.unknown(), ledger.bytes), (3, 2, 1_500));
}

#[test]
fn an_end_that_is_not_on_disk_is_unknown_from_then_on() {
    let mut ledger = Ledger::load(limits(), vec![found(0, true)]);
    ledger.begin(key(1), input(), "run").unwrap();

    ledger.unreadable(key(0));
    ledger.unrecorded(key(1));

    for call_index in 0..2 {
        let known = ledger.known(key(call_index), &input());
        assert_eq!(known, Some(Known::Told(Answer::OutcomeUnknown)));
    }
    assert_eq!(ledger.open_len(), 0);
}

#[test]
fn a_call_that_could_not_start_is_told_the_same_again() {
    let mut ledger = ledger();
    ledger.begin(key(0), input(), "run").unwrap();

    let refused = ledger.not_started(key(0));

    assert_eq!(refused, Answer::Refused(Refusal::NotWritten));
    assert_eq!(ledger.known(key(0), &input()), Some(Known::Told(refused)));
    assert_eq!((ledger.len(), ledger.open_len()), (0, 0));
}

#[test]
fn a_full_journal_takes_no_more_calls() {
    let mut ledger = ledger();
    for call_index in 0..3 {
        ledger.begin(key(call_index), input(), "run").unwrap();
    }

    assert_eq!(ledger.begin(key(3), input(), "run"), Err(Answer::Refused(Refusal::Full)));
    assert_eq!(ledger.known(key(2), &input()), Some(Known::Running("run")));
}

#[test]
fn a_journal_without_room_for_one_more_result_takes_no_more_calls() {
    let limits = Limits { bytes_max: 2 * ENTRY_BYTES_MAX, ..limits() };
    let mut ledger = Ledger::load(limits, Vec::new());
    ledger.begin(key(0), input(), "run").unwrap();
    ledger.begin(key(1), input(), "run").unwrap();
    assert_eq!(ledger.begin(key(2), input(), "run"), Err(Answer::Refused(Refusal::Full)));

    ledger.recorded(key(0), 0);
    ledger.begin(key(3), input(), "run").unwrap();

    ledger.recorded(key(1), 1);
    assert_eq!(ledger.begin(key(4), input(), "run"), Err(Answer::Refused(Refusal::Full)));
}

#[test]
fn the_oldest_refusal_is_forgotten_first() {
    let mut ledger = ledger();
    let busy = Refusal::Busy { calls_max: 9 };

    for call_index in 0..3 {
        ledger.refuse(key(call_index), busy);
    }

    assert_eq!(ledger.known(key(0), &input()), None);
    assert_eq!(ledger.known(key(1), &input()), Some(Known::Told(Answer::Refused(busy))));
}

#[test]
fn an_entry_leaves_when_it_was_committed_for_long_enough() {
    let at = clock();
    let mut ledger = Ledger::<()>::load(limits(), vec![found(0, true), found(1, false)]);

    for call_index in 0..2 {
        let mut said = |second| ledger.apply(key(call_index), Disposition::Committed, at(second));
        assert_eq!([0, 29, 30, 60].map(&mut said), {
            use Consequence::{Nothing, Remove};
            [Nothing, Nothing, Remove, Nothing]
        });
    }
    assert_eq!(ledger.known(key(0), &input()), Some(Known::Told(Answer::OutcomeUnknown)));

    ledger.removed(key(0));
    assert_eq!(ledger.known(key(0), &input()), None);
    assert_eq!((ledger.len(), ledger.bytes), (1, 500));
}

#[test]
fn an_entry_that_is_wanted_again_or_cannot_be_removed_starts_over() {
    let at = clock();
    let mut ledger = Ledger::<()>::load(limits(), vec![found(0, true)]);

    for (second, disposition, expected) in [
        (0, Disposition::Committed, Consequence::Nothing),
        (1, Disposition::Keep, Consequence::Nothing),
        (40, Disposition::Committed, Consequence::Nothing),
        (80, Disposition::Committed, Consequence::Remove),
    ] {
        assert_eq!(ledger.apply(key(0), disposition, at(second)), expected);
    }
    ledger.not_removed(key(0));

    assert_eq!(ledger.apply(key(0), Disposition::Committed, at(90)), Consequence::Nothing);
    assert_eq!(ledger.known(key(0), &input()), Some(Known::Recorded));
    ledger.removed(key(0));
    assert_eq!(ledger.len(), 1);
}

#[test]
fn a_running_call_is_stopped_by_whoever_does_not_want_it_and_stays() {
    let at = clock();
    let mut ledger = ledger();
    ledger.begin(key(0), input(), "run").unwrap();

    assert_eq!(ledger.apply(key(0), Disposition::Keep, at(0)), Consequence::Nothing);
    assert_eq!(ledger.apply(key(0), Disposition::Cancel, at(1)), Consequence::Stop("run"));
    assert_eq!(ledger.apply(key(0), Disposition::Committed, at(2)), Consequence::Stop("run"));
    assert_eq!(ledger.apply(key(0), Disposition::Committed, at(99)), Consequence::Stop("run"));
    assert_eq!(ledger.known(key(0), &input()), Some(Known::Running("run")));
    assert_eq!(ledger.apply(key(9), Disposition::Committed, at(99)), Consequence::Nothing);
}

#[test]
fn an_entry_belongs_to_the_workspace_that_it_was_run_for() {
    let at = clock();
    let (first, second) = (Uuid::from_u128(1), Uuid::from_u128(2));
    let theirs = Found { readable: Some((first, input())), ..found(0, true) };
    let mut ledger = Ledger::load(limits(), vec![theirs]);
    ledger.serve(second, SystemTime::UNIX_EPOCH);
    ledger.begin(key(1), input(), "run").unwrap();

    for second in [0, 1_000, 2_000] {
        let said = ledger.apply(key(0), Disposition::Committed, at(second));
        assert_eq!(said, Consequence::Nothing);
    }

    assert_eq!(ledger.keys(), [key(1)]);
    assert_eq!(ledger.known(key(0), &input()), Some(Known::Recorded), "it answers all the same");
    ledger.serve(first, SystemTime::UNIX_EPOCH);
    assert_eq!(ledger.keys(), [key(0)]);
    assert_eq!(ledger.apply(key(1), Disposition::Cancel, at(0)), Consequence::Nothing);
    assert_eq!(ledger.apply(key(0), Disposition::Committed, at(0)), Consequence::Nothing);
    assert_eq!(ledger.apply(key(0), Disposition::Committed, at(30)), Consequence::Remove);
}

#[test]
fn what_is_of_another_workspace_or_damaged_leaves_when_it_is_old() {
    let (ours, theirs) = (Uuid::from_u128(1), Uuid::from_u128(2));
    let of = |workspace| Some((workspace, input()));
    let found = vec![
        Found { readable: of(ours), ..found(0, true) },
        Found { readable: of(theirs), ..found(1, true) },
        Found { readable: None, ..found(2, false) },
    ];
    let mut ledger = Ledger::<()>::load(limits(), found);
    let at = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);

    assert_eq!(ledger.serve(ours, at(59)), []);
    let mut leaving = ledger.serve(ours, at(60));

    leaving.sort_by_key(|key| key.call_index);
    assert_eq!(leaving, [key(1), key(2)]);
    assert_eq!(ledger.serve(ours, at(61)), [], "they are leaving already");
    leaving.into_iter().for_each(|key| ledger.removed(key));
    assert_eq!((ledger.keys(), ledger.bytes), (vec![key(0)], 500));
}

//! The rules that were found by walking interleavings, as far as the pure core
//! decides them: each would be a stuck or a wrong chat.

use std::collections::BTreeSet;

use chatplane_domain::{
    ATTEMPTS_MAX, Body, BusyBehavior, CallId, CallKind, Chat, Command, Disposition, Effect, ErrorKind,
    ExpireCause, Fence, HolderWrite, Inserted, NextStep, Outcome, Rejection, SyntheticReason,
    SyntheticReason::{Failed, Interrupted, Superseded, TimedOut},
    WriteHeader, decide,
};

use crate::{
    database::{CompareLost, Database},
    fixtures::{
        accepted, answer, chat_error, context, edit, expire, finished, holder, later, next_header, offering,
        queued_id, refused, retry, send, session, step, submitted, write, written,
    },
    states::{EXISTING, call_id, chat_in, last_write, short, with_calls, with_two_queued},
};

fn stored(chat: &Chat) -> Database {
    let mut database = Database::create(&accepted(&chat_in("W"), send(1, BusyBehavior::Queue)));
    database.chat = chat.clone();
    database
}

#[test]
fn an_interrupt_that_read_no_lease_loses_its_compare_after_a_lease() {
    let read = chat_in("R0");
    let interrupt = accepted(&read, Command::InterruptChat);
    let lease = accepted(&read, Command::Lease(session(2)));
    let mut database = stored(&read);

    assert_eq!(database.write(read.versions.snapshot, &lease), Ok(()));

    assert_eq!(database.write(read.versions.snapshot, &interrupt), Err(CompareLost));
    let again = accepted(&database.chat, Command::InterruptChat);
    assert_eq!(short(&again.chat), "I0");
    assert!(again.effects.contains(&Effect::Interrupt(session(2), Fence(4))));
}

#[test]
fn every_change_of_ownership_is_a_version_of_its_own() {
    let ended = expire(Fence(3), ExpireCause::SessionEnded);
    let leased = chat_in("L0");
    let changes = [
        accepted(&chat_in("R0"), Command::Lease(session(2))),
        accepted(&leased, ended),
        accepted(&leased, write(&leased, HolderWrite::Release)),
    ];

    for change in changes {
        assert_eq!(change.chat.versions.snapshot, leased.versions.snapshot + 1);
        assert_eq!(change.chat.versions.history, leased.versions.history);
    }
}

#[test]
fn leasing_counts_as_a_try() {
    let mut chat = Chat { attempt: 0, ..chat_in("R0") };

    for attempt in 1..=ATTEMPTS_MAX {
        chat = accepted(&chat, Command::Lease(session(1))).chat;
        assert_eq!((short(&chat), chat.attempt), ("L0", attempt));
        let fence = chat.live_lease().expect("it is leased").fence;
        chat = accepted(&chat, expire(fence, ExpireCause::SessionEnded)).chat;
        assert_eq!((short(&chat), chat.attempt), ("R0", attempt));
    }
    let last = accepted(&chat, Command::Lease(session(1)));

    let error = last.chat.last_error().map(|error| error.kind);
    assert_eq!(error, Some(ErrorKind::AttemptsExhausted));
    assert_eq!(last.effects, []);
}

#[test]
fn retries_and_leases_share_one_counter() {
    let chat = Chat { attempt: ATTEMPTS_MAX - 1, ..chat_in("L0") };

    let last_try = accepted(&chat, write(&chat, retry())).chat;
    let exhausted = accepted(&last_try, write(&last_try, retry()));

    assert_eq!(last_try.attempt, ATTEMPTS_MAX);
    assert_eq!(short(&exhausted.chat), "E0");
    assert_eq!(written(&exhausted).disposition, Disposition::Released);
}

#[test]
fn an_offer_does_not_lease_a_chat_that_has_had_its_tries() {
    let tired = Chat { attempt: ATTEMPTS_MAX, ..chat_in("R0") };

    let sent = decide(&tired, send(5, BusyBehavior::Queue), offering(session(2))).expect("it is queued");

    assert_eq!(short(&sent.chat), "R1");
    assert_eq!(short(&accepted(&sent.chat, Command::Lease(session(2))).chat), "E1");
}

#[test]
fn each_lease_commit_and_retry_is_a_base_for_live_streams_that_no_other_has() {
    let mut bases = BTreeSet::new();
    let mut chat = chat_in("R0");
    let mut advance = |next: Chat| {
        assert!(bases.insert(next.versions.snapshot), "a base is used once");
        next
    };

    chat = advance(accepted(&chat, Command::Lease(session(1))).chat);
    chat = advance(accepted(&chat, write(&chat, retry())).chat);
    let calling = step(Some(answer(&[CallKind::Worker])), NextStep::Continue);
    chat = advance(accepted(&chat, write(&chat, calling)).chat);
    let results = vec![finished(chat.open_calls[0].id)];
    chat = advance(accepted(&chat, write(&chat, HolderWrite::CommitToolResults(results))).chat);
    chat = advance(accepted(&chat, write(&chat, HolderWrite::Release)).chat);
    advance(accepted(&chat, Command::Lease(session(1))).chat);
}

/// All that leave running, interrupting or suspended without the real results.
fn exits() -> Vec<(&'static str, Command, SyntheticReason)> {
    let ended = || expire(Fence(3), ExpireCause::SessionEnded);
    let at = |state, what: HolderWrite| write(&chat_in(state), what);
    let nothing = || HolderWrite::FinishInterruption { partial: None, results: Vec::new() };
    let fail = || HolderWrite::Fail(chat_error(ErrorKind::Refused));
    let promote = || Command::PromoteQueuedMessage(queued_id(1));
    let replace = || send(5, BusyBehavior::Interrupt);
    vec![
        ("R0", Command::InterruptChat, Interrupted),
        ("R1", Command::InterruptChat, Interrupted),
        ("S0", Command::InterruptChat, Interrupted),
        ("S1", Command::InterruptChat, Interrupted),
        ("R0", replace(), Superseded),
        ("R1", replace(), Superseded),
        ("S0", replace(), Superseded),
        ("S1", replace(), Superseded),
        ("R1", promote(), Superseded),
        ("S1", promote(), Superseded),
        ("L0", at("L0", fail()), Failed),
        ("L1", at("L1", fail()), Failed),
        ("R0", Command::FailRunnable(chat_error(ErrorKind::ModelUnusable)), Failed),
        ("I0", at("I0", fail()), Interrupted),
        ("I1", at("I1", fail()), Interrupted),
        ("I0", at("I0", nothing()), Interrupted),
        ("I1", at("I1", nothing()), Interrupted),
        ("I0", at("I0", step(None, NextStep::Suspend)), Interrupted),
        ("I1", at("I1", step(None, NextStep::Suspend)), Interrupted),
        ("I0", at("I0", HolderWrite::Release), Interrupted),
        ("I1", at("I1", HolderWrite::Release), Interrupted),
        ("I0", ended(), Interrupted),
        ("I1", ended(), Interrupted),
        ("S0", Command::ExpireCalls, TimedOut),
        ("S1", Command::ExpireCalls, TimedOut),
    ]
}

#[test]
fn every_exit_without_real_results_closes_open_calls() {
    for (state, command, reason) in exits() {
        let kinds = [CallKind::Client, CallKind::Approval];
        let chat = with_calls(chat_in(state), &kinds);
        let name = format!("{} in {state}", command.name());

        let decision = decide(&chat, command, later(60)).expect("the command is accepted");

        let change = decision.change.expect("calls were closed");
        assert_eq!(decision.chat.open_calls, [], "{name}");
        assert_eq!(change.calls_closed, [call_id(0), call_id(1)], "{name}");
        for (row, index) in change.inserted.iter().zip(0..2) {
            let Inserted::New(message) = row else {
                panic!("{name}: results come before the next message");
            };
            let Body::Tool(result) = &message.body else {
                panic!("{name}: results come before the next message");
            };
            assert_eq!((result.call, result.synthetic), (call_id(index), Some(reason)), "{name}");
            assert!(result.is_error);
        }
    }
}

#[test]
fn a_chat_that_has_had_its_tries_closes_its_open_calls() {
    let tired = Chat { attempt: ATTEMPTS_MAX, ..with_calls(chat_in("R0"), &[CallKind::Worker]) };

    let failed = accepted(&tired, Command::Lease(session(2)));

    assert_eq!(short(&failed.chat), "E0");
    assert_eq!(failed.effects, [Effect::CancelCalls(vec![call_id(0)])]);
}

#[test]
fn calls_that_are_closed_are_cancelled_where_they_run() {
    let chat = with_calls(chat_in("R0"), &[CallKind::Client, CallKind::Worker]);

    let interrupted = accepted(&chat, Command::InterruptChat);

    assert_eq!(interrupted.effects, [Effect::CancelCalls(vec![call_id(1)])]);
}

#[test]
fn leaving_suspended_by_settling_closes_nothing() {
    let chat = chat_in("S0");

    let settled = accepted(&chat, Command::SubmitToolResults(vec![submitted(call_id(0))]));

    let Some(Inserted::New(message)) = settled.change.as_ref().and_then(|change| change.inserted.first())
    else {
        panic!("the result is stored");
    };
    let Body::Tool(result) = &message.body else {
        panic!("the result is stored");
    };
    assert_eq!(result.synthetic, None);
    assert_eq!(settled.effects, [Effect::Runnable]);
}

#[test]
fn a_lease_that_ends_leaves_open_calls_to_the_next_holder() {
    let chat = with_calls(chat_in("L0"), &[CallKind::Worker]);
    let ends = [expire(Fence(3), ExpireCause::SessionEnded), write(&chat, HolderWrite::Release)];

    for end in ends {
        let free = accepted(&chat, end).chat;
        let leased = accepted(&free, Command::Lease(session(2))).chat;

        assert_eq!(leased.open_calls, chat.open_calls);
        let results = vec![finished(call_id(0))];
        accepted(&leased, write(&leased, HolderWrite::CommitToolResults(results)));
    }
}

#[test]
fn a_replay_is_answered_before_staleness() {
    for state in EXISTING {
        let chat = chat_in(state);
        let stale = WriteHeader { write_no: 2, history_version: 1, ..next_header(&chat) };

        let replay = accepted(&chat, holder(stale, HolderWrite::Release));

        assert_eq!(replay.outcome, Outcome::Replayed(last_write().outcome), "{state}");
        assert_eq!((replay.chat, replay.change), (chat, None), "{state}");
    }
}

#[test]
fn a_replay_names_the_versions_that_its_write_produced_and_the_next_write_is_superseded() {
    let chat = chat_in("L0");
    let header = next_header(&chat);
    let calling = || step(Some(answer(&[CallKind::Worker])), NextStep::Continue);
    let committed = accepted(&chat, holder(header, calling()));
    let outcome = written(&committed);

    let edited = accepted(&committed.chat, edit(2)).chat;
    let replay = accepted(&edited, holder(header, calling()));
    let next =
        WriteHeader { write_no: header.write_no + 1, history_version: outcome.history_version, ..header };

    assert_eq!(replay.outcome, Outcome::Replayed(outcome));
    assert_eq!(outcome.snapshot_version, committed.chat.versions.snapshot);
    assert_eq!(refused(&edited, holder(next, HolderWrite::Release)), Rejection::Superseded);
}

#[test]
fn a_lost_reply_is_repeated_after_the_lease_has_ended_but_not_after_the_next_lease() {
    let chat = chat_in("L0");
    let header = next_header(&chat);
    let released = accepted(&chat, holder(header, HolderWrite::Release));
    let leased = accepted(&released.chat, Command::Lease(session(1))).chat;

    let repeat = accepted(&released.chat, holder(header, HolderWrite::Release));

    assert_eq!(repeat.outcome, Outcome::Replayed(written(&released)));
    assert_eq!(refused(&leased, holder(header, HolderWrite::Release)), Rejection::LeaseLost);
}

#[test]
fn commit_step_in_interrupting_with_a_queue_keeps_the_lease() {
    for (chat, after) in [(chat_in("I1"), "L0"), (with_two_queued(chat_in("I1")), "L1")] {
        let finished = step(Some(answer(&[])), NextStep::Finish);

        let committed = accepted(&chat, write(&chat, finished));

        assert_eq!(short(&committed.chat), after);
        let outcome = written(&committed);
        assert_eq!(outcome.disposition, Disposition::NextTurn);
        assert_eq!((outcome.committed, outcome.added), (1, 1));
        let fence = committed.chat.live_lease().map(|lease| lease.fence);
        assert_eq!(fence, Some(Fence(3)));
    }
}

#[test]
fn a_step_that_met_an_interrupt_is_stored_and_its_calls_are_closed() {
    let chat = chat_in("I0");
    let calling = step(Some(answer(&[CallKind::Worker])), NextStep::Continue);

    let committed = accepted(&chat, write(&chat, calling));

    assert_eq!(short(&committed.chat), "W");
    let id = CallId { message: chat.next_message_id, index: 0 };
    let change = committed.change.as_ref().expect("the answer is stored");
    assert_eq!((change.calls_opened.len(), change.calls_closed.clone()), (1, vec![id]));
    assert_eq!(written(&committed).added, 1);
}

#[test]
fn an_interrupt_does_not_make_the_holders_step_stale() {
    let chat = chat_in("L0");
    let header = next_header(&chat);

    let interrupted = accepted(&chat, Command::InterruptChat).chat;
    let committed = accepted(&interrupted, holder(header, step(Some(answer(&[])), NextStep::Finish)));

    assert_eq!(short(&committed.chat), "W");
}

#[test]
fn a_sweep_that_is_late_does_not_end_a_newer_lease() {
    let chat = chat_in("L0");
    let seen = chat.live_lease().expect("it is leased").fence;
    let ended = expire(seen, ExpireCause::SessionEnded);
    let free = accepted(&chat, ended.clone()).chat;
    let leased = accepted(&free, Command::Lease(session(2))).chat;

    assert_eq!(refused(&leased, ended), Rejection::NotDue);
}

#[test]
fn calls_expire_at_their_deadline_and_results_count_until_they_have() {
    let chat = chat_in("S0");
    let submit = Command::SubmitToolResults(vec![submitted(call_id(0))]);

    assert_eq!(decide(&chat, Command::ExpireCalls, later(59)), Err(Rejection::NotDue));
    assert!(decide(&chat, Command::ExpireCalls, later(60)).is_ok());
    assert!(decide(&chat, submit, later(3600)).is_ok());
}

#[test]
fn the_same_read_gives_the_same_decision() {
    for state in EXISTING {
        let chat = chat_in(state);
        let once = decide(&chat, send(5, BusyBehavior::Interrupt), context());
        let again = decide(&chat, send(5, BusyBehavior::Interrupt), context());
        assert_eq!(once, again);
    }
}

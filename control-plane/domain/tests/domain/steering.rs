//! Steering messages join the running turn: all of them enter with the write that
//! finishes the answer or closes the batch, and the head stays.

use chatplane_domain::{
    BusyBehavior, CallKind, Chat, Command, Decision, Disposition, ErrorKind, ExpireCause, Fence, HolderWrite,
    Inserted, NextStep, decide,
};

use crate::{
    fixtures::{
        accepted, answer, chat_error, entered, expire, finished, inserted, later, queue, queued_id, send,
        step, submitted, write, written,
    },
    states::{call_id, chat_in, push, short, with_calls},
};

/// Steering 1 and 2 before ordinary 3 and 4.
fn steered(state: &str) -> Chat {
    let mut chat = chat_in(state);
    chat.queue.clear();
    for (number, steering) in [(1, true), (2, true), (3, false), (4, false)] {
        push(&mut chat, number, steering);
    }
    chat
}

fn ordinary() -> Vec<(chatplane_domain::QueuedMessageId, bool)> {
    vec![(queued_id(3), false), (queued_id(4), false)]
}

#[test]
fn a_steering_message_stands_behind_steering_ones_and_before_ordinary_ones() {
    let chat = steered("L1");
    let context = chatplane_domain::Context { queue_max: 9, ..later(0) };

    let sent = decide(&chat, send(5, BusyBehavior::Steer), context).expect("it is queued");

    let order: Vec<_> = queue(&sent.chat).into_iter().map(|(id, _)| id).collect();
    assert_eq!(order, [1, 2, 5, 3, 4].map(queued_id));
    let positions: Vec<i64> = sent.chat.queue.iter().map(|queued| queued.position).collect();
    assert!(positions.is_sorted_by(|a, b| a < b));
    let written = sent.change.expect("it was queued").queue_upserted;
    assert_eq!(written, [sent.chat.queue[2].clone()]);
}

#[test]
fn steering_extends_the_turn_that_an_answer_would_finish() {
    for next in [NextStep::Finish, NextStep::Continue] {
        let chat = steered("L1");

        let committed = accepted(&chat, write(&chat, step(Some(answer(&[])), next)));

        assert_eq!(entered(&committed), [queued_id(1), queued_id(2)]);
        assert_eq!(queue(&committed.chat), ordinary());
        let outcome = written(&committed);
        assert_eq!(outcome.disposition, Disposition::Continues);
        assert_eq!((outcome.committed, outcome.added), (1, 2));
    }
}

#[test]
fn steering_waits_while_calls_are_open() {
    let chat = steered("L1");
    let calling = step(Some(answer(&[CallKind::Worker])), NextStep::Continue);
    let waiting = step(Some(answer(&[CallKind::Client])), NextStep::Suspend);

    for what in [calling, waiting] {
        let committed = accepted(&chat, write(&chat, what));

        assert_eq!(entered(&committed), []);
        assert_eq!(queue(&committed.chat), queue(&chat));
    }
}

#[test]
fn steering_enters_with_the_result_that_closes_the_batch() {
    let chat = with_calls(steered("L1"), &[CallKind::Worker, CallKind::Worker]);
    let result = |index| HolderWrite::CommitToolResults(vec![finished(call_id(index))]);

    let first = accepted(&chat, write(&chat, result(1)));
    let last = accepted(&first.chat, write(&first.chat, result(0)));

    assert_eq!(entered(&first), []);
    assert_eq!(entered(&last), [queued_id(1), queued_id(2)]);
    assert_eq!(queue(&last.chat), ordinary());
    assert_eq!(written(&last).disposition, Disposition::Continues);
}

#[test]
fn steering_enters_when_a_client_or_the_clock_closes_the_batch() {
    let chat = steered("S1");
    let submit = Command::SubmitToolResults(vec![submitted(call_id(0))]);

    for command in [submit, Command::ExpireCalls] {
        let settled = decide(&chat, command, later(60)).expect("the calls are settled");

        assert_eq!(short(&settled.chat), "R1");
        assert_eq!(inserted(&settled).len(), 3, "the result comes first");
        assert_eq!(entered(&settled), [queued_id(1), queued_id(2)]);
        assert_eq!(queue(&settled.chat), ordinary());
    }
}

#[test]
fn steering_stays_queued_while_nobody_closes_the_batch() {
    let chat = with_calls(steered("S1"), &[CallKind::Client, CallKind::Client]);

    let partly = accepted(&chat, Command::SubmitToolResults(vec![submitted(call_id(1))]));

    assert_eq!(entered(&partly), []);
    assert_eq!(queue(&partly.chat), queue(&chat));
    assert_eq!(partly.chat.execution, chat.execution, "the deadline stays");
}

#[test]
fn an_interrupt_or_an_error_makes_steering_ordinary_in_place() {
    let leased = steered("L1");
    let fail = write(&leased, HolderWrite::Fail(chat_error(ErrorKind::Refused)));
    let promote = Command::PromoteQueuedMessage(queued_id(1));
    let failed = Command::FailRunnable(chat_error(ErrorKind::ModelUnusable));
    let writes = [
        (leased.clone(), Command::InterruptChat),
        (leased.clone(), promote),
        (leased, fail),
        (steered("R1"), failed),
    ];

    for (chat, command) in writes {
        let name = command.name();
        let decision = accepted(&chat, command);

        let expected = [1, 2, 3, 4].map(|number| (queued_id(number), false));
        assert_eq!(queue(&decision.chat), expected, "{name}");
        let places = |chat: &Chat| chat.queue.iter().map(|queued| queued.position).collect::<Vec<_>>();
        assert_eq!(places(&decision.chat), places(&chat), "{name}");
        let rewritten = decision.change.expect("headers changed").queue_upserted;
        assert_eq!(rewritten.len(), 2, "{name}: only what was steering is written");
    }
}

#[test]
fn a_steering_message_to_an_interrupted_chat_is_an_ordinary_one() {
    let sent = accepted(&chat_in("I1"), send(5, BusyBehavior::Steer));

    assert_eq!(queue(&sent.chat), [(queued_id(1), false), (queued_id(5), false)]);
}

#[test]
fn exactly_one_message_enters_after_an_interruption() {
    let chat = steered("L1");
    let interrupted = accepted(&chat, Command::InterruptChat).chat;
    let finish = HolderWrite::FinishInterruption { partial: Some(answer(&[])), results: Vec::new() };

    let finished = accepted(&interrupted, write(&interrupted, finish));
    let expired = accepted(&interrupted, expire(Fence(3), ExpireCause::SessionEnded));

    assert_eq!(entered(&finished), [queued_id(1)]);
    assert_eq!(entered(&expired), [queued_id(1)]);
    assert_eq!(short(&finished.chat), "L1");
}

#[test]
fn the_head_starts_the_next_turn_when_nobody_steers() {
    let mut chat = chat_in("L1");
    push(&mut chat, 2, false);

    let committed = accepted(&chat, write(&chat, step(Some(answer(&[])), NextStep::Finish)));

    assert_eq!(entered(&committed), [queued_id(1)]);
    assert_eq!(written(&committed).disposition, Disposition::NextTurn);
    assert_eq!(committed.chat.last_lease.map(|lease| lease.fence), Some(Fence(3)));
}

#[test]
fn what_enters_says_whether_it_extends_a_turn_or_begins_one() {
    let extends = |decision: &Decision| -> Vec<bool> {
        let rows = inserted(decision).iter();
        rows.filter_map(|row| match row {
            Inserted::Queued { steering, .. } => Some(*steering),
            Inserted::New(_) => None,
        })
        .collect()
    };
    let leased = steered("L1");
    let answered = write(&leased, step(Some(answer(&[])), NextStep::Finish));
    let summing = Chat { compact_requested: true, ..leased.clone() };
    let runnable = steered("R1");
    let promote = Command::PromoteQueuedMessage(queued_id(2));

    assert_eq!(extends(&accepted(&leased, answered.clone())), [true, true]);
    assert_eq!(extends(&accepted(&summing, answered)), [false, true], "a summary alone is no turn to extend");
    assert_eq!(extends(&accepted(&runnable, Command::InterruptChat)), [false]);
    assert_eq!(extends(&accepted(&runnable, promote)), [false]);
}

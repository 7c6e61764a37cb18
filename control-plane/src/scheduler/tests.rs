//! Who gets a slot that is free.

use futures::FutureExt as _;
use uuid::Uuid;

use super::{BTreeSet, Begun, ChatId, Opening, Scheduler, SchedulerLimits, SessionId};

/// One session, with one slot.
fn with_one_slot() -> Scheduler {
    let scheduler = Scheduler::new(SchedulerLimits::default());
    let opening = Opening { connection: 1, slots_total: 1, listed: BTreeSet::new(), rows: Vec::new() };
    scheduler.open(SessionId(Uuid::max()), opening).expect("it is new");
    scheduler
}

#[tokio::test]
async fn a_chat_that_found_no_slot_wakes_the_claim_when_one_is_free() {
    let scheduler = with_one_slot();
    let taken = scheduler.promise(None).expect("the slot is free");

    assert!(scheduler.begin_claim(0).is_none());
    assert!(scheduler.runnable().now_or_never().is_none(), "no slot is free yet");
    drop(taken);

    assert!(scheduler.promise(None).is_none(), "nobody overtakes it");
    assert!(scheduler.runnable().now_or_never().is_some());
}

#[test]
fn no_message_takes_the_slot_with_which_a_claim_looks() {
    let scheduler = with_one_slot();

    assert!(matches!(scheduler.begin_claim(0), Some(Begun::Free)), "nobody is known to wait");
    scheduler.still_waiting();

    let Some(Begun::Kept(held)) = scheduler.begin_claim(0) else { panic!("the slot is free") };
    assert!(scheduler.promise(None).is_none());
    let found = scheduler.promise_found(held, ChatId(Uuid::nil()), None);
    assert!(scheduler.promise(None).is_none());
    drop(found);

    assert!(scheduler.promise(None).is_some());
}

#[test]
fn a_chat_of_another_replica_that_found_no_slot_has_the_next_one() {
    let scheduler = with_one_slot();
    let taken = scheduler.promise(None).expect("the slot is free");
    scheduler.hear();
    assert!(scheduler.begin_claim(0).is_none());
    drop(taken);

    assert!(matches!(scheduler.begin_claim(0), Some(Begun::Kept(_))));
}

#[test]
fn a_look_that_found_no_slot_keeps_none_later() {
    let scheduler = with_one_slot();
    let taken = scheduler.promise(None).expect("the slot is free");
    assert!(scheduler.begin_claim(0).is_none(), "a net, for what nobody has seen");
    drop(taken);

    assert!(matches!(scheduler.begin_claim(0), Some(Begun::Free)));
    assert!(scheduler.promise(None).is_some(), "a message gets its lease while the claim looks");
}

#[tokio::test]
async fn a_slot_that_came_free_before_the_chat_was_said_to_wait_wakes_the_claim_too() {
    let scheduler = with_one_slot();

    scheduler.still_waiting();

    assert!(scheduler.runnable().now_or_never().is_some());
}

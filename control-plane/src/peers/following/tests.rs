//! The stories of a followed chat. Links, syncs and pieces come in any order; time is the order
//! in which they are told here.

use uuid::Uuid;

use super::*;

const CHAT: ChatId = ChatId(Uuid::from_u128(100));
const OWN: ReplicaId = ReplicaId(Uuid::from_u128(1));
const A: ReplicaId = ReplicaId(Uuid::from_u128(2));
const B: ReplicaId = ReplicaId(Uuid::from_u128(3));

fn at(replica: ReplicaId, fence: i64) -> Option<LiveAt> {
    opened(replica, fence, 1)
}

fn opened(replica: ReplicaId, fence: i64, connection: i64) -> Option<LiveAt> {
    Some(LiveAt { connection, replica, fence: Fence(fence) })
}

fn seen(version: i64, at: Option<LiveAt>) -> Seen {
    Seen { version, at }
}

fn subscribe(peer: ReplicaId, no: i64, fence: i64) -> Act {
    Act::Subscribe { peer, no: SubscriptionNo(no), chat: CHAT, fence: Fence(fence), resumes: false }
}

fn resume(peer: ReplicaId, no: i64, fence: i64) -> Act {
    Act::Subscribe { peer, no: SubscriptionNo(no), chat: CHAT, fence: Fence(fence), resumes: true }
}

fn unsubscribe(peer: ReplicaId, no: i64) -> Act {
    Act::Unsubscribe { peer, no: SubscriptionNo(no) }
}

fn forget(fence: i64) -> Act {
    Act::Forget { chat: CHAT, fence: Fence(fence) }
}

/// A chat that is watched here, with links to both others.
fn watched() -> Following {
    let mut following = Following::new(OWN);
    following.peer_up(A);
    following.peer_up(B);
    following.watch(CHAT);
    following
}

/// A chat that is followed at A.
fn followed() -> Following {
    let mut following = watched();
    following.seen(CHAT, seen(5, at(A, 1)));
    assert_eq!(following.take_acts(), [subscribe(A, 1, 1)]);
    following
}

#[test]
fn a_chat_is_followed_where_its_lease_is_and_once_for_all_its_watchers() {
    let mut following = followed();

    following.watch(CHAT);
    following.seen(CHAT, seen(5, at(A, 1)));
    following.seen(CHAT, seen(6, at(A, 1)));

    assert_eq!(following.take_acts(), []);
    assert_eq!(following.subscribed(A, SubscriptionNo(1)), Some((CHAT, Fence(1))));
    following.unwatch(CHAT);
    assert_eq!(following.take_acts(), []);
    following.unwatch(CHAT);
    assert_eq!(following.take_acts(), [unsubscribe(A, 1), forget(1)]);
    assert_eq!(following.subscribed(A, SubscriptionNo(1)), None);
}

#[test]
fn a_chat_whose_session_is_here_or_that_is_not_leased_is_not_followed() {
    let mut following = watched();

    following.seen(CHAT, seen(5, at(OWN, 1)));
    following.seen(CHAT, seen(6, None));

    assert_eq!(following.take_acts(), []);
}

#[test]
fn a_dial_holds_nothing_up_and_is_followed_when_it_comes_up() {
    let mut following = Following::new(OWN);
    following.watch(CHAT);

    following.seen(CHAT, seen(5, at(A, 1)));
    assert_eq!(following.take_acts(), []);
    following.peer_up(A);

    assert_eq!(following.take_acts(), [subscribe(A, 1, 1)]);
}

#[test]
fn a_dial_that_finishes_after_an_interrupt_and_a_new_turn_elsewhere_is_discarded() {
    let mut following = Following::new(OWN);
    following.peer_up(B);
    following.watch(CHAT);
    following.seen(CHAT, seen(5, at(A, 1)));

    following.seen(CHAT, seen(7, None));
    following.seen(CHAT, seen(9, at(B, 2)));
    assert_eq!(following.take_acts(), [forget(1), subscribe(B, 1, 2)]);
    following.peer_up(A);

    assert_eq!(following.take_acts(), []);
    assert_eq!(following.subscribed(A, SubscriptionNo(1)), None);
}

#[test]
fn cancel_during_a_dial_asks_for_nothing_when_it_comes_up() {
    let mut following = Following::new(OWN);
    following.watch(CHAT);
    following.seen(CHAT, seen(5, at(A, 1)));

    following.unwatch(CHAT);
    following.peer_up(A);

    assert_eq!(following.take_acts(), [forget(1)]);
    assert_eq!(following.subscriptions(A), 0);
}

#[test]
fn a_sync_that_ends_when_nobody_watches_any_more_asks_for_nothing() {
    let mut following = followed();

    following.unwatch(CHAT);
    following.take_acts();
    following.seen(CHAT, seen(6, at(A, 1)));
    following.seen(CHAT, seen(7, at(B, 2)));

    assert_eq!(following.take_acts(), []);
    assert_eq!((following.subscriptions(A), following.subscriptions(B)), (0, 0));
}

#[test]
fn a_turn_that_another_worker_takes_is_followed_anew_and_late_pieces_are_nobodys() {
    let mut following = followed();

    following.seen(CHAT, seen(7, at(A, 2)));

    assert_eq!(following.take_acts(), [forget(1), unsubscribe(A, 1), subscribe(A, 2, 2)]);
    assert_eq!(following.subscribed(A, SubscriptionNo(1)), None);
    assert_eq!(following.subscribed(A, SubscriptionNo(2)), Some((CHAT, Fence(2))));
}

#[test]
fn a_turn_that_moves_here_is_followed_no_more_and_its_late_pieces_are_nobodys() {
    let mut following = followed();

    following.seen(CHAT, seen(7, at(OWN, 2)));

    assert_eq!(following.take_acts(), [forget(1), unsubscribe(A, 1)]);
    assert_eq!(following.subscribed(A, SubscriptionNo(1)), None);
}

#[test]
fn a_session_that_moves_here_keeps_what_was_followed_of_its_lease() {
    let mut following = followed();

    following.seen(CHAT, seen(5, opened(OWN, 1, 2)));

    assert_eq!(following.take_acts(), [Act::Adopt(CHAT), unsubscribe(A, 1)]);
}

#[test]
fn a_session_that_moves_elsewhere_is_followed_there_from_what_is_here() {
    let mut following = followed();

    following.seen(CHAT, seen(5, opened(B, 1, 2)));

    assert_eq!(following.take_acts(), [unsubscribe(A, 1), subscribe(B, 2, 1)]);
}

#[test]
fn an_older_sync_says_nothing_of_what_a_newer_one_has_told() {
    let mut following = followed();
    following.seen(CHAT, seen(5, opened(B, 1, 2)));
    following.take_acts();

    following.seen(CHAT, seen(5, opened(A, 1, 1)));
    following.seen(CHAT, seen(4, at(A, 1)));

    assert_eq!(following.take_acts(), []);
}

#[test]
fn a_dropped_link_makes_the_watchers_sync_and_is_taken_up_again_several_times_in_a_row() {
    let mut following = followed();

    for no in 2..6 {
        following.peer_down(A);
        assert_eq!(following.take_acts(), [Act::Sync(CHAT)]);
        assert_eq!(following.subscribed(A, SubscriptionNo(no - 1)), None);
        // The sync finds the session where it was.
        following.seen(CHAT, seen(5, at(A, 1)));
        assert_eq!(following.take_acts(), []);
        following.peer_up(A);
        assert_eq!(following.take_acts(), [resume(A, no, 1)]);
    }
}

#[test]
fn a_database_error_while_a_link_comes_back_stalls_nothing() {
    let mut following = followed();

    following.peer_down(A);
    assert_eq!(following.take_acts(), [Act::Sync(CHAT)]);
    // That sync fails, and so do those after it: nothing is seen.
    following.peer_up(A);

    assert_eq!(following.take_acts(), [resume(A, 2, 1)]);
}

#[test]
fn a_link_that_takes_the_place_of_another_begins_its_subscriptions_anew() {
    let mut following = followed();

    following.peer_up(A);

    assert_eq!(following.take_acts(), [Act::Sync(CHAT), resume(A, 2, 1)]);
    assert_eq!(following.subscribed(A, SubscriptionNo(1)), None);
}

#[test]
fn a_lease_that_is_said_to_have_ended_is_synced_and_not_asked_for_there_again() {
    let mut following = followed();

    following.lease_ended(A, SubscriptionNo(1));
    assert_eq!(following.take_acts(), [Act::Sync(CHAT)]);
    following.seen(CHAT, seen(5, at(A, 1)));
    assert_eq!(following.take_acts(), []);

    following.seen(CHAT, seen(6, opened(A, 1, 2)));
    assert_eq!(following.take_acts(), [subscribe(A, 2, 1)]);
}

#[test]
fn a_word_of_an_earlier_lease_ends_nothing_of_the_one_that_another_worker_has_taken() {
    let mut following = followed();
    following.seen(CHAT, seen(7, at(B, 2)));
    following.take_acts();

    following.lease_ended(A, SubscriptionNo(1));
    following.refused(A, SubscriptionNo(1), Refusal::StaleFence);
    following.peer_down(A);

    assert_eq!(following.take_acts(), []);
    assert_eq!(following.subscribed(B, SubscriptionNo(2)), Some((CHAT, Fence(2))));
}

#[test]
fn a_gap_is_filled_by_a_new_subscription_from_what_is_here() {
    let mut following = followed();

    following.refused(A, SubscriptionNo(1), Refusal::Gap);

    assert_eq!(following.take_acts(), [unsubscribe(A, 1), subscribe(A, 2, 1)]);
}

#[test]
fn what_stays_missing_is_not_asked_for_without_end() {
    let mut following = followed();

    for no in 1..=i64::from(REFILLS_MAX) {
        following.refused(A, SubscriptionNo(no), Refusal::Gap);
        assert_eq!(following.take_acts(), [unsubscribe(A, no), subscribe(A, no + 1, 1)]);
    }
    let last = i64::from(REFILLS_MAX) + 1;
    following.refused(A, SubscriptionNo(last), Refusal::UnknownStream);
    assert_eq!(following.take_acts(), [unsubscribe(A, last), Act::Sync(CHAT)]);
    following.seen(CHAT, seen(6, at(A, 1)));

    assert_eq!(following.take_acts(), []);
}

#[test]
fn what_a_session_of_this_replica_writes_is_not_written_over() {
    let mut following = followed();

    following.refused(A, SubscriptionNo(1), Refusal::NotFollowed);
    assert_eq!(following.take_acts(), [unsubscribe(A, 1), Act::Sync(CHAT)]);
    following.seen(CHAT, seen(5, opened(OWN, 1, 2)));

    assert_eq!(following.take_acts(), [Act::Adopt(CHAT)]);
}

#[test]
fn a_piece_without_room_is_the_last_that_is_asked_for() {
    let mut following = followed();

    following.refused(A, SubscriptionNo(1), Refusal::TooMany);
    following.take_acts();
    following.seen(CHAT, seen(6, at(A, 1)));

    assert_eq!(following.take_acts(), []);
}

#[test]
fn subscriptions_at_one_peer_are_bounded() {
    let mut following = watched();

    for no in 0..=SUBSCRIPTIONS_MAX {
        let chat = ChatId(Uuid::from_u128(1000 + no as u128));
        following.watch(chat);
        following.seen(chat, seen(5, at(A, 1)));
    }

    assert_eq!(following.subscriptions(A), SUBSCRIPTIONS_MAX);
}

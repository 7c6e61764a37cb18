//! Lists and their answers, with a database that answers when the test says so.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use chatplane_domain::{CallId, MessageId};
use tokio::sync::Semaphore;
use uuid::Uuid;

use super::*;

/// A database that gives so many answers as there are permits, and fails at the lists of one length.
struct Scene {
    listings: Listings,
    answers: Arc<Semaphore>,
    under_way_max: Arc<AtomicUsize>,
}

/// Lists of so many entries fail.
const FAILING: usize = 7;

fn key(index: i32) -> CallKey {
    CallKey { chat: ChatId(Uuid::nil()), call: CallId { message: MessageId(1), index } }
}

fn keep(index: i32) -> Verdict {
    Verdict { key: key(index), disposition: Disposition::Keep }
}

fn scene() -> Scene {
    let answers = Arc::new(Semaphore::new(0));
    let (under_way, under_way_max) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (permits, most) = (answers.clone(), under_way_max.clone());
    let look_up: LookUp = Box::new(move |listed| {
        let (permits, under_way) = (permits.clone(), under_way.clone());
        most.fetch_max(under_way.fetch_add(1, Ordering::Relaxed) + 1, Ordering::Relaxed);
        async move {
            permits.acquire().await.expect("it is open").forget();
            under_way.fetch_sub(1, Ordering::Relaxed);
            if listed.len() == FAILING {
                return Err(Failure::Timeout);
            }
            let verdict = |key| Verdict { key, disposition: Disposition::Keep };
            Ok(listed.into_iter().map(verdict).collect())
        }
        .boxed()
    });
    Scene { listings: Listings::new(look_up), answers, under_way_max }
}

#[tokio::test]
async fn lists_are_answered_in_order_and_looked_up_one_at_a_time() {
    let mut scene = scene();
    for index in 0..3 {
        scene.listings.listed(vec![key(index)]);
    }

    scene.answers.add_permits(3);
    let answers = [scene.listings.next().await, scene.listings.next().await, scene.listings.next().await];

    assert_eq!(answers, [vec![keep(0)], vec![keep(1)], vec![keep(2)]]);
    assert_eq!(scene.under_way_max.load(Ordering::Relaxed), 1);
    assert!(scene.listings.next().now_or_never().is_none());
}

#[tokio::test]
async fn a_wait_that_was_dropped_loses_no_answer() {
    let mut scene = scene();
    scene.listings.listed(vec![key(0)]);

    assert!(scene.listings.next().now_or_never().is_none());
    scene.answers.add_permits(1);

    assert_eq!(scene.listings.next().await, vec![keep(0)]);
}

#[tokio::test]
async fn lists_that_are_too_many_are_not_answered_and_not_kept() {
    let mut scene = scene();
    for index in 0..i32::MAX {
        scene.listings.listed(vec![key(index)]);
        if scene.listings.waiting.len() == WAITING_MAX {
            break;
        }
    }

    scene.listings.listed(vec![key(-1)]);
    scene.answers.add_permits(usize::from(u16::MAX));
    let mut answered = 0;
    while let Some(verdicts) = scene.listings.next().now_or_never() {
        assert_ne!(verdicts, vec![keep(-1)]);
        answered += 1;
    }

    assert_eq!(answered, 1 + WAITING_MAX);
}

#[tokio::test]
async fn a_database_that_fails_gives_no_answer_and_the_next_list_asks_again() {
    let mut scene = scene();
    scene.answers.add_permits(usize::from(u16::MAX));
    scene.listings.listed(vec![key(0); FAILING]);
    scene.listings.listed(vec![key(1)]);

    assert!(scene.listings.next().now_or_never().is_none());
    scene.listings.listed(vec![key(2)]);

    assert_eq!(scene.listings.next().await, vec![keep(2)]);
}

#[test]
fn only_a_call_that_is_open_is_kept_and_one_that_is_being_interrupted_is_stopped() {
    let verdicts = [Some(State::Running), Some(State::Suspended), Some(State::Interrupting), None];

    let expected = [Disposition::Keep, Disposition::Keep, Disposition::Cancel, Disposition::Committed];
    assert_eq!(verdicts.map(Disposition::of), expected);
}

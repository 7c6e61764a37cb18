//! Giving waiting chats to sessions with free slots.

use std::{
    collections::VecDeque,
    future::pending,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use chatplane_domain::{ChatId, Command, Context, Decision, UserId, decide};
use futures::{StreamExt as _, stream::FuturesUnordered};
use tokio::{
    sync::oneshot,
    time::{self, Instant},
};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::{
    app::{App, chain::chain},
    scheduler::{Begun, Promise},
    store::{self, Claim, ClaimError, Claimable, Snapshot, TransactError},
};

/// No history is this small.
const NO_INPUT: i64 = -1;
/// A chat that cannot be leased is left alone for this long: by then somebody may have
/// mended it.
const PUT_OFF_FOR: Duration = Duration::from_secs(60);
/// So many chats are left alone at once. More broken ones are no longer single chats, and
/// keep the others waiting.
const PUT_OFF_MAX: usize = 100;

/// So many claims of this replica are under way at once: what is left of the database's connections is
/// for everybody else.
const CLAIMS_MAX: usize = 4;

/// Before the first owner.
const NO_OWNER: UserId = UserId(Uuid::nil());

/// Where the claims of this replica stand.
#[derive(Debug)]
struct Round {
    /// The owner who was served last. Owners are served in the order of their ids, and then from the first
    /// again: who has one chat waits at most one round behind who has a thousand.
    after: UserId,
    put_off: PutOff,
}

/// Why a chat that waits is not claimed.
#[derive(Debug)]
enum Declined {
    /// Every slot was taken while the row was read.
    NoSlot,
    /// It does not wait any more.
    NotRunnable,
}

/// Why nothing was claimed, though something may wait.
enum Unclaimed {
    /// The database did not answer in time.
    Timeout,
    /// One chat could not be leased, or the database did not say which to lease.
    Failed(ClaimError<Declined>),
}

/// What a claim begins with.
struct Taking {
    /// If it has one, nobody else gets it meanwhile.
    slot: Mutex<Option<Promise>>,
    /// Who waits to hear whose chat it takes.
    tell: Mutex<Option<oneshot::Sender<UserId>>>,
}

impl Taking {
    fn new(begun: Begun) -> (Self, oneshot::Receiver<UserId>) {
        let (tell, owner) = oneshot::channel();
        let slot = match begun {
            Begun::Kept(slot) => Some(slot),
            Begun::Free => None,
        };
        (Self { slot: Mutex::new(slot), tell: Mutex::new(Some(tell)) }, owner)
    }

    /// Whose chat it takes is known: the slot that it was begun with, if with one.
    fn found(&self, owner: UserId) -> Option<Promise> {
        if let Some(tell) = self.tell.lock().unwrap_or_else(PoisonError::into_inner).take() {
            // Who would hear it may have stopped.
            let _ = tell.send(owner);
        }
        self.slot.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// Whose chat the claim that was begun last takes; nothing when it ends without one.
async fn chosen(choosing: &mut Option<oneshot::Receiver<UserId>>) -> Option<UserId> {
    match choosing {
        Some(owner) => owner.await.ok(),
        None => pending().await,
    }
}

/// Chats that cannot be leased, so that they do not stand in the way of those behind.
#[derive(Debug, Default)]
struct PutOff {
    chats: VecDeque<(ChatId, Instant)>,
}

impl PutOff {
    /// Those to be left alone now.
    fn chats(&mut self, now: Instant) -> Vec<ChatId> {
        self.chats.retain(|(_, since)| now - *since < PUT_OFF_FOR);
        self.chats.iter().map(|(chat, _)| *chat).collect()
    }

    /// Leaves one more alone, unless there are too many. Another claim may have met it before.
    fn add(&mut self, now: Instant, chat: ChatId) -> bool {
        self.chats.retain(|(left_alone, _)| *left_alone != chat);
        let has_room = self.chats.len() < PUT_OFF_MAX;
        if has_room {
            self.chats.push_back((chat, now));
        }
        has_room
    }
}

impl App {
    /// Claims waiting chats whenever there may be some, until `stop`.
    pub(super) async fn claim_runnable(self, stop: CancellationToken) {
        let mut round = Round { after: NO_OWNER, put_off: PutOff::default() };
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.inner.scheduler.runnable() => {}
            }
            self.claim_all(&mut round, &stop).await;
        }
    }

    /// Claims one chat after the other, and begins the next before the last is written while there are
    /// more: most hints are of one chat, and a worker that is gone leaves many.
    async fn claim_all(&self, round: &mut Round, stop: &CancellationToken) {
        let mut claims = FuturesUnordered::new();
        let (mut ended, mut may_wait) = (0_usize, true);
        let mut choosing = None;
        loop {
            let has_room = choosing.is_none() && claims.len() < ended.clamp(1, CLAIMS_MAX);
            if may_wait && has_room && !stop.is_cancelled() {
                match self.inner.scheduler.begin_claim(ended + claims.len()) {
                    Some(begun) => {
                        let (taking, owner) = Taking::new(begun);
                        let but = round.put_off.chats(Instant::now());
                        claims.push(self.claim_after(round.after, but, taking));
                        choosing = Some(owner);
                    }
                    None => may_wait = false,
                }
            }
            tokio::select! {
                biased;
                owner = chosen(&mut choosing) => {
                    choosing = None;
                    round.after = owner.unwrap_or(round.after);
                }
                claimed = claims.next() => {
                    let Some(claimed) = claimed else { return };
                    ended += 1;
                    may_wait &= self.claim_ended(claimed, round);
                }
            }
        }
    }

    /// Answers whether to go on with the next.
    fn claim_ended(&self, claimed: Result<Claim, Unclaimed>, round: &mut Round) -> bool {
        match claimed {
            Ok(Claim::Leased(_)) => true,
            Ok(Claim::Nothing) => false,
            Ok(Claim::Lost) => {
                self.inner.scheduler.still_waiting();
                false
            }
            Err(Unclaimed::Timeout) => {
                tracing::warn!("no waiting chat could be claimed in time; the next sweep tries again");
                false
            }
            Err(Unclaimed::Failed(failed)) => self.claim_failed(failed, round),
        }
    }

    /// Claims a chat of the next owner.
    async fn claim_after(&self, after: UserId, but: Vec<ChatId>, taking: Taking) -> Result<Claim, Unclaimed> {
        let limits = &self.inner.limits;
        let claimable =
            Claimable { but: &but, after, caps: limits.caps, turn_bytes_max: limits.lease_input_bytes_max };
        match self.claim(claimable, &taking).await {
            // A history that cannot be read must not keep everybody behind it waiting: its
            // chat is leased without, and whoever reads its turn ends it.
            Err(Unclaimed::Failed(ClaimError { chat: Some(_), error: TransactError::Store(error) }))
                if !matches!(error, store::Error::Unavailable(_)) =>
            {
                self.claim(Claimable { turn_bytes_max: NO_INPUT, ..claimable }, &taking).await
            }
            claimed => claimed,
        }
    }

    /// Answers whether to go on with the next.
    fn claim_failed(&self, failed: ClaimError<Declined>, round: &mut Round) -> bool {
        let ClaimError { chat, error } = failed;
        match (error, chat) {
            (TransactError::Refused(Declined::NoSlot), _) => {
                self.inner.scheduler.still_waiting();
                false
            }
            (TransactError::Store(error @ store::Error::Unavailable(_)), _)
            | (TransactError::Store(error), None) => {
                let cause = chain(&error);
                tracing::warn!(%cause, "a waiting chat could not be claimed; the next sweep tries again");
                false
            }
            (error, Some((chat, owner))) => {
                let cause = match error {
                    TransactError::Store(error) => chain(&error),
                    TransactError::Refused(_) => "its row waits and its state forbids the lease".to_owned(),
                    TransactError::ChatNotFound | TransactError::RequestIdReused => error.to_string(),
                };
                tracing::error!(chat_id = %chat, %cause, "a waiting chat cannot be leased; it is left alone for a while");
                round.after = owner;
                round.put_off.add(Instant::now(), chat)
            }
            (
                TransactError::Refused(_) | TransactError::ChatNotFound | TransactError::RequestIdReused,
                None,
            ) => false,
        }
    }

    async fn claim(&self, claimable: Claimable<'_>, taking: &Taking) -> Result<Claim, Unclaimed> {
        // The closure may not borrow mutably: what it promised is kept here.
        let promise: Mutex<Option<Promise>> = Mutex::new(None);
        let claim = self.inner.store.claim(claimable, |snapshot| {
            let (decision, taken) = self.decide_claim(snapshot, taking)?;
            *promise.lock().unwrap_or_else(PoisonError::into_inner) = Some(taken);
            Ok(decision)
        });
        // A lease that is written when the wait for it ends is found by its session's renewal.
        let claimed = time::timeout(self.inner.scheduler.limits().statement_timeout, claim).await;
        let claimed = claimed.map_err(|_| Unclaimed::Timeout)?.map_err(Unclaimed::Failed)?;
        if let Claim::Leased(applied) = &claimed {
            let promise = promise.into_inner().unwrap_or_else(PoisonError::into_inner);
            self.after_commit(applied, promise).await;
        }
        Ok(claimed)
    }

    fn decide_claim(&self, snapshot: &Snapshot, taking: &Taking) -> Result<(Decision, Promise), Declined> {
        let chat = &snapshot.chat;
        let ran_by = chat.last_lease.as_ref().map(|lease| lease.session);
        let promise = match taking.found(chat.owner) {
            Some(slot) => self.inner.scheduler.promise_found(slot, chat.id, ran_by),
            None => self.inner.scheduler.promise_for(Some(chat.id), ran_by).ok_or(Declined::NoSlot)?,
        };
        let context =
            Context { now: snapshot.now, queue_max: self.inner.limits.queue_max, lease_offer: None };
        let decision =
            decide(chat, Command::Lease(promise.session()), context).map_err(|_| Declined::NotRunnable)?;
        Ok((decision, promise))
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::{ChatId, Instant, PUT_OFF_FOR, PUT_OFF_MAX, PutOff};

    fn chat(no: usize) -> ChatId {
        ChatId(Uuid::from_u128(no as u128))
    }

    #[test]
    fn chats_that_cannot_be_leased_are_left_alone_for_a_while_and_not_without_bound() {
        let start = Instant::now();
        let mut put_off = PutOff::default();

        let added = (0..=PUT_OFF_MAX).filter(|no| put_off.add(start, chat(*no))).count();

        assert_eq!(added, PUT_OFF_MAX);
        assert_eq!(put_off.chats(start).len(), PUT_OFF_MAX);
        assert!(put_off.chats(start + PUT_OFF_FOR).is_empty());
        assert!(put_off.add(start + PUT_OFF_FOR, chat(0)));
    }
}

//! Giving waiting chats to sessions with free slots.

use std::{
    collections::VecDeque,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use chatplane_domain::{ChatId, Command, Context, Decision, decide};
use tokio::time::{self, Instant};
use tokio_util::sync::CancellationToken;

use crate::{
    app::{App, chain::chain},
    scheduler::Promise,
    store::{self, Claim, ClaimError, Snapshot, TransactError},
};

/// No history is this small.
const NO_INPUT: i64 = -1;
/// A chat that cannot be leased is left alone for this long: by then somebody may have
/// mended it.
const PUT_OFF_FOR: Duration = Duration::from_secs(60);
/// So many chats are left alone at once. More broken ones are no longer single chats, and
/// keep the others waiting.
const PUT_OFF_MAX: usize = 100;

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

    /// Leaves one more alone, unless there are too many.
    fn add(&mut self, now: Instant, chat: ChatId) -> bool {
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
        let mut put_off = PutOff::default();
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.inner.scheduler.runnable() => {}
            }
            while !stop.is_cancelled() && self.inner.scheduler.begin_claim() {
                if !self.claim_next(&mut put_off).await {
                    break;
                }
            }
        }
    }

    /// Claims the chat that waits longest. Answers whether to go on with the next.
    async fn claim_next(&self, put_off: &mut PutOff) -> bool {
        let but = put_off.chats(Instant::now());
        let claimed = match self.claim(self.inner.limits.lease_input_bytes_max, &but).await {
            // A history that cannot be read must not keep everybody behind it waiting: its
            // chat is leased without, and whoever reads its turn ends it.
            Err(Unclaimed::Failed(ClaimError { chat: Some(_), error: TransactError::Store(error) }))
                if !matches!(error, store::Error::Unavailable(_)) =>
            {
                self.claim(NO_INPUT, &but).await
            }
            claimed => claimed,
        };
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
            Err(Unclaimed::Failed(failed)) => self.claim_failed(failed, put_off),
        }
    }

    /// Answers whether to go on with the next.
    fn claim_failed(&self, failed: ClaimError<Declined>, put_off: &mut PutOff) -> bool {
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
            (error, Some(chat)) => {
                let cause = match error {
                    TransactError::Store(error) => chain(&error),
                    TransactError::Refused(_) => "its row waits and its state forbids the lease".to_owned(),
                    TransactError::ChatNotFound | TransactError::RequestIdReused => error.to_string(),
                };
                tracing::error!(chat_id = %chat, %cause, "a waiting chat cannot be leased; it is left alone for a while");
                put_off.add(Instant::now(), chat)
            }
            (
                TransactError::Refused(_) | TransactError::ChatNotFound | TransactError::RequestIdReused,
                None,
            ) => false,
        }
    }

    async fn claim(&self, input_bytes_max: i64, but: &[ChatId]) -> Result<Claim, Unclaimed> {
        // The closure may not borrow mutably: what it promised is kept here.
        let promise: Mutex<Option<Promise>> = Mutex::new(None);
        let claim = self.inner.store.claim(input_bytes_max, but, |snapshot| {
            let (decision, taken) = self.decide_claim(snapshot)?;
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

    fn decide_claim(&self, snapshot: &Snapshot) -> Result<(Decision, Promise), Declined> {
        let chat = &snapshot.chat;
        let ran_by = chat.last_lease.as_ref().map(|lease| lease.session);
        let promise = self.inner.scheduler.promise_for(Some(chat.id), ran_by).ok_or(Declined::NoSlot)?;
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

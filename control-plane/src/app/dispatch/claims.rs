//! Giving waiting chats to sessions with free slots.

use std::sync::{Mutex, PoisonError};

use chatplane_domain::{Command, Context, Decision, decide};
use tokio_util::sync::CancellationToken;

use crate::{
    app::App,
    scheduler::Promise,
    store::{Snapshot, TransactError},
};

/// Why a chat that waits is not claimed.
enum Declined {
    /// Every slot was taken while the row was read.
    NoSlot,
    /// It does not wait any more.
    NotRunnable,
}

impl App {
    /// Claims waiting chats whenever there may be some, until `stop`.
    pub(super) async fn claim_runnable(self, stop: CancellationToken) {
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.inner.scheduler.runnable() => {}
            }
            while !stop.is_cancelled() && self.inner.scheduler.begin_claim() {
                if !self.claim_one().await {
                    break;
                }
            }
        }
    }

    /// Claims the chat that waits longest. Answers whether to go on with the next.
    async fn claim_one(&self) -> bool {
        // The closure may not borrow mutably: what it promised is kept here.
        let promise: Mutex<Option<Promise>> = Mutex::new(None);
        let limits = &self.inner.limits;
        let claimed = self
            .inner
            .store
            .claim(limits.lease_input_bytes_max, |snapshot| {
                let (decision, taken) = self.decide_claim(snapshot)?;
                *promise.lock().unwrap_or_else(PoisonError::into_inner) = Some(taken);
                Ok(decision)
            })
            .await;
        let promise = promise.into_inner().unwrap_or_else(PoisonError::into_inner);
        match claimed {
            Ok(Some(applied)) => {
                self.after_commit(&applied, promise).await;
                true
            }
            Ok(None) | Err(TransactError::Refused(Declined::NoSlot)) => false,
            Err(TransactError::Refused(Declined::NotRunnable) | TransactError::ChatNotFound) => true,
            Err(TransactError::RequestIdReused) => false,
            Err(TransactError::Store(error)) => {
                tracing::warn!(error = %crate::app::Error::from(error), "a waiting chat could not be claimed; the next sweep tries again");
                false
            }
        }
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

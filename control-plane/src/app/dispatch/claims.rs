//! Giving waiting chats to sessions with free slots.

use std::sync::{Mutex, PoisonError};

use chatplane_domain::{Command, Context, Decision, decide};
use tokio_util::sync::CancellationToken;

use crate::{
    app::App,
    scheduler::Promise,
    store::{self, Snapshot, TransactError},
};

/// No history is this small.
const NO_INPUT: i64 = -1;

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
                if !self.claim_next().await {
                    break;
                }
            }
        }
    }

    /// Claims the chat that waits longest. Answers whether to go on with the next.
    async fn claim_next(&self) -> bool {
        let bytes_max = self.inner.limits.lease_input_bytes_max;
        let claimed = match self.claim(bytes_max).await {
            // A history that cannot be read must not keep everybody behind it waiting: its
            // chat is leased without, and whoever reads its turn ends it.
            Err(TransactError::Store(error)) if !matches!(error, store::Error::Unavailable(_)) => {
                tracing::error!(%error, "a waiting chat could not be read");
                self.claim(NO_INPUT).await
            }
            claimed => claimed,
        };
        match claimed {
            Ok(is_claimed) => is_claimed,
            Err(TransactError::Store(error)) => {
                tracing::warn!(%error, "a waiting chat could not be claimed; the next sweep tries again");
                false
            }
            Err(TransactError::Refused(Declined::NoSlot | Declined::NotRunnable))
            | Err(TransactError::ChatNotFound | TransactError::RequestIdReused) => false,
        }
    }

    async fn claim(&self, input_bytes_max: i64) -> Result<bool, TransactError<Declined>> {
        // The closure may not borrow mutably: what it promised is kept here.
        let promise: Mutex<Option<Promise>> = Mutex::new(None);
        let claimed = self
            .inner
            .store
            .claim(input_bytes_max, |snapshot| {
                let (decision, taken) = self.decide_claim(snapshot)?;
                *promise.lock().unwrap_or_else(PoisonError::into_inner) = Some(taken);
                Ok(decision)
            })
            .await?;
        let Some(applied) = claimed else { return Ok(false) };
        let promise = promise.into_inner().unwrap_or_else(PoisonError::into_inner);
        self.after_commit(&applied, promise).await;
        Ok(true)
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

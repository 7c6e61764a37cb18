//! Renewals and sweeps: what keeps the sessions of this replica alive, and what ends the
//! leases of those that are gone, whoever's they were.

use std::{
    collections::HashMap,
    future::Future,
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
};

use chatplane_domain::{Command, ExpireCause, ExpireLease, SessionId};
use futures::{StreamExt as _, stream};
use tokio::time::{self, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use super::{expiring::Expiring, lease_row, sweep_clock::SweepClock};
use crate::{
    app::{App, Error, chain::chain},
    scheduler::{Event, LeaseRow, Renewal},
    store::{self, Overdue, RenewedSession, SessionRenewal},
};

/// So many chats of a sweep are ended at once: a row that somebody holds delays the others little.
const EXPIRIES_MAX: usize = 4;
/// When so many chats could not be swept, more than single rows is wrong, and the rest is
/// left to the next sweep.
const FAILURES_MAX: usize = 8;

/// Why a look at the database came to nothing.
#[derive(Debug, thiserror::Error)]
pub(in crate::app) enum Failure {
    #[error("the database did not answer in time")]
    Timeout,
    #[error(transparent)]
    Store(#[from] store::Error),
}

impl App {
    /// Renews the sessions of this replica, all in one statement, until `stop`.
    pub(super) async fn renew_sessions(self, stop: CancellationToken) {
        let limits = *self.inner.scheduler.limits();
        let mut due = time::interval(limits.renew_every);
        due.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = due.tick() => {}
            }
            let renewals = self.inner.scheduler.renewals();
            if renewals.is_empty() {
                continue;
            }
            if let Err(error) = self.renew(&renewals).await {
                let cause = chain(&error);
                tracing::warn!(%cause, sessions = renewals.len(), "sessions could not be renewed");
            }
        }
    }

    async fn renew(&self, renewals: &[Renewal]) -> Result<(), Failure> {
        let scheduler = &self.inner.scheduler;
        let limits = scheduler.limits();
        let asked: Vec<SessionRenewal> = renewals
            .iter()
            .map(|renewal| SessionRenewal {
                session: renewal.session,
                connection: renewal.connection,
                pong_age: renewal.pong_age,
            })
            .collect();
        let asked_at = scheduler.now();
        let renewed = self.inner.store.renew_sessions(self.inner.replica, limits.session_ttl, &asked);
        let renewed = self.in_time(renewed).await?;
        let mut rows: HashMap<SessionId, Vec<LeaseRow>> = renewed
            .into_iter()
            .map(|RenewedSession { session, leases }| (session, leases.iter().map(lease_row).collect()))
            .collect();
        for renewal in renewals {
            let event = match rows.remove(&renewal.session) {
                Some(rows) => Event::Renewed { asked_at, rows },
                None => Event::NotRenewed,
            };
            scheduler.handle_and_wake(renewal.session, renewal.connection, event);
        }
        Ok(())
    }

    /// Ends what is overdue, until `stop`. Looks go on while what was found is ended: rows that somebody holds
    /// must not stop the clock by which sessions are closed.
    pub(super) async fn sweep(self, stop: CancellationToken) {
        let limits = *self.inner.scheduler.limits();
        let mut clock = SweepClock::new(limits.session_ttl);
        let mut due = time::interval(limits.sweep_every);
        due.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut expiring = Expiring::default();
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                _ = due.tick() => {}
            }
            // The net for chats whose hint was lost.
            self.inner.scheduler.look();
            let asked_at = self.inner.scheduler.now();
            let may_close = clock.may_close(asked_at);
            match self.look_for_overdue(may_close).await {
                Ok(overdue) => {
                    // One chat that cannot be swept says nothing of who could renew.
                    clock.succeeded(asked_at, self.inner.scheduler.now());
                    let overdue = expiring.new_ones(overdue);
                    if !overdue.is_empty() {
                        let (app, stop) = (self.clone(), stop.clone());
                        let chats = overdue.iter().map(Overdue::chat).collect();
                        expiring.begin(chats, async move { app.expire_all(overdue, &stop).await });
                    }
                }
                Err(error) => {
                    clock.failed();
                    tracing::warn!(cause = %chain(&error), "a sweep failed; the next one goes on");
                }
            }
        }
        expiring.end().await;
    }

    async fn look_for_overdue(&self, may_close: bool) -> Result<Vec<Overdue>, Failure> {
        let store = &self.inner.store;
        if may_close {
            let closed = self.in_time(store.close_expired_sessions()).await?;
            if closed > 0 {
                tracing::info!(sessions = closed, "sessions were closed that nobody renewed");
            }
        }
        self.in_time(store.overdue()).await
    }

    /// Closes a session whose worker did not come back, where it is still this connection's,
    /// and ends its leases without waiting for a sweep.
    pub(super) async fn close_session(&self, session: SessionId, connection: i64) -> Result<(), Failure> {
        let store = &self.inner.store;
        if self.in_time(store.close_session(session, self.inner.replica, connection)).await? {
            tracing::info!(connection, "a worker did not come back; its session is closed");
            let overdue = self.in_time(store.leases_of_closed(session)).await?;
            self.expire_all(overdue, &self.inner.shutdown).await;
        }
        Ok(())
    }

    /// Ends what is overdue, a few at a time. What could not be ended is left to the next
    /// sweep.
    async fn expire_all(&self, overdue: Vec<Overdue>, stop: &CancellationToken) {
        let failures = AtomicUsize::new(0);
        let expire = async |overdue| {
            let has_ended = stop.is_cancelled() || failures.load(Relaxed) >= FAILURES_MAX;
            if !has_ended && !self.expire(overdue).await {
                failures.fetch_add(1, Relaxed);
            }
        };
        stream::iter(overdue).for_each_concurrent(EXPIRIES_MAX, expire).await;
    }

    /// Ends one thing that is overdue, if it still is. Answers false when the database did
    /// not do it.
    async fn expire(&self, overdue: Overdue) -> bool {
        let (chat, command) = match overdue {
            Overdue::Lease(chat, fence) => {
                (chat, Command::ExpireLease(ExpireLease { fence, cause: ExpireCause::SessionEnded }))
            }
            Overdue::Interruption(chat, fence) => {
                let cause = ExpireCause::InterruptionOverdue;
                (chat, Command::ExpireLease(ExpireLease { fence, cause }))
            }
            Overdue::Calls(chat) => (chat, Command::ExpireCalls),
        };
        let act = self.act(chat, |_| command.clone());
        match time::timeout(self.inner.scheduler.limits().statement_timeout, act).await {
            // Another replica was faster, or the holder was.
            Ok(Ok(()) | Err(Error::Superseded | Error::StateForbids { .. } | Error::ChatNotFound)) => true,
            // One chat that cannot be read says nothing of the others.
            Ok(Err(Error::Internal(error))) => {
                tracing::error!(chat_id = %chat, cause = %chain(&error), "a chat could not be swept");
                true
            }
            Ok(Err(error)) => {
                let cause = chain(&error);
                tracing::warn!(chat_id = %chat, %cause, "a chat could not be swept; the next sweep tries again");
                false
            }
            Err(_) => {
                tracing::warn!(chat_id = %chat, "a chat could not be swept in time; the next sweep tries again");
                false
            }
        }
    }

    /// Waits for the database no longer than one statement of the background may take.
    pub(in crate::app) async fn in_time<T>(
        &self,
        asked: impl Future<Output = Result<T, store::Error>>,
    ) -> Result<T, Failure> {
        let answered = time::timeout(self.inner.scheduler.limits().statement_timeout, asked).await;
        Ok(answered.map_err(|_| Failure::Timeout)??)
    }
}

//! Dispatch: the tasks that speak with workers, and those that keep leases alive and
//! clean up after them.
//!
//! Each session has a task for as long as its stream and its grace last; renewals,
//! sweeps and claims have one each. All of them end with the replica: session tasks when
//! streams shall end, the others when [`Background::stop`] says so.

mod claims;
mod expiring;
mod reads;
mod session;
mod sweep_clock;
mod sweeps;

use std::collections::BTreeSet;

use chatplane_domain::{Lease, SessionId};
use tokio::time::{self, Instant};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{App, mark_read};
use crate::{
    metrics::Metrics,
    pubsub::Wire,
    scheduler::{LeaseKey, LeaseRow, Promise, SettingsMark, TurnInput},
    store::{Applied, SessionLease},
};
pub(super) use sweeps::Failure;

/// Opens a session, or resumes one here.
#[derive(Clone, Debug)]
pub(crate) struct OpenSession {
    /// The session to resume; none for a new one.
    pub(crate) session: Option<SessionId>,
    /// Name of the worker for operators.
    pub(crate) worker_name: String,
    /// How many chats the worker runs at a time.
    pub(crate) slots_total: usize,
    /// Leases it holds.
    pub(crate) leases: BTreeSet<LeaseKey>,
}

/// The tasks of a replica that nobody calls.
#[derive(Debug)]
pub(crate) struct Background {
    stop: CancellationToken,
    tasks: TaskTracker,
    sessions: TaskTracker,
}

impl Background {
    /// Ends the tasks, and waits for them and for those of the sessions, until `leave_by`. What
    /// watches that have ended leave to write is among them.
    pub(crate) async fn stop(self, leave_by: Instant) {
        self.stop.cancel();
        self.tasks.close();
        self.sessions.close();
        let ended = async { tokio::join!(self.tasks.wait(), self.sessions.wait()) };
        if time::timeout_at(leave_by, ended).await.is_err() {
            tracing::warn!("tasks were still running when the drain timeout ended");
        }
    }
}

impl App {
    /// Starts renewals, sweeps and claims, of chats and of jobs.
    #[must_use]
    pub(crate) fn start_background(&self, wire: Wire, metrics: Option<Metrics>) -> Background {
        let stop = CancellationToken::new();
        let tasks = TaskTracker::new();
        wire.start(&tasks, &stop);
        tasks.spawn(self.clone().take_hints(stop.clone()));
        tasks.spawn(self.clone().renew_sessions(stop.clone()));
        tasks.spawn(self.clone().sweep(stop.clone()));
        tasks.spawn(self.clone().claim_runnable(stop.clone()));
        tasks.spawn(self.clone().claim_jobs(stop.clone()));
        tasks.spawn(self.clone().tend_search(stop.clone()));
        tasks.spawn(self.clone().fill_search(stop.clone()));
        tasks.spawn(self.clone().sweep_retention(stop.clone()));
        if let Some(metrics) = metrics {
            tasks.spawn(self.clone().sample_metrics(metrics, stop.clone()));
        }
        for _ in 0..mark_read::WRITERS {
            tasks.spawn(self.clone().write_read_notes(stop.clone()));
        }
        tasks.spawn(self.clone().keep_replica(stop.clone()));
        tasks.spawn(self.clone().hear_peers(stop.clone()));
        tasks.spawn(self.clone().dial_peers());
        let watching = self.clone();
        tasks.spawn(async move { watching.poll_watched().await });
        let watching = self.clone();
        tasks.spawn(async move { watching.poll_watched_owners().await });
        Background { stop, tasks, sessions: self.inner.scheduler.tasks().clone() }
    }

    /// Sends the workers to other replicas: this one is leaving.
    pub(crate) fn drain(&self) {
        self.inner.scheduler.drain();
    }

    /// A write gave a session a lease: if the session is here, the chat goes down to it.
    /// Elsewhere its own replica finds the lease in the row.
    pub(crate) async fn deliver(&self, applied: &Applied, lease: &Lease, promise: Option<Promise>) {
        let scheduler = &self.inner.scheduler;
        if scheduler.has_session(lease.session) {
            let key = LeaseKey { chat: applied.decision.chat.id, fence: lease.fence };
            let input = TurnInput::written(applied, self.inner.limits.lease_input_bytes_max);
            self.inner.hub.want_chat(key.chat);
            scheduler.granted(lease.session, key, input.map(Box::new));
        }
        drop(promise);
    }
}

/// A lease as the session's rules see it.
pub(super) fn lease_row(lease: &SessionLease) -> LeaseRow {
    LeaseRow {
        key: LeaseKey { chat: lease.chat, fence: lease.fence },
        interrupting: lease.state == chatplane_domain::State::Interrupting,
        snapshot_version: lease.snapshot_version,
        history_version: lease.history_version,
        last_write_version: lease.last_write.map_or(0, |write| write.outcome.snapshot_version),
        settings: SettingsMark::of(&lease.settings),
    }
}

//! Brings the gauges up to date.

use tokio::time::{self, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use super::{App, chain};
use crate::{metrics::Metrics, scheduler::Load, store::Waiting};

impl App {
    /// Samples until `stop`. What waits stays as it was while the database does not answer.
    pub(crate) async fn sample_metrics(self, metrics: Metrics, stop: CancellationToken) {
        let mut due = time::interval(self.inner.limits.metrics_interval);
        due.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = due.tick() => {}
            }
            let Load { sessions, slots, free } = self.inner.scheduler.load();
            metrics.sessions.set(count(sessions));
            metrics.slots.set(count(slots));
            metrics.slots_free.set(count(free));
            match self.in_time(self.inner.store.waiting(self.inner.limits.caps)).await {
                Ok(Waiting { chats, oldest_wait }) => {
                    metrics.runnable_chats.set(count(chats));
                    metrics.runnable_oldest_wait.set(oldest_wait.as_secs_f64());
                }
                Err(error) => {
                    let cause = chain(&error);
                    tracing::warn!(%cause, "what waits could not be counted; the metrics show the last count");
                }
            }
        }
    }
}

/// A gauge is a float; counts here are far below where that shows.
fn count(number: usize) -> f64 {
    u32::try_from(number).map_or(f64::from(u32::MAX), f64::from)
}

//! The link to the control plane: one stream, opened again for ever. Nothing else here knows gRPC.
//!
//! What outlives a stream is the highest fence seen of each chat, so that a late holder stays refused after
//! a reconnect, and the journal with its running calls, which whoever asks again joins. Calls that only read
//! do not: when a stream breaks they are dropped, and whoever still wants a result asks again.

mod asked;
mod calls;
mod dial;
mod fences;
mod session;
mod silence;

use std::time::Duration;

use rand::Rng;
use tokio::time::{Instant, sleep, timeout_at};
use tokio_util::sync::CancellationToken;

pub(crate) use self::dial::Dial;
use self::{
    fences::Fences,
    session::{Cause, End},
};
use crate::{RunError, journal::Journal, tools::Tools};

/// Times and sizes of the link. Tests shorten the times.
#[derive(Clone, Debug)]
pub(crate) struct Limits {
    /// A connection, its stream and the answer to the registration take this long at most: some round
    /// trips and one database read.
    pub(crate) register: Duration,
    /// A stream without a ping for so long is dead. Pings come each second; ten missed ones are no hiccup.
    pub(crate) ping_silence: Duration,
    /// The first wait before connecting again. A restarted control plane is back within some of these.
    pub(crate) backoff_min: Duration,
    /// The longest wait before connecting again, and so about the longest absence after an outage.
    pub(crate) backoff_max: Duration,
    /// A registration that held so long was no flapping: the next wait is the first again.
    pub(crate) stable: Duration,
    /// Running calls may end within this time after a request to stop: reading takes milliseconds, and so
    /// does killing a process and writing down that it is gone.
    pub(crate) drain: Duration,
    /// Calls at the same time. Several chats' worth of parallel calls; each holds its arguments and result.
    pub(crate) calls_max: usize,
    /// Between two listings of the journal, by the contract.
    pub(crate) listing: Duration,
    /// Entries in one message of a listing, by the contract.
    pub(crate) listed_max: usize,
    /// Chats whose fence is remembered; about 100 bytes each.
    pub(crate) fences_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            register: Duration::from_secs(10),
            ping_silence: Duration::from_secs(10),
            backoff_min: Duration::from_millis(100),
            backoff_max: Duration::from_secs(5),
            stable: Duration::from_secs(10),
            drain: Duration::from_secs(4),
            calls_max: 64,
            listing: Duration::from_secs(30),
            listed_max: 1_000,
            fences_max: 10_000,
        }
    }
}

/// The agent's end of the link.
pub(crate) struct Link {
    dial: Dial,
    tools: Tools,
    journal: Journal,
    limits: Limits,
    fences: Fences,
    /// When everything is to have ended, once it is to end.
    stop_by: Option<Instant>,
}

impl Link {
    /// A link that is not open yet.
    pub(crate) fn new(dial: Dial, tools: Tools, journal: Journal, limits: Limits) -> Self {
        let fences = Fences::new(limits.fences_max);
        Self { dial, tools, journal, limits, fences, stop_by: None }
    }

    /// Keeps the link open until `shutdown`, or until it makes no sense any more.
    pub(crate) async fn run(mut self, shutdown: CancellationToken) -> Result<(), RunError> {
        let ended = self.keep_open(&shutdown).await;
        // A tool may run that no stream was following, or whose end was not written yet.
        let deadline = self.stop();
        if timeout_at(deadline, self.journal.finished()).await.is_err() {
            tracing::warn!("stopped before every running call was recorded; their outcome will be unknown");
        }
        ended
    }

    /// Asks the calls that change something to stop, and says by when they are to have ended.
    fn stop(&mut self) -> Instant {
        self.journal.stop();
        *self.stop_by.get_or_insert_with(|| Instant::now() + self.limits.drain)
    }

    async fn keep_open(&mut self, shutdown: &CancellationToken) -> Result<(), RunError> {
        let mut backoff = Backoff::new(&self.limits);
        loop {
            let lost = match session::run(self, shutdown).await {
                End::Stopped => return Ok(()),
                End::Replaced => return Err(RunError::Replaced),
                End::TokenRefused { reason } => {
                    return Err(RunError::TokenRefused { given_by: self.dial.given_by(), reason });
                }
                End::Lost(lost) => lost,
            };
            if lost.registered_for.is_some_and(|time| time >= self.limits.stable) {
                backoff.reset();
            }
            let wait = backoff.next_wait();
            report(&lost.cause, wait);
            tokio::select! {
                () = shutdown.cancelled() => return Ok(()),
                () = sleep(wait) => {}
            }
        }
    }
}

fn report(cause: &Cause, wait: Duration) {
    let wait_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
    tracing::warn!(%cause, wait_ms, "not connected to the control plane; trying again");
}

/// Doubling waits with jitter, so that the agents of a restarted control plane do not come all at once.
struct Backoff {
    min: Duration,
    max: Duration,
    next: Duration,
}

impl Backoff {
    fn new(limits: &Limits) -> Self {
        Self { min: limits.backoff_min, max: limits.backoff_max, next: limits.backoff_min }
    }

    fn reset(&mut self) {
        self.next = self.min;
    }

    /// Between half of the step and all of it; the next step is twice as long.
    fn next_wait(&mut self) -> Duration {
        let step = self.next;
        self.next = step.saturating_mul(2).min(self.max);
        step.mul_f64(rand::rng().random_range(0.5..=1.0))
    }
}

#[cfg(test)]
mod tests;

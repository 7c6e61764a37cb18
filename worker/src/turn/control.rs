//! What interrupts the loop.

use std::future::pending;

use tokio::time::{Instant, sleep_until};

use super::Turn;
use crate::session::{Control, Drain};

/// What is wanted of the loop, the most urgent first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Signal {
    /// The user stopped the turn.
    Interrupt,
    /// The lease shall be given back as it is.
    GiveBack,
    /// History or settings have changed.
    Reload,
}

impl Turn {
    /// What is wanted now.
    pub(super) fn signal(&self) -> Option<Signal> {
        let control = *self.control.borrow();
        if self.interrupting || self.versions.interrupted_by(control) {
            Some(Signal::Interrupt)
        } else if control.drain == Drain::Now {
            Some(Signal::GiveBack)
        } else if self.versions.outdated_by(control) {
            Some(Signal::Reload)
        } else {
            None
        }
    }

    /// Waits until something is wanted, and something else than what is being done.
    pub(super) async fn next_signal_but(&mut self, known: Option<Signal>) -> Signal {
        loop {
            if let Some(signal) = self.signal()
                && Some(signal) != known
            {
                return signal;
            }
            self.control_changed().await;
        }
    }

    /// Waits until the next step may start: its pause is over and the session is alive.
    /// False when something else is wanted first.
    pub(super) async fn may_start(&mut self) -> bool {
        loop {
            let Control { may_start, drain, .. } = *self.control.borrow_and_update();
            if self.signal().is_some() || drain != Drain::No {
                return false;
            }
            let pause = self.tries.not_before.filter(|until| *until > Instant::now());
            if may_start && pause.is_none() {
                return true;
            }
            let paused = async {
                match pause {
                    Some(until) => sleep_until(until).await,
                    None => pending().await,
                }
            };
            tokio::select! {
                () = paused => {}
                () = self.control_changed() => {}
            }
        }
    }

    /// Waits until the lease shall be given back as it is, whatever else is wanted.
    pub(super) fn drain_end(&self) -> impl Future<Output = ()> + use<> {
        let mut control = self.control.clone();
        async move {
            if control.wait_for(|control| control.drain == Drain::Now).await.is_err() {
                pending::<()>().await;
            }
        }
    }

    async fn control_changed(&mut self) {
        // Without its owner the task is about to be ended from outside.
        if self.control.changed().await.is_err() {
            pending::<()>().await;
        }
    }
}

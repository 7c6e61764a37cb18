//! SIGINT, SIGTERM and SIGHUP: the first asks to stop, the second is obeyed at once.
//!
//! Programs that wrap others (`timeout` is one) send a signal to the process and then to its group: what comes
//! right behind another signal is the same wish, told twice.

use std::{
    io, process,
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::{Duration, Instant},
};

use tokio::{
    signal::unix::{SignalKind, signal},
    sync::mpsc::{self, error::TrySendError},
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;

use crate::{
    exit::{Exit, say},
    terminal,
};

/// Presses of Ctrl-C that wait to be taken; whoever presses more often has made the point.
const INTERRUPTS_MAX: usize = 4;

/// Within this time a signal is an echo of the one before. Nobody presses a key as fast on purpose.
const ECHO_TIME_MAX: Duration = Duration::from_millis(50);

/// Which signal asked to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StopSignal {
    /// Ctrl-C.
    Interrupt,
    /// A supervisor, or `kill`.
    Terminate,
    /// The terminal is gone.
    HangUp,
}

/// Receives the signals of this process.
pub(crate) struct Signals {
    shutdown: CancellationToken,
    first: Arc<OnceLock<StopSignal>>,
    claim: Arc<Claim>,
    task: JoinHandle<()>,
}

impl Signals {
    /// From here on signals are received; before, they end the process as usual.
    pub(crate) fn listen() -> io::Result<Self> {
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        let mut hang_up = signal(SignalKind::hangup())?;
        let shutdown = CancellationToken::new();
        let first = Arc::new(OnceLock::new());
        let claim = Arc::new(Claim::default());
        let (token, named, claimed) = (shutdown.clone(), Arc::clone(&first), Arc::clone(&claim));
        let task = tokio::spawn(async move {
            let mut echoes = Echoes::default();
            loop {
                let received = tokio::select! {
                    Some(()) = interrupt.recv() => StopSignal::Interrupt,
                    Some(()) = terminate.recv() => StopSignal::Terminate,
                    Some(()) = hang_up.recv() => StopSignal::HangUp,
                    else => return,
                };
                if echoes.is_echo(received, Instant::now()) {
                    continue;
                }
                if received == StopSignal::Interrupt && claimed.takes_interrupt() {
                    continue;
                }
                if named.set(received).is_err() {
                    terminal::restore();
                    say("Stopped at once by a second signal.");
                    process::exit(Exit::Interrupted.code().into());
                }
                token.cancel();
            }
        });
        Ok(Self { shutdown, first, claim, task })
    }

    /// Takes interrupts from here on, as long as the receiver is kept: they ask nobody to stop then.
    pub(crate) fn claim_interrupts(&self) -> mpsc::Receiver<()> {
        let (sender, receiver) = mpsc::channel(INTERRUPTS_MAX);
        *self.claim.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(sender);
        receiver
    }

    /// Cancelled by the first signal.
    pub(crate) fn shutdown(&self) -> CancellationToken {
        self.shutdown.clone()
    }

    /// The first signal, if there was one.
    pub(crate) fn first(&self) -> Option<StopSignal> {
        self.first.get().copied()
    }
}

/// Tells a signal from the echo of the one before.
#[derive(Default)]
struct Echoes {
    /// When the last one came that was no echo.
    last: Option<(StopSignal, Instant)>,
}

impl Echoes {
    fn is_echo(&mut self, signal: StopSignal, now: Instant) -> bool {
        let is_repeat =
            |(last, time): (_, Instant)| last == signal && now.duration_since(time) < ECHO_TIME_MAX;
        let is_echo = self.last.is_some_and(is_repeat);
        if !is_echo {
            self.last = Some((signal, now));
        }
        is_echo
    }
}

/// Who takes interrupts, if anybody does.
#[derive(Default)]
struct Claim(Mutex<Option<mpsc::Sender<()>>>);

impl Claim {
    fn takes_interrupt(&self) -> bool {
        let claim = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // A full queue holds enough of them.
        claim.as_ref().is_some_and(|sender| !matches!(sender.try_send(()), Err(TrySendError::Closed(()))))
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_told_twice_at_once_counts_once() {
        let mut echoes = Echoes::default();
        let start = Instant::now();

        let mut is_echo = |signal, time| echoes.is_echo(signal, start + time);

        assert!(!is_echo(StopSignal::Interrupt, Duration::ZERO));
        assert!(is_echo(StopSignal::Interrupt, ECHO_TIME_MAX / 2));
        assert!(!is_echo(StopSignal::Interrupt, ECHO_TIME_MAX), "an echo has no echo");
        assert!(!is_echo(StopSignal::Terminate, ECHO_TIME_MAX), "another signal is another wish");
    }

    #[test]
    fn an_interrupt_goes_to_who_claims_it_as_long_as_they_do() {
        let claim = Claim::default();
        let (sender, mut receiver) = mpsc::channel(1);

        assert!(!claim.takes_interrupt(), "nobody claims it");
        *claim.0.lock().unwrap() = Some(sender);
        assert!(claim.takes_interrupt() && claim.takes_interrupt(), "one waits, and that is enough");
        assert_eq!(receiver.try_recv(), Ok(()));
        drop(receiver);
        assert!(!claim.takes_interrupt(), "nobody is left");
    }
}

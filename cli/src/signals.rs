//! SIGINT, SIGTERM and SIGHUP: the first asks to stop, the second is obeyed at once.

use std::{
    io, process,
    sync::{Arc, OnceLock},
};

use tokio::{
    signal::unix::{SignalKind, signal},
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;

use crate::exit::{Exit, say};

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
        let (token, named) = (shutdown.clone(), Arc::clone(&first));
        let task = tokio::spawn(async move {
            loop {
                let received = tokio::select! {
                    Some(()) = interrupt.recv() => StopSignal::Interrupt,
                    Some(()) = terminate.recv() => StopSignal::Terminate,
                    Some(()) = hang_up.recv() => StopSignal::HangUp,
                    else => return,
                };
                if named.set(received).is_err() {
                    say("Stopped at once by a second signal.");
                    process::exit(Exit::Interrupted.code().into());
                }
                token.cancel();
            }
        });
        Ok(Self { shutdown, first, task })
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

impl Drop for Signals {
    fn drop(&mut self) {
        self.task.abort();
    }
}

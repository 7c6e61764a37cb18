//! Words about a connection that comes and goes, on their way to whoever may write to the terminal.

use tokio::sync::mpsc;

use crate::exit::say;

/// Words that wait to be said; a connection that fails more often than they are read says nothing new.
const NOTES_MAX: usize = 16;

/// Where words go.
#[derive(Clone)]
pub(crate) enum Notes {
    /// Straight to standard error.
    StandardError,
    /// To whoever knows where the answer's line stands.
    Printer(mpsc::Sender<String>),
}

impl Notes {
    pub(crate) fn channel() -> (Self, mpsc::Receiver<String>) {
        let (sender, receiver) = mpsc::channel(NOTES_MAX);
        (Self::Printer(sender), receiver)
    }

    pub(crate) fn say(&self, line: String) {
        match self {
            Self::StandardError => say(&line),
            // When nobody reads any more, or not fast enough, nothing is lost that matters.
            Self::Printer(sender) => drop(sender.try_send(line)),
        }
    }
}

//! What every wire format's assembly of an answer has in common.

use chatplane_domain::ErrorKind;
use serde::Deserialize;

use super::ModelEvent;
use super::sse::Event;

/// What a part costs beside its text, so that no number of empty parts is free.
pub(super) const PART_BYTES: usize = 64;

/// Turns the events of one provider's stream into ours. Pure.
pub(super) trait Assembly: Send + 'static {
    /// Takes the next event. [`ModelEvent::Finished`] is the last of the stream.
    fn event(&mut self, event: &Event) -> Result<Vec<ModelEvent>, Fault>;

    /// The stream has ended. An answer that can do without what is missing ends
    /// with [`ModelEvent::Finished`].
    fn end(&mut self) -> Result<Vec<ModelEvent>, Fault>;

    /// How far the answer is.
    fn progress(&self) -> Progress;
}

/// How far an answer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// The model has not begun to answer.
    Waiting,
    /// The model answers.
    Begun,
    /// The answer is whole; what may still come can be done without.
    Answered,
}

/// Why a stream cannot go on.
#[derive(Debug, PartialEq)]
pub(super) enum Fault {
    /// It is not what the protocol says; the text says where, without content.
    Malformed(&'static str),
    /// The provider gave up.
    Provider {
        /// What that means.
        kind: ErrorKind,
        /// The provider's word for it.
        label: String,
    },
    /// The answer is larger than a message may be.
    TooLarge,
    /// The model declined; the provider's category, possibly empty.
    Refused(String),
    /// The answer has filled the model's context.
    ContextFull,
}

/// The bytes that an answer may still have.
#[derive(Debug)]
pub(super) struct Budget {
    left: usize,
}

impl Budget {
    /// An answer of at most so many bytes.
    pub(super) fn new(bytes_max: usize) -> Self {
        Self { left: bytes_max }
    }

    /// Takes bytes, or says that there are not that many.
    pub(super) fn spend(&mut self, bytes: usize) -> Result<(), Fault> {
        self.left = self.left.checked_sub(bytes).ok_or(Fault::TooLarge)?;
        Ok(())
    }
}

/// Reads an event's data; `what` says which event it is.
pub(super) fn parse<'a, T: Deserialize<'a>>(data: &'a str, what: &'static str) -> Result<T, Fault> {
    serde_json::from_str(data).map_err(|_| Fault::Malformed(what))
}

//! Reads an answer that is coming: bytes in, our events out, under deadlines.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use chatplane_domain::ErrorKind;
use futures::StreamExt;
use futures::stream::BoxStream;
use tokio::time::{Instant, timeout_at};

use super::assembly::{Assembly, Progress};
use super::failure::Failures;
use super::{CallFailure, CallLimits, ModelEvent, sse};

/// What one event may have: far above any that carries a delta, and enough for
/// encrypted thinking, which comes in one piece.
const EVENT_BYTES_MAX: usize = 4 * 1024 * 1024;
/// How long the end of the stream may take once the answer is whole, if that much silence
/// is allowed: enough for the count of its tokens, too little to be felt.
const END_GRACE: Duration = Duration::from_secs(5);

/// The bytes of an answer as they come; an error is described in words.
pub(super) type Chunks = BoxStream<'static, Result<Bytes, String>>;

/// The deadlines of one answer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Times {
    /// When the model must have begun.
    pub(super) first_token: Instant,
    /// When all must have come.
    answer_end: Instant,
    /// How long the stream may be silent in between.
    silence: Duration,
}

impl Times {
    /// The deadlines of a call that starts now.
    pub(super) fn start(now: Instant, limits: &CallLimits) -> Self {
        Self {
            first_token: now + limits.first_token_timeout,
            answer_end: now + limits.answer_duration_max,
            silence: limits.silence_timeout,
        }
    }
}

/// An answer that is coming.
pub(super) struct Reading<A> {
    chunks: Chunks,
    /// Bytes that have come and are not decoded yet.
    chunk: Bytes,
    decoder: sse::Decoder,
    assembly: A,
    /// What the last event said; bounded by the answer's size.
    events: VecDeque<ModelEvent>,
    finished: bool,
    times: Times,
    /// When the stream is given up although it is open: set once the answer is whole.
    grace_end: Option<Instant>,
    failures: Failures,
}

impl<A: Assembly> Reading<A> {
    /// Reads these bytes.
    pub(super) fn new(chunks: Chunks, assembly: A, times: Times, failures: Failures) -> Self {
        Self {
            chunks,
            chunk: Bytes::new(),
            decoder: sse::Decoder::new(EVENT_BYTES_MAX),
            assembly,
            events: VecDeque::new(),
            finished: false,
            times,
            grace_end: None,
            failures,
        }
    }

    /// The next event; `None` after the last.
    pub(super) async fn next_event(&mut self) -> Result<Option<ModelEvent>, CallFailure> {
        loop {
            if let Some(event) = self.events.pop_front() {
                self.finished = matches!(event, ModelEvent::Finished(_));
                return Ok(Some(event));
            }
            if self.finished {
                return Ok(None);
            }
            let events = match self.decoder.next_event(&mut self.chunk) {
                Ok(Some(event)) => self.assembly.event(&event),
                Ok(None) => match self.read().await? {
                    Some(chunk) => {
                        self.chunk = chunk;
                        continue;
                    }
                    None => self.assembly.end(),
                },
                Err(error) => return Err(self.failure(ErrorKind::AnswerTooLarge, &error.to_string())),
            };
            self.events = events.map_err(|fault| self.failures.fault(&fault))?.into();
        }
    }

    /// Waits for bytes; `None` when there are no more, or none worth waiting for.
    ///
    /// Before the answer begins, the deadline of the first token counts and signs of
    /// life do not; afterwards any byte ends a silence, since a model that hides its
    /// thinking sends nothing but pings for minutes. An answer that is whole is not
    /// lost to a server that does not hang up.
    async fn read(&mut self) -> Result<Option<Bytes>, CallFailure> {
        let progress = self.assembly.progress();
        let deadline = self.deadline(progress);
        let until = deadline.min(self.times.answer_end);
        // A read that is always ready would never let the deadline speak.
        let read = match Instant::now() < until {
            true => timeout_at(until, self.chunks.next()).await.ok(),
            false => None,
        };
        match read {
            Some(Some(Ok(chunk))) => Ok(Some(chunk)),
            Some(None) => Ok(None),
            _ if progress == Progress::Answered => Ok(None),
            Some(Some(Err(description))) => Err(self.failure(ErrorKind::ProviderUnavailable, &description)),
            None if deadline > self.times.answer_end => {
                Err(self.failure(ErrorKind::AnswerTooLarge, "the answer took longer than allowed"))
            }
            None if progress == Progress::Begun => {
                Err(self.failure(ErrorKind::Timeout, "the stream fell silent"))
            }
            None => Err(self.failure(ErrorKind::Timeout, "no first token")),
        }
    }

    fn deadline(&mut self, progress: Progress) -> Instant {
        match progress {
            Progress::Waiting => self.times.first_token,
            Progress::Begun => Instant::now() + self.times.silence,
            Progress::Answered => {
                let grace = END_GRACE.min(self.times.silence);
                *self.grace_end.get_or_insert_with(|| Instant::now() + grace)
            }
        }
    }

    fn failure(&self, kind: ErrorKind, detail: &str) -> CallFailure {
        self.failures.failure(kind, Some(200), detail)
    }
}

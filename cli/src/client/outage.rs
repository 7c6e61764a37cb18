//! How long calls to the control plane have been failing in a row, and whether another try is of use.

use std::time::Duration;

use rand::Rng as _;
use tokio::time::{Instant, sleep};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::client::{ClientError, notes::Notes, words};

/// How long the control plane may be out of reach: longer than a replica takes to be replaced.
const OUTAGE_TIME_MAX: Duration = Duration::from_secs(120);
/// An outage that lasts this long is told.
const PATIENCE: Duration = Duration::from_millis(1500);
/// The first delay before another try; each further one is twice as long, up to the greatest.
const DELAY_MIN: Duration = Duration::from_millis(100);
const DELAY_MAX: Duration = Duration::from_secs(3);
/// The control plane may ask for a longer one, up to this.
const ASKED_DELAY_MAX: Duration = Duration::from_secs(15);

/// How long calls have been failing in a row.
pub(crate) struct Outage {
    action: &'static str,
    notes: Notes,
    since: Option<Instant>,
    tries: u32,
    is_told: bool,
}

impl Outage {
    pub(crate) fn new(action: &'static str, notes: Notes) -> Self {
        Self { action, notes, since: None, tries: 0, is_told: false }
    }

    /// A call was answered.
    pub(crate) fn is_over(&mut self) {
        if self.is_told {
            self.notes.say(words::CONNECTED_AGAIN.to_owned());
        }
        (self.since, self.tries, self.is_told) = (None, 0, false);
    }

    /// Waits a moment before the next try, or says that another try is of no use.
    pub(crate) async fn endure(&mut self, status: Status) -> Result<(), ClientError> {
        let asked_delay = asked_delay(&status);
        if !may_pass(status.code()) && asked_delay.is_none() {
            return Err(ClientError::refused(self.action, status));
        }
        let failing_for = self.since.get_or_insert_with(Instant::now).elapsed();
        if failing_for > OUTAGE_TIME_MAX {
            let seconds = OUTAGE_TIME_MAX.as_secs();
            return Err(ClientError::Unanswered { seconds, status: Box::new(status) });
        }
        if failing_for > PATIENCE && !self.is_told {
            self.is_told = true;
            self.notes.say(words::connection_lost(status.message(), OUTAGE_TIME_MAX.as_secs()));
        }
        let delay = delay(self.tries, rand::rng().random_range(0.5..1.0));
        self.tries = self.tries.saturating_add(1);
        sleep(delay.max(asked_delay.unwrap_or_default())).await;
        Ok(())
    }
}

/// The delay before the try after so many, spread by a number from a half to one: clients that have lost the
/// same replica do not come back all at once.
fn delay(tries: u32, spread: f64) -> Duration {
    let doubled = DELAY_MIN.saturating_mul(2_u32.saturating_pow(tries));
    doubled.min(DELAY_MAX).mul_f64(spread)
}

/// When the control plane wants to be asked again, if it says so.
fn asked_delay(status: &Status) -> Option<Duration> {
    let delay = status.get_details_retry_info()?.retry_delay?;
    Some(delay.min(ASKED_DELAY_MAX))
}

fn may_pass(code: Code) -> bool {
    match code {
        Code::Unavailable | Code::Unknown | Code::Cancelled | Code::DeadlineExceeded | Code::Aborted => true,
        Code::Ok
        | Code::InvalidArgument
        | Code::NotFound
        | Code::AlreadyExists
        | Code::PermissionDenied
        // A full queue or a limit; what passes by itself comes with a time for the next try.
        | Code::ResourceExhausted
        | Code::FailedPrecondition
        | Code::OutOfRange
        | Code::Unimplemented
        | Code::Internal
        | Code::DataLoss
        | Code::Unauthenticated => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_up_to_a_bound_and_are_spread() {
        assert_eq!(delay(0, 1.0), DELAY_MIN);
        assert_eq!(delay(2, 0.5), DELAY_MIN * 2);
        assert_eq!(delay(u32::MAX, 1.0), DELAY_MAX);
    }

    #[tokio::test(start_paused = true)]
    async fn an_outage_is_told_once_and_so_is_its_end() {
        let (notes, mut told) = Notes::channel();
        let mut outage = Outage::new("watch the chat", notes);

        for _ in 0..20 {
            outage.endure(Status::unavailable("nobody listens")).await.unwrap();
        }
        outage.is_over();

        assert!(told.try_recv().unwrap().contains("nobody listens"));
        assert_eq!(told.try_recv().unwrap(), words::CONNECTED_AGAIN);
        assert!(told.try_recv().is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn a_short_outage_is_not_told_and_a_long_one_ends_the_tries() {
        let (notes, mut told) = Notes::channel();
        let mut outage = Outage::new("watch the chat", notes);
        outage.endure(Status::unavailable("")).await.unwrap();
        outage.is_over();
        assert!(told.try_recv().is_err());

        let begin = Instant::now();
        let error = loop {
            if let Err(error) = outage.endure(Status::unavailable("")).await {
                break error;
            }
        };

        assert!(matches!(error, ClientError::Unanswered { .. }), "{error}");
        assert!(begin.elapsed() < OUTAGE_TIME_MAX + DELAY_MAX * 2);
    }

    #[tokio::test]
    async fn what_is_refused_is_not_tried_again() {
        let mut outage = Outage::new("send the message", Notes::StandardError);

        let full = outage.endure(Status::resource_exhausted("the queue is full")).await.unwrap_err();
        let token = outage.endure(Status::unauthenticated("no")).await.unwrap_err();

        assert_eq!(full.to_string(), "the control plane refused to send the message: the queue is full");
        assert!(matches!(token, ClientError::TokenRefused));
    }
}

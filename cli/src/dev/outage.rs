//! How long calls to the control plane have been failing in a row, and whether another try is of use.

use std::time::Duration;

use tokio::time::{Instant, sleep};
use tonic::{Code, Status};

use crate::dev::DevError;

/// How long the control plane, which runs beside us, may be out of reach.
const OUTAGE_TIME_MAX: Duration = Duration::from_secs(30);
const RECONNECT_DELAY: Duration = Duration::from_millis(100);

/// How long calls have been failing in a row.
#[derive(Default)]
pub(crate) struct Outage {
    since: Option<Instant>,
}

impl Outage {
    pub(crate) fn is_over(&mut self) {
        self.since = None;
    }

    /// Waits a moment before the next try, or says that another try is of no use.
    pub(crate) async fn endure(&mut self, action: &'static str, status: Status) -> Result<(), DevError> {
        let since = *self.since.get_or_insert_with(Instant::now);
        if !may_pass(status.code()) {
            return Err(DevError::Refused { action, status: Box::new(status) });
        }
        if since.elapsed() > OUTAGE_TIME_MAX {
            return Err(DevError::Unanswered { seconds: OUTAGE_TIME_MAX.as_secs() });
        }
        sleep(RECONNECT_DELAY).await;
        Ok(())
    }
}

fn may_pass(code: Code) -> bool {
    match code {
        Code::Unavailable
        | Code::Unknown
        | Code::Cancelled
        | Code::DeadlineExceeded
        | Code::Aborted
        | Code::ResourceExhausted => true,
        Code::Ok
        | Code::InvalidArgument
        | Code::NotFound
        | Code::AlreadyExists
        | Code::PermissionDenied
        | Code::FailedPrecondition
        | Code::OutOfRange
        | Code::Unimplemented
        | Code::Internal
        | Code::DataLoss
        | Code::Unauthenticated => false,
    }
}

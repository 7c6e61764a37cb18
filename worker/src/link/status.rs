//! What a refused call means to a worker.

use std::time::Duration;

use thiserror::Error;
use tonic::{Code, Status};
use tonic_types::StatusExt;

/// Why a call did not succeed, by what the caller can do.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub(crate) enum CallError {
    /// The same call may succeed later.
    #[error("the control plane cannot be reached or cannot answer now ({code:?})")]
    Unavailable { code: Code, pause: Option<Duration> },
    /// The lease is another's, or over.
    #[error("the lease has ended")]
    LeaseLost,
    /// History or state have changed: read the turn again.
    #[error("the chat has changed")]
    Stale,
    /// Repeating it would not help.
    #[error("the call was refused ({code:?} {reason})")]
    Refused { code: Code, reason: String },
}

/// Reads a status. One without our details was not written by a control plane: the
/// connection broke or something between answered, and another try may do better.
pub(crate) fn classify(status: &Status) -> CallError {
    let code = status.code();
    let reason = status.get_details_error_info().map(|info| info.reason).unwrap_or_default();
    match reason.as_str() {
        "LEASE_LOST" | "SESSION_LOST" | "CHAT_NOT_FOUND" => CallError::LeaseLost,
        "SUPERSEDED" | "STATE_FORBIDS" => CallError::Stale,
        "UNAVAILABLE" | "SHUTTING_DOWN" => {
            let pause = status.get_details_retry_info().and_then(|info| info.retry_delay);
            CallError::Unavailable { code, pause }
        }
        "" if !is_final(code) => CallError::Unavailable { code, pause: None },
        _ => CallError::Refused { code, reason },
    }
}

/// Codes that mean the same thing from whomever they come.
fn is_final(code: Code) -> bool {
    matches!(
        code,
        Code::Unauthenticated
            | Code::PermissionDenied
            | Code::InvalidArgument
            | Code::OutOfRange
            | Code::Unimplemented
            | Code::FailedPrecondition
    )
}

#[cfg(test)]
mod tests {
    use tonic_types::ErrorDetails;

    use super::*;

    fn refusal(code: Code, reason: &str) -> Status {
        let details = ErrorDetails::with_error_info(reason, "chatplane", std::collections::HashMap::new());
        Status::with_error_details(code, "no", details)
    }

    #[test]
    fn reasons_decide_and_not_codes() {
        let lost = refusal(Code::FailedPrecondition, "LEASE_LOST");
        let forbidden = refusal(Code::FailedPrecondition, "STATE_FORBIDS");
        let superseded = refusal(Code::Aborted, "SUPERSEDED");

        assert_eq!(classify(&lost), CallError::LeaseLost);
        assert_eq!(classify(&forbidden), CallError::Stale);
        assert_eq!(classify(&superseded), CallError::Stale);
    }

    #[test]
    fn a_defect_of_the_control_plane_is_final_and_a_broken_connection_is_not() {
        let defect = refusal(Code::Internal, "INTERNAL");
        let broken = Status::internal("h2 protocol error");
        let overdue = Status::deadline_exceeded("timeout");

        assert!(matches!(classify(&defect), CallError::Refused { .. }));
        assert!(matches!(classify(&broken), CallError::Unavailable { .. }));
        assert!(matches!(classify(&overdue), CallError::Unavailable { .. }));
    }

    #[test]
    fn a_wrong_token_is_final() {
        assert!(matches!(classify(&Status::unauthenticated("no")), CallError::Refused { .. }));
    }

    #[test]
    fn the_pause_that_the_control_plane_asks_for_is_kept() {
        let mut details = ErrorDetails::with_retry_info(Some(Duration::from_millis(250)));
        details.set_error_info("UNAVAILABLE", "chatplane", std::collections::HashMap::new());
        let status = Status::with_error_details(Code::Unavailable, "no", details);

        let expected =
            CallError::Unavailable { code: Code::Unavailable, pause: Some(Duration::from_millis(250)) };
        assert_eq!(classify(&status), expected);
    }
}

//! What a status tells a client.

use chatplane_proto::chat::v1::ErrorReason;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

/// What to make of a failed call.
#[derive(Debug)]
pub(crate) enum Told {
    /// The line broke, or the control plane says that it cannot just now.
    TryAgain,
    /// The control plane says no.
    Refused(ErrorReason),
    /// Nobody may be told that.
    Wrong(String),
}

/// A status without a reason is of the line: the control plane gives one with each.
pub(crate) fn told(status: &Status) -> Told {
    let Some(info) = status.get_details_error_info() else {
        return match status.code() {
            // What the library makes of connections that break, and of deadlines.
            Code::Unavailable | Code::Unknown | Code::Internal | Code::Cancelled | Code::DeadlineExceeded => {
                Told::TryAgain
            }
            _ => Told::Wrong(format!("{status:?}")),
        };
    };
    match ErrorReason::from_str_name(&format!("ERROR_REASON_{}", info.reason)) {
        Some(ErrorReason::Unavailable | ErrorReason::ShuttingDown) => Told::TryAgain,
        Some(ErrorReason::Internal) | None => Told::Wrong(format!("{status:?}")),
        Some(reason) => Told::Refused(reason),
    }
}

//! An error in a log line.

use std::error::Error;

/// An error with its sources, each as it is displayed. Never as it is debugged: that of a
/// database's error has its detail lines, which quote the row.
pub(crate) fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

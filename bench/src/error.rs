//! Why something could not be measured.

use std::{error::Error as StdError, time::Duration};

/// Why something could not be measured. A figure that was made in spite of one of
/// these would be a lie, so each ends its row.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// Something that the measurement needs did not work.
    #[error("could not {what}")]
    Failed {
        /// What was tried, as a verb.
        what: String,
        /// Why not.
        #[source]
        source: Box<dyn StdError + Send + Sync>,
    },
    /// The system did what it must not do while it is measured.
    #[error("{0}")]
    Wrong(String),
    /// Something took longer than anything here may take.
    #[error("{what} did not happen within {} s", .after.as_secs())]
    TimedOut {
        /// What was waited for.
        what: String,
        /// How long.
        after: Duration,
    },
    /// A person or a supervisor has stopped the benchmark.
    #[error("interrupted")]
    Interrupted,
}

/// The result of nearly everything here.
pub(crate) type Result<T> = std::result::Result<T, Error>;

impl Error {
    pub(crate) fn wrong(sentence: impl Into<String>) -> Self {
        Self::Wrong(sentence.into())
    }

    /// With its causes, in one line.
    pub(crate) fn chain(&self) -> String {
        let mut sentence = self.to_string();
        let mut cause = self.source();
        while let Some(error) = cause {
            let words = error.to_string();
            // Some errors spell out their cause themselves.
            if !sentence.contains(&words) {
                sentence.push_str(": ");
                sentence.push_str(&words);
            }
            cause = error.source();
        }
        sentence
    }
}

/// Says what was tried when it failed.
pub(crate) trait OrFailed<T> {
    /// `what` completes "could not …".
    fn or_failed(self, what: impl Into<String>) -> Result<T>;
}

impl<T, E: Into<Box<dyn StdError + Send + Sync>>> OrFailed<T> for std::result::Result<T, E> {
    fn or_failed(self, what: impl Into<String>) -> Result<T> {
        self.map_err(|source| Error::Failed { what: what.into(), source: source.into() })
    }
}

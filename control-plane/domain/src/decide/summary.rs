//! Summaries that come with a step.
//!
//! A summary is made beside the turn and rides on a commit, so what it covers may have
//! changed meanwhile: it is then ignored, and the step is stored all the same.

use super::invalid;
use crate::{Rejection, SUMMARY_BYTES_MAX, Summary, draft::Draft};

/// What no summary may be, whatever became of the history that it was made from.
pub(super) fn check(draft: &Draft<'_>, summary: &Summary) -> Result<(), Rejection> {
    if summary.text.trim().is_empty() {
        return Err(invalid("summary.text", "it is empty; a summary has words"));
    }
    if summary.text.len() > SUMMARY_BYTES_MAX {
        let description = format!("a summary has at most {SUMMARY_BYTES_MAX} bytes");
        return Err(invalid("summary.text", &description));
    }
    if summary.covers_through >= draft.chat.next_message_id {
        return Err(invalid("summary.covers_through", "it names a message that the chat has"));
    }
    Ok(())
}

/// Stores a boundary, unless the summary has become untrue or another one covers more.
pub(super) fn store(draft: &mut Draft<'_>, summary: Summary) {
    let covered = summary.covered;
    let newest = draft.chat.covers_through.is_none_or(|through| summary.covers_through > through);
    if covered.live && !covered.changed_since && newest {
        draft.insert_summary(summary);
    }
}

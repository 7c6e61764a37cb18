//! What the journal itself answers, in words that a model can act on.

use crate::tools::Ended;

/// An answer that is no tool's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// It had started, and its end is not recorded.
    OutcomeUnknown,
    /// It had ended, and its end cannot be read for now.
    Unreadable,
    /// It was meant for another journal than ours.
    OtherJournal,
    /// It was called when the workspace had no journal.
    NoJournal,
    /// The same id was here with another input.
    OtherInput,
    /// It did not run.
    Refused(Refusal),
}

/// Why a call does not run that could.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// So many run.
    Busy {
        /// The limit.
        calls_max: usize,
    },
    /// The journal is full.
    Full,
    /// Its start could not be written.
    NotWritten,
}

impl From<Answer> for Ended {
    fn from(answer: Answer) -> Self {
        const LOOK: &str = "It may have done all, part or none of its work, and it is not run again. \
                            Look what state things are in before you try again.";
        Self::failed(match answer {
            Answer::OutcomeUnknown => {
                format!(
                    "The call has the outcome unknown: it had started, and its end is not recorded. {LOOK} Of \
                     several files some may be changed and others not; a file `.chatplane-….tmp` beside one is \
                     a left-over of the call, and may hold the old content."
                )
            }
            Answer::Unreadable => format!(
                "The call has the outcome unknown: it has ended, and what is recorded of its end cannot be read \
                 from the disk of the workspace agent for now. {LOOK}"
            ),
            Answer::OtherJournal => format!(
                "The call has the outcome unknown: it was meant for an earlier journal of the workspace, \
                 which is gone. {LOOK}"
            ),
            Answer::NoJournal => "The call did not run: the workspace kept no journal when it was made. \
                                  Make it again."
                .to_owned(),
            Answer::OtherInput => "The call did not run: a call with the same id, but with another input, \
                                   was here before. Make a new call."
                .to_owned(),
            Answer::Refused(Refusal::Busy { calls_max }) => {
                format!("The workspace is busy: {calls_max} tool calls are running. Try again later.")
            }
            Answer::Refused(Refusal::Full) => "The call did not run: the workspace's journal of calls is full. \
                                               Room is made while chats go on: try again later, or go on with \
                                               tools that only read."
                .to_owned(),
            Answer::Refused(Refusal::NotWritten) => "The call did not run: the workspace agent cannot write its \
                                                     journal of calls to disk. Tell the user; tools that only \
                                                     read still work."
                .to_owned(),
        })
    }
}

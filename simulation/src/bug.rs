//! Rules that can be left out, one at a time, to see that the simulator notices.
//!
//! None of this is in production code: each bug changes what the simulator's own shells hand to the cores, or
//! what they do with what the cores decided.

/// A rule that is left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Bug {
    /// A lease is no version of its own, so that a write which read "no lease" passes its compare.
    LeaseWithoutVersion,
    /// The fence and the session of a holder are not compared.
    FenceNotCompared,
    /// Whether the history is known is looked at before a repeat is answered.
    StalenessBeforeReplay,
    /// A repeat is answered with the versions of now, and not with those that its write produced.
    ReplayWithVersionsOfNow,
    /// A write does not compare the version that it was decided from.
    VersionNotCompared,
    /// The request id is stored although the compare was lost.
    RequestStoredWithoutWrite,
    /// A second creation under a request id is written, and its request id is dropped.
    OnConflictDoNothing,
    /// Interrupted turns leave their calls without results.
    OrphanedCalls,
    /// A stop that is older than what the holder knows stops it all the same.
    LateInterruptNotIgnored,
    /// Sessions are closed by the clock right after an outage of the database.
    CloseByClockAfterOutage,
    /// A session is closed although it has gone to another replica.
    CloseWithoutConnection,
    /// What became known after a renewal was asked for is judged by its answer.
    RenewalJudgesWhatIsNewer,
    /// A lease that the worker does not list is not sent again.
    LeaseNotSentAgain,
    /// Leasing counts as no try.
    LeaseIsNoTry,
    /// Names of live streams are used again under one base.
    StreamNameUsedAgain,
    /// Rows that are deleted keep the revision they had.
    DeletionKeepsRevision,
    /// Nobody looks at watched chats but after a hint.
    NoPoll,
    /// Nobody looks for leases whose session has ended, but at the moment when it ends.
    NoSweep,
    /// A model call's usage is added up, and not kept under its key.
    UsageWithoutKey,
    /// What an answer cost that a write could not store is told nobody.
    RefusedAnswerNotReported,
    /// Rows that are deleted make room for others under their ids.
    MessageIdUsedAgain,
    /// A holder reads the version of a locked row, and the rows of before it waited for the lock.
    RowsOlderThanVersion,
    /// Calls without results are copied without any.
    ForkLeavesCalls,
    /// A summary is stored although what it covers has changed since it was made.
    SummaryOfChangedRows,
    /// A summary is a write of its own beside a running step.
    SummaryBesideStep,
    /// A boundary that outlives an edit below its rows keeps its revision.
    BoundaryNotSentAgain,
    /// Of an interruption with a queue, the head stays in the queue and the lease ends.
    InterruptionForgetsHead,
}

impl Bug {
    /// All of them.
    pub const ALL: [Self; 27] = [
        Self::LeaseWithoutVersion,
        Self::FenceNotCompared,
        Self::StalenessBeforeReplay,
        Self::ReplayWithVersionsOfNow,
        Self::VersionNotCompared,
        Self::RequestStoredWithoutWrite,
        Self::OnConflictDoNothing,
        Self::OrphanedCalls,
        Self::LateInterruptNotIgnored,
        Self::CloseByClockAfterOutage,
        Self::CloseWithoutConnection,
        Self::RenewalJudgesWhatIsNewer,
        Self::LeaseNotSentAgain,
        Self::LeaseIsNoTry,
        Self::StreamNameUsedAgain,
        Self::DeletionKeepsRevision,
        Self::NoPoll,
        Self::NoSweep,
        Self::UsageWithoutKey,
        Self::RefusedAnswerNotReported,
        Self::MessageIdUsedAgain,
        Self::RowsOlderThanVersion,
        Self::ForkLeavesCalls,
        Self::SummaryOfChangedRows,
        Self::SummaryBesideStep,
        Self::BoundaryNotSentAgain,
        Self::InterruptionForgetsHead,
    ];
}

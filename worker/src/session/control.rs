//! What a running lease is told from outside.

/// What is wanted of a running lease. Versions only grow.
///
/// A message may be late: the stop of one answer may arrive when the next one has
/// begun. So each names the version of its write, and means nothing to a holder that
/// has been told of that version or a later one. The holder compares when it looks,
/// because the reply that makes a message old may come between the message's arrival
/// and that moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Control {
    /// The latest write that stopped the turn.
    pub(crate) interrupt: i64,
    /// The latest write that changed history or settings.
    pub(crate) reload: i64,
    /// Whether model and tool calls may start: the session is alive for all that is known.
    pub(crate) may_start: bool,
    /// Whether the lease shall be given back.
    pub(crate) drain: Drain,
}

/// Whether a lease shall be given back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Drain {
    /// It goes on.
    #[default]
    No,
    /// Between two steps.
    AtBoundary,
    /// As it is.
    Now,
}

//! How long, how large, how many. Tests shorten what would make them wait.

use std::time::Duration;

use chatplane_domain::ATTEMPTS_MAX;

use crate::backoff::Backoff;

/// Bounds of a worker.
#[derive(Clone, Debug)]
pub(crate) struct Limits {
    /// How long a unary call may take; a write that takes longer is repeated under its number.
    pub(crate) unary_timeout: Duration,
    /// How long the first piece of a turn's input, and each after it, may take.
    pub(crate) piece_timeout: Duration,
    /// How long a connection to a replica may take.
    pub(crate) dial_timeout: Duration,
    /// How long a replica may take to answer `Open`.
    pub(crate) open_timeout: Duration,
    /// A session not renewed for this long looks for another replica: half of its life.
    pub(crate) hop_after: Duration,
    /// A session not renewed for this long starts nothing new: its leases may soon be another's.
    pub(crate) pause_after: Duration,
    /// Between tries to open a session.
    pub(crate) redial: Backoff,
    /// Between tries of the same write.
    pub(crate) rewrite: Backoff,
    /// Between tries of the same model call.
    pub(crate) recall: Backoff,
    /// A provider that wants a longer pause than this has failed for good.
    pub(crate) retry_after_max: Duration,
    /// Tries of one model call, over all leases; the control plane ends a chat that has more.
    pub(crate) attempts_max: i32,
    /// Tries of one model call under a lease that may be paid for and come to nothing one after
    /// the other: calls that time out, answers that break off or cannot be read, and summaries
    /// without a word. A model that is too slow stays so.
    pub(crate) wasted_max: u32,
    /// Model calls of one turn.
    pub(crate) model_calls_max: usize,
    /// How long an answer may take.
    pub(crate) answer_duration_max: Duration,
    /// Tool calls of one step that run at a time.
    pub(crate) parallel_calls_max: usize,
    /// How long a tool may run.
    pub(crate) tool_duration_max: Duration,
    /// How long calls that run have to end when the user stops the turn: their processes are
    /// being killed, and what they wrote is worth keeping.
    pub(crate) interrupt_grace: Duration,
    /// How long a complete answer that ends the turn waits for a summary on its way: no later
    /// answer could take it, and the next turn would pay for another one. A summary of some
    /// thousand tokens takes 10 to 20 s to write, and the answer beside it is often short; the
    /// user has read it long before that, and a message sent meanwhile is queued.
    pub(crate) summary_grace: Duration,
    /// How long a tool call is tried again while it cannot be reached.
    pub(crate) call_patience: Duration,
    /// How long leases have to be given back after the drain time.
    pub(crate) release_grace: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            unary_timeout: Duration::from_secs(10),
            piece_timeout: Duration::from_secs(10),
            dial_timeout: Duration::from_secs(2),
            open_timeout: Duration::from_secs(5),
            hop_after: Duration::from_secs(4),
            pause_after: Duration::from_secs(6),
            redial: Backoff { first: Duration::from_millis(100), max: Duration::from_secs(5) },
            rewrite: Backoff { first: Duration::from_millis(100), max: Duration::from_secs(5) },
            recall: Backoff { first: Duration::from_secs(1), max: Duration::from_secs(60) },
            retry_after_max: Duration::from_secs(600),
            attempts_max: ATTEMPTS_MAX.cast_signed(),
            wasted_max: 5,
            model_calls_max: 200,
            answer_duration_max: Duration::from_secs(3600),
            parallel_calls_max: 16,
            tool_duration_max: Duration::from_secs(3600),
            interrupt_grace: Duration::from_secs(5),
            summary_grace: Duration::from_secs(20),
            call_patience: Duration::from_secs(10),
            release_grace: Duration::from_secs(2),
        }
    }
}

/// What an answer may have in all; the control plane refuses more.
pub(crate) const ANSWER_BYTES_MAX: usize = 2 * 1024 * 1024;
/// How many parts an answer may have; the control plane refuses more.
pub(crate) const ANSWER_PARTS_MAX: usize = 100;
/// What the result of one tool call may have; the rest is cut out of its middle.
pub(crate) const TOOL_OUTPUT_BYTES_MAX: usize = 1024 * 1024;
/// How many results go into one write.
pub(crate) const RESULTS_MAX: usize = 100;
/// What the results of one write may have in all.
pub(crate) const RESULTS_BYTES_MAX: usize = 5 * 512 * 1024;
/// The largest append to a live part.
pub(crate) const APPEND_BYTES_MAX: usize = 256 * 1024;
/// What is kept of a live stream: the 4 MiB that a replica keeps and a little more,
/// so that the replica sees that there was more and says so.
pub(crate) const LIVE_STREAM_BYTES_MAX: usize = 4 * 1024 * 1024 + 1024;

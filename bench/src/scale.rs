//! How much is measured: enough for a p99, or just enough to show that all works.

use std::time::Duration;

/// Samples a round, and times.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scale {
    pub(crate) rounds: u32,
    /// Events before the first that counts: connections, prepared statements and
    /// caches are then as they are in a server that has run for a while.
    pub(crate) warm_up: usize,
    /// Events of rows 1 and 3, and interrupts.
    pub(crate) events: usize,
    /// Chunks of row 4.
    pub(crate) chunks: u32,
    /// Events of each primitive.
    pub(crate) floor_events: usize,
    /// How long a primitive is driven as hard as it goes.
    pub(crate) floor_load: Duration,
    /// How long row 5 runs before and while it counts.
    pub(crate) load_warm_up: Duration,
    pub(crate) load: Duration,
    /// How long an idle process is left alone before its memory is read.
    pub(crate) settle: Duration,
    pub(crate) serve_starts: usize,
    pub(crate) dev_starts: usize,
    pub(crate) takeovers: usize,
    /// The same of silent workers, of which each takes seconds.
    pub(crate) silent_takeovers: usize,
    /// Watchers that move to another replica.
    pub(crate) moves: usize,
    /// Chats of row 13, and messages in each.
    pub(crate) prompt_chats: usize,
    pub(crate) prompt_messages: i64,
    /// How often the prompts of one are read, and how often without the index.
    pub(crate) prompt_reads: usize,
    pub(crate) prompt_reads_without_index: usize,
    /// Chats and messages of the large database.
    pub(crate) library_chats: usize,
    pub(crate) library_messages: usize,
    /// Calls of each kind there, before those that count and then.
    pub(crate) library_warm_up: usize,
    pub(crate) library_events: usize,
    /// Changes that a watcher missed: few and many, and how often it resumes.
    pub(crate) library_changes: [usize; 2],
    pub(crate) library_resumes: usize,
    /// Calls whose round trips are counted.
    pub(crate) counted_calls: usize,
    /// How long the round trips of an idle replica are counted.
    pub(crate) counted_idle: Duration,
}

impl Scale {
    pub(crate) fn full(rounds: Option<u32>) -> Self {
        Self {
            rounds: rounds.unwrap_or(3),
            warm_up: 100,
            events: 500,
            chunks: 800,
            floor_events: 400,
            floor_load: Duration::from_secs(3),
            load_warm_up: Duration::from_secs(3),
            load: Duration::from_secs(10),
            settle: Duration::from_secs(3),
            serve_starts: 10,
            dev_starts: 3,
            takeovers: 10,
            silent_takeovers: 4,
            moves: 100,
            prompt_chats: 52,
            prompt_messages: 5_000,
            prompt_reads: 300,
            prompt_reads_without_index: 20,
            library_chats: 100_000,
            library_messages: 2_000_000,
            library_warm_up: 20,
            library_events: 200,
            library_changes: [100, 1_000],
            library_resumes: 30,
            counted_calls: 200,
            counted_idle: Duration::from_secs(10),
        }
    }

    pub(crate) fn quick(rounds: Option<u32>) -> Self {
        Self {
            rounds: rounds.unwrap_or(1),
            warm_up: 5,
            events: 20,
            chunks: 30,
            floor_events: 20,
            floor_load: Duration::from_millis(200),
            load_warm_up: Duration::from_millis(300),
            load: Duration::from_secs(1),
            settle: Duration::from_millis(200),
            serve_starts: 2,
            dev_starts: 1,
            takeovers: 1,
            silent_takeovers: 1,
            moves: 3,
            prompt_chats: 3,
            prompt_messages: 500,
            prompt_reads: 20,
            prompt_reads_without_index: 3,
            library_chats: 2_000,
            library_messages: 40_000,
            library_warm_up: 2,
            library_events: 20,
            library_changes: [100, 300],
            library_resumes: 3,
            counted_calls: 20,
            counted_idle: Duration::from_secs(1),
        }
    }
}

//! A seeded simulator: many clients, workers, replicas and watchers, one database, and a network in which
//! everything goes wrong; then a check of all that must hold.
//!
//! # Theory of operation
//!
//! What decides is the product's own code: `decide`, both ends of the session protocol with the roster, the
//! watcher's sync with the live streams, the versions of a turn, the clock of the sweeps. These are pure, and are
//! compiled here from their own files. Around them are small shells that do what the product's shells do: a
//! replica between the database and its sessions ([`world`]'s `replica`, `sessions`), a worker with the loop of a
//! lease (`worker`, `turn`), clients, viewers.
//!
//! There is one clock and one source of chance. An event is something that arrives or falls due at a time; events
//! are taken in the order of their times, and each may bring others. So a run is a function of its seed, and a
//! seed that fails is run again with every event written down.
//!
//! The database is the domain behind compare-and-set. A statement is atomic, may not arrive, and may be done
//! without its answer arriving; between the read and the write of a command anything may happen. The network
//! delays, loses calls and their replies, keeps the order of a stream until it breaks, and is cut; processes die,
//! stop, go on, leave politely.
//!
//! After some time everything is mended, and runs on to rest. Then, and with each write, the invariants of the
//! state machine are checked, and of each watcher that its fold is the chat. A [`Bug`] leaves one rule out: the
//! tests show that each is noticed.

// The cores' own unit tests stay with their crates, and are no part of a test build of this one.
#![cfg(not(test))]

#[path = "../../worker/src/backoff.rs"]
mod backoff;
mod bug;
mod database;
mod fold;
mod random;
mod relay;
mod scheduler;
#[path = "../../worker/src/session/mod.rs"]
#[allow(dead_code)] // The simulator uses a part of it.
mod session;
mod store;
#[path = "../../control-plane/src/app/dispatch/sweep_clock.rs"]
mod sweep_clock;
#[path = "../../worker/src/turn/versions.rs"]
mod versions;
mod watch;
mod world;

use std::{collections::BTreeMap, time::Duration};

pub use bug::Bug;
use world::World;

/// How long things go wrong.
const STORM: Duration = Duration::from_secs(25);

/// How a run is run.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// A rule that is left out.
    pub bug: Option<Bug>,
    /// Writes down every event.
    pub trace: bool,
}

/// What a run came to.
#[derive(Clone, Debug)]
pub struct Report {
    /// What must not have happened; the run ends with the first.
    pub violations: Vec<String>,
    /// What has happened, and how often.
    pub seen: BTreeMap<&'static str, u64>,
    /// How many events there were.
    pub events: u64,
    /// A digest of all of them: equal for equal runs.
    pub digest: u64,
    /// All of them, if they were written down.
    pub trace: Option<String>,
}

/// Runs a seed.
#[must_use]
pub fn run(seed: u64, options: Options) -> Report {
    let mut world = World::new(seed, options);
    world.run_until(STORM);
    world.heal();
    world.come_to_rest();
    Report {
        violations: world.database.oracle.violations.clone(),
        seen: world.database.oracle.seen.clone(),
        events: world.events,
        digest: world.digest(),
        trace: world.trace(),
    }
}

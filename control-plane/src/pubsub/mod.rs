//! Hints: something has changed, go and look. Between the tasks of a replica, and between
//! replicas through PostgreSQL.
//!
//! # Theory of operation
//!
//! A hint carries no truth; the row does. Losing one costs latency, never work: watched
//! chats are polled, leases renewed, waiting chats looked for, and each finds whatever no
//! hint has told.
//!
//! - **Telling.** A write tells the [`Hub`] after its commit, and never waits. What other
//!   replicas are to hear waits in a bounded set until the notifier sends it: at once when
//!   nothing is under way, together with all else that came meanwhile otherwise. NOTIFY has
//!   a connection of its own, since inside the write it would cost more than half of what
//!   the database can commit. While that connection is away the set grows up to its
//!   bound, and is sent when there is one again.
//! - **Listening.** One connection LISTENs to the channels that this replica has use for:
//!   the shards of what is watched here or leased to a session here, and `runnable` where it
//!   has workers. When LISTEN is through, everything that belongs to the channel is looked
//!   at once, since nobody knows what was said before; so nobody waits for LISTEN, and a
//!   connection that was lost and made again needs no further rule.
//! - **Hearing.** What comes in waits in a bounded set, too. What it does here is
//!   `app::hints`.

mod channels;
mod connection;
mod hints;
mod hub;
mod listener;
mod notifier;
mod retry;
mod tls;
mod wanted;

use chatplane_domain::ReplicaId;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub(crate) use channels::Channel;
pub(crate) use connection::{Target, TargetError};
pub(crate) use hints::{Hints, Subjects};
pub(crate) use hub::{Hub, Subscription};

/// The replica's two connections for hints.
#[derive(Clone, Debug)]
pub(crate) struct Wire {
    /// Tells a replica's own hints from those of others.
    pub(crate) replica: ReplicaId,
    /// Whose hints they carry.
    pub(crate) hub: Hub,
    /// Where the database is.
    pub(crate) target: Target,
}

impl Wire {
    /// Starts to tell and to listen, until `stop`.
    pub(crate) fn start(self, tasks: &TaskTracker, stop: &CancellationToken) {
        tasks.spawn(notifier::run(self.clone(), stop.clone()));
        tasks.spawn(listener::run(self, stop.clone()));
    }
}

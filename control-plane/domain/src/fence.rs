//! The fence of a lease.

use serde::{Deserialize, Serialize};

/// Tells a lease from every earlier lease of the same chat.
///
/// It grows by one with every lease. A worker that was paused, cut off or declared
/// dead may wake up and write as if it still held the chat; its write names the
/// fence it was given, which is no longer the row's, and is refused. Every write of
/// a holder therefore carries one, and none is optional.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Fence(pub i64);

impl Fence {
    /// The fence of a chat's first lease.
    pub const FIRST: Self = Self(1);

    /// The fence of the next lease.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

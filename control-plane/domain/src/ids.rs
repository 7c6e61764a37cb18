//! Identifiers. All are UUIDv7 but a message's, which counts up within its chat.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

macro_rules! uuid_ids {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub Uuid);

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                self.0.fmt(f)
            }
        }

        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.0)
            }
        }
    )*};
}

uuid_ids! {
    /// Names a chat.
    ChatId,
    /// Names a user.
    UserId,
    /// Names an organization.
    OrganizationId,
    /// Names a workspace.
    WorkspaceId,
    /// Names a worker's session; secret to the worker and the control plane.
    SessionId,
    /// Names a queued message, and its history row for good.
    QueuedMessageId,
    /// Names a client's request.
    RequestId,
    /// Names the journal of a workspace agent.
    JournalId,
    /// Names a replica of the control plane.
    ReplicaId,
    /// Names a file that a user uploaded.
    FileId,
}

/// Names a message within its chat; stays below 2^53.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct MessageId(pub i64);

impl MessageId {
    /// The first id of a chat.
    pub const FIRST: Self = Self(1);

    /// The id after this one.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

/// Names a tool call within its chat, for good: providers repeat their own ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct CallId {
    /// Message that holds the call.
    pub message: MessageId,
    /// Place among the calls of that message, from 0.
    pub index: i32,
}

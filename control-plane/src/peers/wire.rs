//! What replicas say to each other.

use bytes::Bytes;
use chatplane_domain::{CallId, ChatId, Fence, WorkspaceId};

use crate::relay::{LivePosition, PartHeader, PartOffset, StreamHeader, StreamId};

/// Bytes of one append between replicas: few enough that streams take turns.
pub(crate) const PIECE_BYTES_MAX: usize = 64 * 1024;

/// Names a subscription of one replica at another; counts up and is never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct SubscriptionNo(pub(crate) i64);

/// What either side says on a link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum LinkMessage {
    /// The sender is alive.
    Heartbeat,
    /// Asks for the live streams of a chat.
    Subscribe(Subscribe),
    /// Ends a subscription.
    Unsubscribe(SubscriptionNo),
    /// A piece of what was subscribed to.
    Piece(SubscriptionNo, LivePiece),
    /// An agent has attached to the sender.
    WorkspaceAttached {
        /// Its workspace.
        workspace: WorkspaceId,
        /// Which of the workspace's attachments it is.
        attachment_no: i64,
    },
    /// Calls need not go on.
    CallsEnded(EndedCalls),
}

/// Asks for the live streams of a chat under one lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Subscribe {
    /// The subscription's name.
    pub(crate) no: SubscriptionNo,
    /// The chat.
    pub(crate) chat: ChatId,
    /// The lease's fence.
    pub(crate) fence: Fence,
    /// What the subscriber has of its streams.
    pub(crate) positions: Vec<LivePosition>,
    /// The subscriber has these from here, and the session never left: what is not here
    /// any more was closed.
    pub(crate) resumes: bool,
}

/// A piece of a chat's live streams.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum LivePiece {
    /// A part begins.
    PartStarted {
        /// Its stream.
        stream: StreamHeader,
        /// Its place there.
        part: usize,
        /// What it is.
        header: PartHeader,
    },
    /// A part grows.
    PartAppend {
        /// Its stream.
        stream: StreamId,
        /// Where.
        at: PartOffset,
        /// The bytes.
        data: Bytes,
    },
    /// A stream is not kept any further.
    StreamTruncated(StreamId),
    /// A stream is over.
    StreamClosed(StreamId),
    /// The lease has ended, or has gone elsewhere. The subscription is over.
    LeaseEnded,
}

/// Calls that one message names: some ten bytes each.
pub(crate) const ENDED_CALLS_MAX: usize = 1000;

/// Calls of a chat that need not go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct EndedCalls {
    /// The chat.
    pub(crate) chat: ChatId,
    /// The calls, and where they went.
    pub(crate) calls: Vec<(CallId, WorkspaceId)>,
    /// Why.
    pub(crate) cause: EndedCause,
}

/// Why calls need not go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EndedCause {
    /// They were interrupted.
    Cancelled,
    /// They have their results.
    Settled,
}

//! The control plane's live streams, compiled from their own files.

#[path = "../../control-plane/src/relay/budget.rs"]
mod budget;
#[path = "../../control-plane/src/relay/streams.rs"]
#[allow(dead_code)] // The simulator uses a part of it.
mod streams;

pub(crate) use budget::Budget;
pub(crate) use streams::{
    LivePosition, LiveStream, LiveStreams, PartHeader, PartKind, PartOffset, StreamHeader, StreamId,
    StreamKind, char_boundary,
};

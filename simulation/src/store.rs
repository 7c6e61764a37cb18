//! What the store answers to watchers, compiled from its own files; no SQL is among them.

#[path = "../../control-plane/src/store/sync/position.rs"]
mod position;
#[path = "../../control-plane/src/store/views.rs"]
#[allow(dead_code)] // The simulator uses a part of it.
mod views;

pub(crate) use position::{QueuePosition, QueueThrough, RowPosition, SyncFrom};
pub(crate) use views::{
    ActionRequired, Beside, ChatView, MessageChange, MessageView, MetadataView, QueueChange, QueuedView,
    SyncPage,
};

//! The watcher's core, compiled from its own files.

#[path = "../../control-plane/src/watch/core.rs"]
#[allow(dead_code)] // The simulator uses a part of it.
mod core;
#[path = "../../control-plane/src/watch/cursor.rs"]
#[allow(dead_code)] // The simulator uses a part of it.
mod cursor;
#[path = "../../control-plane/src/watch/event.rs"]
mod event;
#[path = "../../control-plane/src/watch/page.rs"]
mod page;
#[path = "../../control-plane/src/watch/previews.rs"]
mod previews;

pub(crate) use self::core::{Action, Timing, Watcher};
pub(crate) use event::{DurableEvent, Emitted, Event, LiveEvent, StateView};

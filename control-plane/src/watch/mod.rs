//! Watching a chat: what it is, then everything that happens to it.

mod chats;
mod core;
mod cursor;
mod event;
mod page;
mod previews;
#[cfg(test)]
mod tests;

pub(crate) use self::core::{Action, End, GivenUp, Timing, Watcher};
pub(crate) use chats::{ChatChange, ChatsAction, ChatsCursor, ChatsEmitted, ChatsEvent, ChatsWatcher};
pub(crate) use cursor::Malformed;
pub(crate) use event::{DurableEvent, Emitted, Event, LiveEvent};

//! Watching all chats of a user.

mod changes;
mod core;
mod cursor;
mod event;
mod pass;
mod reads;
#[cfg(test)]
mod tests;

pub(crate) use self::core::ChatsWatcher;
pub(crate) use changes::ChatChange;
pub(crate) use cursor::ChatsCursor;
pub(crate) use event::{ChatsAction, ChatsEmitted, ChatsEvent};

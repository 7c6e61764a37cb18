//! Watching all chats of a user.

mod changes;
mod core;
mod cursor;
mod reads;
#[cfg(test)]
mod tests;

pub(crate) use self::core::{ChatsAction, ChatsEmitted, ChatsEvent, ChatsWatcher};
pub(crate) use changes::ChatChange;
pub(crate) use cursor::ChatsCursor;

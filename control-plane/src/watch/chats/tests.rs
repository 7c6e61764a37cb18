//! The watcher of all chats, against a model of the database's transactions.

mod cursors;
mod database;
mod random;
mod stories;

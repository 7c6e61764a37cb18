//! A client of the control plane, as `dev` and every client command are one.
//!
//! - `connection`: an address and a token become a client of `ChatService`;
//! - `requests`, `outage`: calls that are repeated under their request id until they are answered;
//! - `watch`: the events of a chat, over broken connections; `freshness`: signs that some chat has changed;
//! - `transcript`, `words`: pure: events in, what to print out;
//! - `style`, `markdown`, `printer`, `progress`: how it is printed;
//! - `exchange`, `awaited`: one message and the end of its turn;
//! - `listing`, `details`: pure: chats as rows of a table, and one in full;
//! - `files`: uploads and downloads;
//! - `json`: what is printed for programs.

mod awaited;
pub(crate) mod connection;
pub(crate) mod details;
mod error;
pub(crate) mod exchange;
pub(crate) mod files;
pub(crate) mod freshness;
pub(crate) mod json;
pub(crate) mod listing;
pub(crate) mod markdown;
pub(crate) mod notes;
mod outage;
pub(crate) mod printer;
pub(crate) mod progress;
pub(crate) mod requests;
pub(crate) mod style;
pub(crate) mod text;
pub(crate) mod transcript;
pub(crate) mod watch;
pub(crate) mod words;

pub(crate) use self::error::ClientError;

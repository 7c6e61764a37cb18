//! Full-text search, with PostgreSQL's own index and our own words.
//!
//! A text is stored with its tokens as a `tsvector`, in the statement that stores the text, so
//! that it is found from its commit on. Each lexeme begins with a hash of the text's owner and
//! of a *bucket*: a stretch of time in which some thousands of texts were stored. A search
//! reads what is its owner's, however many others share the index, and goes from bucket to
//! bucket, newest first, until it has enough: what it costs grows neither with the messages
//! of others nor, for a common word, with the owner's own.
//!
//! What was stored without its words, by the release before, gets them from `fill`.
//!
//! `tokens` says what is compared, `find` reads candidates in [`Window`]s of buckets and ranks
//! those of a window among themselves, `narrow` looks through the few chats that a filter
//! leaves, `snippet` cuts out where a chat matches.

mod buckets;
mod document;
mod fill;
mod find;
mod fold;
mod gather;
mod narrow;
mod snippet;
mod terms;
mod tokens;

pub(crate) use buckets::Buckets;
#[cfg(test)]
pub(super) use find::RANK;
pub(crate) use find::{Found, SEARCH_CHATS_MAX, SearchPosition, find};
pub(crate) use gather::{Search, Window};
#[cfg(test)]
pub(super) use narrow::RANK_ALL;
pub(crate) use snippet::{Snippet, TEXT_CHARS_MAX, snippets};
pub(crate) use terms::{NoTerms, SearchTerms};

use tokio::task;

use super::Error;

/// Does what takes a while where it holds up nobody.
pub(super) async fn aside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Error> {
    // It does not panic, so it was given up: the runtime is about to end.
    task::spawn_blocking(work).await.map_err(|_| Error::Unavailable(sqlx::Error::PoolClosed))
}

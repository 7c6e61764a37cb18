//! Files that users attach, on their way to a model.
//!
//! # Theory of operation
//!
//! A message names its files; their bytes are read when a model is called, under the lease,
//! and kept in a [`FileCache`] for the calls that follow. From names and sizes alone it is
//! decided what a file is to the model at hand ([`forms`]): bytes that it takes as they are,
//! words, or a placeholder that says why it is not there. What needs bytes is read, and then
//! everything is made into [`UserPiece`]s ([`pieces`]). All of it but the reading is pure, and
//! the same history gives the same bytes: providers cache by prefixes.
//!
//! A provider refuses a whole call for one file that it does not take, and would refuse the
//! chat for ever. So what it is known not to take is left out here.
//!
//! A message is small, and what it names is not: all that a call gets of files is bounded,
//! words too, and a message has each of its files once ([`each_once`]).

mod cache;
mod forms;
mod image;
mod mentions;
mod pieces;
#[cfg(test)]
mod tests;
mod words;

pub(crate) use cache::FileCache;
pub(crate) use forms::{INLINE_BYTES_MAX, forms};
pub(crate) use mentions::each_once;
pub(crate) use pieces::{Contents, needed, pieces};

//! The rules of a chat's life: pure, without I/O, clock or chance.

mod failure;

pub use failure::{ChatError, DETAIL_CHARS_MAX, Effort, ErrorKind, Usage};

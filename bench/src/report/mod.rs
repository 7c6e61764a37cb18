//! What was found, for people and for programs.

pub(crate) mod circumstances;
pub(crate) mod json;
pub(crate) mod table;

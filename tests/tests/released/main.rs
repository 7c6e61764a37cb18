//! What has been released goes on working: replicas and workers of two releases run side by side during an
//! upgrade, so the new schema must understand the SQL of the release before, and the new contract its messages.
//!
//! `released/` holds what was released: the contract as a descriptor set, its messages as they are encoded, and
//! its statements. `buf breaking` compares the contracts. A release replaces these files; see CONTRIBUTING.md.

mod messages;
mod statements;

/// Replaces what was released by what is here.
const UPDATE: &str = "UPDATE_RELEASED";

//! The binary as its users meet it: real processes, a real PostgreSQL, arguments in, exit codes and two
//! streams out.

#[allow(clippy::unwrap_used, reason = "helpers of tests, outside of which nothing runs them")]
mod admin;
mod dev;
#[allow(clippy::unwrap_used, reason = "helpers of tests, outside of which nothing runs them")]
mod fixture;
mod life;
mod models;
#[allow(clippy::unwrap_used, reason = "helpers of tests, outside of which nothing runs them")]
mod provider;
#[allow(clippy::unwrap_used, reason = "helpers of tests, outside of which nothing runs them")]
mod pty;
#[allow(clippy::unwrap_used, reason = "helpers of tests, outside of which nothing runs them")]
mod readme;
mod refusals;
mod terminal;

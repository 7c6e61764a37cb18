//! The binary as its users meet it: real processes, a real PostgreSQL, arguments in, exit codes and two
//! streams out.

mod act;
#[allow(clippy::unwrap_used, reason = "helpers of tests, outside of which nothing runs them")]
mod admin;
mod chat;
mod dev;
#[allow(clippy::unwrap_used, reason = "helpers of tests, outside of which nothing runs them")]
mod files;
#[allow(clippy::unwrap_used, reason = "helpers of tests, outside of which nothing runs them")]
mod fixture;
#[allow(clippy::unwrap_used, reason = "helpers of tests, outside of which nothing runs them")]
mod library;
mod life;
#[allow(clippy::unwrap_used, reason = "helpers of tests, outside of which nothing runs them")]
mod login;
mod models;
#[allow(clippy::unwrap_used, reason = "helpers of tests, outside of which nothing runs them")]
mod provider;
#[allow(clippy::unwrap_used, reason = "helpers of tests, outside of which nothing runs them")]
mod pty;
#[allow(clippy::unwrap_used, reason = "helpers of tests, outside of which nothing runs them")]
mod readme;
mod refusals;
mod replicas_page;
#[allow(clippy::unwrap_used, reason = "helpers of tests, outside of which nothing runs them")]
mod send;
#[allow(clippy::unwrap_used, reason = "helpers of tests, outside of which nothing runs them")]
mod system;
mod terminal;

//! The binary as its users meet it: real processes, a real PostgreSQL, arguments in, exit codes and two
//! streams out.

mod admin;
mod dev;
mod fixture;
mod provider;
mod refusals;

//! The system as its users see it: real PostgreSQL, real gRPC, real processes.
//!
//! A test starts a [`Cluster`]: a database of its own and the roles as child processes
//! of the `chatplane` binary that this very build made. Tests wait for conditions with
//! a deadline, never for time.

mod client;
mod cluster;
mod database;
pub mod fold;
pub mod model_server;
pub mod peers;
mod process;
pub mod tcp_proxy;
mod wait;

pub use client::{Bearer, Client, file_part, text};
pub use cluster::{Cluster, Options, Tokens};
pub use database::{Database, crash_postgres, restart_postgres, stop_postgres_immediately};
pub use process::{Role, free_port};
pub use wait::{DEADLINE, eventually};

//! The control plane: owns PostgreSQL, authorization and chat state.
//!
//! `grpc` decodes and encodes, `app` names the use case, `store` holds all SQL, and the
//! rules of a chat's life are in `chatplane-domain`.

pub mod admin;
mod app;
mod authz;
mod caps;
mod chat_filter;
mod config;
mod grpc;
mod limits;
mod metrics;
mod peers;
mod process;
mod pubsub;
mod relay;
mod scheduler;
mod store;
#[cfg(test)]
mod testing;
mod watch;

pub use caps::Caps;
pub use config::{Config, ConfigError};
pub use limits::Limits;
pub use process::{RunError, run, run_with};
pub use scheduler::SchedulerLimits;

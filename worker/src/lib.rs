//! The worker: pulls runnable chats, calls models, runs tools and commits steps.

mod aside;
mod backoff;
mod config;
mod files;
mod jobs;
mod limits;
mod link;
pub mod llm;
mod run;
mod session;
mod step;
mod tools;
mod turn;

pub use config::{Config, ConfigError};
pub use run::{RunError, run};

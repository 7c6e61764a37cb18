//! The store against a real PostgreSQL.

mod boundaries;
mod forks;
mod jobs;
mod plans;
mod prompts;
mod properties;
mod reads;
mod settings;
mod statements;
mod world;
mod writes;

//! The store against a real PostgreSQL.

mod boundaries;
mod debug;
mod erasure;
mod feed;
mod forks;
mod jobs;
mod linked_files;
mod plans;
mod prompts;
mod properties;
mod reads;
mod settings;
mod statements;
mod unread;
mod world;
mod writes;

//! The store against a real PostgreSQL.

mod boundaries;
mod claims;
mod debug;
mod erasing;
mod erasure;
mod feed;
mod forks;
mod jobs;
mod left_alone;
mod linked_files;
mod plans;
mod prompts;
mod properties;
mod reads;
mod release_before;
mod settings;
mod statements;
mod timeouts;
mod unlinked_files;
mod unread;
mod world;
mod writes;

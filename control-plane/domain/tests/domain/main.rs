//! Proves the rules of a chat's life against the page that specifies them: a golden
//! table of all states and commands, properties over random commands, and a test
//! for each rule that was found by walking interleavings.

mod actions;
mod asks;
mod checks;
mod client_rules;
mod configure;
mod context_rules;
mod database;
mod deletion;
mod edit;
mod fixtures;
mod forks;
mod holder_rules;
mod interleavings;
mod parts;
mod properties;
mod states;
mod steering;
mod summaries;
mod summary_races;
mod transitions;
mod turn_summaries;
mod world;

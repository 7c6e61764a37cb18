//! Tools that change something, end to end: real workers, a real workspace agent, real commands, and a model
//! that calls what a test wants.
//!
//! What a command has started is found by a marker in command lines, which no other process has.

mod effects;
mod interrupts;
mod killed;
mod marker;
mod refusals;
mod secrets;
mod world;

//! Commands, on real processes. The guard is this very test program, which runs one "test" as the guard.

mod ends;
mod output;
mod refusals;
mod support;
mod surroundings;

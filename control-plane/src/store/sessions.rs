//! Sessions of workers.

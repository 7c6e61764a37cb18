//! The control plane: owns PostgreSQL, authorization and chat state.

pub mod store;

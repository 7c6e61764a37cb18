//! Sessions, leases and sweeps.

pub(crate) mod roster;
pub(crate) mod session;

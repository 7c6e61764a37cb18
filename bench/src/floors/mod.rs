//! What the primitives take on this machine, measured in the same run as what is made of
//! them. A floor is what a figure could be if chatplane itself cost nothing.

pub(crate) mod database;
pub(crate) mod grpc;
pub(crate) mod http;
pub(crate) mod process;

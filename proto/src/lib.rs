//! The gRPC contract of chatplane, generated from the `.proto` files beside this crate.
//!
//! The sentences in those files are the documentation of the types here.

// Generated code is not ours to tidy.
#![allow(clippy::all, clippy::pedantic, missing_docs, unreachable_pub, unused_qualifications)]

/// No message on any wire is larger than this. gRPC clients accept 4 MiB unless told otherwise.
pub const MESSAGE_BYTES_MAX: usize = 3 * 1024 * 1024;

/// The encoded `FileDescriptorSet` of the whole contract, for reflection.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/chatplane.bin"));

/// The API of people and programs.
pub mod chat {
    /// Version 1.
    pub mod v1 {
        tonic::include_proto!("chatplane.chat.v1");
    }
}

/// How replicas speak with each other.
pub mod peer {
    /// Version 1.
    pub mod v1 {
        tonic::include_proto!("chatplane.peer.v1");
    }
}

/// The API of workers.
pub mod worker {
    /// Version 1.
    pub mod v1 {
        tonic::include_proto!("chatplane.worker.v1");
    }
}

/// The API of workspace agents.
pub mod workspace {
    /// Version 1.
    pub mod v1 {
        tonic::include_proto!("chatplane.workspace.v1");
    }
}

//! Compiles the contract without `protoc` and keeps its descriptor set for reflection.

use std::{env, error::Error, fs, path::PathBuf};

use prost::Message;
use protox::Compiler;

const FILES: [&str; 6] = [
    "chatplane/chat/v1/chat_service.proto",
    "chatplane/chat/v1/file_service.proto",
    "chatplane/chat/v1/settings_service.proto",
    "chatplane/peer/v1/peer_service.proto",
    "chatplane/worker/v1/worker_service.proto",
    "chatplane/workspace/v1/workspace_service.proto",
];

fn main() -> Result<(), Box<dyn Error>> {
    let root = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?);
    println!("cargo:rerun-if-changed={}", root.join("chatplane").display());
    let mut compiler = Compiler::new([&root])?;
    compiler.include_source_info(true).include_imports(true);
    compiler.open_files(FILES)?;
    compiler.open_file("chatplane/chat/v1/errors.proto")?;
    let descriptors = compiler.file_descriptor_set();
    let out = PathBuf::from(env::var("OUT_DIR")?);
    fs::write(out.join("chatplane.bin"), descriptors.encode_to_vec())?;
    tonic_prost_build::configure().btree_map(".").bytes(".").compile_fds(descriptors)?;
    Ok(())
}

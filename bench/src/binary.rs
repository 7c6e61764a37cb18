//! The binary that is measured.
//!
//! `cargo run --bin chatplane-bench` builds the benchmark alone, so it has `cargo` build
//! `chatplane` too, in the same profile: an old binary would give old figures.

use std::{
    env,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use crate::error::{Error, OrFailed as _, Result};

/// What `cargo run` tells the program it runs. Handed on to a second `cargo`, these would make build scripts
/// that look at them run again.
const OF_CARGO_RUN: [&str; 5] = ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_", "CARGO_CRATE_", "OUT_DIR"];

/// Finds the binary, and builds it where cargo has started us.
pub(crate) fn find(given: Option<&Path>) -> Result<PathBuf> {
    let binary = match given {
        Some(binary) => binary.to_owned(),
        None => {
            let own = env::current_exe().or_failed("find the benchmark's own path")?;
            build()?;
            own.with_file_name("chatplane")
        }
    };
    let sentence = format!("there is no {}: build it, or name it with --chatplane", binary.display());
    binary.canonicalize().map_err(|_| Error::wrong(sentence))
}

fn build() -> Result<()> {
    let (Some(cargo), Some(manifest_dir)) = (env::var_os("CARGO"), env::var_os("CARGO_MANIFEST_DIR")) else {
        eprintln!("not started by cargo: the chatplane beside this program is measured as it is");
        return Ok(());
    };
    let mut command = Command::new(cargo);
    command.args(["build", "--bin", "chatplane"]).current_dir(Path::new(&manifest_dir).join(".."));
    if !cfg!(debug_assertions) {
        command.arg("--release");
    }
    for (name, _) in env::vars_os() {
        let of_run = |prefix| name.to_string_lossy().starts_with(prefix);
        if OF_CARGO_RUN.into_iter().any(of_run) {
            command.env_remove(name);
        }
    }
    // What cargo says goes to standard error by itself; standard output is for the figures.
    let status = command.stdin(Stdio::null()).stdout(Stdio::null()).status().or_failed("run cargo")?;
    if status.success() { Ok(()) } else { Err(Error::wrong("chatplane could not be built, see above")) }
}

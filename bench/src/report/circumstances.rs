//! Under what the figures were measured: without it they cannot be compared.

use std::{env, ffi::OsString, num::NonZero, path::Path, thread::available_parallelism};

use rustix::fs::statfs;

use crate::bench::Bench;

/// File systems that live in memory, by the numbers that `statfs` gives them: `tmpfs` and `ramfs`.
const IN_MEMORY: [u64; 2] = [0x0102_1994, 0x8584_58f6];

/// A paragraph to stand below the table.
pub(crate) fn circumstances(bench: &Bench<'_>) -> String {
    let flags: Vec<OsString> = env::args_os().skip(1).collect();
    let mut lines = vec![
        format!(
            "{} rounds on {} processors; flags: {}.",
            bench.scale.rounds,
            available_parallelism().map_or(0, NonZero::get),
            flags_in_words(&flags)
        ),
        format!("Measured: {}, {}.", bench.chatplane.display(), profile_of(bench.chatplane)),
        format!("The benchmark is {}.", if cfg!(debug_assertions) { DEBUG } else { "a release build" }),
        // The socket lies in the data directory of a temporary PostgreSQL.
        format!("PostgreSQL's data is on {}.", storage_of(bench.postgres.socket_dir())),
        format!("The data of row 9b is on {}.", storage_of(bench.scratch)),
    ];
    if bench.arguments.quick {
        lines.insert(0, "QUICK: few samples, shortly measured, so not to be quoted.".to_owned());
    }
    format!("\n{}\n", lines.join("\n"))
}

const DEBUG: &str = "a debug build, so not to be quoted";

/// All that differs from the defaults was typed.
fn flags_in_words(flags: &[OsString]) -> String {
    match flags {
        [] => "none".to_owned(),
        flags => flags.join(" ".as_ref()).to_string_lossy().into_owned(),
    }
}

/// What cargo's directory says of how a binary was built.
fn profile_of(binary: &Path) -> &'static str {
    match binary.parent().and_then(Path::file_name).and_then(|name| name.to_str()) {
        Some("release") => "a release build by its directory",
        Some("debug") => DEBUG,
        _ => "of a profile that its directory does not tell",
    }
}

/// Whether a commit there can be durable.
fn storage_of(path: &Path) -> &'static str {
    match statfs(path).map(|found| u64::try_from(found.f_type)) {
        Ok(Ok(kind)) if IN_MEMORY.contains(&kind) => "tmpfs: not durable, so not to be quoted",
        Ok(_) => "a file system that is not in memory",
        Err(_) => "a file system that could not be asked for its kind",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_binary_is_told_by_the_directory_that_cargo_has_put_it_into() {
        let profiles = ["/t/release/chatplane", "/t/debug/chatplane", "/usr/bin/chatplane"]
            .map(|binary| profile_of(Path::new(binary)));

        let unknown = "of a profile that its directory does not tell";
        assert_eq!(profiles, ["a release build by its directory", DEBUG, unknown]);
    }

    #[test]
    fn flags_are_told_as_they_were_typed() {
        assert_eq!(flags_in_words(&[]), "none");
        assert_eq!(flags_in_words(&["--rows".into(), "1,3".into()]), "--rows 1,3");
    }
}

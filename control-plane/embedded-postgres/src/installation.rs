//! Finds the server binaries of PostgreSQL on this machine.

use std::env;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use crate::command;
use crate::error::StartError;

/// The oldest major version that the schema and the launcher are written for.
const MAJOR_MIN: u32 = 14;
/// Where to look when the environment is empty.
const DEFAULT_PATH: &str = "/usr/local/bin:/usr/bin:/bin";
/// Where distributions keep several versions side by side: the folder, the start of an entry's name (the
/// version follows it), and where the binaries are below the entry.
const VERSIONED: [(&str, &str, &str); 4] = [
    ("/usr/lib/postgresql", "", "bin"),          // Debian, Ubuntu
    ("/usr", "pgsql-", "bin"),                   // the project's packages for Fedora and its relatives
    ("/opt/homebrew/opt", "postgresql@", "bin"), // Homebrew on ARM
    ("/usr/local/opt", "postgresql@", "bin"),    // Homebrew on Intel
];

/// A directory that truly holds `initdb` and `postgres`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Installation {
    pub(crate) bin_dir: PathBuf,
    pub(crate) major: u32,
}

impl Installation {
    /// Finds the binaries: those asked for, or the first found. Where data exists already, an installation
    /// of its version goes before all others.
    pub(crate) fn find(bin_dir: Option<&Path>, data_major: Option<u32>) -> Result<Self, StartError> {
        if let Some(dir) = bin_dir {
            return Self::at(dir).ok_or_else(|| StartError::BinDirUnusable { dir: dir.to_owned() });
        }
        let path = env::var_os("PATH").filter(|path| !path.is_empty());
        let path = path.unwrap_or_else(|| DEFAULT_PATH.into());
        Self::first_of(candidates(&path), data_major).ok_or(StartError::BinariesMissing)
    }

    fn first_of(candidates: impl Iterator<Item = PathBuf>, data_major: Option<u32>) -> Option<Self> {
        let mut first = None;
        for found in candidates.filter_map(|dir| Self::at(&dir)) {
            if data_major.is_none_or(|major| major == found.major) {
                return Some(found);
            }
            first = first.or(Some(found));
        }
        first
    }

    /// The installation in exactly this directory. The client library's package brings a `pg_config` alone,
    /// so both programs are looked for.
    fn at(dir: &Path) -> Option<Self> {
        // The children run in another directory.
        let bin_dir = fs::canonicalize(dir).ok()?;
        if !bin_dir.join("initdb").is_file() {
            return None;
        }
        let (status, output) =
            command::output(command::clean(&bin_dir.join("postgres")).arg("--version")).ok()?;
        let major = status.success().then(|| major_of(&String::from_utf8_lossy(&output)))??;
        (major >= MAJOR_MIN).then_some(Self { bin_dir, major })
    }

    pub(crate) fn program(&self, name: &str) -> PathBuf {
        self.bin_dir.join(name)
    }
}

/// Reads `postgres (PostgreSQL) 15.4 (Debian 15.4-1)`, and `19beta1` too.
fn major_of(version_line: &str) -> Option<u32> {
    let (_, version) = version_line.split_once("(PostgreSQL) ")?;
    leading_number(version)
}

fn leading_number(text: &str) -> Option<u32> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    text[..end].parse().ok()
}

/// Every directory worth a look, best first. Lazy: the first is nearly always right.
fn candidates(path: &OsStr) -> impl Iterator<Item = PathBuf> {
    let on_path: Vec<PathBuf> = env::split_paths(path).filter(|dir| dir.is_absolute()).collect();
    let configured = on_path.clone().into_iter().filter_map(|dir| configured_by(&dir.join("pg_config")));
    let versioned = VERSIONED.iter().flat_map(|(folder, prefix, below)| versions_in(folder, prefix, below));
    // A link to one binary (`/usr/local/bin/postgres`) leads to the others.
    let linked = on_path.into_iter().filter_map(|dir| {
        let postgres = fs::canonicalize(dir.join("postgres")).ok()?;
        Some(postgres.parent()?.to_owned())
    });
    configured.chain(versioned).chain(linked)
}

/// What a `pg_config` says.
fn configured_by(pg_config: &Path) -> Option<PathBuf> {
    if !pg_config.is_file() {
        return None;
    }
    let (status, output) = command::output(command::clean(pg_config).arg("--bindir")).ok()?;
    let dir = Path::new(OsStr::from_bytes(output.trim_ascii_end()));
    (status.success() && dir.is_absolute()).then(|| dir.to_owned())
}

/// The versions below a folder, newest first.
fn versions_in(folder: &str, prefix: &str, below: &str) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else {
        return Vec::new();
    };
    let mut versions: Vec<(u32, PathBuf)> = entries
        .filter_map(|entry| {
            let entry = entry.ok()?;
            let name = entry.file_name().into_string().ok()?;
            let version = leading_number(name.strip_prefix(prefix)?)?;
            Some((version, entry.path().join(below)))
        })
        .collect();
    versions.sort_by_key(|(version, _)| std::cmp::Reverse(*version));
    versions.into_iter().map(|(_, dir)| dir).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_major_version_is_read_from_every_form_that_postgres_prints() {
        assert_eq!(major_of("postgres (PostgreSQL) 15.4 (Debian 15.4-1)\n"), Some(15));
        assert_eq!(major_of("postgres (PostgreSQL) 19beta1\n"), Some(19));
        assert_eq!(major_of("postgres (PostgreSQL) 14.0"), Some(14));
        assert_eq!(major_of("something else"), None);
    }

    #[test]
    fn the_highest_version_comes_first_and_by_number() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["9.6", "15", "17", "14", "common"] {
            fs::create_dir_all(folder.path().join(name).join("bin")).unwrap();
        }

        let found = versions_in(folder.path().to_str().unwrap(), "", "bin");

        let expected = ["17", "15", "14", "9.6"].map(|name| folder.path().join(name).join("bin"));
        assert_eq!(found, expected);
    }

    #[test]
    fn a_pg_config_without_a_server_is_passed_over() {
        let only_client = tempfile::tempdir().unwrap();

        let found = Installation::first_of([only_client.path().to_owned()].into_iter(), None);

        assert_eq!(found, None);
    }

    #[test]
    fn when_nothing_is_found_one_sentence_names_the_packages_and_the_flag() {
        let sentence = StartError::BinariesMissing.to_string();

        for word in ["`postgresql`", "`postgresql-server`", "`--database-url`"] {
            assert!(sentence.contains(word), "{sentence}");
        }
        assert!(!sentence.contains('\n'));
    }

    #[test]
    fn data_prefers_the_installation_that_wrote_it() {
        let folder = tempfile::tempdir().unwrap();
        let dirs = ["17", "15"].map(|version| fake_installation(folder.path(), version));

        let for_new_data = Installation::first_of(dirs.clone().into_iter(), None);
        let for_old_data = Installation::first_of(dirs.clone().into_iter(), Some(15));
        let for_lost_version = Installation::first_of(dirs.into_iter(), Some(16));

        assert_eq!(for_new_data.map(|found| found.major), Some(17));
        assert_eq!(for_old_data.map(|found| found.major), Some(15));
        assert_eq!(for_lost_version.map(|found| found.major), Some(17));
    }

    fn fake_installation(folder: &Path, version: &str) -> PathBuf {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = folder.join(version);
        fs::create_dir(&dir).unwrap();
        fs::write(dir.join("initdb"), "").unwrap();
        let postgres = dir.join("postgres");
        fs::write(&postgres, format!("#!/bin/sh\necho 'postgres (PostgreSQL) {version}.1'\n")).unwrap();
        fs::set_permissions(&postgres, fs::Permissions::from_mode(0o755)).unwrap();
        dir
    }
}

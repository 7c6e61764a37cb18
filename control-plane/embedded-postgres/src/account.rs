//! The user that Postgres runs as.
//!
//! `initdb` and `postgres` refuse to run as root. So when we are root they run as the user `postgres`, else
//! `nobody`; existing data is always run by its owner. An ordinary user runs them as themselves.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStringExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::error::StartError;
use crate::{command, system};

const ROOT: u32 = 0;

/// A user and their main group, by number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Account {
    pub(crate) user: u32,
    pub(crate) group: u32,
}

/// Whose rights the children get.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RunAs {
    /// Those of this process, which is not root.
    Ourselves,
    /// Those of another user; this process is root.
    Other(Account),
}

impl RunAs {
    /// Chooses the user for data that may exist at `data`.
    pub(crate) fn choose(data: Option<&Path>) -> Result<Self, StartError> {
        if system::effective_user() != ROOT {
            return Ok(RunAs::Ourselves);
        }
        let owner = data
            .and_then(|data| fs::metadata(data).ok())
            .map(|metadata| Account { user: metadata.uid(), group: metadata.gid() })
            .filter(|owner| owner.user != ROOT);
        owner
            .or_else(|| system::account_named(c"postgres"))
            .or_else(|| system::account_named(c"nobody"))
            .map(RunAs::Other)
            .ok_or(StartError::NoAccount)
    }

    /// A command with these rights, in an environment that does not depend on ours.
    pub(crate) fn command(self, program: &Path, directory: &Path) -> Command {
        let mut command = command::clean(program);
        // The directory of the caller may be one that the other user cannot enter.
        command.current_dir(directory);
        if let RunAs::Other(account) = self {
            // Setting the user as root also drops root's supplementary groups.
            command.gid(account.group).uid(account.user);
        }
        command
    }

    /// Gives a file or directory, just made by us where nobody else may write, to the user.
    pub(crate) fn give(self, path: &Path) -> io::Result<()> {
        match self {
            RunAs::Ourselves => Ok(()),
            RunAs::Other(account) => std::os::unix::fs::lchown(path, Some(account.user), Some(account.group)),
        }
    }

    /// The topmost of `path` and the directories above it that the user may not pass through or execute.
    ///
    /// The user is asked, not the permission bits: access lists and mount options count too.
    pub(crate) fn first_unreachable(self, path: &Path) -> io::Result<Option<PathBuf>> {
        const SCRIPT: &str = r#"for path do [ -x "$path" ] || { printf %s "$path"; exit 1; }; done"#;
        if self == RunAs::Ourselves {
            return Ok(None);
        }
        let mut steps: Vec<&Path> = path.ancestors().collect();
        steps.reverse();
        let mut shell = self.command(Path::new("/bin/sh"), Path::new("/"));
        shell.args(["-c", SCRIPT, "sh"]).args(steps);
        let (status, output) = command::output(&mut shell)?;
        Ok((!status.success()).then(|| PathBuf::from(OsString::from_vec(output))))
    }
}

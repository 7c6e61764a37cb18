//! Files that nobody else may read.

use std::{
    ffi::OsString,
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Write as _},
    os::unix::{
        ffi::OsStringExt as _,
        fs::{DirBuilderExt as _, OpenOptionsExt as _},
    },
    path::{Path, PathBuf},
};

/// What could not be done with a file.
#[derive(Debug, thiserror::Error)]
#[error("could not {action} {path:?}")]
pub(crate) struct Failed {
    action: &'static str,
    path: PathBuf,
    source: io::Error,
}

/// Turns an error of the system into ours: `.map_err(failed("open", &path))`.
pub(crate) fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Failed {
    let path = path.to_owned();
    move |source| Failed { action, path, source }
}

/// Makes a directory that nobody else may enter, with what leads to it; one that exists is left as it is.
pub(crate) fn make_private(path: &Path) -> Result<(), Failed> {
    DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(failed("make", path))
}

/// Opens a file of ours for writing, readable by nobody else, and never through a link.
pub(crate) fn private_file() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.write(true).create(true).mode(0o600).custom_flags(libc::O_NOFOLLOW);
    options
}

/// Writes beside the file and renames: a reader, and the next start, see it whole or not at all.
pub(crate) fn write_private(path: &Path, content: &[u8]) -> Result<(), Failed> {
    let mut new_name = path.as_os_str().to_owned().into_vec();
    new_name.extend_from_slice(b".new");
    let new = PathBuf::from(OsString::from_vec(new_name));
    // One that a stop in the middle has left may be open to others: it is never filled.
    match fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed("remove", &new)(error)),
        _ => {}
    }
    let mut file = private_file().create_new(true).open(&new).map_err(failed("open", &new))?;
    file.write_all(content).and_then(|()| file.sync_all()).map_err(failed("write", &new))?;
    fs::rename(&new, path).map_err(failed("rename", &new))?;
    let dir = path.parent().unwrap_or(Path::new("/"));
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(failed("sync", dir))
}

#[cfg(test)]
mod tests {
    use std::{fs::Permissions, os::unix::fs::PermissionsExt as _};

    use super::*;

    #[test]
    fn a_secret_is_written_whole_and_for_us_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        let left_open = dir.path().join("token.new");
        fs::write(&left_open, "old").unwrap();
        fs::set_permissions(&left_open, Permissions::from_mode(0o644)).unwrap();

        write_private(&path, b"first").unwrap();
        write_private(&path, b"2nd").unwrap();

        assert_eq!(fs::read(&path).unwrap(), b"2nd");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}

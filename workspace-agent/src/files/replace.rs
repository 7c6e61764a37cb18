//! Replaces files so that nobody ever sees half of one: what is new is written beside the old, brought to the
//! disk, and given the name. Several files are replaced together or not at all: the old ones are kept under
//! other names until the last one is in its place.
//!
//! A file that is replaced is another file by the same name: its mode is kept, its owner as far as our rights
//! go, but no second name (hard link) and no extended attribute. Together is not "at the same instant": who
//! looks in between sees some of the files new, and an agent that is killed in between leaves it so, with the
//! old content under its other name. The model is told to look for both.

use std::{
    fs::{File, Permissions},
    io::{self, Write as _},
    os::{
        fd::OwnedFd,
        unix::fs::{PermissionsExt as _, fchown},
    },
};

use rustix::{
    fs::{self as sys, Access, AtFlags, FileType, Mode, OFlags, Stat},
    io::Errno,
};

use super::{
    Error,
    beneath::{MissingDirectories, Place, Root},
    shorten,
};

/// A place, with the path by which the model knows it.
#[derive(Debug)]
pub(super) struct Target {
    pub(super) path: String,
    place: Place,
    /// Device and number of the directory.
    directory: [i128; 2],
}

/// Two paths to the same name in the same directory are the same target.
impl PartialEq for Target {
    fn eq(&self, other: &Self) -> bool {
        (self.directory, &self.place.name) == (other.directory, &other.place.name)
    }
}

/// What was at a target when it was looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Existing {
    /// Device, number, size and time of the last change: another version of the file has others.
    version: [i128; 5],
    mode: u32,
    owner: u32,
    group: u32,
}

impl Existing {
    /// What an open file is.
    pub(super) fn of_open(file: &File) -> io::Result<Self> {
        Ok(Self::of(&sys::fstat(file)?))
    }

    fn of(stat: &Stat) -> Self {
        let version = [
            stat.st_dev.into(),
            stat.st_ino.into(),
            stat.st_size.into(),
            stat.st_mtime.into(),
            stat.st_mtime_nsec.into(),
        ];
        Self { version, mode: stat.st_mode & 0o777, owner: stat.st_uid, group: stat.st_gid }
    }
}

impl Target {
    /// Finds a target.
    pub(super) fn find(root: &Root, path: &str, missing: MissingDirectories) -> Result<Self, Error> {
        let place = root.place(path, missing)?;
        let stat = sys::fstat(&place.directory).map_err(|errno| Error::open(path, errno))?;
        Ok(Self { path: path.to_owned(), place, directory: [stat.st_dev.into(), stat.st_ino.into()] })
    }

    /// What is there now: a regular file that may be written, or nothing.
    pub(super) fn existing(&self) -> Result<Option<Existing>, Error> {
        let Place { directory, name, .. } = &self.place;
        let stat = match sys::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            Err(Errno::NOENT) => return Ok(None),
            Err(errno) => return Err(self.failed(errno)),
        };
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => {}
            FileType::Directory => return Err(Error::IsDirectory(shorten(&self.path))),
            _ => return Err(Error::NotRegular(shorten(&self.path))),
        }
        // The name could be given to another file all the same. It is protected because somebody wants it so.
        match sys::accessat(directory, name, Access::WRITE_OK, AtFlags::EACCESS) {
            Ok(()) => Ok(Some(Existing::of(&stat))),
            Err(Errno::ACCESS | Errno::PERM | Errno::ROFS) => Err(Error::WriteProtected(shorten(&self.path))),
            Err(errno) => Err(self.failed(errno)),
        }
    }

    /// Opens what is there for reading.
    pub(super) fn open(&self) -> Result<File, Error> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let file = sys::openat(&self.place.directory, &self.place.name, flags, Mode::empty());
        Ok(File::from(file.map_err(|errno| self.failed(errno))?))
    }

    /// Writes what is to be there, beside it and to the disk.
    pub(super) fn stage(self, content: &[u8], existing: Option<Existing>) -> Result<Staged, Error> {
        let failed = |path: &str, source| Error::Write { path: shorten(path), source };
        // A file that takes another's place is nobody else's to read until it has that one's mode.
        let mode = Mode::from_raw_mode(if existing.is_some() { 0o600 } else { 0o666 });
        let new = Beside::new(&self.place, mode).map_err(|error| failed(&self.path, error));
        let (new, mut file) = new?;
        let written = file
            .write_all(content)
            .and_then(|()| existing.map_or(Ok(()), |existing| dress(&file, existing)))
            .and_then(|()| file.sync_all());
        match written {
            Ok(()) => Ok(Staged { target: self, existing, new, old: None }),
            Err(error) => Err(failed(&self.path, error)),
        }
    }

    fn failed(&self, errno: Errno) -> Error {
        Error::open(&self.path, errno)
    }
}

/// Gives a file the owner and the mode of the one whose place it takes.
fn dress(file: &File, existing: Existing) -> io::Result<()> {
    let Existing { mode, owner, group, .. } = existing;
    let has_group = fchown(file, None, Some(group)).is_ok();
    // Only the superuser may give files away. What stays ours is still the user's own work.
    let _ = fchown(file, Some(owner), None);
    // Rights that were meant for one group are not given to another.
    let mode = if has_group { mode } else { mode & 0o707 };
    file.set_permissions(Permissions::from_mode(mode))
}

/// A file beside a target, by a name that nobody knows. It is removed unless it is given the target's name.
#[derive(Debug)]
struct Beside {
    directory: OwnedFd,
    name: String,
}

impl Beside {
    fn new(place: &Place, mode: Mode) -> io::Result<(Self, File)> {
        let beside = Self::unused(place)?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = sys::openat(&beside.directory, &beside.name, flags, mode)?;
        Ok((beside, File::from(file)))
    }

    fn unused(place: &Place) -> io::Result<Self> {
        let name = format!(".chatplane-{:016x}.tmp", rand::random::<u64>());
        Ok(Self { directory: place.directory.try_clone()?, name })
    }

    /// Gives the file the target's name, in place of whatever has it.
    fn put_in_place(&self, place: &Place) -> Result<(), Errno> {
        sys::renameat(&self.directory, &self.name, &place.directory, &place.name)
    }
}

impl Beside {
    /// Leaves the file where it is.
    fn keep(mut self) -> String {
        std::mem::take(&mut self.name)
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        // It is not there any more when it was put in its place, and has no name when it was kept.
        let _ = sys::unlinkat(&self.directory, &self.name, AtFlags::empty());
    }
}

/// A file whose new content is on the disk, under another name.
#[derive(Debug)]
pub(super) struct Staged {
    // These go before the directories that were made for them.
    new: Beside,
    old: Option<Beside>,
    existing: Option<Existing>,
    target: Target,
}

impl Staged {
    /// Refuses a file that is not the one whose content was read.
    fn require_unchanged(&self) -> Result<(), Error> {
        let now = self.target.existing()?;
        if now == self.existing { Ok(()) } else { Err(Error::Changed(shorten(&self.target.path))) }
    }

    /// Keeps the old file under another name, without which it could not be brought back.
    fn keep_old(&mut self) -> Result<(), Error> {
        let Some(existing) = self.existing else {
            return Ok(());
        };
        let place = &self.target.place;
        let kept = Beside::unused(place).and_then(|old| {
            match sys::linkat(&place.directory, &place.name, &old.directory, &old.name, AtFlags::empty()) {
                Ok(()) => Ok(old),
                // Not every file system has links, and not every file may have one more.
                Err(_) => self.copy_old(existing),
            }
        });
        let failed = |source| Error::Write { path: shorten(&self.target.path), source };
        self.old = Some(kept.map_err(failed)?);
        Ok(())
    }

    fn copy_old(&self, existing: Existing) -> io::Result<Beside> {
        let mut original = self.target.open().map_err(io::Error::other)?;
        let (old, mut file) = Beside::new(&self.target.place, Mode::from_raw_mode(0o600))?;
        io::copy(&mut original, &mut file)?;
        dress(&file, existing)?;
        file.sync_all()?;
        Ok(old)
    }

    /// The moment of the change.
    fn commit(&mut self) -> Result<(), Error> {
        let failed = |errno: Errno| Error::Write { path: shorten(&self.target.path), source: errno.into() };
        self.new.put_in_place(&self.target.place).map_err(failed)?;
        self.target.place.made.keep();
        Ok(())
    }

    /// Puts the old file back, or says under which name it is kept since that failed.
    fn roll_back(&mut self) -> Result<(), String> {
        // Only files that were there are ever replaced together with others.
        let old = self.old.take().expect("the old file was kept before the new one took its place");
        old.put_in_place(&self.target.place).map_err(|_| old.keep())
    }

    /// Brings the name to the disk.
    fn sync(&self) {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = sys::openat(&self.target.place.directory, ".", flags, Mode::empty());
        // The change is made, and can be seen; some file systems cannot do more.
        let _ = directory.and_then(sys::fsync);
    }
}

/// Replaces one file, whatever has become of it since it was looked at.
pub(super) fn replace(mut staged: Staged) -> Result<(), Error> {
    staged.commit()?;
    staged.sync();
    Ok(())
}

/// Replaces all files or none.
pub(super) fn replace_all(mut staged: Vec<Staged>) -> Result<(), Error> {
    staged.iter().try_for_each(Staged::require_unchanged)?;
    if staged.len() > 1 {
        staged.iter_mut().try_for_each(Staged::keep_old)?;
    }
    for index in 0..staged.len() {
        let done = staged[index].require_unchanged().and_then(|()| staged[index].commit());
        if let Err(error) = done {
            return Err(roll_back(&mut staged[..index], error));
        }
    }
    staged.iter().for_each(Staged::sync);
    Ok(())
}

/// Brings back what was replaced, the last one first. What cannot be brought back is named.
fn roll_back(replaced: &mut [Staged], error: Error) -> Error {
    let mut stuck = Vec::new();
    for staged in replaced.iter_mut().rev() {
        if let Err(kept) = staged.roll_back() {
            stuck.push(format!("`{}` (its old content is in `{kept}` beside it)", staged.target.path));
        }
        staged.sync();
    }
    if stuck.is_empty() {
        return error;
    }
    Error::HalfDone { error: Box::new(error), changed: stuck.join(", ") }
}

#[cfg(test)]
mod tests;

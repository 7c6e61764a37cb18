//! Opens what is beneath the workspace directory, and nothing else.
//!
//! A check of the path before the open would be a race: between the two, a tool or a person can put a
//! symbolic link in the way. So the check *is* the open. On Linux the kernel does it (`openat2` with
//! `RESOLVE_BENEATH`). Where it cannot, or refuses, we walk: every component is opened relative to a
//! directory we hold and never through a link; a link is read, and its target walked the same way. The
//! walk also serves absolute links that point inside, which the kernel refuses like any absolute link.
//!
//! Opening has side effects on pipes and devices (a reader wakes the writer, a tape rewinds), so the object
//! is first opened as a mere name (`O_PATH`) to see what it is, and what was really opened is looked at again.
//!
//! Who writes needs no open file but a name in a directory, where the file is or shall be: that is found by the
//! walk alone, and `..` and links that lead outside are refused all the same.
//!
//! An operator may allow what is outside. Then the whole file system takes the place of the directory, and all
//! this stays as it is; only relative paths begin in the directory.

use std::{
    borrow::Cow,
    collections::VecDeque,
    ffi::{OsStr, OsString},
    fs, io,
    os::{fd::OwnedFd, unix::ffi::OsStringExt},
    path::{Component, Path, PathBuf, absolute},
};

use rustix::{
    fs::{self as sys, AtFlags, FileType, Mode, OFlags},
    io::Errno,
};

use super::Error;

/// Links that may be followed in one path, as many as Linux follows.
const LINKS_MAX: usize = 40;

/// Directories that the walk holds at a time, one descriptor each.
const DEPTH_MAX: usize = 128;

/// Directories that are made for one file. What needs more is a mistake.
const MADE_MAX: usize = 64;

/// Opens the name of a thing and not the thing, where the system can.
#[cfg(target_os = "linux")]
const NAME_ONLY: OFlags = OFlags::PATH;
#[cfg(not(target_os = "linux"))]
const NAME_ONLY: OFlags = OFlags::RDONLY.union(OFlags::NONBLOCK);

/// A directory on the way. Passing through asks for no right to read it.
const ON_THE_WAY: OFlags = NAME_ONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

/// What a caller wants to open.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Wanted {
    Directory,
    RegularFile,
}

/// A file's name in a directory. Nothing needs to have it yet.
#[derive(Debug)]
pub(super) struct Place {
    /// It can be used as the start of a path, but not be read.
    pub(super) directory: OwnedFd,
    /// No link when it was looked at, and neither `.` nor `..`.
    pub(super) name: OsString,
    /// What was made for it.
    pub(super) made: MadeDirectories,
}

/// Directories that were made on the way to a file. They go again with this, unless they are kept.
#[derive(Debug, Default)]
pub(super) struct MadeDirectories(Vec<(OwnedFd, OsString)>);

impl MadeDirectories {
    /// The file is there.
    pub(super) fn keep(&mut self) {
        self.0.clear();
    }
}

impl Drop for MadeDirectories {
    fn drop(&mut self) {
        for (parent, name) in self.0.iter().rev() {
            // It fails where somebody else has put something there by now.
            let _ = sys::unlinkat(parent, name, AtFlags::REMOVEDIR);
        }
    }
}

/// Why there is no place.
enum NoPlace {
    /// On the way through what is there. `ISDIR` means that the path ends in no name.
    Passing(Errno),
    /// Making what is not.
    Making(Errno),
    TooDeep,
}

impl From<Errno> for NoPlace {
    fn from(errno: Errno) -> Self {
        Self::Passing(errno)
    }
}

/// What is to be done about directories on the way to a file that do not exist.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum MissingDirectories {
    Refused,
    Made,
}

/// The workspace directory.
pub(crate) struct Root {
    /// What nothing leads out of. It is opened anew for each call, so that a directory that was made anew is
    /// found.
    path: PathBuf,
    /// What absolute paths inside it begin with: its own path, and the one by which it was given.
    prefixes: Vec<PathBuf>,
    /// Where relative paths begin, seen from `path`.
    start: PathBuf,
}

impl Root {
    /// The directory must exist, and its path be resolvable now.
    pub(crate) fn new(dir: &Path) -> io::Result<Self> {
        let path = fs::canonicalize(dir)?;
        if !fs::metadata(&path)?.is_dir() {
            return Err(Errno::NOTDIR.into());
        }
        let prefixes = vec![path.clone(), absolute(dir)?];
        Ok(Self { path, prefixes, start: PathBuf::new() })
    }

    /// The same, but paths may lead anywhere.
    pub(crate) fn unconfined(dir: &Path) -> io::Result<Self> {
        let top = PathBuf::from("/");
        let start = Self::new(dir)?.path;
        let start = start.strip_prefix(&top).map_err(io::Error::other)?.to_owned();
        Ok(Self { path: top.clone(), prefixes: vec![top], start })
    }

    /// Opens the directory or the regular file at `path` for reading. It never blocks on a pipe.
    pub(super) fn open(&self, path: &str, wanted: Wanted) -> Result<OwnedFd, Error> {
        let inside = self.asked(path)?;
        let opened = |flags| self.open_beneath(&inside, flags).map_err(|errno| Error::open(path, errno));
        require(&opened(NAME_ONLY)?, path, wanted)?;
        let flags = match wanted {
            Wanted::Directory => OFlags::RDONLY | OFlags::DIRECTORY,
            // Not blocking, in case a pipe took the file's place since.
            Wanted::RegularFile => OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY,
        };
        let file = opened(flags)?;
        require(&file, path, wanted)?;
        Ok(file)
    }

    /// Finds the name at `path`, for a file to be written there. A link is followed, to where it leads.
    pub(super) fn place(&self, path: &str, missing: MissingDirectories) -> Result<Place, Error> {
        // The components of a path do not show these ends.
        if ["/", "/."].iter().any(|end| path.ends_with(end)) {
            return Err(Error::NamesDirectory(super::shorten(path)));
        }
        let inside = self.asked(path)?;
        let top = sys::open(&self.path, ON_THE_WAY, Mode::empty());
        let place =
            top.map_err(NoPlace::Passing).and_then(|top| Walk::new(self, top).place(&inside, missing));
        place.map_err(|error| match error {
            NoPlace::Passing(Errno::ISDIR) => Error::NamesDirectory(super::shorten(path)),
            NoPlace::Making(errno) | NoPlace::Passing(errno @ Errno::NAMETOOLONG) => {
                Error::Write { path: super::shorten(path), source: errno.into() }
            }
            NoPlace::Passing(errno) => Error::open(path, errno),
            NoPlace::TooDeep => Error::TooDeep(super::shorten(path)),
        })
    }

    /// Where a path that a caller gives is, seen from our own.
    fn asked<'a>(&self, path: &'a str) -> Result<Cow<'a, Path>, Error> {
        if path.is_empty() || path.contains('\0') {
            return Err(Error::PathMalformed);
        }
        let given = Path::new(path);
        let inside = self.inside(given).ok_or_else(|| Error::open(path, Errno::XDEV))?;
        let begins_at_start = given.is_relative() && !self.start.as_os_str().is_empty();
        Ok(if begins_at_start { Cow::Owned(self.start.join(inside)) } else { Cow::Borrowed(inside) })
    }

    /// The path relative to the directory, when it is not absolute or begins with it.
    fn inside<'a>(&self, path: &'a Path) -> Option<&'a Path> {
        let inside = match path.is_absolute() {
            true => self.prefixes.iter().find_map(|prefix| path.strip_prefix(prefix).ok())?,
            false => path,
        };
        Some(if inside.as_os_str().is_empty() { Path::new(".") } else { inside })
    }

    /// Whether nothing is above it: then `..` stays where it is.
    fn is_top(&self) -> bool {
        self.path.parent().is_none()
    }

    #[cfg(target_os = "linux")]
    fn open_beneath(&self, path: &Path, flags: OFlags) -> Result<OwnedFd, Errno> {
        use rustix::fs::ResolveFlags;

        let root = sys::open(&self.path, ON_THE_WAY, Mode::empty())?;
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
        match sys::openat2(&root, path, flags | OFlags::CLOEXEC, Mode::empty(), resolve) {
            // NOSYS: an old kernel. PERM: a container's filter that does not know the call. AGAIN: a rename
            // came in between. XDEV: outside, or an absolute link, of which the walk knows more.
            Err(Errno::NOSYS | Errno::PERM | Errno::AGAIN | Errno::XDEV) => {
                Walk::new(self, root).open(path, flags)
            }
            opened => opened,
        }
    }

    #[cfg(not(target_os = "linux"))]
    fn open_beneath(&self, path: &Path, flags: OFlags) -> Result<OwnedFd, Errno> {
        let root = sys::open(&self.path, ON_THE_WAY, Mode::empty())?;
        Walk::new(self, root).open(path, flags)
    }
}

/// Refuses a thing of another type than wanted.
fn require(file: &OwnedFd, path: &str, wanted: Wanted) -> Result<(), Error> {
    let stat = sys::fstat(file).map_err(|errno| Error::open(path, errno))?;
    match (wanted, FileType::from_raw_mode(stat.st_mode)) {
        (Wanted::Directory, FileType::Directory) | (Wanted::RegularFile, FileType::RegularFile) => Ok(()),
        (Wanted::Directory, _) => Err(Error::NotDirectory(super::shorten(path))),
        (Wanted::RegularFile, FileType::Directory) => Err(Error::IsDirectory(super::shorten(path))),
        (Wanted::RegularFile, _) => Err(Error::NotRegular(super::shorten(path))),
    }
}

/// A path on its way to being open. `XDEV` means that it leads outside.
struct Walk<'a> {
    root: &'a Root,
    /// The directories from the root to where we are, so that `..` needs no look at the file system.
    held: Vec<OwnedFd>,
    ahead: VecDeque<OsString>,
    links: usize,
}

impl<'a> Walk<'a> {
    fn new(root: &'a Root, directory: OwnedFd) -> Self {
        Self { root, held: vec![directory], ahead: VecDeque::new(), links: 0 }
    }

    /// The directory and the name that a path ends in.
    fn place(mut self, path: &Path, missing: MissingDirectories) -> Result<Place, NoPlace> {
        let mut made = MadeDirectories::default();
        self.go_through(path)?;
        while let Some(name) = self.ahead.pop_front() {
            if name == ".." {
                self.go_up()?;
                continue;
            }
            match self.link(&name) {
                Ok(Some(target)) => self.follow(&target)?,
                Ok(None) | Err(Errno::NOENT) if self.ahead.is_empty() => {
                    let directory = self.held.pop().expect("the root is never left");
                    return Ok(Place { directory, name, made });
                }
                Ok(None) => self.go_down(&name)?,
                // A directory is not made only to be left again.
                Err(Errno::NOENT)
                    if missing == MissingDirectories::Made && self.ahead.iter().all(|name| name != "..") =>
                {
                    self.make(&name, &mut made)?;
                    self.go_down(&name)?;
                }
                Err(errno) => return Err(errno.into()),
            }
        }
        Err(Errno::ISDIR.into())
    }

    fn make(&self, name: &OsStr, made: &mut MadeDirectories) -> Result<(), NoPlace> {
        // What is ahead is all made, but for the file's own name. It is refused before the first.
        if self.ahead.len() > MADE_MAX || self.held.len() + self.ahead.len() > DEPTH_MAX {
            return Err(NoPlace::TooDeep);
        }
        let parent = self.here().try_clone().map_err(|_| NoPlace::Making(Errno::MFILE))?;
        match sys::mkdirat(self.here(), name, Mode::from_raw_mode(0o777)) {
            Ok(()) => made.0.push((parent, name.to_owned())),
            // Somebody else was faster. Should it be no directory, going down fails.
            Err(Errno::EXIST) => {}
            Err(errno) => return Err(NoPlace::Making(errno)),
        }
        Ok(())
    }

    fn open(mut self, path: &Path, flags: OFlags) -> Result<OwnedFd, Errno> {
        self.go_through(path)?;
        while let Some(name) = self.ahead.pop_front() {
            if name == ".." {
                self.go_up()?;
            } else if let Some(target) = self.link(&name)? {
                self.follow(&target)?;
            } else if self.ahead.is_empty() {
                return self.open_here(&name, flags);
            } else {
                self.go_down(&name)?;
            }
        }
        self.open_here(OsStr::new("."), flags)
    }

    /// Puts the components of a path before those that are ahead.
    fn go_through(&mut self, path: &Path) -> Result<(), Errno> {
        for component in path.components().rev() {
            match component {
                Component::Normal(name) => self.ahead.push_front(name.to_owned()),
                Component::ParentDir => self.ahead.push_front(OsString::from("..")),
                Component::CurDir => {}
                Component::RootDir | Component::Prefix(_) => return Err(Errno::XDEV),
            }
        }
        Ok(())
    }

    fn here(&self) -> &OwnedFd {
        self.held.last().expect("the root is never left")
    }

    fn go_up(&mut self) -> Result<(), Errno> {
        if self.held.len() > 1 {
            self.held.pop();
            return Ok(());
        }
        if self.root.is_top() { Ok(()) } else { Err(Errno::XDEV) }
    }

    fn go_down(&mut self, name: &OsStr) -> Result<(), Errno> {
        if self.held.len() == DEPTH_MAX {
            return Err(Errno::NAMETOOLONG);
        }
        let directory = self.open_here(name, ON_THE_WAY)?;
        self.held.push(directory);
        Ok(())
    }

    /// Should a link have taken the name's place since it was looked at, this fails or opens the link itself.
    fn open_here(&self, name: &OsStr, flags: OFlags) -> Result<OwnedFd, Errno> {
        sys::openat(self.here(), name, flags | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())
    }

    /// Where the name leads, when it is a link.
    fn link(&self, name: &OsStr) -> Result<Option<PathBuf>, Errno> {
        match sys::readlinkat(self.here(), name, Vec::new()) {
            Ok(target) => Ok(Some(PathBuf::from(OsString::from_vec(target.into_bytes())))),
            Err(Errno::INVAL) => Ok(None),
            Err(errno) => Err(errno),
        }
    }

    fn follow(&mut self, target: &Path) -> Result<(), Errno> {
        self.links += 1;
        if self.links > LINKS_MAX {
            return Err(Errno::LOOP);
        }
        if target.is_absolute() {
            self.held.truncate(1);
        }
        self.go_through(self.root.inside(target).ok_or(Errno::XDEV)?)
    }
}

#[cfg(test)]
mod tests;

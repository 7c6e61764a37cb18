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

use std::{
    collections::VecDeque,
    ffi::{OsStr, OsString},
    fs, io,
    os::{fd::OwnedFd, unix::ffi::OsStringExt},
    path::{Component, Path, PathBuf, absolute},
};

use rustix::{
    fs::{self as sys, FileType, Mode, OFlags},
    io::Errno,
};

use super::Error;

/// Links that may be followed in one path, as many as Linux follows.
const LINKS_MAX: usize = 40;

/// Directories that the walk holds at a time, one descriptor each.
const DEPTH_MAX: usize = 128;

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

/// The workspace directory.
pub(crate) struct Root {
    /// Where it is. It is opened anew for each call, so that a directory that was made anew is found.
    path: PathBuf,
    /// What absolute paths inside it begin with: its own path, and the one by which it was given.
    prefixes: Vec<PathBuf>,
}

impl Root {
    /// The directory must exist, and its path be resolvable now.
    pub(crate) fn new(dir: &Path) -> io::Result<Self> {
        let path = fs::canonicalize(dir)?;
        if !fs::metadata(&path)?.is_dir() {
            return Err(Errno::NOTDIR.into());
        }
        let prefixes = vec![path.clone(), absolute(dir)?];
        Ok(Self { path, prefixes })
    }

    /// Opens the directory or the regular file at `path` for reading. It never blocks on a pipe.
    pub(super) fn open(&self, path: &str, wanted: Wanted) -> Result<OwnedFd, Error> {
        if path.is_empty() || path.contains('\0') {
            return Err(Error::PathMalformed);
        }
        let inside = self.inside(Path::new(path)).ok_or_else(|| Error::open(path, Errno::XDEV))?;
        let opened = |flags| self.open_beneath(inside, flags).map_err(|errno| Error::open(path, errno));
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

    /// The path relative to the directory, when it is not absolute or begins with it.
    fn inside<'a>(&self, path: &'a Path) -> Option<&'a Path> {
        let inside = match path.is_absolute() {
            true => self.prefixes.iter().find_map(|prefix| path.strip_prefix(prefix).ok())?,
            false => path,
        };
        Some(if inside.as_os_str().is_empty() { Path::new(".") } else { inside })
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
        if self.held.len() == 1 {
            return Err(Errno::XDEV);
        }
        self.held.pop();
        Ok(())
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

use std::{
    fs::{File, Permissions, set_permissions},
    io::Read,
    os::unix::fs::{PermissionsExt, symlink},
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use super::*;

/// A workspace beside a secret that must not be reached.
///
/// ```text
/// secret            "secret"
/// work/file         "inside"
/// work/sub/deep     "deep"
/// ```
struct Place {
    dir: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("work/sub")).unwrap();
        fs::write(dir.path().join("secret"), "secret").unwrap();
        fs::write(dir.path().join("work/file"), "inside").unwrap();
        fs::write(dir.path().join("work/sub/deep"), "deep").unwrap();
        Self { dir }
    }

    fn work(&self, path: &str) -> PathBuf {
        self.dir.path().join("work").join(path)
    }

    fn root(&self) -> Root {
        Root::new(&self.work("")).unwrap()
    }

    fn link(&self, target: impl AsRef<Path>, name: &str) {
        symlink(target, self.work(name)).unwrap();
    }

    /// What is read at the path, or why not, by the kernel's check. The walk must say the same.
    fn read(&self, path: &str) -> Result<String, String> {
        let root = self.root();
        let opened = root.open(path, Wanted::RegularFile).map_err(|error| error.to_string());
        let walked = self.walk(&root, path).map_err(|errno| Error::open(path, errno).to_string());
        match (opened, walked) {
            (Ok(opened), Ok(walked)) => {
                let content = content(opened);
                assert_eq!(content, self::content(walked), "both ways open the same");
                Ok(content)
            }
            // The walk knows nothing of the type that is wanted.
            (Err(opened), Ok(_)) => Err(opened),
            (Err(opened), Err(walked)) => {
                assert_eq!(opened, walked, "both ways refuse alike");
                Err(opened)
            }
            (Ok(_), Err(walked)) => panic!("only the walk refuses: {walked}"),
        }
    }

    fn walk(&self, root: &Root, path: &str) -> Result<OwnedFd, Errno> {
        let inside = root.inside(Path::new(path)).ok_or(Errno::XDEV)?;
        let directory = sys::open(&root.path, ON_THE_WAY, Mode::empty())?;
        Walk::new(root, directory).open(inside, OFlags::RDONLY | OFlags::NONBLOCK)
    }
}

fn content(file: OwnedFd) -> String {
    let mut content = String::new();
    File::from(file).read_to_string(&mut content).unwrap();
    content
}

fn outside(path: &str) -> Result<String, String> {
    Err(Error::Outside(path.to_owned()).to_string())
}

#[test]
fn paths_inside_are_opened_however_they_are_written() {
    let place = Place::new();
    let absolute = place.work("sub/deep");

    assert_eq!(place.read("file").unwrap(), "inside");
    assert_eq!(place.read("./sub//deep").unwrap(), "deep");
    assert_eq!(place.read("sub/../file").unwrap(), "inside");
    assert_eq!(place.read(absolute.to_str().unwrap()).unwrap(), "deep");
}

#[test]
fn absolute_paths_by_the_name_the_directory_was_given_are_inside() {
    let place = Place::new();
    symlink(place.work(""), place.dir.path().join("alias")).unwrap();
    let alias = place.dir.path().join("alias");

    let root = Root::new(&alias).unwrap();

    let path = alias.join("file");
    let file = root.open(path.to_str().unwrap(), Wanted::RegularFile).unwrap();
    assert_eq!(content(file), "inside");
}

#[test]
fn dots_cannot_leave() {
    let place = Place::new();
    let climbing = format!("{}/../secret", place.work("").display());

    for path in ["..", "../secret", "sub/../../secret", "../work/file", "/etc/passwd", "/", &climbing] {
        assert_eq!(place.read(path), outside(path));
    }
}

#[test]
fn a_directory_whose_name_only_begins_alike_is_outside() {
    let place = Place::new();
    fs::create_dir(place.dir.path().join("work2")).unwrap();
    fs::write(place.dir.path().join("work2/file"), "other").unwrap();
    let path = place.dir.path().join("work2/file");

    assert_eq!(place.read(path.to_str().unwrap()), outside(path.to_str().unwrap()));
}

#[test]
fn links_cannot_leave() {
    let place = Place::new();
    place.link("../secret", "relative");
    place.link(place.dir.path().join("secret"), "absolute");
    place.link("..", "up");
    place.link("/", "sub/slash");
    place.link("relative", "chain");
    place.link("sub/slash", "far");

    for path in ["relative", "absolute", "up/secret", "chain", "far/etc/passwd", "sub/slash/etc/passwd"] {
        assert_eq!(place.read(path), outside(path));
    }
}

#[test]
fn links_inside_are_followed_relative_or_absolute() {
    let place = Place::new();
    place.link("../file", "sub/up");
    place.link("sub", "folder");
    place.link(place.work("sub"), "absolute");
    place.link("absolute/up", "chain");

    assert_eq!(place.read("sub/up").unwrap(), "inside");
    assert_eq!(place.read("folder/deep").unwrap(), "deep");
    assert_eq!(place.read("absolute/deep").unwrap(), "deep");
    assert_eq!(place.read("chain").unwrap(), "inside");
    assert_eq!(place.read("folder/../file").unwrap(), "inside");
}

#[test]
fn magic_links_lead_nowhere() {
    let place = Place::new();
    let secret = File::open(place.dir.path().join("secret")).unwrap();
    let descriptor = std::os::fd::AsRawFd::as_raw_fd(&secret);
    place.link(format!("/proc/self/fd/{descriptor}"), "magic");

    assert_eq!(place.read("magic"), outside("magic"));
}

#[test]
fn a_link_put_in_the_way_in_mid_open_never_leaks() {
    let place = Place::new();
    fs::create_dir(place.dir.path().join("other")).unwrap();
    fs::write(place.dir.path().join("other/deep"), "secret").unwrap();
    place.link("../other", "trap");
    let root = place.root();
    let [sub, trap, aside] = ["sub", "trap", "aside"].map(|name| place.work(name));
    let stop = AtomicBool::new(false);

    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                for (from, to) in [(&sub, &aside), (&trap, &sub), (&sub, &trap), (&aside, &sub)] {
                    fs::rename(from, to).unwrap();
                }
            }
        });
        let _stop = StopOnDrop(&stop);
        let mut opened = 0;
        while opened < 200 {
            let files = [
                root.open("sub/deep", Wanted::RegularFile).ok(),
                place.walk(&root, "sub/deep").ok(),
                place.walk(&root, "sub/../trap/deep").ok(),
            ];
            for file in files.into_iter().flatten() {
                assert_eq!(content(file), "deep");
                opened += 1;
            }
        }
    });
}

#[test]
fn the_walk_refuses_a_link_that_was_put_in_the_way_after_it_looked() {
    let place = Place::new();
    let root = place.root();
    let directory = sys::open(&root.path, ON_THE_WAY, Mode::empty()).unwrap();
    let mut walk = Walk::new(&root, directory);
    assert_eq!(walk.link(OsStr::new("sub")), Ok(None));
    assert_eq!(walk.link(OsStr::new("file")), Ok(None));

    fs::remove_dir_all(place.work("sub")).unwrap();
    fs::remove_file(place.work("file")).unwrap();
    place.link("..", "sub");
    place.link("../secret", "file");

    assert!(walk.go_down(OsStr::new("sub")).is_err());
    assert_eq!(walk.open_here(OsStr::new("file"), OFlags::RDONLY).err(), Some(Errno::LOOP));
}

/// Lets the other thread end when an assertion fails, too.
struct StopOnDrop<'a>(&'a AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn dangling_links_and_missing_files_do_not_exist() {
    let place = Place::new();
    place.link("nothing", "dangling");

    for path in ["dangling", "missing", "sub/missing/file"] {
        assert_eq!(place.read(path), Err(Error::Missing(path.to_owned()).to_string()));
    }
}

#[test]
fn link_loops_end() {
    let place = Place::new();
    place.link("b", "a");
    place.link("a", "b");

    assert_eq!(place.read("a"), Err(Error::LinkLoop("a".to_owned()).to_string()));
}

#[test]
fn a_file_is_no_way_to_another() {
    let place = Place::new();

    assert_eq!(place.read("file/x"), Err(Error::ParentNotDirectory("file/x".to_owned()).to_string()));
}

#[test]
fn a_pipe_is_refused_and_never_blocks() {
    let place = Place::new();
    sys::mkfifoat(sys::CWD, place.work("pipe"), Mode::RUSR | Mode::WUSR).unwrap();
    let root = place.root();

    // The open runs beside the test, so that one that blocks fails it instead of hanging it.
    let (done, opened) = std::sync::mpsc::channel();
    std::thread::spawn(move || done.send(root.open("pipe", Wanted::RegularFile).map(|_| ())));
    let opened = opened.recv_timeout(Duration::from_secs(20)).expect("the open blocks");

    assert!(matches!(opened, Err(Error::NotRegular(_))), "{opened:?}");
}

#[test]
fn unreadable_files_are_forbidden() {
    let place = Place::new();
    set_permissions(place.work("file"), Permissions::from_mode(0o000)).unwrap();
    if File::open(place.work("file")).is_ok() {
        return; // The superuser reads everything.
    }

    assert_eq!(place.read("file"), Err(Error::Forbidden("file".to_owned()).to_string()));
}

#[test]
fn paths_no_system_can_open_are_refused() {
    let place = Place::new();
    let root = place.root();
    let deep = vec!["sub/.."; 100_000].join("/");
    let endless = "x".repeat(1_000_000);

    for path in ["", "a\0b"] {
        assert!(matches!(root.open(path, Wanted::RegularFile), Err(Error::PathMalformed)));
    }
    for path in [deep, endless] {
        let error = root.open(&path, Wanted::RegularFile).unwrap_err().to_string();
        assert!(error.len() < 1_000, "{error}");
    }
}

#[test]
fn a_directory_made_anew_is_found() {
    let place = Place::new();
    let root = place.root();
    fs::remove_dir_all(place.work("")).unwrap();
    fs::create_dir(place.work("")).unwrap();
    fs::write(place.work("file"), "new").unwrap();

    let file = root.open("file", Wanted::RegularFile).unwrap();

    assert_eq!(content(file), "new");
}

#[test]
fn only_a_directory_can_be_served() {
    let place = Place::new();

    assert!(Root::new(&place.work("file")).is_err());
    assert!(Root::new(&place.work("missing")).is_err());
}

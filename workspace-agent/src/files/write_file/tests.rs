use std::{
    fs::{self, Permissions},
    os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink},
    path::{Path, PathBuf},
};

use rustix::fs::{CWD, Mode, mkfifoat};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::tools::{Arguments, OutputSink};

/// A workspace beside a directory that must not be reached.
struct Place {
    dir: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("work/sub")).unwrap();
        fs::create_dir(dir.path().join("outside")).unwrap();
        Self { dir }
    }

    fn work(&self, path: &str) -> PathBuf {
        self.dir.path().join("work").join(path)
    }

    fn root(&self) -> Root {
        Root::new(&self.work("")).unwrap()
    }

    fn write(&self, path: &str, content: &str) -> Result<String, String> {
        write(&self.root(), path, content)
    }

    fn read(&self, path: &str) -> String {
        fs::read_to_string(self.work(path)).unwrap()
    }

    /// All names below the workspace and beside it.
    fn names(&self) -> Vec<String> {
        let mut names = Vec::new();
        let mut directories = vec![self.dir.path().to_owned()];
        while let Some(directory) = directories.pop() {
            for entry in fs::read_dir(directory).unwrap() {
                let entry = entry.unwrap();
                if entry.file_type().unwrap().is_dir() {
                    directories.push(entry.path());
                }
                let path = entry.path();
                names.push(path.strip_prefix(self.dir.path()).unwrap().to_str().unwrap().to_owned());
            }
        }
        names.sort();
        names
    }
}

fn call(path: &str, content: &str, cancel: CancellationToken) -> Call {
    let arguments = json!({ "path": path, "content": content }).to_string();
    Call { arguments: Arguments::parse(&arguments).unwrap(), output: OutputSink::new().0, cancel }
}

fn write(root: &Root, path: &str, content: &str) -> Result<String, String> {
    run(root, &call(path, content, CancellationToken::new())).map_err(|error| error.to_string())
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().mode() & 0o777
}

#[test]
fn a_file_is_created_and_then_replaced() {
    let place = Place::new();

    assert_eq!(place.write("a.txt", "one\ntwo\n").unwrap(), "`a.txt` was created: 2 lines, 8 bytes.");
    assert_eq!(place.write("a.txt", "x").unwrap(), "`a.txt` was replaced: 1 line, 1 bytes.");
    assert_eq!(place.write("sub/../b", "").unwrap(), "`sub/../b` was created: it is empty.");

    assert_eq!((place.read("a.txt"), place.read("b")), ("x".to_owned(), String::new()));
    assert_eq!(place.names(), ["outside", "work", "work/a.txt", "work/b", "work/sub"]);
}

#[test]
fn content_is_written_byte_by_byte() {
    let place = Place::new();
    let content = "\u{feff}čaj 茶\r\nno end \0 of file";

    place.write("a", content).unwrap();

    assert_eq!(place.read("a"), content);
}

#[test]
fn directories_that_were_made_for_a_file_go_again_when_it_is_not_written() {
    let place = Place::new();
    let before = place.names();
    let (long, deep) = ("n".repeat(256), format!("{}file", "d/".repeat(65)));

    let long_file = place.write(&format!("new/deeper/{long}"), "x").unwrap_err();
    let long_directory = place.write(&format!("new/{long}/file"), "x").unwrap_err();
    let too_deep = place.write(&deep, "x").unwrap_err();

    let nothing = "Nothing was changed.";
    for error in [long_file, long_directory] {
        assert!(error.contains("cannot be written") && error.ends_with(nothing), "{error}");
    }
    assert!(too_deep.contains("lies too deep") && too_deep.ends_with(nothing), "{too_deep}");
    assert_eq!(place.names(), before);
    let deepest = &deep["d/".len()..];
    place.write(deepest, "x").unwrap();
    assert_eq!(place.read(deepest), "x");
}

#[test]
fn a_call_that_is_cancelled_leaves_no_directory() {
    let place = Place::new();
    let before = place.names();
    let cancel = CancellationToken::new();
    cancel.cancel();
    let arguments =
        Arguments::parse(&json!({"path": "new/deeper/file", "content": "x"}).to_string()).unwrap();

    let cancelled = run(&place.root(), &Call { arguments, output: OutputSink::new().0, cancel });

    assert_eq!(cancelled.unwrap_err().to_string(), "The call was cancelled.");
    assert_eq!(place.names(), before);
}

#[test]
fn directories_on_the_way_are_made_only_to_stay() {
    let place = Place::new();

    place.write("new/deeper/file", "x").unwrap();
    let error = place.write("gone/../file", "x").unwrap_err();

    assert_eq!(place.read("new/deeper/file"), "x");
    assert!(error.starts_with("`gone/../file` does not exist"), "{error}");
    assert!(!place.work("gone").exists());
}

#[test]
fn a_replaced_file_keeps_its_mode_and_a_new_one_gets_the_usual() {
    let place = Place::new();
    for wanted in [0o755, 0o600, 0o640] {
        fs::write(place.work("file"), "old").unwrap();
        fs::set_permissions(place.work("file"), Permissions::from_mode(wanted)).unwrap();

        place.write("file", "new").unwrap();

        assert_eq!((mode(&place.work("file")), place.read("file").as_str()), (wanted, "new"));
    }
    fs::write(place.work("usual"), "").unwrap();

    place.write("made", "").unwrap();

    assert_eq!(mode(&place.work("made")), mode(&place.work("usual")));
}

#[test]
fn a_replaced_file_keeps_its_owner_where_that_is_possible() {
    let place = Place::new();
    fs::write(place.work("file"), "old").unwrap();
    if std::os::unix::fs::chown(place.work("file"), Some(12_345), Some(54_321)).is_err() {
        return; // Only the superuser gives files away.
    }

    place.write("file", "new").unwrap();

    let metadata = fs::metadata(place.work("file")).unwrap();
    assert_eq!((metadata.uid(), metadata.gid()), (12_345, 54_321));
}

#[test]
fn a_reader_of_the_old_file_never_sees_half_of_the_new_one() {
    let place = Place::new();
    place.write("file", "old").unwrap();
    let before = fs::File::open(place.work("file")).unwrap();

    place.write("file", "new").unwrap();

    assert_eq!(std::io::read_to_string(before).unwrap(), "old");
}

#[test]
fn links_inside_are_written_through() {
    let place = Place::new();
    fs::write(place.work("sub/target"), "old").unwrap();
    symlink("sub/target", place.work("link")).unwrap();
    symlink("sub/made", place.work("dangling")).unwrap();
    symlink(place.work("sub"), place.work("absolute")).unwrap();

    place.write("link", "new").unwrap();
    place.write("dangling", "made").unwrap();
    place.write("absolute/other", "other").unwrap();

    assert!(fs::symlink_metadata(place.work("link")).unwrap().is_symlink());
    assert_eq!((place.read("sub/target"), place.read("sub/made")), ("new".to_owned(), "made".to_owned()));
    assert_eq!(place.read("sub/other"), "other");
}

#[test]
fn nothing_is_written_outside() {
    let place = Place::new();
    symlink("../outside", place.work("up")).unwrap();
    symlink("../outside/made", place.work("dangling")).unwrap();
    symlink(place.dir.path().join("outside/made"), place.work("absolute")).unwrap();
    let before = place.names();
    let absolute = place.dir.path().join("outside/made");

    for path in [
        "../outside/made",
        "sub/../../outside/made",
        "up/made",
        "up/new/made",
        "dangling",
        "absolute",
        absolute.to_str().unwrap(),
        "/made",
    ] {
        let error = place.write(path, "x").unwrap_err();
        let sentence = "is outside the workspace directory, or leads there by a symbolic link";
        assert!(error.starts_with(&format!("`{path}` {sentence}")), "{error}");
    }
    assert_eq!(place.names(), before);
}

#[test]
fn an_operator_may_allow_what_is_outside() {
    let place = Place::new();
    symlink("../outside", place.work("up")).unwrap();
    symlink(place.dir.path().join("outside/linked"), place.work("absolute")).unwrap();
    let root = Root::unconfined(&place.work("")).unwrap();
    let absolute = place.dir.path().join("outside/named");

    for path in ["inside", "../outside/dots", "up/through", "absolute", absolute.to_str().unwrap()] {
        write(&root, path, "x").unwrap();
    }

    assert_eq!(
        place.names(),
        [
            "outside",
            "outside/dots",
            "outside/linked",
            "outside/named",
            "outside/through",
            "work",
            "work/absolute",
            "work/inside",
            "work/sub",
            "work/up"
        ]
    );
    let above_all = format!("{}{}", "../".repeat(50), place.work("inside").display());
    assert!(write(&root, &above_all, "y").is_ok());
    assert_eq!(place.read("inside"), "y");
}

#[test]
fn only_regular_files_are_replaced() {
    let place = Place::new();
    mkfifoat(CWD, place.work("pipe"), Mode::RUSR | Mode::WUSR).unwrap();
    fs::write(place.work("file"), "x").unwrap();
    let before = place.names();

    for (path, sentence) in [
        ("sub", "`sub` is a directory. Use list_dir to see what is in it."),
        ("pipe", "`pipe` is not a regular file (it is a pipe, a socket or a device) and cannot be used."),
        ("sub/", "`sub/` is the path of a directory. Give that of a file."),
        ("new/.", "`new/.` is the path of a directory. Give that of a file."),
        (".", "`.` is the path of a directory. Give that of a file."),
        ("sub/..", "`sub/..` is the path of a directory. Give that of a file."),
        ("", "The argument `path` must be a path without NUL characters, and not empty."),
        ("a\0b", "The argument `path` must be a path without NUL characters, and not empty."),
        (
            "file/x",
            "`file/x` cannot be opened: a part of the path before its last is a file, not a directory.",
        ),
    ] {
        assert_eq!(place.write(path, "new").unwrap_err(), sentence);
    }
    assert_eq!(place.names(), before);
}

#[test]
fn a_file_that_is_protected_from_writing_is_not_replaced() {
    let place = Place::new();
    fs::write(place.work("file"), "old").unwrap();
    fs::set_permissions(place.work("file"), Permissions::from_mode(0o444)).unwrap();
    if fs::File::options().append(true).open(place.work("file")).is_ok() {
        return; // The superuser writes everything.
    }

    let error = place.write("file", "new").unwrap_err();

    assert_eq!(error, "`file` is write-protected. Nothing was changed.");
    assert_eq!(place.read("file"), "old");
}

#[test]
fn what_cannot_be_written_leaves_nothing_behind() {
    let place = Place::new();
    let before = place.names();
    let long = "x".repeat(300);

    let error = place.write(&long, "x").unwrap_err();
    let too_large = place.write("large", &"x".repeat(CONTENT_BYTES_MAX + 1)).unwrap_err();

    assert!(error.contains("cannot be"), "{error}");
    assert_eq!(too_large, "The argument `content` is larger than 2 MiB. Nothing was changed.");
    assert_eq!(place.names(), before);
}

#[test]
fn a_cancelled_call_changes_nothing() {
    let place = Place::new();
    let cancel = CancellationToken::new();
    cancel.cancel();

    let error = run(&place.root(), &call("file", "x", cancel)).unwrap_err();

    assert!(matches!(error, Error::Cancelled), "{error}");
    assert_eq!(place.names(), ["outside", "work", "work/sub"]);
}

#[test]
fn both_arguments_must_be_there() {
    let place = Place::new();
    for (arguments, sentence) in [
        ("{}", "The argument `path` is missing."),
        (r#"{"path": "a"}"#, "The argument `content` is missing."),
        (r#"{"path": "a", "content": {}}"#, "The argument `content` must be a string."),
    ] {
        let call = Call {
            arguments: Arguments::parse(arguments).unwrap(),
            output: OutputSink::new().0,
            cancel: CancellationToken::new(),
        };

        assert_eq!(run(&place.root(), &call).unwrap_err().to_string(), sentence);
    }
}

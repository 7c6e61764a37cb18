use std::{
    fs::{self, Permissions},
    os::unix::fs::{PermissionsExt as _, symlink},
    path::PathBuf,
};

use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::*;
use crate::tools::OutputSink;

/// A workspace with some files.
struct Place {
    dir: tempfile::TempDir,
}

impl Place {
    fn new(files: &[(&str, &str)]) -> Self {
        let place = Self { dir: tempfile::tempdir().unwrap() };
        for (path, content) in files {
            fs::write(place.path(path), content).unwrap();
        }
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }

    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.dir.path()).unwrap();
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    fn edit(&self, edits: &Value) -> Result<String, String> {
        self.call(&json!({ "edits": edits }), CancellationToken::new())
    }

    fn call(&self, arguments: &Value, cancel: CancellationToken) -> Result<String, String> {
        let arguments = Arguments::parse(&arguments.to_string()).unwrap();
        let call = Call { arguments, output: OutputSink::new().0, cancel };
        run(&Root::new(self.dir.path()).unwrap(), &call).map_err(|error| error.to_string())
    }
}

#[test]
fn an_edit_changes_its_file_and_shows_the_difference() {
    let place = Place::new(&[("a.txt", "one\ntwo\nthree\nfour\nfive\nsix\nseven\neight\n")]);

    let report = place.edit(&json!([{"path": "a.txt", "old_text": "four", "new_text": "4"}])).unwrap();

    assert_eq!(place.read("a.txt"), "one\ntwo\nthree\n4\nfive\nsix\nseven\neight\n");
    let diff =
        "--- a/a.txt\n+++ b/a.txt\n@@ -1,7 +1,7 @@\n one\n two\n three\n-four\n+4\n five\n six\n seven";
    assert_eq!(report, format!("1 edit made in 1 file.\n\n{diff}"));
}

#[test]
fn edits_of_several_files_are_made_together() {
    let place = Place::new(&[("a", "1\n"), ("b", "2\n"), ("c", "3\n")]);

    let report = place
        .edit(&json!([
            {"path": "a", "old_text": "1", "new_text": "one"},
            {"path": "b", "old_text": "2", "new_text": "two"},
            {"path": "./a", "old_text": "one", "new_text": "uno"},
        ]))
        .unwrap();

    assert_eq!(
        (place.read("a"), place.read("b"), place.read("c")),
        ("uno\n".into(), "two\n".into(), "3\n".into())
    );
    assert_eq!(
        report,
        "3 edits made in 2 files.\n\n--- a/a\n+++ b/a\n@@ -1 +1 @@\n-1\n+uno\n--- a/b\n+++ b/b\n@@ -1 +1 @@\n-2\n+two"
    );
    assert_eq!(place.names(), ["a", "b", "c"]);
}

#[test]
fn a_last_edit_that_is_not_possible_leaves_every_file_as_it_was() {
    let place = Place::new(&[("a", "1\n"), ("b", "x\nx\n")]);

    let error = place
        .edit(&json!([
            {"path": "a", "old_text": "1", "new_text": "one"},
            {"path": "b", "old_text": "x\nx", "new_text": "y\nx\nx"},
            {"path": "b", "old_text": "x", "new_text": "z"},
        ]))
        .unwrap_err();

    assert_eq!(
        error,
        "Edit 3 of 3 (`b`): `old_text` is there 2 times, in lines 2, 3. Give more of the lines around the one you \
         mean, or set `replace_all`. Nothing was changed."
    );
    assert_eq!((place.read("a"), place.read("b")), ("1\n".into(), "x\nx\n".into()));
    assert_eq!(place.names(), ["a", "b"]);
}

#[test]
fn what_cannot_be_edited_is_refused_with_a_sentence() {
    let place = Place::new(&[("a", "1\n")]);
    fs::create_dir(place.path("dir")).unwrap();
    fs::write(place.path("latin"), b"caf\xe9").unwrap();
    fs::write(place.path("large"), vec![b'x'; FILE_BYTES_MAX + 1]).unwrap();
    symlink("/etc/hostname", place.path("out")).unwrap();
    for (path, old, new, reason) in [
        (
            "a",
            "2",
            "3",
            "`old_text` was not found. Read the file again, and give the text exactly as it is there: with its \
             white space, and without the line numbers that read_file shows.",
        ),
        (
            "a",
            "",
            "3",
            "`old_text` is empty. To create a file, or to replace all that is in it, use write_file.",
        ),
        ("a", "1", "1", "`old_text` and `new_text` are the same."),
        ("b", "1", "2", "`b` does not exist. To create a file, use write_file."),
        ("dir", "1", "2", "`dir` is a directory. Use list_dir to see what is in it."),
        ("dir/", "1", "2", "`dir/` is the path of a directory. Give that of a file."),
        ("latin", "1", "2", "`latin` is not UTF-8 text. Change it by a command."),
        ("large", "1", "2", "`large` is larger than 4 MiB. Change it by a command."),
        (
            "out",
            "1",
            "2",
            "`out` is outside the workspace directory, or leads there by a symbolic link. Give a path inside it, \
             relative to it.",
        ),
    ] {
        let error = place.edit(&json!([{"path": path, "old_text": old, "new_text": new}])).unwrap_err();

        assert_eq!(error, format!("Edit 1 of 1 (`{path}`): {reason} Nothing was changed."));
    }
    assert_eq!(place.read("a"), "1\n");
}

#[test]
fn arguments_that_cannot_be_meant_are_refused_with_a_sentence() {
    let place = Place::new(&[("a", "1\n")]);
    let edit = json!({"path": "a", "old_text": "1", "new_text": "2"});
    let many = vec![edit.clone(); 101];
    for (arguments, sentence) in [
        (json!({}), "The argument `edits` is missing."),
        (json!({"edits": edit}), "The argument `edits` must be an array of objects."),
        (json!({"edits": []}), "The argument `edits` is empty."),
        (
            json!({"edits": many}),
            "The argument `edits` has more than 100 edits. Nothing was changed. Make several calls.",
        ),
        (json!({"edits": [edit, {"path": "a"}]}), "The argument `edits[1].old_text` is missing."),
        (
            json!({"edits": [{"path": "a", "old_text": "1", "new_text": "2", "replace_all": "yes"}]}),
            "The argument `edits[0].replace_all` must be true or false.",
        ),
    ] {
        assert_eq!(place.call(&arguments, CancellationToken::new()).unwrap_err(), sentence);
    }
    assert_eq!(place.read("a"), "1\n");
}

#[test]
fn the_files_of_a_call_are_bounded_together() {
    let names: Vec<_> = (0..5).map(|number| format!("file{number}")).collect();
    let content = format!("1{}", "x".repeat(FILE_BYTES_MAX - 1));
    let place = Place::new(&[]);
    for name in &names {
        fs::write(place.path(name), &content).unwrap();
    }
    let edits: Vec<_> =
        names.iter().map(|name| json!({"path": name, "old_text": "1", "new_text": "2"})).collect();

    let error = place.edit(&json!(edits)).unwrap_err();

    assert_eq!(
        error,
        "Edit 5 of 5 (`file4`): The files of this call have more than 16 MiB together. Make several calls. \
         Nothing was changed."
    );
    assert!(names.iter().all(|name| place.read(name) == content));
}

#[test]
fn line_breaks_and_a_missing_last_one_stay_as_they_are() {
    let place = Place::new(&[("a", "one\r\ntwo\r\nthree"), ("b", "\u{feff}one\ntwo")]);

    let report = place
        .edit(&json!([
            {"path": "a", "old_text": "one\ntwo", "new_text": "1\n2"},
            {"path": "b", "old_text": "two", "new_text": "2"},
        ]))
        .unwrap();

    assert_eq!((place.read("a"), place.read("b")), ("1\r\n2\r\nthree".into(), "\u{feff}one\n2".into()));
    assert!(
        report.ends_with("-two\n\\ No newline at end of file\n+2\n\\ No newline at end of file"),
        "{report}"
    );
}

#[test]
fn the_mode_and_links_are_kept() {
    let place = Place::new(&[("target", "1\n")]);
    fs::set_permissions(place.path("target"), Permissions::from_mode(0o750)).unwrap();
    symlink("target", place.path("link")).unwrap();

    place
        .edit(&json!([
            {"path": "link", "old_text": "1", "new_text": "2"},
            {"path": "target", "old_text": "2", "new_text": "3"},
        ]))
        .unwrap();

    assert_eq!(place.read("target"), "3\n");
    assert_eq!(fs::metadata(place.path("target")).unwrap().permissions().mode() & 0o777, 0o750);
    assert!(fs::symlink_metadata(place.path("link")).unwrap().is_symlink());
}

#[test]
fn edits_that_undo_one_another_change_nothing() {
    let place = Place::new(&[("a", "1\n")]);

    let report = place
        .edit(&json!([
            {"path": "a", "old_text": "1", "new_text": "2"},
            {"path": "a", "old_text": "2", "new_text": "1"},
        ]))
        .unwrap();

    assert_eq!(report, "2 edits made, and undone by one another: no file was changed.");
}

#[test]
fn a_large_difference_is_cut_in_the_middle() {
    let text: String = (0..20_000).map(|number| format!("line {number}\n")).collect();
    let place = Place::new(&[("a", &text)]);

    let edit = json!([{"path": "a", "old_text": "line", "new_text": "LINE", "replace_all": true}]);
    let report = place.edit(&edit).unwrap();

    assert!(report.len() < DIFF_BYTES_MAX + 200, "{}", report.len());
    assert!(
        report.starts_with("1 edit made in 1 file.\n\n--- a/a\n+++ b/a\n@@ -1,20000 +1,20000 @@\n-line 0\n")
    );
    assert!(report.contains("\n(… ") && report.ends_with("\n+LINE 19999"));
}

#[test]
fn a_cancelled_call_changes_nothing() {
    let place = Place::new(&[("a", "1\n")]);
    let cancel = CancellationToken::new();
    cancel.cancel();

    let arguments = json!({"edits": [{"path": "a", "old_text": "1", "new_text": "2"}]});
    let error = place.call(&arguments, cancel).unwrap_err();

    assert_eq!(error, "The call was cancelled.");
    assert_eq!((place.read("a"), place.names()), ("1\n".into(), vec!["a".to_owned()]));
}

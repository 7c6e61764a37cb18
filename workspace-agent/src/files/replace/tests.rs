use std::{
    fs,
    path::{Path, PathBuf},
};

use super::*;

struct Workspace {
    dir: tempfile::TempDir,
    root: Root,
}

impl Workspace {
    /// Files `0`, `1`, …, each holding `old` and its number.
    fn new(files: usize) -> Self {
        let dir = tempfile::tempdir().unwrap();
        for number in 0..files {
            fs::write(dir.path().join(number.to_string()), format!("old {number}")).unwrap();
        }
        let root = Root::new(dir.path()).unwrap();
        Self { dir, root }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn staged(&self, name: &str) -> Staged {
        let target = Target::find(&self.root, name, MissingDirectories::Refused).unwrap();
        let existing = target.existing().unwrap();
        target.stage(format!("new {name}").as_bytes(), existing).unwrap()
    }

    /// Every name with its content, in order.
    fn content(&self) -> Vec<(String, String)> {
        let mut content: Vec<_> = fs::read_dir(self.dir.path())
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .map(|path| (name(&path), fs::read_to_string(&path).unwrap_or_default()))
            .collect();
        content.sort();
        content
    }
}

fn name(path: &Path) -> String {
    path.file_name().unwrap().to_str().unwrap().to_owned()
}

fn old(numbers: impl IntoIterator<Item = usize>) -> Vec<(String, String)> {
    numbers.into_iter().map(|number| (number.to_string(), format!("old {number}"))).collect()
}

#[test]
fn all_files_are_replaced_and_nothing_is_left_beside_them() {
    let workspace = Workspace::new(3);
    let staged = ["0", "1", "2"].map(|name| workspace.staged(name)).into();

    replace_all(staged).unwrap();

    let new: Vec<_> = (0..3).map(|number| (number.to_string(), format!("new {number}"))).collect();
    assert_eq!(workspace.content(), new);
}

#[test]
fn what_is_staged_and_not_replaced_leaves_nothing_behind() {
    let workspace = Workspace::new(1);

    drop(workspace.staged("0"));

    assert_eq!(workspace.content(), old(0..1));
}

#[test]
fn a_file_that_somebody_else_has_changed_is_not_replaced_and_no_other_either() {
    for change in [
        // In place, with the same length.
        (|path: &Path| fs::write(path, "else1").unwrap()) as fn(&Path),
        // By another file.
        |path| {
            fs::write(path.with_extension("x"), "old 1").unwrap();
            fs::rename(path.with_extension("x"), path).unwrap();
        },
        |path| fs::remove_file(path).unwrap(),
    ] {
        let workspace = Workspace::new(3);
        let staged = ["0", "1", "2"].map(|name| workspace.staged(name)).into();
        change(&workspace.path("1"));
        let before: Vec<_> =
            workspace.content().into_iter().filter(|(name, _)| !name.starts_with('.')).collect();

        let error = replace_all(staged).unwrap_err().to_string();

        let sentence =
            "`1` was changed by somebody else at the same time. Nothing was changed. Read it again.";
        assert_eq!(error, sentence);
        assert_eq!(workspace.content(), before);
    }
}

#[test]
fn when_a_rename_fails_in_the_middle_the_files_before_it_are_brought_back() {
    let workspace = Workspace::new(3);
    let staged = ["0", "1", "2"].map(|name| workspace.staged(name)).into_iter().collect::<Vec<_>>();
    let numbers = |workspace: &Workspace| {
        use std::os::unix::fs::MetadataExt as _;
        [0, 1, 2].map(|number| fs::metadata(workspace.path(&number.to_string())).unwrap().ino())
    };
    let before = numbers(&workspace);
    // The last one cannot be put in its place: what was staged for it is gone.
    fs::remove_file(workspace.path(&staged[2].new.name)).unwrap();

    let error = replace_all(staged).unwrap_err().to_string();

    assert!(error.starts_with("`2` cannot be written: No such file"), "{error}");
    assert!(error.ends_with("Nothing was changed."), "{error}");
    assert_eq!(workspace.content(), old(0..3));
    assert_eq!(numbers(&workspace), before, "they are the very same files");
}

#[test]
fn a_file_that_cannot_be_brought_back_is_named_and_kept() {
    let workspace = Workspace::new(2);
    let mut staged = ["0", "1"].map(|name| workspace.staged(name));
    staged[0].keep_old().unwrap();
    staged[0].commit().unwrap();
    // A directory that is not empty has taken the file's place.
    fs::remove_file(workspace.path("0")).unwrap();
    fs::create_dir_all(workspace.path("0/x")).unwrap();

    let error = roll_back(&mut staged[..1], Error::Changed("1".to_owned())).to_string();
    drop(staged);

    let kept: Vec<_> = workspace.content().into_iter().filter(|(name, _)| name.starts_with('.')).collect();
    let [(name, content)] = &kept[..] else { panic!("{kept:?}") };
    assert_eq!(content, "old 0");
    assert!(error.contains(&format!("`0` (its old content is in `{name}` beside it)")), "{error}");
}

#[test]
fn an_old_file_can_be_kept_as_a_copy_too() {
    let workspace = Workspace::new(1);
    let mut staged = workspace.staged("0");
    let existing = staged.existing.unwrap();

    staged.old = Some(staged.copy_old(existing).unwrap());
    staged.commit().unwrap();
    assert_eq!(fs::read_to_string(workspace.path("0")).unwrap(), "new 0");
    staged.roll_back().unwrap();
    drop(staged);

    assert_eq!(workspace.content(), old(0..1));
}

#[test]
fn rights_of_a_group_that_cannot_be_kept_are_given_to_no_other() {
    let workspace = Workspace::new(1);
    let file = File::options().write(true).open(workspace.path("0")).unwrap();
    let existing = Existing::of_open(&file).unwrap();

    // No group has this number: nobody may give a file to it.
    dress(&file, Existing { group: u32::MAX - 1, mode: 0o664, ..existing }).unwrap();

    let mode = file.metadata().unwrap().permissions().mode() & 0o777;
    let is_superuser = rustix::process::geteuid().is_root();
    assert_eq!(mode, if is_superuser { 0o664 } else { 0o604 });
}

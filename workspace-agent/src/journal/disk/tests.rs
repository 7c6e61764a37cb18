//! What a start finds after a crash at any point of a call's life.

use std::time::SystemTime;

use tempfile::TempDir;

use super::*;

/// A place for a journal.
struct Place {
    state: TempDir,
    workspace: TempDir,
}

impl Place {
    fn new() -> Self {
        Self { state: tempfile::tempdir().unwrap(), workspace: tempfile::tempdir().unwrap() }
    }

    fn open(&self) -> (Disk, Vec<Found>) {
        let (home, _) = Home::open(Some(self.state.path()), self.workspace.path()).unwrap();
        let (disk, found) = Disk::open(home).unwrap();
        // When they were written is the same for all, so that whole values can be compared.
        let found = found.into_iter().map(|found| {
            assert!(found.written > SystemTime::UNIX_EPOCH);
            Found { written: SystemTime::UNIX_EPOCH, ..found }
        });
        (disk, found.collect())
    }
}

fn start(call_index: i32) -> Start {
    let key = CallKey { chat_id: Uuid::from_u128(1), message_id: 7, call_index };
    let (workspace, input) = (Uuid::from_u128(5), Input::of("write_file", "{}"));
    Start { key, workspace, input, tool_name: "write_file" }
}

fn found(call_index: i32, has_answer: bool, bytes: u64) -> Found {
    let Start { key, workspace, input, .. } = start(call_index);
    Found { key, readable: Some((workspace, input)), has_answer, bytes, written: SystemTime::UNIX_EPOCH }
}

fn start_bytes() -> u64 {
    beginning(&start(0)).len() as u64
}

#[test]
fn what_was_written_is_found_and_read() {
    let place = Place::new();
    let (disk, nothing) = place.open();
    assert_eq!(nothing, []);
    let ended = Ended::failed("it did not work\n");

    disk.write_start(&start(0)).unwrap();
    disk.write_start(&start(1)).unwrap();
    let bytes = disk.write_end(&start(1), &ended).unwrap();
    drop(disk);

    let (disk, mut all) = place.open();
    all.sort_by_key(|found| found.key.call_index);
    assert_eq!(all, [found(0, false, start_bytes()), found(1, true, bytes)]);
    assert_eq!(disk.read_end(start(1).key).unwrap(), ended);
    assert_eq!(disk.read_end(start(0).key).unwrap_err().kind(), ErrorKind::InvalidData);
}

#[test]
fn a_write_that_a_crash_cut_short_did_not_happen() {
    let place = Place::new();
    let (disk, _) = place.open();
    disk.write_start(&start(1)).unwrap();
    for (call_index, torn) in [(0, "chatplane-ca"), (1, "chatplane-call 1\ntool wr")] {
        let unfinished = disk.path(start(call_index).key).with_added_extension("new");
        fs::write(unfinished, torn).unwrap();
    }
    drop(disk);

    let (disk, all) = place.open();

    assert_eq!(all, [found(1, false, start_bytes())]);
    assert_eq!(fs::read_dir(disk.home.calls()).unwrap().count(), 1, "the left-overs are gone");
}

#[test]
fn a_damaged_file_is_a_call_whose_outcome_is_unknown() {
    let place = Place::new();
    let (disk, _) = place.open();
    disk.write_start(&start(0)).unwrap();
    disk.write_start(&start(1)).unwrap();
    disk.write_end(&start(1), &Ended::ok("hello")).unwrap();
    fs::write(disk.path(start(0).key), "").unwrap();
    let path = disk.path(start(1).key);
    let content = fs::read_to_string(&path).unwrap();
    fs::write(&path, content.replace("hello", "hallo")).unwrap();

    let error = disk.read_end(start(1).key).unwrap_err();
    drop(disk);
    let (_, mut all) = place.open();

    assert_eq!(error.kind(), ErrorKind::InvalidData);
    all.sort_by_key(|found| found.key.call_index);
    assert_eq!(all[0], Found { readable: None, ..found(0, false, 0) });
    assert!(all[1].has_answer, "its size is right; reading it tells");
}

#[test]
fn what_is_removed_is_gone_and_may_be_removed_again() {
    let place = Place::new();
    let (disk, _) = place.open();
    disk.write_start(&start(0)).unwrap();

    disk.remove(start(0).key).unwrap();
    disk.remove(start(0).key).unwrap();
    drop(disk);

    assert_eq!(place.open().1, []);
}

#[test]
fn files_of_others_are_left_alone() {
    let place = Place::new();
    let (disk, _) = place.open();
    let theirs = disk.home.calls().join("notes.txt");
    fs::write(&theirs, "mine").unwrap();
    drop(disk);

    assert_eq!(place.open().1, []);
    assert_eq!(fs::read_to_string(theirs).unwrap(), "mine");
}

#[test]
fn a_start_that_cannot_be_written_leaves_nothing() {
    let place = Place::new();
    let (disk, _) = place.open();
    // A directory in the way of the rename fails it for every user.
    let path = disk.path(start(0).key);
    fs::create_dir_all(path.join("full")).unwrap();

    disk.write_start(&start(0)).unwrap_err();

    assert!(!path.with_added_extension("new").exists());
}

#[cfg(unix)]
#[test]
fn nobody_else_can_read_a_call() {
    use std::os::unix::fs::PermissionsExt;

    let place = Place::new();
    let (disk, _) = place.open();

    disk.write_start(&start(0)).unwrap();

    let mode = fs::metadata(disk.path(start(0).key)).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

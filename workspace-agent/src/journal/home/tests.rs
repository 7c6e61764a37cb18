//! Where the journal lies, and who may have it.

use std::os::unix::fs::{chown, symlink};

use tempfile::tempdir;

use super::*;

#[test]
fn the_id_is_made_once_for_a_workspace() {
    let (state, workspace, other) = (tempdir().unwrap(), tempdir().unwrap(), tempdir().unwrap());
    let open = |workspace: &Path| Home::open(Some(state.path()), workspace).unwrap();

    let (home, first) = open(workspace.path());
    drop(home);

    let (_home, again) = open(workspace.path());
    let (_other, another) = open(other.path());
    assert_eq!(first, again);
    assert_ne!(first, another);
}

#[test]
fn a_link_to_the_workspace_leads_to_the_same_journal() {
    let (state, places) = (tempdir().unwrap(), tempdir().unwrap());
    let (real, link) = (places.path().join("real"), places.path().join("link"));
    fs::create_dir(&real).unwrap();
    symlink(&real, &link).unwrap();

    let (home, id) = Home::open(Some(state.path()), &real).unwrap();
    drop(home);

    assert_eq!(Home::open(Some(state.path()), &link).unwrap().1, id);
}

#[test]
fn an_id_that_cannot_be_read_is_made_anew() {
    let (state, workspace) = (tempdir().unwrap(), tempdir().unwrap());
    let (home, first) = Home::open(Some(state.path()), workspace.path()).unwrap();
    fs::write(home.dir.join("id"), "garbled").unwrap();
    drop(home);

    let (_home, second) = Home::open(Some(state.path()), workspace.path()).unwrap();

    assert_ne!(first, second);
}

#[test]
fn only_we_can_enter_it() {
    let (parent, workspace) = (tempdir().unwrap(), tempdir().unwrap());
    let state = parent.path().join("deep/state");

    let (home, _) = Home::open(Some(&state), workspace.path()).unwrap();

    for dir in [&state, &home.dir, &home.calls()] {
        assert_eq!(fs::metadata(dir).unwrap().mode() & 0o777, 0o700, "{dir:?}");
    }
    let note = fs::read_to_string(home.dir.join("workspace")).unwrap();
    assert_eq!(Path::new(&note), fs::canonicalize(workspace.path()).unwrap());
}

#[test]
fn it_never_lies_in_the_workspace_and_nothing_is_made_there() {
    let (outside, workspace) = (tempdir().unwrap(), tempdir().unwrap());
    let link = outside.path().join("link");
    symlink(workspace.path(), &link).unwrap();

    for state in [
        workspace.path().to_owned(),
        workspace.path().join("a/state"),
        workspace.path().join("../").join(workspace.path().file_name().unwrap()).join("state"),
        workspace.path().join("missing/../state"),
        link.join("state"),
    ] {
        let error = Home::open(Some(&state), workspace.path()).unwrap_err();
        let said = error.to_string();
        assert!(matches!(error, JournalError::InsideWorkspace(_)), "{state:?}: {said}");
        assert!(said.contains("--state-dir (CHATPLANE_WORKSPACE_STATE_DIR)"), "{said}");
    }
    assert_eq!(fs::read_dir(workspace.path()).unwrap().count(), 0);
}

#[test]
fn a_second_agent_is_told_who_holds_it() {
    let (state, workspace) = (tempdir().unwrap(), tempdir().unwrap());
    let (home, _) = Home::open(Some(state.path()), workspace.path()).unwrap();

    let error = Home::open(Some(state.path()), workspace.path()).unwrap_err();

    let process = std::process::id();
    assert!(error.to_string().starts_with(&format!("another workspace agent (process {process}) serves")));
    drop(home);
    Home::open(Some(state.path()), workspace.path()).unwrap();
}

#[test]
fn a_directory_of_another_user_is_refused() {
    let (state, workspace) = (tempdir().unwrap(), tempdir().unwrap());
    let (home, _) = Home::open(Some(state.path()), workspace.path()).unwrap();
    let dir = home.dir.clone();
    drop(home);
    let somebody_else = rustix::process::geteuid().as_raw() + 1;
    if let Err(error) = chown(&dir, Some(somebody_else), None) {
        assert_eq!(error.kind(), io::ErrorKind::PermissionDenied, "only root can test this");
        return;
    }

    let error = Home::open(Some(state.path()), workspace.path()).unwrap_err();

    let said = error.to_string();
    assert!(said.contains("belongs to another user") && said.contains("--state-dir"), "{said}");
}

#[test]
fn a_place_that_cannot_be_used_is_named_with_the_flag() {
    let (state, workspace) = (tempdir().unwrap(), tempdir().unwrap());
    let file = state.path().join("file");
    fs::write(&file, "").unwrap();

    let error = Home::open(Some(&file.join("state")), workspace.path()).unwrap_err();

    let said = error.to_string();
    assert!(said.contains("file/state") && said.contains("--state-dir"), "{said}");
}

#[test]
fn the_default_is_the_systems_for_root_and_the_users_for_others() {
    let surroundings = |is_root, xdg_state_home: Option<&str>, home: Option<&str>| Surroundings {
        is_root,
        xdg_state_home: xdg_state_home.map(Into::into),
        home: home.map(Into::into),
    };
    let dir = |surroundings: Surroundings| surroundings.state_dir().map(|dir| dir.display().to_string());

    for (place, expected) in [
        (surroundings(true, Some("/x"), Some("/root")), Some("/var/lib/chatplane-workspace-agent")),
        (surroundings(false, Some("/x"), Some("/home/a")), Some("/x/chatplane")),
        (surroundings(false, Some("not/absolute"), Some("/home/a")), Some("/home/a/.local/state/chatplane")),
        (surroundings(false, None, None), None),
    ] {
        assert_eq!(dir(place).as_deref(), expected);
    }
    let said = JournalError::NoStateDir.to_string();
    assert!(said.contains("give --state-dir"), "{said}");
}

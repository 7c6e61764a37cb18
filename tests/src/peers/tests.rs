use tempfile::TempDir;

use super::*;

/// Counts its installations beside the directory, and installs a script.
const SCRIPT: Peer = Peer {
    name: "script",
    variable: "CHATPLANE_NO_SUCH_VARIABLE",
    needs: &["sh", "-c", "true"],
    missing: "sh is missing",
    manifest: ("manifest", "version 1"),
    steps: &[
        &["sh", "-c", "echo installed >> ../count"],
        &["sh", "-c", "printf '#!/bin/sh\\ntest -e \"$(dirname \"$0\")/complete\"' > script"],
        &["sh", "-c", "chmod +x script && touch complete"],
    ],
    fallback: &[],
    program: "script",
    probe: &[],
};

fn installations(root: &TempDir) -> usize {
    fs::read_to_string(root.path().join("count")).unwrap_or_default().lines().count()
}

#[tokio::test]
async fn a_program_is_installed_once_however_many_ask() {
    let root = TempDir::new().unwrap();

    let asked = futures::future::join_all((0..5).map(|_| install(&SCRIPT, root.path()))).await;

    let program = Program(root.path().join("script/script"));
    assert!(asked.iter().all(|found| *found == Ok(Some(program.clone()))), "{asked:?}");
    assert_eq!(installations(&root), 1);
}

#[tokio::test]
async fn another_version_and_a_broken_installation_are_installed_anew() {
    let root = TempDir::new().unwrap();
    install(&SCRIPT, root.path()).await.unwrap();

    let newer = Peer { manifest: ("manifest", "version 2"), ..SCRIPT };
    install(&newer, root.path()).await.unwrap();
    assert_eq!(installations(&root), 2);

    fs::remove_file(root.path().join("script/complete")).unwrap();
    install(&newer, root.path()).await.unwrap();
    assert_eq!(installations(&root), 3);
}

#[tokio::test]
async fn a_failed_installation_says_why_and_what_to_do_and_is_tried_again() {
    let root = TempDir::new().unwrap();
    let offline = Peer { steps: &[&["sh", "-c", "echo no network >&2; exit 7"]], ..SCRIPT };

    let failed = install(&offline, root.path()).await.unwrap_err();

    assert!(failed.contains("no network") && failed.contains(SCRIPT.variable), "{failed}");
    assert!(install(&SCRIPT, root.path()).await.unwrap().is_some());
}

#[tokio::test]
async fn the_fallback_mends_a_program_that_does_not_run() {
    let root = TempDir::new().unwrap();
    let lame = Peer {
        steps: &[
            &["sh", "-c", "printf '#!/bin/sh\\ntest -e \"$(dirname \"$0\")/complete\"' > script"],
            &["chmod", "+x", "script"],
        ],
        fallback: &["touch", "complete"],
        ..SCRIPT
    };

    assert!(install(&lame, root.path()).await.unwrap().is_some());

    let hopeless = Peer { fallback: &[], manifest: ("manifest", "version 2"), ..lame };
    assert!(install(&hopeless, root.path()).await.is_err());
}

#[tokio::test]
async fn where_the_installer_is_missing_there_is_no_program() {
    let root = TempDir::new().unwrap();
    let nowhere = Peer { needs: &["chatplane-no-such-program"], ..SCRIPT };

    assert_eq!(install(&nowhere, root.path()).await, Ok(None));
}

//! `chatplane login`: what is kept, who may read it, and what counts.

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt as _,
    path::PathBuf,
};

use serde_json::Value;

use crate::{
    fixture::{finish, finish_with_input},
    provider::{Answer, Provider},
    pty::{ENTER, Terminal},
    system::System,
};

fn system() -> System {
    System::start(&Provider::start(|_, _| Answer::Say("Hello, you.")))
}

fn file(system: &System) -> PathBuf {
    system.home().join(".config/chatplane/credentials.json")
}

fn mode(path: PathBuf) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn a_token_from_standard_input_is_checked_and_kept_for_its_user_alone() {
    let system = system();
    let login = |token: &str| {
        finish_with_input(&mut system.stranger(&["login", "--server", &system.url()]), token.as_bytes())
    };

    let refused = login("chatplane_user_wrong");
    let nothing_kept = !file(&system).exists();
    let empty = login(" \n");
    let taken = login(&format!("{}\n", system.token));
    let asked = finish(&mut system.stranger(&["send", "Hello?"]));

    assert_eq!(refused.code, Some(3), "{refused:?}");
    assert!(refused.stderr.contains("refused the token") && nothing_kept, "{refused:?}");
    assert_eq!(empty.code, Some(3), "{empty:?}");
    assert_eq!(taken.code, Some(0), "{taken:?}");
    assert!(taken.stderr.contains("credentials.json") && taken.stdout.is_empty(), "{taken:?}");
    assert!(!taken.stderr.contains(&system.token));
    assert_eq!((mode(file(&system)), mode(system.home().join(".config/chatplane"))), (0o600, 0o700));
    assert_eq!((asked.code, asked.stdout.as_str()), (Some(0), "Hello, you.\n"), "{asked:?}");
}

#[test]
fn a_token_typed_at_a_terminal_is_not_shown() {
    let system = system();
    let mut terminal = Terminal::start(&mut system.stranger(&["login", "--server", &system.url()]));

    terminal.wait_for("Token of a user of");
    terminal.press(&format!("{}{ENTER}", system.token));
    terminal.wait_for("Logged in to");

    assert_eq!(terminal.code(), Some(0), "{}", terminal.shown());
    assert!(!terminal.shown().contains(&system.token), "{}", terminal.shown());
    assert!(terminal.is_as_it_was());
    assert_eq!(mode(file(&system)), 0o600);
}

#[test]
fn the_environment_and_flags_win_over_what_is_kept() {
    let system = system();
    let words = ["login", "--server", &system.url(), "--json"];
    let login = finish_with_input(&mut system.stranger(&words), system.token.as_bytes());
    let wrong_file = system.home().join("wrong");
    fs::write(&wrong_file, "chatplane_user_wrong\n").unwrap();

    let by_variable =
        finish(system.stranger(&["send", "Hello?"]).env("CHATPLANE_TOKEN", "chatplane_user_wrong"));
    let by_file = finish(
        system
            .stranger(&["send", "Hello?", "--token-file"])
            .arg(&wrong_file)
            .env("CHATPLANE_TOKEN", &system.token),
    );
    let elsewhere = finish(&mut system.stranger(&["send", "Hello?", "--server", "http://127.0.0.1:1"]));
    let plaintext = finish(&mut system.client(&["send", "Hello?", "--server", "http://192.0.2.1:7400"]));

    assert_eq!(login.code, Some(0), "{login:?}");
    let line: Value = serde_json::from_str(&login.stdout).unwrap();
    assert_eq!(line["server"].as_str(), Some(system.url().as_str()));
    assert_eq!(line["file"].as_str(), file(&system).to_str());
    for run in [&by_variable, &by_file] {
        assert_eq!(run.code, Some(3), "{run:?}");
        assert!(run.stderr.contains("refused the token"), "{run:?}");
    }
    assert_eq!(elsewhere.code, Some(3), "{elsewhere:?}");
    assert!(elsewhere.stderr.contains("does not go to http://127.0.0.1:1"), "{elsewhere:?}");
    assert_eq!(plaintext.code, Some(3), "{plaintext:?}");
    assert!(plaintext.stderr.contains("--allow-plaintext"), "{plaintext:?}");
}

#[test]
fn what_others_could_read_is_closed_to_them_and_a_link_is_not_followed() {
    let system = system();
    let words = ["login", "--server", &system.url()];
    let login = finish_with_input(&mut system.stranger(&words), system.token.as_bytes());
    fs::set_permissions(file(&system), Permissions::from_mode(0o644)).unwrap();

    let asked = finish(&mut system.stranger(&["send", "Hello?"]));
    let mode_after = mode(file(&system));
    let elsewhere = system.home().join("elsewhere.json");
    fs::rename(file(&system), &elsewhere).unwrap();
    std::os::unix::fs::symlink(&elsewhere, file(&system)).unwrap();
    let linked = finish(&mut system.stranger(&["send", "Hello?"]));

    assert_eq!(login.code, Some(0), "{login:?}");
    assert_eq!(asked.code, Some(0), "{asked:?}");
    assert!(asked.stderr.contains("Others could read"), "{asked:?}");
    assert_eq!(mode_after, 0o600);
    assert_eq!(linked.code, Some(3), "{linked:?}");
    assert!(linked.stderr.contains("run `chatplane login`"), "{linked:?}");
}

#[test]
fn without_a_token_it_is_said_how_to_give_one() {
    let system = system();
    let chat = "0197f7a0-0000-7000-8000-000000000000";
    for words in [
        &["send", "Hello?"][..],
        &["chat"],
        &["watch", "--chat", chat],
        &["interrupt", "--chat", chat],
        &["fork", "--chat", chat],
        &["compact", "--chat", chat],
        &["clear", "--chat", chat],
        &["chats"],
        &["show", chat],
        &["read", chat],
        &["archive", chat],
        &["unarchive", chat],
        &["label", chat, "a=b"],
        &["pin", chat],
        &["unpin", chat],
        &["files", "list", chat],
        &["files", "upload", "a.txt"],
        &["files", "download", chat],
    ] {
        let run = finish(&mut system.stranger(words));

        assert_eq!(run.code, Some(3), "{run:?}");
        assert!(run.stderr.contains("chatplane login") && run.stderr.contains("CHATPLANE_TOKEN"), "{run:?}");
    }
}

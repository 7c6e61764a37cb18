//! `chatplane files`, and files that go with a message.

use std::{fs, path::PathBuf, process::Command};

use serde_json::Value;

use crate::{
    fixture::{Finished, finish},
    provider::{Answer, Provider, last_words},
    pty::{CTRL_D, ENTER, Terminal},
    system::System,
};

/// More than a piece of an upload, and of a download.
const LARGE_LINES: usize = 40_000;

fn reader() -> Provider {
    Provider::start(|_, request| match request["messages"].to_string() {
        messages if messages.contains("marsh marigold") => Answer::Say("I see a marsh marigold."),
        _ if last_words(request).is_empty() => Answer::Say("I see something."),
        _ => Answer::Say("I see nothing."),
    })
}

/// A file in the person's home, where the commands run.
fn file(system: &System, name: &str, content: &str) -> PathBuf {
    let path = system.home().join(name);
    fs::write(&path, content).unwrap();
    path
}

fn at_home(system: &System, words: &[&str]) -> Command {
    let mut command = system.client(words);
    command.current_dir(system.home());
    command
}

fn run(system: &System, words: &[&str]) -> Finished {
    finish(&mut at_home(system, words))
}

#[test]
fn a_file_goes_up_and_comes_down_as_it_was() {
    let system = System::start(&reader());
    let content = "a line of a large file\n".repeat(LARGE_LINES);
    let path = file(&system, "Übersicht 日本.txt", &content);

    let up = run(&system, &["files", "upload", "Übersicht 日本.txt"]);
    let id = up.stdout.trim().to_owned();
    let again = run(&system, &["files", "upload", "--json", "Übersicht 日本.txt"]);
    let kept = run(&system, &["files", "download", &id]);
    fs::remove_file(&path).unwrap();
    let down = run(&system, &["files", "download", &id]);
    let elsewhere = run(&system, &["files", "download", "--json", &id, "--output", "other.txt"]);
    let streamed = run(&system, &["files", "download", &id, "--output", "-"]);

    assert_eq!((up.code, id.len()), (Some(0), 36), "{up:?}");
    assert_eq!(up.stderr, "Übersicht 日本.txt: text/plain, 898 KiB\n");
    let again: Value = serde_json::from_str(&again.stdout).unwrap();
    assert_eq!(again["file"]["fileId"].as_str(), Some(id.as_str()));
    assert_eq!(kept.code, Some(3), "what is there is not overwritten: {kept:?}");
    assert!(kept.stderr.contains("File exists") && kept.stderr.contains("--output"), "{kept:?}");
    assert_eq!((down.code, down.stdout.as_str()), (Some(0), ""), "{down:?}");
    assert!(fs::read_to_string(&path).unwrap() == content);
    let elsewhere: Value = serde_json::from_str(&elsewhere.stdout).unwrap();
    assert_eq!(elsewhere["file"]["mediaType"], "text/plain");
    assert!(fs::read_to_string(system.home().join("other.txt")).unwrap() == content);
    assert!(streamed.code == Some(0) && streamed.stdout == content);
}

#[test]
fn a_name_that_the_control_plane_does_not_take_is_mended_on_the_way_up() {
    let system = System::start(&reader());
    file(&system, "back\\slash.txt", "words\n");

    let up = run(&system, &["files", "upload", "back\\slash.txt"]);

    assert_eq!((up.code, up.stderr.as_str()), (Some(0), "back_slash.txt: text/plain, 6 bytes\n"), "{up:?}");
}

#[test]
fn what_cannot_be_uploaded_or_downloaded_is_refused_with_words() {
    let system = System::start(&reader());
    fs::write(system.home().join("a.bin"), [0, 159, 146, 150]).unwrap();
    let nowhere = "0197f7a0-0000-7000-8000-000000000000";

    for (words, code, reason) in [
        (&["files", "upload", "nothing.txt"][..], 3, "\"nothing.txt\" cannot be read"),
        (&["files", "upload", "."], 3, "cannot be read"),
        (&["files", "upload", "a.bin"], 3, "refused to take the file"),
        (&["files", "upload"], 2, "PATH"),
        (&["files", "download", nowhere], 3, "refused to give the file"),
        (&["files", "download", "nonsense"], 2, "nonsense"),
        (&["send", "--file", "nothing.txt", "Look."], 3, "cannot be read"),
        (&["send"], 2, "TEXT"),
    ] {
        let run = run(&system, words);
        assert_eq!((run.code, run.stdout.as_str()), (Some(code), ""), "{words:?}: {run:?}");
        assert!(run.stderr.contains(reason), "{words:?}: {run:?}");
    }
    assert!(!system.home().join("file").exists(), "nothing is left of it");
}

#[test]
fn a_file_that_goes_with_a_message_reaches_the_model_and_is_the_chats() {
    let system = System::start(&reader());
    file(&system, "flowers.md", "# Flowers\n\nThe marsh marigold is yellow.\n");
    file(&system, "more.csv", "name,colour\niris,blue\n");

    let words = ["send", "What is in it?", "--file", "flowers.md", "--file", "more.csv"];
    let sent = run(&system, &words);
    let alone = run(&system, &["send", "--json", "--file", "more.csv"]);
    let listed: Value = serde_json::from_str(alone.stdout.lines().next().unwrap_or_default()).unwrap();
    let chat = listed["chat"]["chatId"].as_str().unwrap_or_default();
    let files = run(&system, &["files", "list", chat]);
    let json = run(&system, &["files", "list", "--json", chat]);

    assert_eq!((sent.code, sent.stdout.as_str()), (Some(0), "I see a marsh marigold.\n"), "{sent:?}");
    assert_eq!(alone.code, Some(0), "{alone:?}");
    let file: Value = serde_json::from_str(&json.stdout).unwrap();
    let id = file["fileId"].as_str().unwrap_or_default();
    assert_eq!(files.stdout, format!("{id}          22  text/csv          more.csv\n"));
}

#[test]
fn in_a_chat_the_files_go_with_the_first_message() {
    let system = System::start(&reader());
    file(&system, "flowers.md", "The marsh marigold is yellow.\n");
    let mut terminal = Terminal::start(&mut at_home(&system, &["chat", "--file", "flowers.md"]));
    terminal.wait_until_idle();

    terminal.press(&format!("What is in it?{ENTER}"));
    terminal.wait_for("I see a marsh marigold.");
    terminal.wait_until_idle();
    let screen = terminal.screen();
    terminal.press(CTRL_D);

    assert_eq!(terminal.code(), Some(0), "{}", terminal.shown());
    assert!(screen.contains("[flowers.md, 30 bytes]"), "{screen}");
}

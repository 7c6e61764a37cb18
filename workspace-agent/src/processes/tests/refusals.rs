//! What is not run.

use serde_json::json;

use super::support::*;

#[tokio::test]
async fn what_cannot_be_meant_is_refused_with_a_sentence() {
    let place = Place::new();
    let long = "x".repeat(100 * 1024 + 1);
    for (arguments, sentence) in [
        (json!({}), "The argument `command` is missing."),
        (json!({"command": 3}), "The argument `command` must be a string."),
        (json!({"command": " \n"}), "The argument `command` is empty."),
        (
            json!({"command": "a\0b"}),
            "The argument `command` contains a NUL character, which no command can.",
        ),
        (
            json!({ "command": long }),
            "The argument `command` is longer than 100 KiB. Write a script with write_file, and run that.",
        ),
        (
            json!({"command": "true", "timeout_s": 0}),
            "The argument `timeout_s` must be a whole number of at least 1.",
        ),
        (
            json!({"command": "true", "timeout_s": 601}),
            "The argument `timeout_s` must be at most 600. Split what takes longer into several calls.",
        ),
        (
            json!({"command": "true", "directory": "missing"}),
            "`missing` does not exist, or is a symbolic link to something that does not. \
             Use list_dir to look.",
        ),
        (
            json!({"command": "true", "directory": "/"}),
            "`/` is outside the workspace directory, or leads there by a symbolic link. \
             Give a path inside it, relative to it.",
        ),
    ] {
        let ended = place.call(arguments).await;

        assert_eq!((ended.output.as_str(), ended.is_error), (sentence, true));
    }
}

#[tokio::test]
async fn the_longest_command_runs() {
    let place = Place::new();
    let command = format!("echo {}", "x".repeat(100 * 1024 - 5));

    let ended = place.run(&command).await;

    assert!(ended.output.ends_with("x\n(exit code 0)"), "{}", &ended.output[..200]);
}

#[tokio::test]
async fn a_guard_that_cannot_be_started_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let files = crate::files::Files::new(std::sync::Arc::new(crate::files::Root::new(dir.path()).unwrap()));
    let guard = super::super::GuardProgram { program: "/does/not/exist".into(), arguments: Vec::new() };
    let environment = super::super::Environment::cleaned(&[]).unwrap();
    let orphans = super::super::Orphans::LeftAlone;
    let processes = super::super::Processes::new(guard, orphans, environment, files).unwrap();
    let place = Place { dir, execute: processes.tools().pop().unwrap() };

    let ended = place.run("true").await;

    assert!(ended.is_error && ended.output.starts_with("The command could not be started: "), "{ended:?}");
}

#[tokio::test]
async fn a_call_that_waits_for_its_turn_can_be_cancelled_and_does_not_wait_for_ever() {
    let place = Place::new();
    let hold = json!({ "command": "echo $$ >> running; until test -e go; do sleep 0.02; done" });
    let holding: Vec<_> = (0..16).map(|_| place.start(&hold)).collect();
    place.pids("running", 16).await;

    let cancelled = place.start(&json!({ "command": "touch ran" }));
    cancelled.cancel.cancel();
    let cancelled = cancelled.end().await;
    let refused = place.call(json!({ "command": "touch ran", "timeout_s": 1 })).await;

    assert_eq!(cancelled.output, "The command was not run, because the call was cancelled.");
    assert_eq!(refused.output, "The workspace is busy: 16 commands are running. Try again later.");
    assert!(cancelled.is_error && refused.is_error);
    std::fs::write(place.path("go"), "").unwrap();
    for started in holding {
        assert_eq!(started.end().await.output, "(no output)\n(exit code 0)");
    }
    assert!(!place.path("ran").exists());
}

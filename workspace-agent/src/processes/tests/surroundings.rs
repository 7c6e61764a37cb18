//! What a command sees: directory, environment, descriptors, processes above it.

use std::{collections::BTreeSet, fs, os::fd::AsFd as _};

use rustix::io::{FdFlags, fcntl_setfd};
use serde_json::json;

use super::{super::*, support::*};

#[tokio::test]
async fn it_runs_in_the_workspace_or_in_a_directory_of_it() {
    let place = Place::new();
    fs::create_dir(place.path("sub dir")).unwrap();
    let root = fs::canonicalize(place.dir.path()).unwrap();

    let above = place.run("pwd").await;
    let below = place.call(json!({ "command": "pwd", "directory": "sub dir" })).await;

    assert_eq!(above.output, format!("{}\n(exit code 0)", root.display()));
    assert_eq!(below.output, format!("{}/sub dir\n(exit code 0)", root.display()));
}

#[tokio::test]
async fn env_shows_the_cleaned_environment_and_nothing_else() {
    let place = Place::new();

    let ended = place.run("env").await;

    let lines = ended.output.strip_suffix("\n(exit code 0)").unwrap();
    let names: BTreeSet<_> = lines.lines().filter_map(|line| Some(line.split_once('=')?.0)).collect();
    // The shell's own.
    let shell = ["PWD", "OLDPWD", "SHLVL", "_"];
    for name in &names {
        assert!(TOOL_ENVIRONMENT.contains(name) || shell.contains(name) || *name == "TERM", "{name}");
    }
    assert!(names.contains("PATH") && lines.contains("TERM=dumb"), "{lines}");
    // The test's own environment has others: cargo's.
    assert!(std::env::vars().any(|(name, _)| name.starts_with("CARGO_PKG_")));
}

#[tokio::test]
async fn a_variable_that_the_operator_passes_is_seen() {
    let pass = vec!["CARGO_PKG_NAME".to_owned()];
    let environment = Environment::cleaned(&pass).unwrap();
    let place = Place::with(tempfile::tempdir().unwrap(), environment, Orphans::LeftAlone);

    let ended = place.run("echo $CARGO_PKG_NAME").await;

    assert_eq!(ended.output, "chatplane-workspace-agent\n(exit code 0)");
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn no_descriptor_of_the_agent_is_inherited_however_it_is_marked() {
    let place = Place::new();
    let inherited = fs::File::open("/dev/null").unwrap();
    fcntl_setfd(inherited.as_fd(), FdFlags::empty()).unwrap();

    // The shell itself looks: `ls` would have opened the directory.
    let ended = place.run("for fd in /proc/$$/fd/*; do test -e $fd && echo ${fd##*/}; done").await;

    assert!(ended.output.starts_with("0\n1\n2\n"), "{}", ended.output);
    // The shell may hold its own script's copy above 9, and the list that it reads; nothing of ours is there.
    let targets = place.run("for fd in /proc/$$/fd/*; do readlink $fd; done | sort -u").await;
    assert!(!targets.output.contains("socket:"), "{}", targets.output);
    assert_eq!(targets.output.matches("/dev/null").count(), 1, "{}", targets.output);
    drop(inherited);
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn the_guard_shows_nothing_of_the_agent_or_the_command() {
    let place = Place::new();

    let ended =
        place.run("tr '\\0' '\\n' < /proc/$PPID/environ; tr '\\0' ' ' < /proc/$PPID/cmdline # sesame").await;

    assert!(!ended.output.contains("CARGO_PKG_"), "{}", ended.output);
    assert!(!ended.output.contains("sesame"), "{}", ended.output);
}

//! How commands end, and that nothing of theirs is left.

use std::process::{Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

use super::{super::*, support::*};
use crate::{files::Root, tools::Ended};

/// Starts a child, one in a session of its own, and one that is nobody's child, and writes their numbers and
/// the shell's into `pids`.
const TREE: &str = "echo $$ >> pids
    sleep 1000 & echo $! >> pids
    setsid sh -c 'echo $$ >> pids; sleep 1000; true' &
    (setsid sh -c 'echo $$ >> pids; trap \"\" TERM HUP INT; sleep 1000; true' > /dev/null 2>&1 & )
    until test $(wc -l < pids) -ge 4; do sleep 0.01; done
";
const TREE_SIZE: usize = 4;

#[tokio::test]
async fn a_timeout_kills_the_whole_tree_and_keeps_what_was_written() {
    let place = Place::new();
    let command = format!("echo begun; {TREE} sleep 1000");

    let ended = place.call(json!({ "command": command, "timeout_s": 3 })).await;

    assert_eq!(
        ended,
        Ended::failed(
            "begun\n(timed out: the command was killed after 3 s, with everything it had started; \
             give a larger `timeout_s`, at most 600, or split the work)"
        )
    );
    all_gone(&place.pids("pids", TREE_SIZE).await).await;
}

/// Chains of processes of which each starts the next one and ends. They would end by themselves after a minute.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_chain_of_processes_that_start_one_another_and_end_is_caught() {
    for next in ["sh ./link &", "setsid sh ./link &", "sh ./link & setsid sh -c 'sleep 60; true' &"] {
        let place = Place::new();
        let link = format!("test $(date +%s) -lt $END || exit; echo $$ >> pids; {next}");
        std::fs::write(place.path("link"), link).unwrap();
        let command = "export END=$(($(date +%s) + 60)); sh ./link; sleep 1000";
        let started = place.start(&json!({ "command": command }));
        place.pids("pids", 20).await;

        started.cancel.cancel();
        let ended = started.end().await;

        let killed = "(no output)\n(cancelled: the command was killed, with everything it had started)";
        assert_eq!(ended, Ended::failed(killed), "{next}");
        all_gone(&place.pids("pids", 20).await).await;
    }
}

#[tokio::test]
async fn a_cancelled_call_kills_the_whole_tree() {
    let place = Place::new();
    let started = place.start(&json!({ "command": format!("{TREE} sleep 1000") }));
    let pids = place.pids("pids", TREE_SIZE).await;

    started.cancel.cancel();
    let ended = started.end().await;

    assert_eq!(
        ended,
        Ended::failed("(no output)\n(cancelled: the command was killed, with everything it had started)")
    );
    all_gone(&pids).await;
}

#[tokio::test]
async fn a_call_that_is_dropped_kills_the_whole_tree() {
    let place = Place::new();
    let started = place.start(&json!({ "command": format!("{TREE} sleep 1000") }));
    let pids = place.pids("pids", TREE_SIZE).await;

    started.task.abort();

    all_gone(&pids).await;
}

#[tokio::test]
async fn what_runs_in_the_background_ends_with_the_shell() {
    let place = Place::new();

    let ended = place.run(&format!("{TREE} echo done")).await;

    let [words, notice] =
        ["done\n(exit code 0)", "that ran on in the background when the shell ended: killed)"];
    assert!(ended.output.starts_with(words) && ended.output.ends_with(notice), "{}", ended.output);
    assert!(!ended.is_error);
    all_gone(&place.pids("pids", TREE_SIZE).await).await;
}

#[tokio::test]
async fn what_is_about_to_end_in_the_background_may_say_its_last_word() {
    let place = Place::new();

    let ended = place.run("(sleep 0.01; echo last) & echo first").await;

    assert_eq!(ended, Ended::ok("first\nlast\n(exit code 0)"));
}

#[tokio::test]
async fn a_shell_that_is_ended_by_a_signal_has_failed() {
    let place = Place::new();

    let ended = place.run("echo before; kill -SEGV $$").await;

    assert_eq!(ended, Ended::failed("before\n(the shell was ended by signal 11)"));
}

#[tokio::test]
async fn killing_the_own_process_group_ends_the_command_alone() {
    let place = Place::new();

    let ended = place.run("trap 'echo trapped; exit 7' TERM; kill 0; echo not reached").await;

    assert_eq!(ended, Ended::ok("trapped\n(exit code 7)"));
}

#[tokio::test]
async fn a_command_that_kills_its_guard_dies_with_it() {
    let place = Place::new();

    let ended =
        place.run("echo $$ >> pids; sleep 1000 & echo $! >> pids; kill -KILL $PPID; sleep 1000").await;

    assert!(ended.is_error && ended.output.contains("guards the command was killed"), "{}", ended.output);
    all_gone(&place.pids("pids", 2).await).await;
}

/// However early: the agent knows what to kill before the command's first word is read.
#[tokio::test]
async fn many_commands_that_kill_their_guards_at_once_die_with_them() {
    let place = Place::new();
    let calls = (0..40).map(|number| {
        let place = &place;
        let command =
            format!("echo $$ >> {number}; sleep 1000 & echo $! >> {number}; kill -KILL $PPID; sleep 9");
        async move { place.run(&command).await }
    });

    futures::future::join_all(calls).await;

    for number in 0..40 {
        all_gone(&place.pids(&number.to_string(), 2).await).await;
    }
}

#[tokio::test]
async fn a_command_that_stops_its_guard_still_times_out() {
    let place = Place::new();
    let command = "echo $$ >> pids; sleep 1000 & echo $! >> pids; kill -STOP $PPID; sleep 1000";

    let ended = place.call(json!({ "command": command, "timeout_s": 2 })).await;

    assert!(ended.is_error && ended.output.contains("killed or stopped"), "{}", ended.output);
    all_gone(&place.pids("pids", 2).await).await;
}

#[tokio::test]
async fn many_commands_at_a_time_do_not_mix() {
    let place = Place::new();

    let calls = (0..40).map(|number| {
        let command = format!("echo {number}; sleep 0.0{}; exit {number}", number % 7);
        let place = &place;
        async move { assert_eq!(place.run(&command).await.output, format!("{number}\n(exit code {number})")) }
    });

    futures::future::join_all(calls).await;
}

/// What the program does first in every role.
fn hide_this_process() {
    #[cfg(target_os = "linux")]
    {
        use rustix::process::{DumpableBehavior, set_dumpable_behavior};

        set_dumpable_behavior(DumpableBehavior::NotDumpable).unwrap();
    }
}

/// An agent of its own, as a "test" that other tests start: it runs one command in the current directory.
const AGENT: &str = "processes::tests::ends::the_agent";

#[test]
#[ignore = "what other tests start as an agent"]
fn the_agent() {
    if !is_started_as(AGENT) {
        return;
    }
    hide_this_process();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let files = Files::new(Arc::new(Root::new(".".as_ref()).unwrap()));
        let environment = Environment::cleaned(&[]).unwrap();
        let processes = Processes::new(guard_program(), Orphans::Adopted, environment, files).unwrap();
        let place =
            Place { dir: tempfile::tempdir_in(".").unwrap(), execute: processes.tools().pop().unwrap() };
        let command = std::fs::read_to_string("command").unwrap();
        let ended = place.run(&command).await;
        std::fs::write("ended", ended.output).unwrap();
        let spared = std::env::var("SPARED").ok();
        let is_spared = |child: &children::Child| spared == Some(child.pid.to_string());
        let nobody_is_left = || children::children().is_ok_and(|left| left.iter().all(is_spared));
        eventually("no child is left", nobody_is_left).await;
    });
    std::fs::write("over", "").unwrap();
}

/// An entry point of a container, as a "test": it starts something, and then becomes the agent.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn an_agent_spares_what_was_its_child_before_it_was_an_agent() {
    use std::os::unix::process::CommandExt as _;

    use rustix::process::test_kill_process;

    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("command"), "kill -KILL $PPID; sleep 1000").unwrap();
    let entry = "sleep 1000 & echo $! > sidecar; export SPARED=$!; exec \"$@\"";
    let mut agent = Command::new("/bin/sh")
        .args(["-c", entry, "entry"])
        .arg(std::env::current_exe().unwrap())
        .args(arguments(AGENT))
        .current_dir(dir.path())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .process_group(0)
        .spawn()
        .unwrap();
    let sidecar = pids(&dir.path().join("sidecar"), 1).await[0];

    eventually("the agent is done", || dir.path().join("over").exists()).await;
    agent.wait().unwrap();

    test_kill_process(sidecar).unwrap();
    kill_process(sidecar, Signal::KILL).unwrap();
    all_gone(&[sidecar]).await;
}

/// Starts the agent above in a directory.
fn agent(dir: &std::path::Path, command: &str) -> std::process::Child {
    std::fs::write(dir.join("command"), command).unwrap();
    Command::new(std::env::current_exe().unwrap())
        .args(arguments(AGENT))
        .current_dir(dir)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .unwrap()
}

#[tokio::test]
async fn an_agent_that_is_killed_leaves_nothing_behind() {
    let dir = tempfile::tempdir().unwrap();
    let mut agent = agent(dir.path(), &format!("{TREE} echo $PPID >> pids; sleep 1000"));
    let pids = pids(&dir.path().join("pids"), TREE_SIZE + 1).await;

    kill_process(Pid::from_child(&agent), Signal::KILL).unwrap();
    agent.wait().unwrap();

    all_gone(&pids).await;
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn nobody_but_the_superuser_sees_the_environment_of_an_agent() {
    let dir = tempfile::tempdir().unwrap();
    let command = "agent=$(sed -n 's/^PPid:[[:space:]]*//p' /proc/$PPID/status)
        tr '\\0' ' ' < /proc/$agent/cmdline; cat /proc/$agent/environ";
    let mut agent = agent(dir.path(), command);

    eventually("the agent is done", || dir.path().join("over").exists()).await;

    agent.wait().unwrap();
    let ended = std::fs::read_to_string(dir.path().join("ended")).unwrap();
    assert!(ended.contains(AGENT), "that was the agent: {ended}");
    let is_superuser = rustix::process::geteuid().is_root();
    assert_eq!(ended.contains("CARGO_PKG_NAME"), is_superuser, "{ended}");
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn an_agent_kills_what_a_killed_guard_has_left() {
    let dir = tempfile::tempdir().unwrap();
    let mut agent = agent(dir.path(), &format!("{TREE} kill -KILL $PPID; sleep 1000"));
    let pids = pids(&dir.path().join("pids"), TREE_SIZE).await;

    eventually("the agent is done", || dir.path().join("over").exists()).await;

    agent.wait().unwrap();
    all_gone(&pids).await;
    let ended = std::fs::read_to_string(dir.path().join("ended")).unwrap();
    assert!(ended.contains("guards the command was killed"), "{ended}");
}

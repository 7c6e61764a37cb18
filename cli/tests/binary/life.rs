//! The life of `dev`'s processes and data: what ends, what stays, what is repaired.

use std::{fs, os::unix::fs::PermissionsExt as _, time::Duration};

use rustix::process::Signal;
use serde_json::json;

use crate::{
    fixture::{Places, Process, Running, finish, processes_naming, wait_until},
    provider::{Answer, Provider},
};

const SERVES: &str = "chatplane serves";
/// What the README promises of a `dev` that was killed.
const KILLED_TIME_MAX: Duration = Duration::from_secs(5);

#[test]
fn when_dev_is_killed_nothing_of_it_stays_and_the_next_one_starts() {
    for places in Places::of_each_user() {
        let mut dev = Running::start(&mut places.dev());
        dev.wait_for_line(SERVES);

        dev.signal(Signal::KILL);
        dev.finish();
        places.wait_at_most_until_nothing_runs(KILLED_TIME_MAX);
        let next = finish(places.dev().args(["--prompt", "Are you there?"]));

        assert_eq!(next.code, Some(0), "{next:?}");
    }
}

#[test]
fn when_dev_is_killed_the_processes_of_a_running_tool_go_with_it() {
    let places = Places::new();
    let mark = places.workspace().join("mark");
    // One in the foreground, and one that has left its group and lost its parent; both name the directory.
    let command = format!(
        "(setsid sh -c 'touch {mark}.2; sleep 300; : {mark}' &) ; touch {mark}.1; sleep 300; : {mark}",
        mark = mark.display()
    );
    let provider = Provider::start(move |_, _| Answer::Call("execute", json!({"command": command})));
    let mut dev = places.dev();
    dev.args(["--prompt", "Sleep."]).env("ANTHROPIC_API_KEY", "sk-any-key");
    let dev = Running::start(dev.env("ANTHROPIC_BASE_URL", provider.url()));
    wait_until(|| match (mark.with_extension("1").exists(), mark.with_extension("2").exists()) {
        (true, true) => Ok(()),
        neither => Err(format!("{neither:?} have begun")),
    });
    let running = || processes_naming(&mark);
    assert!(running().len() >= 2, "{:?}", running());

    dev.signal(Signal::KILL);
    dev.finish();

    places.wait_at_most_until_nothing_runs(KILLED_TIME_MAX);
    assert!(running().is_empty(), "{:?}", running());
}

#[test]
fn after_a_kill_during_a_tool_the_next_dev_waits_for_the_old_agent_also_to_reset() {
    let places = Places::new();
    let mark = places.workspace().join("mark");
    // It does not end when it is asked to.
    let command = format!("trap '' TERM; touch {}; while :; do sleep 1; done", mark.display());
    let provider = Provider::start(move |_, request| match request.to_string().contains("Loop.") {
        true => Answer::Call("execute", json!({"command": command})),
        false => Answer::Say("Hello, you."),
    });
    let dev = |arguments: &[&str]| {
        let mut dev = places.dev();
        dev.args(arguments).env("ANTHROPIC_API_KEY", "sk-any-key").env("ANTHROPIC_BASE_URL", provider.url());
        dev
    };
    for arguments in [&["--prompt", "Hello?"][..], &["--reset", "--prompt", "Hello?"]] {
        let looping = Running::start(&mut dev(&["--prompt", "Loop."]));
        wait_until(|| mark.exists().then_some(()).ok_or_else(|| "no tool runs".to_owned()));
        fs::remove_file(&mark).expect("the tool has made it");

        let old_agent = places.role("workspace-agent");
        let old_pids: Vec<u32> = places.processes().iter().map(|process| process.pid).collect();
        // The old agent cannot let go of its journal before the next `dev` has come to where it needs it.
        old_agent.signal(Signal::STOP);
        looping.signal(Signal::KILL);
        looping.finish();
        let next = Running::start(&mut dev(arguments));
        wait_until(|| {
            let is_new_worker =
                |process: &Process| process.is_role("worker") && !old_pids.contains(&process.pid);
            let holder = fs::read_to_string(places.data().join("lock")).unwrap_or_default();
            let has_come = match arguments.contains(&"--reset") {
                true => holder.trim() == next.pid().to_string(),
                false => places.processes().iter().any(is_new_worker),
            };
            has_come.then_some(()).ok_or_else(|| next.complained())
        });
        old_agent.signal(Signal::CONT);
        let next = next.finish();

        assert_eq!((next.code, next.stdout.as_str()), (Some(0), "Hello, you.\n"), "{next:?}");
    }
    places.wait_until_nothing_runs();
}

#[test]
fn a_first_start_that_was_killed_at_any_point_is_repaired_by_the_next() {
    for point in [
        "version",
        "postgres/lock",
        "postgres/data.new",
        "postgres/data/PG_VERSION",
        "identity/user-id",
        "identity/user-token",
        "logs/serve.log",
        "identity/workspaces",
        "logs/workspace-agent.log",
    ] {
        let places = Places::new();
        let dev = Running::start(&mut places.dev());
        let file = places.data().join(point);
        wait_until(|| file.exists().then_some(()).ok_or_else(|| format!("no {point}")));

        dev.signal(Signal::KILL);
        dev.finish();
        places.wait_until_nothing_runs();
        let next = finish(places.dev().args(["--prompt", "Are you there?"]));

        assert_eq!(next.code, Some(0), "killed at {point}: {next:?}");
    }
}

#[test]
fn reset_starts_afresh_says_what_it_removed_and_leaves_what_is_not_its_own() {
    let places = Places::new();
    let token = || fs::read_to_string(places.data().join("identity/user-token")).unwrap_or_default();
    let first = finish(places.dev().args(["--prompt", "Hello?"]));
    let first_token = token();
    fs::write(places.data().join("thesis.txt"), "years of work").expect("the data directory is ours");

    let second = finish(places.dev().args(["--reset", "--prompt", "Hello again?"]));

    assert_eq!((first.code, second.code), (Some(0), Some(0)), "{first:?} {second:?}");
    assert!(second.stderr.contains("the database with all chats, the tokens"), "{second:?}");
    assert!(!first_token.is_empty() && !token().is_empty());
    assert_ne!(first_token, token());
    let thesis = fs::read_to_string(places.data().join("thesis.txt"));
    assert_eq!(thesis.ok().as_deref(), Some("years of work"));
}

#[test]
fn reset_on_nothing_says_so_and_under_another_dev_is_refused() {
    let places = Places::new();
    let mut first = Running::start(places.dev().arg("--reset"));
    first.wait_for_line(SERVES);

    let second = finish(places.dev().args(["--reset", "--prompt", "Hello?"]));
    first.signal(Signal::TERM);
    let pid = first.pid();
    let first = first.finish();

    assert_eq!(second.code, Some(3), "{second:?}");
    assert!(second.stderr.contains(&format!("process {pid}")), "{second:?}");
    assert_eq!(first.code, Some(0), "{first:?}");
    assert!(first.stderr.contains("There was nothing to remove"), "{first:?}");
}

#[test]
fn data_of_another_postgres_is_refused_with_what_to_do_and_reset_is_one_of_it() {
    let places = Places::new();
    let first = finish(places.dev().args(["--prompt", "Hello?"]));
    fs::write(places.data().join("postgres/data/PG_VERSION"), "9\n")
        .expect("the data is ours, or we are root");

    let refused = finish(places.dev().args(["--prompt", "Hello?"]));
    let afresh = finish(places.dev().args(["--reset", "--prompt", "Hello?"]));

    assert_eq!(first.code, Some(0), "{first:?}");
    assert_eq!(refused.code, Some(3), "{refused:?}");
    for word in ["belongs to PostgreSQL 9", "pg_upgrade", "--reset"] {
        assert!(refused.stderr.contains(word), "{refused:?}");
    }
    assert_eq!(afresh.code, Some(0), "{afresh:?}");
}

#[test]
fn only_the_control_plane_gets_the_key_and_no_process_shows_a_token() {
    let places = Places::new();
    let mut dev = Running::start(places.dev().env("ANTHROPIC_API_KEY", "sk-secret"));
    dev.wait_for_line(SERVES);

    let processes = places.processes();

    for role in ["serve", "worker", "workspace-agent"] {
        let process = places.role(role);
        match &process.environment {
            // Only root may look, and looks here.
            Some(environment) => assert_eq!(environment.contains("sk-secret"), role == "serve", "{role}"),
            None => assert!(!rustix::process::geteuid().is_root(), "{role}"),
        }
    }
    for file in ["user-token", "worker-token"] {
        let path = places.data().join("identity").join(file);
        let mode = fs::metadata(&path).map(|metadata| metadata.permissions().mode() & 0o777);
        assert_eq!(mode.ok(), Some(0o600), "{file}");
        let token = fs::read_to_string(path).unwrap_or_default();
        assert!(!token.trim().is_empty());
        for process in &processes {
            assert!(!process.command_line.contains(token.trim()), "{process:?}");
            let environment = process.environment.clone().unwrap_or_default();
            assert!(!environment.contains(token.trim()), "{process:?}");
        }
    }
    assert!(processes.iter().all(|process| !process.command_line.contains("sk-secret")));
}

#[test]
fn a_command_of_an_ordinary_user_cannot_look_into_its_neighbours() {
    let places = Places::of_an_ordinary_user();
    let provider = Provider::start(|call, _| match call {
        0 => {
            let look = "cat /proc/[0-9]*/environ 2>/dev/null | tr '\\0' '\\n' | sort -u > seen";
            Answer::Call("execute", json!({"command": look}))
        }
        _ => Answer::Say("done"),
    });
    let mut dev = places.dev();
    dev.args(["--prompt", "Look."]).env("ANTHROPIC_API_KEY", "sk-neighbour");

    let run = finish(dev.env("ANTHROPIC_BASE_URL", provider.url()));

    assert_eq!((run.code, run.stdout.as_str()), (Some(0), "done\n"), "{run:?}");
    let seen = fs::read_to_string(places.workspace().join("seen")).unwrap_or_default();
    assert!(seen.contains("PATH="), "it saw its own: {seen}");
    assert!(!seen.contains("sk-neighbour"), "{seen}");
    assert!(!seen.contains("CHATPLANE_DATABASE_URL"), "{seen}");
    places.wait_until_nothing_runs();
}

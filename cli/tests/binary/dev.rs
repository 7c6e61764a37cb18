//! `chatplane dev`, from nothing to an answer and back to nothing.

use std::{fs, net::TcpListener, os::unix::fs::PermissionsExt as _};

use rustix::process::Signal;

use crate::{
    fixture::{Places, Running, finish},
    provider::RefusingProvider,
};

const SERVES: &str = "chatplane serves";

#[test]
fn the_demo_model_tells_what_is_in_a_directory_it_has_never_seen() {
    let places = Places::new();
    fs::write(places.workspace().join("heron.md"), "# Wading birds\n\nThe egret is white.\n").unwrap();
    fs::create_dir(places.workspace().join("quagmire")).unwrap();

    let first = finish(places.dev().args(["--prompt", "What is in this directory?"]));
    let token = fs::read(places.data().join("identity/user-token")).unwrap();
    places.wait_until_nothing_runs();
    let second = finish(places.dev().args(["--prompt", "And now?"]));
    let token_later = fs::read(places.data().join("identity/user-token")).unwrap();
    places.wait_until_nothing_runs();

    for run in [&first, &second] {
        assert_eq!(run.code, Some(0), "{run:?}");
        assert_eq!(
            run.stderr.lines().next(),
            Some("No ANTHROPIC_API_KEY: the built-in demo model answers."),
            "{run:?}"
        );
        for word in ["heron.md", "quagmire", "egret"] {
            assert!(run.stdout.contains(word), "{run:?}");
        }
        assert!(run.stdout.ends_with('\n') && !run.stdout.contains('→'), "{run:?}");
        assert!(run.stderr.contains("→ list_dir {"), "{run:?}");
        assert!(run.stderr.contains("← list_dir: "), "{run:?}");
    }
    assert_eq!(token, token_later, "the data was not kept");
}

#[test]
fn every_directory_has_a_workspace_of_its_own() {
    let places = Places::new();
    let other = places.workspace().with_file_name("other");
    fs::create_dir(&other).unwrap();
    fs::write(places.workspace().join("heron.md"), "").unwrap();
    fs::write(other.join("marten.md"), "").unwrap();

    let here = finish(places.dev().args(["--prompt", "What is here?"]));
    let there = finish(places.dev().args(["--prompt", "What is here?", "--dir"]).arg(&other));

    assert!(here.stdout.contains("heron.md") && !here.stdout.contains("marten.md"), "{here:?}");
    assert!(there.stdout.contains("marten.md") && !there.stdout.contains("heron.md"), "{there:?}");
    assert_eq!(fs::read_dir(places.data().join("identity/workspaces")).unwrap().count(), 2);
}

#[test]
fn a_wrong_key_is_told_by_the_name_of_its_variable_after_one_call() {
    let places = Places::new();
    let provider = RefusingProvider::start();

    let run = finish(
        places
            .dev()
            .args(["--prompt", "Hello?", "--model", "some-model"])
            .env("ANTHROPIC_API_KEY", "sk-wrong")
            .env("ANTHROPIC_BASE_URL", format!("http://{}", provider.address)),
    );

    assert_eq!(run.code, Some(1), "{run:?}");
    assert!(run.stderr.lines().next().unwrap().contains("Anthropic's some-model at"), "{run:?}");
    assert!(run.stderr.lines().last().unwrap().contains("check ANTHROPIC_API_KEY"), "{run:?}");
    assert!(!run.stderr.contains("sk-wrong"), "{run:?}");
    assert_eq!(run.stdout, "");
    assert_eq!(provider.calls(), 1, "{run:?}");
    places.wait_until_nothing_runs();
}

#[test]
fn a_second_dev_is_told_who_has_the_data_and_the_first_goes_on_until_it_is_stopped() {
    let places = Places::new();
    let mut first = Running::start(&mut places.dev());
    first.wait_for_line(SERVES);

    let second = finish(places.dev().args(["--prompt", "Hello?"]));
    first.signal(Signal::TERM);
    let pid = first.pid();
    let first = first.finish();

    assert_eq!(second.code, Some(3), "{second:?}");
    assert!(second.stderr.contains(&format!("process {pid}")), "{second:?}");
    assert!(second.stderr.contains("--data-dir"), "{second:?}");
    assert_eq!(first.code, Some(0), "{first:?}");
    places.wait_until_nothing_runs();
}

#[test]
fn an_interrupt_stops_everything() {
    let places = Places::new();
    let mut dev = Running::start(&mut places.dev());
    dev.wait_for_line(SERVES);

    dev.signal(Signal::INT);
    let dev = dev.finish();

    assert_eq!(dev.code, Some(130), "{dev:?}");
    places.wait_until_nothing_runs();
}

#[test]
fn when_dev_is_killed_nothing_of_it_stays_and_the_next_one_starts() {
    let places = Places::new();
    let mut dev = Running::start(&mut places.dev());
    dev.wait_for_line(SERVES);

    dev.signal(Signal::KILL);
    dev.finish();
    places.wait_until_nothing_runs();
    let next = finish(places.dev().args(["--prompt", "Are you there?"]));

    assert_eq!(next.code, Some(0), "{next:?}");
}

#[test]
fn a_role_that_dies_ends_the_run_and_is_named() {
    let places = Places::new();
    let mut dev = Running::start(&mut places.dev());
    dev.wait_for_line(SERVES);

    let worker = places.processes().into_iter().find(|process| process.is_role("worker"));
    let worker =
        worker.and_then(|worker| rustix::process::Pid::from_raw(worker.pid.try_into().unwrap())).unwrap();
    rustix::process::kill_process(worker, Signal::KILL).unwrap();
    let dev = dev.finish();

    assert_eq!(dev.code, Some(3), "{dev:?}");
    assert!(dev.stderr.contains("worker ended unexpectedly"), "{dev:?}");
    places.wait_until_nothing_runs();
}

#[test]
fn only_the_control_plane_gets_the_key_and_no_process_shows_a_token() {
    let places = Places::new();
    let mut dev = Running::start(places.dev().env("ANTHROPIC_API_KEY", "sk-secret"));
    dev.wait_for_line(SERVES);

    let processes = places.processes();

    for role in ["serve", "worker", "workspace-agent"] {
        let process = processes.iter().find(|process| process.is_role(role)).expect(role);
        assert_eq!(process.environment.contains("sk-secret"), role == "serve", "{role}");
    }
    for file in ["user-token", "worker-token"] {
        let path = places.data().join("identity").join(file);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600, "{file}");
        let token = fs::read_to_string(path).unwrap();
        for process in &processes {
            assert!(!process.command_line.contains(token.trim()), "{process:?}");
            assert!(!process.environment.contains(token.trim()), "{process:?}");
        }
    }
    assert!(processes.iter().all(|process| !process.command_line.contains("sk-secret")));
}

#[test]
fn a_database_that_forgot_its_users_is_given_new_ones() {
    let places = Places::new();
    let first = finish(places.dev().args(["--prompt", "Hello?"]));
    fs::remove_dir_all(places.data().join("postgres")).unwrap();

    let second = finish(places.dev().args(["--prompt", "Hello again?"]));

    assert_eq!(first.code, Some(0), "{first:?}");
    assert_eq!(second.code, Some(0), "{second:?}");
}

#[test]
fn the_usual_port_taken_is_said_and_another_one_used() {
    let places = Places::new();
    // When somebody else has it, it is taken as well.
    let _taken = TcpListener::bind("127.0.0.1:7400");
    let mut command = crate::fixture::chatplane();
    command.arg("dev").arg("--data-dir").arg(places.data()).current_dir(places.workspace());

    let run = finish(command.args(["--prompt", "Hello?"]));

    assert_eq!(run.code, Some(0), "{run:?}");
    assert!(run.stderr.contains("Port 7400 is taken"), "{run:?}");
}

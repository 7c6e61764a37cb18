//! `chatplane dev`, from nothing to an answer and back to nothing.

use std::{fs, net::TcpListener};

use rustix::process::Signal;
use serde_json::json;

use crate::{
    fixture::{Places, Running, finish, finish_with_input},
    provider::{Answer, Provider},
};

const SERVES: &str = "chatplane serves";

#[test]
fn the_demo_model_tells_what_is_in_a_directory_it_has_never_seen() {
    for places in Places::of_each_user() {
        fs::write(places.workspace().join("heron.md"), "# Wading birds\n\nThe egret is white.\n").unwrap();
        fs::create_dir(places.workspace().join("quagmire")).unwrap();
        for number in 0..15 {
            fs::write(places.workspace().join(format!(".hidden{number}")), "").unwrap();
        }

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
                Some("No ANTHROPIC_API_KEY or OPENAI_API_KEY: the built-in demo model answers."),
                "{run:?}"
            );
            for word in ["heron.md", "quagmire", "egret", "`ls -A | wc -l` printed:\n> 17\n"] {
                assert!(run.stdout.contains(word), "{run:?}");
            }
            assert!(run.stdout.ends_with('\n') && !run.stdout.contains('→'), "{run:?}");
            assert!(run.stderr.contains("→ list_dir {"), "{run:?}");
            assert!(run.stderr.contains("← list_dir: "), "{run:?}");
            assert!(run.stderr.contains("The agent may change files and run commands in"), "{run:?}");
        }
        assert_eq!(token, token_later, "the data was not kept");
    }
}

#[test]
fn without_a_data_directory_the_data_is_kept_in_the_users_home() {
    let places = Places::of_an_ordinary_user();
    let home = places.workspace().with_file_name("data");
    let mut dev = places.dev_by_default();

    let run = finish(dev.env("HOME", &home).args(["--prompt", "Hello?"]));

    assert_eq!(run.code, Some(0), "{run:?}");
    assert!(home.join(".local/share/chatplane/identity/user-token").is_file());
    places.wait_until_nothing_runs();
}

#[test]
fn a_port_or_a_postgres_that_cannot_be_used_keeps_reset_from_deleting_anything() {
    let places = Places::new();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let token = || fs::read(places.data().join("identity/user-token")).ok();
    let first = finish(places.dev().args(["--prompt", "Hello?"]));
    let first_token = token();
    let mut dev = crate::fixture::chatplane();
    dev.args(["dev", "--reset", "--port", &port, "--data-dir"]).arg(places.data());

    let without_port = finish(dev.current_dir(places.workspace()));
    let mut dev = places.dev();
    dev.args(["--reset", "--prompt", "Hello?", "--postgres-bin-dir"]).arg(places.workspace());
    let without_postgres = finish(&mut dev);
    let later = finish(places.dev().args(["--prompt", "Hello again?"]));

    assert_eq!(first.code, Some(0), "{first:?}");
    for run in [&without_port, &without_postgres] {
        assert_eq!(run.code, Some(3), "{run:?}");
        assert!(!run.stderr.contains("Removed"), "{run:?}");
    }
    assert_eq!(later.code, Some(0), "{later:?}");
    assert!(first_token.is_some());
    assert_eq!(token(), first_token);
}

#[test]
fn an_empty_variable_counts_as_none_and_a_false_one_as_no() {
    let places = Places::new();
    let mut dev = places.dev();
    let names = ["DATABASE_URL", "PORT", "PROMPT", "WORKSPACE_DIR", "WORKSPACE_PASS_ENV", "MODEL", "LOG"];
    dev.envs(names.map(|name| (format!("CHATPLANE_{name}"), "")));
    dev.env("CHATPLANE_POSTGRES_BIN_DIR", "").env("CHATPLANE_RESET", "false");

    let run = finish(dev.args(["--prompt", "Hello?"]));
    let mut elsewhere = places.dev();
    elsewhere.args(["--prompt", "Hello?"]).env("CHATPLANE_RESET", "false");
    let elsewhere = finish(elsewhere.env("CHATPLANE_DATABASE_URL", "postgres://u@127.0.0.1:1/none"));

    assert_eq!(run.code, Some(0), "{run:?}");
    assert_eq!(elsewhere.code, Some(3), "it is only the database that cannot be reached: {elsewhere:?}");
}

#[test]
fn read_only_leaves_no_tool_that_writes_or_runs() {
    let places = Places::new();
    fs::write(places.workspace().join("heron.md"), "# Wading birds\n\nThe egret is white.\n").unwrap();
    let provider = Provider::start(|call, request| {
        let tools = request["tools"].as_array().cloned().unwrap_or_default();
        let names: Vec<&str> = tools.iter().filter_map(|tool| tool["name"].as_str()).collect();
        assert_eq!(names, ["list_dir", "read_file"]);
        match call {
            0 => Answer::Call("execute", json!({"command": "touch ran"})),
            _ => Answer::Say("I could not."),
        }
    });

    let demo = finish(places.dev().args(["--read-only", "--prompt", "What is here?"]));
    let mut dev = places.dev();
    dev.args(["--read-only", "--prompt", "Run it."]).env("ANTHROPIC_API_KEY", "sk-any-key");
    let forbidden = finish(dev.env("ANTHROPIC_BASE_URL", provider.url()));

    assert_eq!(demo.code, Some(0), "{demo:?}");
    assert!(demo.stdout.contains("egret") && !demo.stdout.contains("wc -l"), "{demo:?}");
    assert!(demo.stderr.contains("it may not write, nor run commands (--read-only)"), "{demo:?}");
    assert!(!demo.stderr.contains("execute"), "{demo:?}");
    assert_eq!(forbidden.stdout, "I could not.\n", "{forbidden:?}");
    assert!(forbidden.stderr.contains("← execute failed"), "{forbidden:?}");
    assert!(!places.workspace().join("ran").exists());
}

#[test]
fn a_command_sees_the_toolchain_and_what_is_passed_and_no_secret() {
    let places = Places::new();
    let provider = Provider::start(|call, request| match call {
        0 => Answer::Call("execute", json!({"command": "env | sort > seen"})),
        _ => Answer::Say(if request.to_string().contains("sk-any-key") { "leaked" } else { "done" }),
    });
    let mut dev = places.dev();
    dev.args(["--prompt", "Run it.", "--pass-env", "HERON"])
        .env("ANTHROPIC_API_KEY", "sk-any-key")
        .env("ANTHROPIC_BASE_URL", provider.url())
        .envs([("CARGO_HOME", "/opt/cargo"), ("HERON", "white"), ("EGRET", "grey")]);

    let run = finish(&mut dev);

    assert_eq!(run.stdout, "done\n", "{run:?}");
    let seen = fs::read_to_string(places.workspace().join("seen")).unwrap();
    assert!(seen.contains("CARGO_HOME=/opt/cargo\n") && seen.contains("HERON=white\n"), "{seen}");
    for secret in ["EGRET", "ANTHROPIC", "CHATPLANE", "token"] {
        assert!(!seen.contains(secret), "{seen}");
    }
}

#[test]
fn a_prompt_is_read_from_standard_input_to_its_end() {
    let places = Places::new();
    let provider = Provider::start(|_, request| {
        let said = request["messages"].to_string();
        Answer::Say(if said.contains("first line") && said.contains("last line") { "both" } else { "cut" })
    });
    let dev = || {
        let mut dev = places.dev();
        dev.args(["--prompt", "-"]).env("ANTHROPIC_API_KEY", "sk-any-key");
        dev.env("ANTHROPIC_BASE_URL", provider.url());
        dev
    };

    let run = finish_with_input(&mut dev(), b"first line\n\nlast line\n");

    assert_eq!((run.code, run.stdout.as_str()), (Some(0), "both\n"), "{run:?}");
    for (input, word) in
        [(&b" \n"[..], "empty"), (b"\xff\xfe", "UTF-8"), (&[b'x'; 256 * 1024 + 1], "256 KiB")]
    {
        let run = finish_with_input(&mut dev(), input);

        assert_eq!(run.code, Some(2), "{run:?}");
        assert!(run.stderr.contains(word), "{run:?}");
    }
    assert_eq!(provider.calls(), 1);
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
fn a_role_that_dies_ends_the_run_and_is_named() {
    let places = Places::new();
    let mut dev = Running::start(&mut places.dev());
    dev.wait_for_line(SERVES);

    places.role("worker").signal(Signal::KILL);
    let dev = dev.finish();

    assert_eq!(dev.code, Some(3), "{dev:?}");
    assert!(dev.stderr.contains("worker ended unexpectedly"), "{dev:?}");
    places.wait_until_nothing_runs();
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

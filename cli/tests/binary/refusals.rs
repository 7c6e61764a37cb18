//! What is refused before anything runs: one sentence, and an exit code that scripts can rely on.

use std::{fs, net::TcpListener, os::unix::fs::symlink};

use crate::fixture::{Places, chatplane, finish};

/// As good as any.
const CHAT: &str = "0197f7a0-0000-7000-8000-000000000000";

#[test]
fn wrong_usage_ends_with_2() {
    for arguments in [
        &["dev", "--no-such-flag"][..],
        &["dev", "--prompt", ""],
        &["dev", "--reset", "--database-url", "postgres://x/y"],
        &["dev", "--postgres-bin-dir", "/", "--database-url", "postgres://x/y"],
        &["no-such-role"],
        &["--log", "nonsense=nonsense", "worker"],
        &["admin", "create-token", "--database-url", "postgres://x/y"],
        &["send"],
        &["send", "--busy", "sometimes", "Hello?"],
        &["send", "--workspace", "mine", "Hello?"],
        &["chat", "--chat", "the-last-one"],
        &["watch"],
        &["watch", "--chat", CHAT, "--history", "-2"],
        &["fork", "--chat", CHAT, "--message", "0"],
        // Other users of the machine see arguments.
        &["login", "--token", "chatplane_user_abc"],
        &[],
    ] {
        let run = finish(chatplane().args(arguments));

        assert_eq!(run.code, Some(2), "{arguments:?}: {run:?}");
        assert_eq!(run.stdout, "", "{arguments:?}");
    }
}

#[test]
fn a_command_gets_no_variable_that_may_hold_a_secret_and_no_message_repeats_a_value() {
    let places = Places::new();
    for (name, word) in [
        ("ANTHROPIC_API_KEY", "ANTHROPIC_API_KEY"),
        ("HERON, OPENAI_BASE_URL", "OPENAI_BASE_URL"),
        ("CHATPLANE_DATABASE_URL", "CHATPLANE_DATABASE_URL"),
        ("HERON=sk-secret", "without `=`"),
    ] {
        let run = finish(places.dev().args(["--prompt", "Hello?", "--pass-env", name]));

        assert_eq!(run.code, Some(2), "{run:?}");
        assert!(run.stderr.contains(word) && run.stderr.contains("--pass-env"), "{run:?}");
        assert!(!run.stderr.contains("sk-secret"), "{run:?}");
    }
    assert!(!places.data().exists(), "something was made");
}

#[test]
fn every_role_prints_help_for_operators() {
    let help = |words: &[&str]| {
        let run = finish(chatplane().args(words).arg("--help"));
        assert_eq!(run.code, Some(0), "{words:?}: {run:?}");
        assert!(run.stdout.contains("Usage: chatplane"), "{words:?}: {run:?}");
        run.stdout
    };

    let clients = ["login", "chat", "send", "watch", "interrupt", "fork", "compact", "clear"];
    let library = ["chats", "show", "read", "archive", "unarchive", "label", "pin", "unpin", "completions"];
    let roles =
        ["serve", "worker", "workspace-agent", "dev", "admin"].into_iter().chain(clients).chain(library);
    let files = ["upload", "download", "list"].map(|command| vec!["files", command]);
    for words in roles.map(|role| vec![role]).chain(files) {
        let text = help(&words);
        for part in ["Exit codes: ", "Security: "] {
            assert!(text.contains(part), "{words:?}: {text}");
        }
    }
    for command in ["create-user", "create-workspace", "create-token"] {
        help(&["admin", command]);
    }
    assert!(!help(&[]).contains("tool-guard"), "it is nothing to be typed");
}

#[test]
fn a_data_directory_inside_the_workspace_is_refused() {
    let places = Places::new();
    let workspace = places.workspace();
    symlink(&workspace, places.data()).unwrap();
    fs::create_dir(workspace.join("inner")).unwrap();

    for (dir, data) in [
        (workspace.clone(), workspace.join("data")),
        (workspace.clone(), workspace.clone()),
        (workspace.clone(), places.data().join("behind-a-link")),
        (workspace.join("inner"), workspace.clone()),
    ] {
        let mut dev = chatplane();
        let run =
            finish(dev.args(["dev", "--prompt", "Hello?", "--dir"]).arg(&dir).arg("--data-dir").arg(&data));

        assert_eq!(run.code, Some(2), "{dir:?} {data:?}: {run:?}");
        assert!(run.stderr.contains("--data-dir"), "{run:?}");
        assert_eq!(fs::read_dir(&workspace).unwrap().count(), 1, "something was made");
    }
}

#[test]
fn without_postgres_one_sentence_says_what_is_missing() {
    let places = Places::new();
    let empty = places.workspace();

    let run = finish(places.dev().args(["--prompt", "Hello?", "--postgres-bin-dir"]).arg(&empty));

    assert_eq!(run.code, Some(3), "{run:?}");
    assert_eq!(run.stderr.lines().count(), 2, "{run:?}");
    assert!(run.stderr.contains("`initdb` and `postgres`"), "{run:?}");
}

#[test]
fn a_taken_port_that_was_asked_for_is_refused() {
    let places = Places::new();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let mut dev = chatplane();
    dev.args(["dev", "--port", &address.port().to_string(), "--data-dir"]).arg(places.data());
    let mut serve = chatplane();
    serve.args(["serve", "--listen", &address.to_string(), "--database-url", "postgres://localhost/none"]);

    let dev = finish(dev.current_dir(places.workspace()));
    let serve = finish(&mut serve);

    assert_eq!(dev.code, Some(3), "{dev:?}");
    assert!(dev.stderr.contains("--port"), "{dev:?}");
    assert_eq!(serve.code, Some(3), "{serve:?}");
    assert!(serve.stderr.contains("--listen"), "{serve:?}");
}

#[test]
fn a_role_without_its_token_says_how_to_give_it() {
    for role in ["worker", "workspace-agent"] {
        let run = finish(chatplane().arg(role));

        assert_eq!(run.code, Some(3), "{run:?}");
        assert!(run.stderr.contains("--token-file"), "{run:?}");
    }
}

//! `chatplane admin`: what was created stands alone on standard output.

use chatplane_embedded_postgres::{Postgres, Settings};
use uuid::Uuid;

use crate::fixture::{Finished, chatplane, finish};

fn admin(postgres: &Postgres, arguments: &[&str]) -> Finished {
    let mut command = chatplane();
    command.arg("admin").args(arguments).env("CHATPLANE_DATABASE_URL", postgres.url("postgres"));
    finish(&mut command)
}

fn created(postgres: &Postgres, arguments: &[&str]) -> String {
    let run = admin(postgres, arguments);
    assert_eq!(run.code, Some(0), "{run:?}");
    let line = run.stdout.strip_suffix('\n').unwrap();
    assert!(!line.contains(char::is_whitespace), "{run:?}");
    assert!(!run.stderr.contains(line), "{run:?}");
    line.to_owned()
}

#[test]
fn users_workspaces_and_tokens_are_created_and_printed_alone() {
    let postgres = Postgres::start(Settings::temporary()).unwrap();

    let user = created(&postgres, &["create-user", "--name", "ada", "--owner"]);
    let workspace = created(&postgres, &["create-workspace", "--user", &user, "--name", "engine"]);
    let tokens = [
        created(&postgres, &["create-token", "--user", &user]),
        created(&postgres, &["create-token", "--worker"]),
        created(&postgres, &["create-token", "--workspace", &workspace]),
    ];

    assert!(Uuid::try_parse(&user).is_ok() && Uuid::try_parse(&workspace).is_ok());
    assert!(tokens[0] != tokens[1] && tokens[1] != tokens[2] && tokens[0] != tokens[2]);
}

#[test]
fn what_cannot_be_created_ends_with_3_and_prints_nothing() {
    let postgres = Postgres::start(Settings::temporary()).unwrap();
    let nobody = Uuid::now_v7().to_string();
    created(&postgres, &["create-user", "--name", "ada"]);

    for arguments in [
        &["create-user", "--name", "ada"][..],
        &["create-user", "--name", ""],
        &["create-workspace", "--user", &nobody, "--name", "engine"],
        &["create-token", "--user", &nobody],
        &["create-token", "--workspace", &nobody],
    ] {
        let run = admin(&postgres, arguments);

        assert_eq!(run.code, Some(3), "{arguments:?}: {run:?}");
        assert_eq!(run.stdout, "", "{arguments:?}");
        assert_eq!(run.stderr.lines().count(), 1, "{run:?}");
    }
}

//! The commands of `docs/replicas.md` do what it says: they are taken from it and run.

use std::{
    fs,
    net::{SocketAddr, TcpListener},
    os::unix::process::CommandExt as _,
    path::Path,
    process::Command,
};

use chatplane_embedded_postgres::{Postgres, Settings};

use crate::{
    fixture::{Places, Running, chatplane, finish, program},
    readme::{Script, block_of},
};

const PAGE: &str = "docs/replicas.md";

fn free_address() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a loopback port is free");
    listener.local_addr().expect("a listener has an address")
}

#[test]
fn two_replicas_find_each_other_and_a_worker_finds_one() {
    let places = Places::new();
    let postgres = Postgres::start(Settings::temporary()).unwrap();
    let (one, other) = (free_address().to_string(), free_address().to_string());
    let commands = block_of(PAGE, "chatplane serve --listen")
        .replace("127.0.0.1:7401", &one)
        .replace("127.0.0.1:7402", &other);
    let token =
        "CHATPLANE_WORKER_TOKEN=$(chatplane admin create-token --worker)\nexport CHATPLANE_WORKER_TOKEN";
    let bin_dir = program().parent().unwrap().to_str().unwrap();
    let mut shell = Command::new("/bin/sh");
    shell.arg("-c").arg(format!("set -eu\n{token}\n{commands}\nwait\n")).env_clear().process_group(0);
    shell.env("PATH", format!("{bin_dir}:/usr/local/bin:/usr/bin:/bin")).env("LOGNAME", places.data());
    shell.env("CHATPLANE_DATABASE_URL", postgres.url("postgres"));
    shell.env("CHATPLANE_MODEL", "any").env("ANTHROPIC_API_KEY", "sk-any-key");

    let mut script = Script { running: Running::start(&mut shell) };

    script.running.wait_for_notes(2, "the control plane takes calls");
    script.running.wait_for_notes(2, "a link to another replica is up");
    script.running.wait_for_note("the session is open");
    drop(script);
    places.wait_until_nothing_runs();
}

#[test]
fn every_flag_that_the_page_names_is_one() {
    let page = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(PAGE)).unwrap();
    let help: String =
        ["serve", "worker"].map(|role| finish(chatplane().args([role, "--help"])).stdout).concat();
    let is_of_a_flag = |letter: char| letter.is_ascii_lowercase() || letter == '-';

    let named: Vec<&str> = page
        .match_indices("--")
        .map(|(start, _)| page[start..].split(|letter| !is_of_a_flag(letter)).next().unwrap_or_default())
        .filter(|flag| flag.trim_matches('-').len() > 1)
        .collect();

    assert!(named.len() > 8, "{named:?}");
    for flag in named {
        assert!(help.contains(&format!("{flag} ")) || help.contains(&format!("{flag}\n")), "{flag}");
    }
}

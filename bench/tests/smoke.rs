//! The whole benchmark in its shortest form: everything can be measured, and the JSON has
//! its shape. Figures are not looked at.

use std::{
    collections::BTreeSet,
    env,
    io::{self, Write as _},
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    sync::mpsc,
    thread,
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// Far more than it takes on a busy machine.
const DEADLINE: Duration = Duration::from_secs(600);
const IDS: [&str; 49] = [
    "1", "2", "3", "4", "4b", "5", "8a", "8b", "9a", "9b", "10", "11", "12", "13a", "13b", "i", "t1", "t1w",
    "t2", "t3", "l1", "l2", "l3", "l4", "l5", "l6", "l7", "l8", "l9", "l10", "l11", "l12", "l13", "l14",
    "l15", "s1", "s2", "s3", "s4", "s5", "s6", "s7", "s8", "s9", "s10", "s11", "u1", "w1", "w2",
];
const FIELDS: [&str; 8] = ["budget", "floor", "id", "met", "name", "p99", "unit", "value"];

#[test]
fn the_benchmark_measures_every_row_and_prints_them_as_json() {
    let Some(chatplane) = chatplane() else {
        skip("there is no chatplane binary beside this test, build it with cargo build");
        return;
    };

    let output = run(&chatplane, &["--quick", "--json"]);

    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    let rows: Vec<Value> = serde_json::from_slice(&output.stdout).expect("standard output is JSON alone");
    let ids: Vec<&str> = rows.iter().filter_map(|row| row["id"].as_str()).collect();
    assert_eq!(ids, IDS);
    for row in &rows {
        let fields: BTreeSet<&str> = row.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(fields, BTreeSet::from(FIELDS));
        assert!(row["name"].is_string() && row["unit"].is_string(), "{row}");
        assert!(row["value"].is_number() && row["budget"].is_number() && row["met"].is_boolean(), "{row}");
        assert!(row["p99"].is_number() || row["unit"] != "ms", "{row}");
        assert!(row["floor"].is_number() || row["unit"] == "round trips", "{row}");
    }
}

/// Says that the test is skipped, where a person sees it: the test harness hides what the
/// macros print. CI has everything, and skips nothing.
fn skip(why: &str) {
    assert!(env::var_os("CI").is_none(), "CI skips nothing, but {why}");
    // Nobody may be there to read it.
    let _ = writeln!(io::stderr(), "skipped: {why}");
}

/// The binary that was built with this test, if it was.
fn chatplane() -> Option<PathBuf> {
    let test = env::current_exe().expect("a test knows its own path");
    let profile = test.ancestors().nth(2).expect("a test lies two levels below its profile");
    Some(profile.join("chatplane")).filter(|binary| binary.exists())
}

fn run(chatplane: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_chatplane-bench"));
    command.arg("--chatplane").arg(chatplane).args(arguments);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = command.spawn().expect("the benchmark starts");
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw).expect("a child has a pid");
    let (ended, output) = mpsc::channel();
    thread::spawn(move || ended.send(child.wait_with_output()));
    match output.recv_timeout(DEADLINE) {
        Ok(output) => output.expect("the benchmark can be waited for"),
        Err(_) => {
            // Everything that it has started ends with it.
            let _ = kill_process(pid, Signal::KILL);
            panic!("the benchmark did not end");
        }
    }
}

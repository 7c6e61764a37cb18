//! The shape of the house, read from its files.

use std::{
    fs,
    path::{Path, PathBuf},
};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the crate lies in the workspace").to_owned()
}

/// Every Rust file below a folder, or the one file.
fn sources(under: &str) -> Vec<PathBuf> {
    let path = root().join(under);
    if path.is_file() {
        return vec![path];
    }
    let mut found = Vec::new();
    let mut folders = vec![path];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap_or_else(|_| panic!("{} is a folder", folder.display())) {
            let path = entry.expect("the folder can be read").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }
    assert!(!found.is_empty(), "{under} has sources");
    found
}

#[test]
fn nobody_uses_what_they_may_not() {
    let rules: &[(&str, &[&str])] = &[
        ("control-plane/domain/src", &["tokio", "sqlx", "tonic", "chatplane_proto", "std::fs", "std::net"]),
        ("control-plane/src/authz.rs", &["sqlx", "tonic", "chatplane_proto", "crate::"]),
        (
            "control-plane/src/store",
            &["tonic", "chatplane_proto", "crate::app", "crate::grpc", "crate::scheduler"],
        ),
        ("control-plane/src/app", &["tonic", "chatplane_proto", "sqlx", "crate::grpc"]),
        ("control-plane/src/scheduler", &["tonic", "chatplane_proto", "sqlx", "crate::grpc"]),
        ("control-plane/src/relay", &["tonic", "chatplane_proto", "sqlx", "crate::grpc", "crate::store"]),
        ("control-plane/src/peers", &["tonic", "chatplane_proto", "sqlx", "crate::grpc", "crate::app"]),
        (
            "control-plane/src/pubsub",
            &["tonic", "chatplane_proto", "crate::grpc", "crate::app", "crate::store"],
        ),
        ("control-plane/src/watch", &["tonic", "chatplane_proto", "sqlx", "tokio", "crate::grpc"]),
        ("control-plane/src/grpc", &["sqlx", "crate::store"]),
        ("worker/src/llm", &["tonic", "chatplane_proto"]),
        ("worker/src/tools", &["tonic", "chatplane_proto"]),
        ("worker/src/step", &["tonic", "chatplane_proto", "tokio"]),
        ("worker/src/session", &["tonic", "chatplane_proto", "tokio"]),
    ];
    let mut broken = Vec::new();
    for (under, forbidden) in rules {
        for path in sources(under) {
            let text = fs::read_to_string(&path).expect("the source can be read");
            // Tests may bring together what the house keeps apart.
            let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
            if path.components().any(|part| part.as_os_str() == "simulation" || part.as_os_str() == "tests")
                || path.ends_with("simulation.rs")
                || path.ends_with("tests.rs")
            {
                continue;
            }
            for word in *forbidden {
                let names = |line: &str| {
                    let code = line.split("//").next().unwrap_or_default();
                    code.contains(&format!("{word}::"))
                        || code.contains(&format!("use {word}"))
                        || (word.starts_with("crate::") && code.contains(word))
                };
                if let Some(line) = text.lines().position(names) {
                    broken.push(format!("{}:{} uses {word}", path.display(), line + 1));
                }
            }
        }
    }
    assert_eq!(broken, Vec::<String>::new());
}

#[test]
fn workers_and_workspace_agents_cannot_reach_the_database() {
    let lock = fs::read_to_string(root().join("Cargo.lock")).expect("the lock file is committed");
    for package in ["chatplane-worker", "chatplane-workspace-agent", "chatplane-domain"] {
        let reached = reachable(&lock, package);
        assert!(reached.len() > 3, "{package} is in the lock file");
        for forbidden in ["sqlx", "sqlx-core", "tokio-postgres"] {
            assert!(!reached.iter().any(|name| name == forbidden), "{package} reaches {forbidden}");
        }
    }
}

/// Every package that a package depends on, by the lock file.
fn reachable(lock: &str, package: &str) -> Vec<String> {
    let mut reached = vec![package.to_owned()];
    let mut next = 0;
    while let Some(name) = reached.get(next).cloned() {
        next += 1;
        for block in lock.split("[[package]]").filter(|block| block.contains(&format!("name = \"{name}\"\n")))
        {
            let Some((_, dependencies)) = block.split_once("dependencies = [") else {
                continue;
            };
            for line in dependencies.lines().take_while(|line| !line.starts_with(']')) {
                let word = line.trim().trim_matches(|edge| edge == '"' || edge == ',');
                let dependency = word.split(' ').next().unwrap_or_default().to_owned();
                if !dependency.is_empty() && !reached.contains(&dependency) {
                    reached.push(dependency);
                }
            }
        }
    }
    reached
}

#[test]
fn no_file_outgrows_the_wall() {
    let mut long = Vec::new();
    for crate_folder in
        ["proto/src", "control-plane", "worker", "workspace-agent", "cli", "simulation", "tests", "bench"]
    {
        for path in sources(crate_folder) {
            let lines = fs::read_to_string(&path).expect("the source can be read").lines().count();
            if lines > 500 {
                long.push(format!("{}: {lines} lines", path.display()));
            }
        }
    }
    assert_eq!(long, Vec::<String>::new());
}

#[test]
fn a_status_is_made_in_one_file() {
    let mut broken = Vec::new();
    for path in sources("control-plane/src") {
        if path.ends_with("grpc/status.rs") {
            continue;
        }
        let text = fs::read_to_string(&path).expect("the source can be read");
        let made = [
            "Status::new(",
            "Status::with_",
            "Status::internal(",
            "Status::invalid_argument(",
            "Status::unavailable(",
            "Status::not_found(",
            "Status::unauthenticated(",
        ];
        if made.iter().any(|word| text.contains(word)) {
            broken.push(path.display().to_string());
        }
    }
    assert_eq!(broken, Vec::<String>::new());
}

#[test]
fn every_module_says_what_it_is() {
    let mut silent = Vec::new();
    for under in [
        "control-plane",
        "worker/src",
        "workspace-agent/src",
        "cli/src",
        "simulation",
        "tests",
        "proto/src",
        "bench",
    ] {
        for path in sources(under) {
            let name = path.file_stem().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            let unit_tests =
                name.ends_with("tests") || path.components().any(|part| part.as_os_str() == "tests");
            let text = fs::read_to_string(&path).expect("the source can be read");
            if !unit_tests && !text.starts_with("//!") {
                silent.push(path.display().to_string());
            }
        }
    }
    assert_eq!(silent, Vec::<String>::new());
}

#[test]
fn the_map_is_no_longer_than_a_map() {
    let text = fs::read_to_string(root().join("ARCHITECTURE.md")).expect("the map is there");
    assert!(text.lines().count() <= 250);
    for part in text.split('`').skip(1).step_by(2) {
        let path = part.split(',').next().unwrap_or_default();
        let is_path = path.contains('/') && !path.contains(['*', ' ', '(', ':']);
        assert!(!is_path || root().join(path).exists(), "{path} is on the map but not in the tree");
    }
}

/// The reasons are a closed set; one that no test produces may be one that nothing produces.
#[test]
fn every_error_reason_is_produced_by_some_test() {
    let mut tests = String::new();
    for under in ["tests/tests", "control-plane/src", "cli/tests"] {
        for path in sources(under) {
            tests.push_str(&fs::read_to_string(&path).expect("the source can be read"));
        }
    }
    let contract = root().join("proto/chatplane/chat/v1/errors.proto");
    let contract = fs::read_to_string(contract).expect("the contract is there");
    let reasons: Vec<&str> = contract
        .lines()
        .filter_map(|line| line.trim().strip_prefix("ERROR_REASON_"))
        .filter_map(|rest| rest.split(' ').next())
        .filter(|reason| *reason != "UNSPECIFIED")
        .collect();
    assert!(reasons.len() > 10);
    let untested: Vec<&&str> =
        reasons.iter().filter(|reason| !tests.contains(&format!("\"{reason}\""))).collect();
    assert_eq!(untested, Vec::<&&str>::new());
}

//! What is looked for when everything is at rest.
//!
//! The invariants of the state machine, under its numbers: 1 to 3 by queries over rows, and 2,
//! 4, 5, 6 by triggers at every single write, both shared with the soak; 5 and 7 by what users
//! were promised; 8 by the model server's journal. Beside them: that every answer is what the
//! model server sent and is there once, and that every tool call had its effect at most once.

mod answers;
mod effects;
#[path = "../soak/invariants/promises.rs"]
mod promises;
pub(crate) mod rest;
#[path = "../soak/invariants/rows.rs"]
mod rows;

use chatplane_tests::{Database, model_server::Call};

use crate::{
    notes::Notes,
    records::Recorded,
    stage::Workspace,
    users::ANSWERED,
    watchers::{BROKEN, MOVED},
};

/// So many lines of one rule are shown.
const SHOWN_MAX: usize = 10;

/// Every rule that is broken, with what breaks it.
pub(crate) async fn broken(
    database: &Database,
    workspaces: &[Workspace],
    recorded: &Recorded,
    calls: &[Call],
) -> Vec<String> {
    let mut connection = database.connection().await;
    let mut found = Vec::new();
    for (rule, query) in rows::RULES {
        let lines: Vec<String> = sqlx::query_scalar(query)
            .fetch_all(&mut connection)
            .await
            .unwrap_or_else(|error| panic!("the query of {rule:?} is right: {error}"));
        found.extend(lines.into_iter().take(SHOWN_MAX).map(|line| format!("{rule}: {line}")));
    }
    found.extend(promises::broken(&mut connection, recorded).await);
    found.extend(answers::broken(&mut connection, calls).await);
    found.extend(effects::broken(&mut connection, workspaces).await);
    found
}

/// What a run was made of: events that nothing is proven without, and how often they came.
pub(crate) async fn totals(database: &Database) -> Vec<(String, i64)> {
    const TOTALS: [(&str, &str); 9] = [
        ("chats", "select count(*) from chats"),
        ("chats in error at the end", "select count(*) from chats where state = 'error'"),
        ("writes of chats", "select coalesce(sum(snapshot_version), 0)::bigint from chats"),
        ("leases", "select coalesce(sum(fence), 0)::bigint from chats"),
        ("messages", "select count(*) from messages"),
        ("queued messages", "select count(*) from queued_messages"),
        ("tool calls", "select count(*) from calls"),
        ("accounts of model calls", "select count(*) from model_calls"),
        ("leases taken away", "select count(*) from soak_events where what = 'a lease is taken away'"),
    ];
    let mut connection = database.connection().await;
    let mut totals = Vec::new();
    for (what, query) in TOTALS {
        let count = sqlx::query_scalar(query).fetch_one(&mut connection).await;
        totals
            .push((what.to_owned(), count.unwrap_or_else(|error| panic!("{what} can be counted: {error}"))));
    }
    totals
}

/// What a run must be made of, and has not come to pass.
pub(crate) fn missing(notes: &Notes, totals: &[(String, i64)]) -> Vec<String> {
    const OPERATIONS: [&str; 5] =
        ["CreateChat", "SendMessage", "EditMessage", "InterruptChat", "SubmitToolResults"];
    let counts = notes.counts();
    let mut missing: Vec<&str> = OPERATIONS.into_iter().filter(|what| !counts.contains_key(*what)).collect();
    let recovered: Vec<&str> = notes.recoveries().iter().map(|took| took.what).collect();
    missing.extend([BROKEN, MOVED, ANSWERED].into_iter().filter(|what| !recovered.contains(what)));
    missing.extend(
        ["tool calls", "leases taken away"]
            .into_iter()
            .filter(|what| totals.iter().any(|(counted, count)| counted == what && *count == 0)),
    );
    missing.into_iter().map(|what| format!("nothing is proven, this never came to pass: {what}")).collect()
}

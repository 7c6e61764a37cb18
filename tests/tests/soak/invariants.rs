//! The invariants of the state machine, under its numbers, and where each is looked for.
//!
//! 1. A history is acceptable to a provider: `rows`, of every live history at rest. After each
//!    single write, the domain's property `the_invariants_hold_after_every_write` proves it.
//! 2. Versions: `trace`, at each write; `rows`, for what rows and versions say of each other.
//! 3. States: CHECK constraints of the schema refuse each write that breaks one; `rows` looks
//!    that everything at rest is waiting or in error, with nothing left over.
//! 4. Content stays, nothing is deleted: `trace`, at each write; `copies`, for what a copy
//!    takes from its source. Retention does not exist yet.
//! 5. A queued message enters once or is deleted: `promises`, against what each user was told
//!    of each message, and `trace`, for what has left the queue.
//! 6. Only the later fence commits: `trace`, that fences and writes follow each other and a
//!    holder only writes while it has the lease, with workers that die in the middle of it.
//!    That a late or strange holder is refused leaves no row behind; `tests/dispatch` proves it
//!    (`of_two_holders_only_the_later_fence_commits`,
//!    `only_the_session_that_was_given_a_lease_may_write_under_it`), and `tests/crashes.rs` with
//!    a real worker that comes back.
//! 7. Accepted requests are there: `promises`; that a repeat gets the same reply, the storm
//!    looks itself, each time it repeats a call.
//! 8. Usage: `accounts`, against the model server's journal.
//!
//! `rows` also has what the state machine's page says of boundaries, and `activity` looks that
//! all of this was put to the test at all.

pub(crate) mod accounts;
mod activity;
mod copies;
mod promises;
mod rows;

use std::collections::BTreeSet;

use chatplane_tests::{Database, model_server::Call};

use crate::storm::Storm;

/// So many lines of one rule are shown: enough to see what is wrong.
const SHOWN_MAX: usize = 10;

/// Every rule that is broken, with what breaks it. `unreported` are the model calls whose
/// worker may have died before it could account for them.
pub(crate) async fn broken(
    database: &Database,
    storm: &Storm,
    calls: &[Call],
    unreported: &BTreeSet<usize>,
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
    let recorded = storm.records.recorded();
    found.extend(promises::broken(&mut connection, &recorded).await);
    found.extend(copies::broken(&mut connection, &recorded.forks).await);
    found.extend(accounts::broken(&mut connection, calls, unreported).await);
    found
}

/// What a run must be made of, and has not come to pass.
pub(crate) async fn missing(database: &Database, storm: &Storm) -> Vec<String> {
    let counted = activity::counted(&mut database.connection().await, &storm.tally).await;
    let missing = counted.into_iter().filter(|(_, count)| *count == 0);
    missing.map(|(what, _)| format!("nothing is proven, this never came to pass: {what}")).collect()
}

/// What a run was made of.
pub(crate) async fn summary(database: &Database, storm: &Storm) -> String {
    let mut connection = database.connection().await;
    let totals = activity::totals(&mut connection).await;
    let counted = activity::counted(&mut connection, &storm.tally).await;
    let counted: Vec<String> = counted.iter().map(|(what, count)| format!("{count:8} {what}")).collect();
    format!("{totals}\n{}\n{:?}", counted.join("\n"), storm.tally.counted())
}

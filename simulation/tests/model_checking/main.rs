//! Model checking of leases: every order of reads, writes, lost messages, crashes and expiries, with two
//! workers, two replicas and one turn.
//!
//! # Theory of operation
//!
//! What is checked is `chatplane_domain::decide` itself, behind a compare-and-set as the store has it: a replica
//! reads the row, and later writes what was decided where the version is still the one it read. Around it is a
//! network that loses and reorders, and workers that know only what they were told. Whatever may happen next is
//! an action, and stateright tries them all, in every order.
//!
//! How a session ends is left open here: one that is open may be closed at any moment, renewed or not, as a
//! clock that is wrong would do it. So no outcome hangs on a time. A renewal is what finds a lease that its
//! worker has not heard of. The clocks themselves are the simulator's business.
//!
//! A run is bounded by how many faults happen in it; `CHATPLANE_MODEL_DEPTH` says how many.

mod chat;
mod model;
mod settling;
mod state;

use stateright::{Checker as _, HasDiscoveries, Model as _};

use self::model::{Bug, DOUBLE_COMMIT, LOST_COMMIT, Leases, STALE_COMMIT, STUCK};

/// Every run with one fault is looked at to its end, in seconds.
const FAULTS_DEFAULT: u8 = 1;
/// Runs with two faults are many more: of these the beginnings, unless somebody takes the time.
const FAULTS_BOUNDED: u8 = 2;
/// How many actions of those.
const ACTIONS_BOUNDED: usize = 12;

/// As many faults as somebody asks for.
fn faults() -> Option<u8> {
    let depth = std::env::var("CHATPLANE_MODEL_DEPTH").ok()?;
    Some(depth.parse().expect("CHATPLANE_MODEL_DEPTH is a number of faults, such as 2"))
}

#[test]
fn leases_lose_no_commit_make_none_twice_and_never_stick() {
    let model = Leases { faults: faults().unwrap_or(FAULTS_DEFAULT), bug: Bug::None };

    let checked = model.checker().threads(2).spawn_bfs().join();

    eprintln!("{} states, up to {} actions deep", checked.unique_state_count(), checked.max_depth());
    checked.assert_properties();
}

#[test]
fn the_beginnings_of_runs_with_two_faults_lose_no_commit_and_never_stick() {
    let model = Leases { faults: FAULTS_BOUNDED, bug: Bug::None };

    let checked = model.checker().threads(2).target_max_depth(ACTIONS_BOUNDED).spawn_bfs().join();

    eprintln!("{} states", checked.unique_state_count());
    let failed = model::ALWAYS.iter().filter_map(|property| checked.discovery(property)).next();
    assert!(failed.is_none(), "{failed:?}");
}

/// A rule is left out, and the checker must notice.
fn is_found(bug: Bug, property: &'static str) {
    let model = Leases { faults: FAULTS_BOUNDED, bug };
    let noticed = HasDiscoveries::AnyOf([property].into());

    let checked = model.checker().threads(2).finish_when(noticed).spawn_bfs().join();

    checked.assert_any_discovery(property);
}

#[test]
fn without_the_fence_a_stale_holder_is_found_to_commit() {
    is_found(Bug::FenceNotCompared, STALE_COMMIT);
}

#[test]
fn without_replays_before_staleness_a_commit_is_found_to_be_lost() {
    is_found(Bug::StalenessBeforeReplay, LOST_COMMIT);
}

#[test]
fn without_compare_and_set_a_commit_is_found_to_be_lost() {
    is_found(Bug::VersionNotCompared, LOST_COMMIT);
}

#[test]
fn without_write_numbers_a_step_is_found_to_be_committed_twice() {
    is_found(Bug::WriteNumberNotCompared, DOUBLE_COMMIT);
}

#[test]
fn without_the_expiry_of_leases_a_chat_is_found_to_be_stuck() {
    is_found(Bug::NoExpiry, STUCK);
}

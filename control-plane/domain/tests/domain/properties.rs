//! Properties over random commands of clients, holders and sweeps, with stale
//! fences, numbers and histories, lost replies, lease offers and passing time.

use chatplane_domain::{ATTEMPTS_MAX, ErrorKind, State};
use proptest::{prelude::*, test_runner::Config};

use crate::{actions::actions, database::Fate, world::World};

/// Thousands of cases in a few seconds, ten times as many where `CI` is set; failing
/// ones shrink and are printed.
fn config(cases: u32) -> Config {
    let cases = if std::env::var_os("CI").is_some() { cases * 10 } else { cases };
    // Some properties ask for a chat that runs; about every third case has none.
    Config { cases, failure_persistence: None, max_global_rejects: cases * 4, ..Config::default() }
}

proptest! {
    #![proptest_config(config(2500))]

    #[test]
    fn the_invariants_hold_after_every_write(actions in actions()) {
        let mut world = World::new();
        for action in actions {
            world.act(action);
        }
    }
}

proptest! {
    #![proptest_config(config(700))]

    #[test]
    fn every_accepted_message_reaches_the_history_once_when_everybody_does_their_part(actions in actions()) {
        let mut world = World::new();
        for action in actions {
            world.act(action);
        }

        world.settle();

        prop_assert_eq!(world.chat().state(), State::Waiting);
        let waiting = world.database.fates.values().filter(|fate| **fate == Fate::Waiting);
        prop_assert_eq!(waiting.count(), 0);
    }

    #[test]
    fn a_chat_that_kills_its_workers_runs_out_of_attempts(actions in actions()) {
        let mut world = World::new();
        for action in actions {
            world.act(action);
        }
        let running = matches!(world.chat().state(), State::Running);
        prop_assume!(running);

        // One more for a holder whose lease began before its model call did, and one
        // for the lease that finds all tries used up.
        for _ in 0..ATTEMPTS_MAX + 2 {
            world.crash();
        }

        let error = world.chat().last_error().map(|error| error.kind);
        prop_assert_eq!(error, Some(ErrorKind::AttemptsExhausted));
    }
}

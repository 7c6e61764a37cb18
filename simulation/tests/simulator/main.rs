//! The simulator: many seeds without a fault of ours, one seed twice, and every planted bug found.
//!
//! `CHATPLANE_SIM_SEEDS` says how many seeds are run, `CHATPLANE_SIM_SEED` runs one again and writes down what
//! happens in it. Without them it is 10 s of seeds, or 3 minutes with `CI`, and 1,000 at least.

use std::{
    collections::BTreeMap,
    panic::catch_unwind,
    sync::atomic::{AtomicU64, Ordering::SeqCst},
    thread,
    time::{Duration, Instant},
};

use chatplane_simulation::{Bug, Options, Report, run};

/// Seeds of a run in CI are not fewer, however slow the machine.
const CI_SEEDS_MIN: u64 = 1_000;
/// A planted bug is found within so many seeds.
const BUG_SEEDS_MAX: u64 = 3_000;

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} is a number, not {text:?}")))
}

/// Runs a seed again with everything written down, and says what was wrong.
fn explain(seed: u64, bug: Option<Bug>) -> String {
    let again = catch_unwind(|| run(seed, Options { bug, trace: true }));
    let Ok(Report { violations, trace, .. }) = again else {
        return format!("seed {seed} panics; CHATPLANE_SIM_SEED={seed} runs it again");
    };
    let trace = trace.unwrap_or_default();
    let last: Vec<&str> = trace.lines().rev().take(60).collect();
    let last = last.into_iter().rev().collect::<Vec<_>>().join("\n");
    format!("seed {seed} fails: {violations:#?}\n{last}\nCHATPLANE_SIM_SEED={seed} runs it again")
}

#[test]
fn whatever_fails_all_that_was_promised_holds() {
    if let Some(seed) = number("CHATPLANE_SIM_SEED") {
        let Report { violations, trace, .. } = run(seed, Options { bug: None, trace: true });
        eprintln!("{}", trace.unwrap_or_default());
        assert!(violations.is_empty(), "seed {seed}: {violations:#?}");
        return;
    }
    let is_ci = std::env::var_os("CI").is_some();
    let time = Duration::from_secs(if is_ci { 180 } else { 10 });
    let asked = number("CHATPLANE_SIM_SEEDS");
    let least = if is_ci { CI_SEEDS_MIN } else { 1 };
    let begin = Instant::now();
    let (seeds, events, failed) = (AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(u64::MAX));
    let is_enough = |seed| match asked {
        Some(asked) => seed >= asked,
        None => seed >= least && begin.elapsed() >= time,
    };
    let run_on = || {
        while failed.load(SeqCst) == u64::MAX {
            let seed = seeds.fetch_add(1, SeqCst);
            if is_enough(seed) {
                break;
            }
            // A panic of a core is a finding like any other, and has its seed.
            let Ok(report) = catch_unwind(|| run(seed, Options::default())) else {
                failed.fetch_min(seed, SeqCst);
                break;
            };
            events.fetch_add(report.events, SeqCst);
            if !report.violations.is_empty() {
                failed.fetch_min(seed, SeqCst);
            }
        }
    };
    let threads = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| (0..threads).for_each(|_| drop(scope.spawn(run_on))));

    let failed = failed.into_inner();
    assert!(failed == u64::MAX, "{}", explain(failed, None));
    let seeds = seeds.into_inner() - threads as u64;
    eprintln!("{seeds} seeds with {} events in {:?}", events.into_inner(), begin.elapsed());
}

#[test]
fn the_same_seed_is_the_same_run() {
    for seed in 0..5 {
        let (once, again) = (run(seed, Options::default()), run(seed, Options::default()));

        assert_eq!((once.digest, once.events), (again.digest, again.events), "seed {seed}");
    }
}

#[test]
fn another_seed_is_another_run() {
    assert_ne!(run(1, Options::default()).digest, run(2, Options::default()).digest);
}

/// A run in which nothing happens proves nothing.
#[test]
fn what_is_to_be_survived_happens() {
    let mut seen: BTreeMap<&str, u64> = BTreeMap::new();
    for seed in 0..200 {
        for (what, times) in run(seed, Options::default()).seen {
            *seen.entry(what).or_default() += times;
        }
    }

    eprintln!("{seen:#?}");
    for what in [
        "a change under a holder",
        "a copy",
        "a holder that is behind",
        "a lease",
        "a lease that is taken away",
        "a live part that is shown",
        "a preview that is taken back",
        "a request that is answered again",
        "a session that goes on elsewhere",
        "a session that is closed after its grace",
        "a session that is closed by the clock",
        "a stop",
        "a summary",
        "a write that is answered again",
    ] {
        assert!(seen.contains_key(what), "{what} never happens");
    }
}

#[test]
fn each_rule_that_is_left_out_is_noticed() {
    let mut unnoticed = Vec::new();
    for bug in Bug::ALL {
        let violation = |seed: u64| run(seed, Options { bug: Some(bug), trace: false }).violations.pop();
        match (0..BUG_SEEDS_MAX).find_map(|seed| Some((seed, violation(seed)?))) {
            Some((seed, violation)) => eprintln!("{bug:?} is noticed with seed {seed}: {violation}"),
            None => unnoticed.push(bug),
        }
    }
    assert_eq!(unnoticed, []);
}

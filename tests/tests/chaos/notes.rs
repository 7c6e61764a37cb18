//! What happens in a run, written down by everybody who takes part.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

/// So many things of what is found are shown: enough to see what is wrong.
const FOUND_MAX: usize = 60;
/// What was at work so long before a recovery began still disturbs it.
const AFTERMATH: Duration = Duration::from_secs(2);

/// The notes of a run.
#[derive(Debug, Default)]
pub(crate) struct Notes {
    found: Mutex<Vec<String>>,
    counts: Mutex<BTreeMap<String, usize>>,
    faults: Mutex<Vec<Raged>>,
    recoveries: Mutex<Vec<Recovery>>,
}

/// A fault that was.
#[derive(Clone, Debug)]
struct Raged {
    kind: String,
    began: Instant,
    ended: Option<Instant>,
}

/// Something that was broken for a while.
#[derive(Clone, Debug)]
struct Recovery {
    what: &'static str,
    began: Instant,
    took: Duration,
}

/// How long recoveries of one kind took.
#[derive(Clone, Debug)]
pub(crate) struct Took {
    pub(crate) what: &'static str,
    /// All of them, shortest first.
    pub(crate) all: Vec<Duration>,
    /// Those during which nothing else was faulty.
    pub(crate) undisturbed: Vec<Duration>,
}

/// A fault that is under way, by its place in the notes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Raging(usize);

impl Notes {
    /// Something is wrong.
    pub(crate) fn found(&self, what: String) {
        let mut found = locked(&self.found);
        if found.len() < FOUND_MAX {
            eprintln!("found: {what}");
            found.push(what);
        }
    }

    pub(crate) fn all_found(&self) -> Vec<String> {
        locked(&self.found).clone()
    }

    pub(crate) fn count(&self, what: &str) {
        self.count_times(what, 1);
    }

    pub(crate) fn count_times(&self, what: &str, times: usize) {
        *locked(&self.counts).entry(what.to_owned()).or_default() += times;
    }

    pub(crate) fn counts(&self) -> BTreeMap<String, usize> {
        locked(&self.counts).clone()
    }

    pub(crate) fn fault_begins(&self, kind: String) -> Raging {
        let mut faults = locked(&self.faults);
        faults.push(Raged { kind, began: Instant::now(), ended: None });
        Raging(faults.len() - 1)
    }

    pub(crate) fn fault_ends(&self, raging: Raging) {
        locked(&self.faults)[raging.0].ended = Some(Instant::now());
    }

    /// Faults by kind.
    pub(crate) fn faults(&self) -> BTreeMap<String, usize> {
        let mut kinds = BTreeMap::new();
        for fault in locked(&self.faults).iter() {
            *kinds.entry(fault.kind.clone()).or_default() += 1;
        }
        kinds
    }

    /// What broke then works again now.
    pub(crate) fn recovered(&self, what: &'static str, began: Instant) {
        let recovery = Recovery { what, began, took: began.elapsed() };
        locked(&self.recoveries).push(recovery);
    }

    pub(crate) fn recoveries(&self) -> Vec<Took> {
        let faults = locked(&self.faults).clone();
        let mut kinds: BTreeMap<&'static str, Took> = BTreeMap::new();
        for recovery in locked(&self.recoveries).iter() {
            let Recovery { what, took, .. } = *recovery;
            let kind =
                kinds.entry(what).or_insert_with(|| Took { what, all: Vec::new(), undisturbed: Vec::new() });
            kind.all.push(took);
            // The fault that is recovered from is one of them.
            if faults.iter().filter(|fault| recovery.is_disturbed_by(fault)).count() <= 1 {
                kind.undisturbed.push(took);
            }
        }
        for kind in kinds.values_mut() {
            kind.all.sort_unstable();
            kind.undisturbed.sort_unstable();
        }
        kinds.into_values().collect()
    }
}

impl Recovery {
    fn is_disturbed_by(&self, fault: &Raged) -> bool {
        let is_over_before = fault.ended.is_some_and(|ended| ended + AFTERMATH < self.began);
        !is_over_before && fault.began < self.began + self.took
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

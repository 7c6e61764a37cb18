//! From any state, what happens once nothing fails any more.

use std::{
    cell::RefCell,
    collections::HashMap,
    hash::{DefaultHasher, Hash as _, Hasher as _},
};

use stateright::Model as _;

use crate::{
    model::{Action, Leases},
    state::State,
};

/// A turn of three steps, its claim, its messages and the end of what was going on take fewer.
const ACTIONS_MAX: usize = 120;

thread_local! {
    /// States that are known to settle: most lead to one that another has come by.
    static SETTLES: RefCell<HashMap<(Leases, u64), bool>> = RefCell::default();
}

/// Whether the turn ends when everybody does their part, in some fair order.
pub(crate) fn settles(model: &Leases, state: &State) -> bool {
    let mut state = state.clone();
    let mut actions = Vec::new();
    let mut passed = Vec::new();
    let mut verdict = false;
    for _ in 0..ACTIONS_MAX {
        let mark = (*model, fingerprint(&state));
        let known = SETTLES.with_borrow(|settles| settles.get(&mark).copied());
        if let Some(known) = known.or(state.row.is_at_rest().then_some(true)) {
            verdict = known;
            break;
        }
        passed.push(mark);
        actions.clear();
        model.progress(&state, &mut actions);
        actions.sort_by_key(urgency);
        let Some(next) = actions.first().copied() else { break };
        state = model.next_state(&state, next).expect("every action leads somewhere");
    }
    SETTLES.with_borrow_mut(|settles| settles.extend(passed.into_iter().map(|mark| (mark, verdict))));
    verdict
}

fn fingerprint(state: &State) -> u64 {
    let mut hasher = DefaultHasher::new();
    state.hash(&mut hasher);
    hasher.finish()
}

/// Whatever arrives is taken before anything new is begun, so that nothing is put off for ever.
fn urgency(action: &Action) -> u8 {
    match action {
        Action::Receive(_) => 0,
        Action::Commit(_) => 1,
        Action::Read(_) | Action::Reopen(_) => 2,
        Action::Begin(..) => 3,
        Action::Send(..) => 4,
        Action::Repeat(_) => 5,
        Action::Close(_) => 6,
        Action::Redeliver => 7,
        Action::Lose(_) | Action::ReplicaDies(_) | Action::WorkerDies(_) => u8::MAX,
    }
}

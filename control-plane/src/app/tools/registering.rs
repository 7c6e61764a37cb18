//! One agent of a workspace registers at a time: what it declares is written, and it is put in its place.
//!
//! Otherwise the write of an agent that was put out could come last. The calls that are committed from then on
//! would carry its journal, and the agent that stayed would have to answer of each that its outcome is unknown.
//! (This orders the registrations of one replica.)

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use chatplane_domain::WorkspaceId;
use tokio::sync::{Mutex as Lock, OwnedMutexGuard};

/// The agents that register, or wait for that.
#[derive(Clone, Debug, Default)]
pub(super) struct Registering {
    queues: Arc<Mutex<HashMap<WorkspaceId, Queue>>>,
}

/// Exists while some agent of its workspace registers.
#[derive(Debug, Default)]
struct Queue {
    agents: usize,
    lock: Arc<Lock<()>>,
}

/// While this is held no other agent of the workspace registers.
#[derive(Debug)]
pub(super) struct Turn {
    registering: Registering,
    workspace: WorkspaceId,
    /// None only while it is waited for.
    guard: Option<OwnedMutexGuard<()>>,
}

impl Registering {
    /// Waits for a turn, in the order of asking.
    pub(super) async fn turn(&self, workspace: WorkspaceId) -> Turn {
        let lock = {
            let mut queues = self.lock();
            let queue = queues.entry(workspace).or_default();
            queue.agents += 1;
            queue.lock.clone()
        };
        // Whoever stops waiting leaves the queue by dropping this.
        let mut turn = Turn { registering: self.clone(), workspace, guard: None };
        turn.guard = Some(lock.lock_owned().await);
        turn
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<WorkspaceId, Queue>> {
        // A panic elsewhere leaves the map whole: nothing in here panics between two changes.
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Turn {
    pub(super) fn workspace(&self) -> WorkspaceId {
        self.workspace
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut queues = self.registering.lock();
        // Before the queue may go, or the next agent would find another lock.
        self.guard = None;
        if let Some(queue) = queues.get_mut(&self.workspace) {
            queue.agents -= 1;
            if queue.agents == 0 {
                queues.remove(&self.workspace);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;
    use uuid::Uuid;

    use super::*;

    const WORKSPACE: WorkspaceId = WorkspaceId(Uuid::from_u128(1));
    const OTHER: WorkspaceId = WorkspaceId(Uuid::from_u128(2));

    #[test]
    fn agents_of_a_workspace_take_turns_in_the_order_of_asking_and_leave_nothing_behind() {
        let registering = Registering::default();
        let first = registering.turn(WORKSPACE).now_or_never().expect("nobody else registers");
        let mut second = Box::pin(registering.turn(WORKSPACE));
        let mut third = Box::pin(registering.turn(WORKSPACE));
        assert!((&mut second).now_or_never().is_none());
        assert!((&mut third).now_or_never().is_none());
        let other = registering.turn(OTHER).now_or_never().expect("another workspace does not wait");

        drop(first);
        let second = second.now_or_never().expect("it is its turn");
        assert!((&mut third).now_or_never().is_none());
        drop(second);
        let third = third.now_or_never().expect("it is its turn");

        drop((third, other));
        assert!(registering.lock().is_empty());
    }

    #[test]
    fn who_stops_waiting_holds_nobody_up() {
        let registering = Registering::default();
        let first = registering.turn(WORKSPACE).now_or_never().expect("nobody else registers");
        let mut impatient = Box::pin(registering.turn(WORKSPACE));
        let mut patient = Box::pin(registering.turn(WORKSPACE));
        assert!((&mut impatient).now_or_never().is_none());
        assert!((&mut patient).now_or_never().is_none());

        drop(impatient);
        drop(first);
        drop(patient.now_or_never().expect("it is its turn"));

        assert!(registering.lock().is_empty());
    }
}

//! What becomes of the entries of an agent's journal.
//!
//! An agent keeps what it ran and what came of it until it hears that a chat no longer needs it. It lists its
//! entries when it attaches and every 30 s, and is told of each whether to keep it, to stop it, or to drop it.
//! This is the net beneath the direct `CancelTool`, which reaches only agents that are attached to the replica
//! of the write.
//!
//! An agent's stream goes on while the database answers: one lookup is under way at a time, a bounded number
//! of lists waits for it, and what is too much, or fails, is not answered. The agent lists it again.

use std::{collections::VecDeque, future::pending, time::Duration};

use chatplane_domain::{ChatId, State, WorkspaceId};
use futures::{FutureExt, future::BoxFuture};
use tokio::time::timeout;

use super::CallKey;
use crate::{
    app::chain,
    store::{self, Store},
};

/// Lists that wait for the one that is looked up, of at most 1,000 entries of some 40 bytes each: 0.6 MiB. An
/// agent whose journal takes more is told of the rest when it has dropped some.
const WAITING_MAX: usize = 16;
/// An answer that takes longer is not waited for, since the agent lists again in 30 s.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(10);

/// What is to become of an entry of an agent's journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Verdict {
    /// The call.
    pub(crate) key: CallKey,
    /// What becomes of it.
    pub(crate) disposition: Disposition,
}

/// What becomes of an entry of an agent's journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Disposition {
    /// The chat still waits for the result.
    Keep,
    /// Nobody wants the result any more, since the turn is being interrupted; the chat has none yet.
    Cancel,
    /// The chat has a result, or is not this workspace's to work for.
    Committed,
}

impl Disposition {
    /// By the state of the chat in whose workspace the call is open, if it is.
    fn of(state: Option<State>) -> Self {
        match state {
            Some(State::Interrupting) => Self::Cancel,
            Some(State::Running | State::Suspended | State::Waiting | State::Error) => Self::Keep,
            None => Self::Committed,
        }
    }
}

/// Why a list was not answered.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    #[error("the database did not answer in time")]
    Timeout,
    #[error(transparent)]
    Store(#[from] store::Error),
}

/// Looks up what becomes of entries.
pub(super) type LookUp =
    Box<dyn Fn(Vec<CallKey>) -> BoxFuture<'static, Result<Vec<Verdict>, Failure>> + Send + Sync>;

/// Looks up in the database what becomes of entries of a workspace's journal.
pub(super) fn in_store(store: Store, workspace: WorkspaceId) -> LookUp {
    Box::new(move |listed| {
        let store = store.clone();
        async move {
            let calls: Vec<(ChatId, _)> = listed.iter().map(|key| (key.chat, key.call)).collect();
            let states = timeout(LOOKUP_TIMEOUT, store.open_in_workspace(workspace, &calls));
            let states = states.await.map_err(|_| Failure::Timeout)??;
            let verdicts = listed.into_iter().zip(states);
            Ok(verdicts.map(|(key, state)| Verdict { key, disposition: Disposition::of(state) }).collect())
        }
        .boxed()
    })
}

/// The lists of one agent that are not answered yet.
pub(super) struct Listings {
    look_up: LookUp,
    under_way: Option<BoxFuture<'static, Result<Vec<Verdict>, Failure>>>,
    waiting: VecDeque<Vec<CallKey>>,
}

impl Listings {
    pub(super) fn new(look_up: LookUp) -> Self {
        Self { look_up, under_way: None, waiting: VecDeque::new() }
    }

    /// The agent has listed entries.
    pub(super) fn listed(&mut self, entries: Vec<CallKey>) {
        if self.under_way.is_none() {
            self.under_way = Some((self.look_up)(entries));
        } else if self.waiting.len() < WAITING_MAX {
            self.waiting.push_back(entries);
        } else {
            tracing::debug!(entries = entries.len(), "a workspace agent lists faster than it is answered");
        }
    }

    /// The next answer, in the order of the lists. May be dropped and asked again.
    pub(super) async fn next(&mut self) -> Vec<Verdict> {
        loop {
            let Some(under_way) = &mut self.under_way else {
                return pending().await;
            };
            match under_way.await {
                Ok(verdicts) => {
                    self.under_way = self.waiting.pop_front().map(&self.look_up);
                    return verdicts;
                }
                Err(failure) => {
                    // What waits would fare no better, and one line tells of it all.
                    let unanswered = 1 + self.waiting.len();
                    self.under_way = None;
                    self.waiting.clear();
                    let cause = chain(&failure);
                    tracing::warn!(%cause, unanswered, "an agent's journal could not be looked up");
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;

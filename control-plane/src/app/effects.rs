//! What follows a write: hints, deliveries, words to the holder. Losing one costs
//! latency, never work: the row is the truth, and sweeps and renewals read it.

use chatplane_domain::{CallId, Effect, OpenCall};

use super::App;
use crate::{
    peers::EndedCause,
    scheduler::{LeaseKey, Promise},
    store::Applied,
};

impl App {
    /// Carries out the effects of a write that is committed.
    pub(crate) async fn after_commit(&self, applied: &Applied, mut promise: Option<Promise>) {
        let inner = &self.inner;
        let chat = &applied.decision.chat;
        let version = chat.versions.snapshot;
        if applied.decision.change.is_some() {
            inner.hub.chat_changed(chat.id);
            inner.hub.owner_changed(chat.owner);
        }
        let has_ended = applied.snapshot.chat.live_lease().is_some() && chat.live_lease().is_none();
        if has_ended && inner.limits.caps.any() {
            // A chat that its owner's cap kept waiting may run now, in whatever slot is free.
            inner.scheduler.wake(&inner.hub);
        }
        for effect in &applied.decision.effects {
            match effect {
                Effect::Runnable => inner.scheduler.wake(&inner.hub),
                Effect::Deliver(lease) => self.deliver(applied, lease, promise.take()).await,
                Effect::Interrupt(session, fence) => {
                    inner.scheduler.interrupt(*session, LeaseKey { chat: chat.id, fence: *fence }, version);
                    // The holder closes these calls with its next write. It may be gone, and it takes until
                    // somebody else does; their tools are not to run that long.
                    self.end_calls(chat.id, &chat.open_calls, EndedCause::Cancelled);
                }
                Effect::Reload(session, fence) => {
                    inner.scheduler.reload(*session, LeaseKey { chat: chat.id, fence: *fence }, version);
                }
                Effect::Lost(session, fence) => {
                    inner.scheduler.lost(*session, LeaseKey { chat: chat.id, fence: *fence });
                }
                Effect::CancelCalls(calls) => {
                    self.end_calls(chat.id, open_before(applied, calls), EndedCause::Cancelled);
                }
            }
        }
        if let Some(change) = &applied.decision.change
            && !change.calls_closed.is_empty()
        {
            self.end_calls(chat.id, open_before(applied, &change.calls_closed), EndedCause::Settled);
        }
        if let Some(unused) = promise {
            inner.scheduler.withdraw(unused);
        }
    }
}

/// Those of the calls that were open before the write; one that was opened by it was never sent.
fn open_before<'a>(applied: &'a Applied, calls: &'a [CallId]) -> impl Iterator<Item = &'a OpenCall> {
    applied.snapshot.chat.open_calls.iter().filter(|open| calls.contains(&open.id))
}

#[cfg(test)]
mod tests;

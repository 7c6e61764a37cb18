//! What follows a write: hints, deliveries, words to the holder. Losing one costs
//! latency, never work: the row is the truth, and sweeps and renewals read it.

use chatplane_domain::Effect;

use super::App;
use crate::{
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
        }
        for effect in &applied.decision.effects {
            match effect {
                Effect::Runnable => inner.scheduler.wake(),
                Effect::Deliver(lease) => self.deliver(applied, lease, promise.take()).await,
                Effect::Interrupt(session, fence) => {
                    inner.scheduler.interrupt(*session, LeaseKey { chat: chat.id, fence: *fence }, version);
                }
                Effect::Reload(session, fence) => {
                    inner.scheduler.reload(*session, LeaseKey { chat: chat.id, fence: *fence }, version);
                }
                Effect::Lost(session, fence) => {
                    inner.scheduler.lost(*session, LeaseKey { chat: chat.id, fence: *fence });
                }
                Effect::CancelCalls(calls) => inner.workspaces.cancel(chat.id, calls),
            }
        }
        if let Some(unused) = promise {
            inner.scheduler.withdraw(unused);
        }
    }
}

//! Copying a chat up to a message.

use chatplane_domain::{ChatId, Context, ForkChat, MessageId, fork};

use super::{App, Call, Error, new_id, require_chat};
use crate::{
    authz::Action,
    store::{Ask, ChatView, Snapshot, Transacted},
};

impl App {
    /// Copies a chat up to a message into a new, idle chat of the caller.
    ///
    /// # Errors
    ///
    /// `ChatNotFound`, `MessageNotFound`, `RequestIdReused`.
    pub(crate) async fn fork_chat(
        &self,
        call: &Call,
        source: ChatId,
        target: MessageId,
    ) -> Result<ChatView, Error> {
        let (owner, organization) = call.user()?;
        let id = ChatId(new_id());
        let ask =
            Ask { request: call.request.clone(), viewer: Some(owner), fork: Some(target), ..Ask::default() };
        let queue_max = self.inner.limits.queue_max;
        let decide = |snapshot: &Snapshot| {
            let found = snapshot.fork.as_ref().ok_or(Error::MessageNotFound)?;
            let copy = ForkChat {
                id,
                organization,
                owner,
                target,
                covers_through: found.covers_through,
                unanswered: found.unanswered.clone(),
                answered: found.last_answer.is_some(),
            };
            let context = Context { now: snapshot.now, queue_max, lease_offer: None };
            Ok(fork(&snapshot.chat, copy, context))
        };
        let authorize = |snapshot: &Snapshot| require_chat(&call.actor, Action::ReadChat, snapshot);
        // A copy waits for its user: no worker has to hear of it.
        match self.inner.store.fork(source, &ask, authorize, decide).await? {
            Transacted::Replayed(reply) => Ok(reply.chat),
            Transacted::Applied(applied) => {
                self.inner.hub.owner_changed(owner);
                Ok(applied.reply.chat)
            }
        }
    }
}

//! Reading messages.

use chatplane_domain::{Body, ChatId};

use super::{App, Effected, Error};
use crate::{
    authz::Actor,
    store::{MessageBounds, MessagePage, MessageView, QueuedView},
};

/// Which messages are asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MessageQuery {
    /// The chat.
    pub chat: ChatId,
    /// Within these bounds.
    pub bounds: MessageBounds,
    /// How many at most.
    pub limit: usize,
}

/// A page of messages with, if it has no bounds, the queue.
pub(crate) struct MessageReply {
    /// The messages: oldest first where only a lower bound was given, newest first else.
    pub page: MessagePage,
    /// The queue, in order.
    pub queue: Vec<QueuedView>,
}

impl App {
    /// Lists a chat's messages: oldest first above a lower bound alone, newest first else.
    ///
    /// # Errors
    ///
    /// `ChatNotFound`.
    pub(crate) async fn list_messages(
        &self,
        actor: &Actor,
        query: MessageQuery,
    ) -> Result<MessageReply, Error> {
        let view = self.get_chat(actor, query.chat).await?;
        let unbounded = query.bounds == MessageBounds::default();
        // The queue first: what enters the history in between is then in both, and never in neither.
        let mut queue = if unbounded && view.queue_length > 0 {
            self.inner.store.queue(query.chat).await?
        } else {
            Vec::new()
        };
        let page = self.inner.store.messages(query.chat, query.bounds, query.limit).await?;
        queue.retain(|queued| !page.messages.iter().any(|message| was_queued(message, queued)));
        Ok(MessageReply { page, queue })
    }

    /// The messages that entered the history with a write, as they were then. New
    /// ones are at hand; only those that come from the queue or a repeat are read.
    pub(crate) async fn entered(&self, effected: &Effected) -> Result<Vec<MessageView>, Error> {
        let reply = effected.reply();
        if let Effected::Applied(applied) = effected {
            let at_hand = applied.new_messages();
            let found: Option<Vec<MessageView>> = reply
                .entered
                .iter()
                .map(|id| at_hand.iter().find(|message| message.id == *id).cloned())
                .collect();
            if let Some(found) = found {
                return Ok(found);
            }
        }
        let mut messages = self.inner.store.messages_by_id(reply.chat.chat_id, &reply.entered).await?;
        for message in &mut messages {
            message.revision = reply.chat.versions.snapshot;
        }
        Ok(messages)
    }
}

/// Whether the message is what became of the queue entry.
fn was_queued(message: &MessageView, queued: &QueuedView) -> bool {
    matches!(&message.body, Body::User(user) if user.queued_message_id == Some(queued.id))
}

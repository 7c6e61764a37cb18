//! The queue: what waits until the running turn ends.

use chatplane_domain::{ChatId, Command, EditQueuedMessage, QueuedMessageId, decide, file_ids};

use super::{App, Call, Effected, Error, SentMessage};
use crate::{
    authz::Actor,
    store::{Ask, ChatView, QueuePage, Snapshot},
};

/// Which part of a queue is asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct QueueQuery {
    /// The chat.
    pub chat: ChatId,
    /// Only behind this position.
    pub after: Option<i64>,
    /// How many at most.
    pub limit: usize,
}

impl App {
    /// Lists the queue in order, with whole messages.
    ///
    /// # Errors
    ///
    /// `ChatNotFound`.
    pub(crate) async fn list_queued_messages(
        &self,
        actor: &Actor,
        query: QueueQuery,
    ) -> Result<QueuePage, Error> {
        self.get_chat(actor, query.chat).await?;
        Ok(self.inner.store.queue_page(query.chat, query.after, query.limit).await?)
    }

    /// Replaces the content of a queued message.
    ///
    /// # Errors
    ///
    /// `ChatNotFound`, `QueuedMessageNotFound`, `FileNotFound`, `StateForbids`,
    /// `LimitExceeded`, `RequestIdReused`.
    pub(crate) async fn edit_queued_message(
        &self,
        call: &Call,
        chat: ChatId,
        edit: EditQueuedMessage,
    ) -> Result<SentMessage, Error> {
        let (user, _) = call.user()?;
        let parts = self.resolved(user, &edit.parts).await?;
        let ask = Ask { queued: Some(edit.id), files: file_ids(&edit.parts), ..Ask::default() };
        let decide = |snapshot: &Snapshot, context| {
            let parts = parts.clone().ok_or(Error::FileNotFound)?;
            let command = Command::EditQueuedMessage(EditQueuedMessage { id: edit.id, parts });
            Ok(decide(&snapshot.chat, command, context)?)
        };
        let effected = self.command_asking(call, chat, ask, decide).await?;
        let mut edited = self.sent_message(effected).await?;
        // A repeat has sent the same content, so it gets the same reply.
        if let Some(queued) = &mut edited.queued {
            queued.parts = parts.unwrap_or_default();
        }
        Ok(edited)
    }

    /// Deletes a queued message.
    ///
    /// # Errors
    ///
    /// `ChatNotFound`, `QueuedMessageNotFound`, `StateForbids`, `RequestIdReused`.
    pub(crate) async fn delete_queued_message(
        &self,
        call: &Call,
        chat: ChatId,
        id: QueuedMessageId,
    ) -> Result<ChatView, Error> {
        let effected = self.queue_command(call, chat, id, Command::DeleteQueuedMessage(id)).await?;
        Ok(effected.into_reply().chat)
    }

    /// Makes a queued message the next, and stops what runs for it.
    ///
    /// # Errors
    ///
    /// `ChatNotFound`, `QueuedMessageNotFound`, `StateForbids`, `RequestIdReused`.
    pub(crate) async fn promote_queued_message(
        &self,
        call: &Call,
        chat: ChatId,
        id: QueuedMessageId,
    ) -> Result<SentMessage, Error> {
        let effected = self.queue_command(call, chat, id, Command::PromoteQueuedMessage(id)).await?;
        self.sent_message(effected).await
    }

    /// Moves a queued message among those of its kind.
    ///
    /// # Errors
    ///
    /// `ChatNotFound`, `QueuedMessageNotFound`, `StateForbids`, `RequestIdReused`.
    pub(crate) async fn move_queued_message(
        &self,
        call: &Call,
        chat: ChatId,
        id: QueuedMessageId,
        index: usize,
    ) -> Result<SentMessage, Error> {
        let command = Command::MoveQueuedMessage { id, index };
        let effected = self.queue_command(call, chat, id, command).await?;
        self.sent_message(effected).await
    }

    async fn queue_command(
        &self,
        call: &Call,
        chat: ChatId,
        id: QueuedMessageId,
        command: Command,
    ) -> Result<Effected, Error> {
        let ask = Ask { queued: Some(id), ..Ask::default() };
        let decide = |snapshot: &Snapshot, context| Ok(decide(&snapshot.chat, command.clone(), context)?);
        self.command_asking(call, chat, ask, decide).await
    }
}

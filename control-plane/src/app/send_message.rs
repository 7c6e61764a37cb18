//! Adding a user message.

use chatplane_domain::{
    BusyBehavior, ChatId, Command, Effort, QueuedMessageId, UserMessage, UserPart, decide, file_ids,
};

use super::{App, Call, Effected, Error, new_id};
use crate::store::{Ask, ChatView, MessageView, QueuedView};

/// A message that is to be sent.
#[derive(Clone, Debug)]
pub(crate) struct SendMessage {
    /// The chat.
    pub chat: ChatId,
    /// Its pieces; of files only the ids are read.
    pub parts: Vec<UserPart>,
    /// Model that answers from here on.
    pub model: Option<String>,
    /// How much it should think.
    pub effort: Option<Effort>,
    /// What becomes of the message while a turn runs.
    pub busy: BusyBehavior,
}

/// What became of a message.
#[derive(Debug)]
pub(crate) struct SentMessage {
    /// The chat right after it was stored.
    pub chat: ChatView,
    /// Messages that entered the history.
    pub messages: Vec<MessageView>,
    /// The message, if it was queued.
    pub queued: Option<QueuedView>,
}

impl App {
    /// Adds a user message: it starts a turn, waits in the queue, or interrupts.
    ///
    /// # Errors
    ///
    /// `ChatNotFound`, `ModelNotFound`, `FileNotFound`, `StateForbids`, `QueueFull`,
    /// `LimitExceeded`, `RequestIdReused`.
    pub(crate) async fn send_message(&self, call: &Call, send: SendMessage) -> Result<SentMessage, Error> {
        let (created_by, organization) = call.user()?;
        let usable = self.is_usable(organization, send.model.as_deref()).await?;
        let parts = self.resolved(created_by, &send.parts).await?;
        let ask = Ask { files: file_ids(&send.parts), ..Ask::default() };
        let queued_id = QueuedMessageId(new_id());
        let effected = self
            .command_asking(call, send.chat, ask, |snapshot, context| {
                // Another's chat is not found before anything is said about the model.
                if !usable {
                    return Err(Error::ModelNotFound);
                }
                let message = UserMessage {
                    created_by,
                    parts: parts.clone().ok_or(Error::FileNotFound)?,
                    model: send.model.clone(),
                    requested_model: None,
                    effort: send.effort,
                    queued_message_id: None,
                };
                let command = Command::SendMessage(chatplane_domain::SendMessage {
                    id: queued_id,
                    message,
                    busy: send.busy,
                });
                Ok(decide(&snapshot.chat, command, context)?)
            })
            .await?;
        self.sent_message(effected).await
    }

    /// What a client is told of a message that it sent now, or before.
    pub(super) async fn sent_message(&self, effected: Effected) -> Result<SentMessage, Error> {
        let messages = self.entered(&effected).await?;
        let reply = effected.into_reply();
        Ok(SentMessage { chat: reply.chat, messages, queued: reply.queued })
    }
}

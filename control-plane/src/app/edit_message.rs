//! Replacing a user message.

use chatplane_domain::{ChatId, Command, Effort, MessageId, UserMessage, UserPart, decide, file_ids};

use super::{App, Call, Error, SentMessage};
use crate::store::Ask;

/// A message that is to be replaced.
#[derive(Clone, Debug)]
pub(crate) struct EditMessage {
    /// The chat.
    pub chat: ChatId,
    /// The message.
    pub target: MessageId,
    /// Pieces of the replacement; of files only the ids are read.
    pub parts: Vec<UserPart>,
    /// Model that answers from here on.
    pub model: Option<String>,
    /// How much it should think.
    pub effort: Option<Effort>,
}

impl App {
    /// Replaces a user message and drops everything after it; a new turn starts.
    ///
    /// # Errors
    ///
    /// `ChatNotFound`, `MessageNotFound`, `ModelNotFound`, `FileNotFound`, `FieldInvalid`,
    /// `StateForbids`, `LimitExceeded`, `RequestIdReused`.
    pub(crate) async fn edit_message(&self, call: &Call, edit: EditMessage) -> Result<SentMessage, Error> {
        let (created_by, organization) = call.user()?;
        let usable = self.is_usable(organization, edit.model.as_deref()).await?;
        let parts = self.resolved(created_by, &edit.parts).await?;
        let ask = Ask { target: Some(edit.target), files: file_ids(&edit.parts), ..Ask::default() };
        let effected = self
            .command_asking(call, edit.chat, ask, |snapshot, context| {
                if !usable {
                    return Err(Error::ModelNotFound);
                }
                let found = snapshot.target;
                let command = Command::EditMessage(chatplane_domain::EditMessage {
                    target: edit.target,
                    target_role: found.map(|found| found.role),
                    boundary_below: found.and_then(|found| found.boundary_below),
                    answered_below: found.is_some_and(|found| found.answer_below.is_some()),
                    replacement: UserMessage {
                        created_by,
                        parts: parts.clone().ok_or(Error::FileNotFound)?,
                        model: edit.model.clone(),
                        requested_model: None,
                        effort: edit.effort,
                        queued_message_id: None,
                    },
                });
                Ok(decide(&snapshot.chat, command, context)?)
            })
            .await?;
        self.sent_message(effected).await
    }
}

//! What users wrote, for recall in a composer.

use chatplane_domain::{ChatId, MessageId};

use super::{App, Error};
use crate::{authz::Actor, store::PromptPage};

/// Which prompts are asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PromptQuery {
    /// The chat.
    pub chat: ChatId,
    /// Only below this id.
    pub before: Option<MessageId>,
    /// How many user messages to look at.
    pub limit: usize,
}

impl App {
    /// Lists what users wrote in a chat, newest first.
    ///
    /// # Errors
    ///
    /// `ChatNotFound`.
    pub(crate) async fn list_prompts(&self, actor: &Actor, query: PromptQuery) -> Result<PromptPage, Error> {
        self.get_chat(actor, query.chat).await?;
        Ok(self.inner.store.prompts(query.chat, query.before, query.limit).await?)
    }
}

//! Reading chats, and commands that need nothing but the chat.

use chatplane_domain::{ChatId, Command, SubmittedResult, decide};

use super::{App, Call, Error};
use crate::{
    authz::{self, Action, Actor, Resource},
    store::ChatView,
};

impl App {
    /// Returns one chat.
    ///
    /// # Errors
    ///
    /// `ChatNotFound`.
    pub(crate) async fn get_chat(&self, actor: &Actor, chat: ChatId) -> Result<ChatView, Error> {
        authz::may(actor, Action::ReadChat, Resource::Deployment).map_err(Error::chat_denied)?;
        let view = self.inner.store.chat(chat, actor.user()?).await?.ok_or(Error::ChatNotFound)?;
        authz::may(actor, Action::ReadChat, Resource::Chat(view.owner_id)).map_err(Error::chat_denied)?;
        Ok(view)
    }

    /// Stops the running turn.
    ///
    /// # Errors
    ///
    /// `ChatNotFound`, `StateForbids`, `RequestIdReused`.
    pub(crate) async fn interrupt_chat(&self, call: &Call, chat: ChatId) -> Result<ChatView, Error> {
        self.simple_command(call, chat, Command::InterruptChat).await
    }

    /// Archives an idle chat.
    ///
    /// # Errors
    ///
    /// `ChatNotFound`, `StateForbids`, `RequestIdReused`.
    pub(crate) async fn archive_chat(&self, call: &Call, chat: ChatId) -> Result<ChatView, Error> {
        self.simple_command(call, chat, Command::ArchiveChat).await
    }

    /// Brings an archived chat back.
    ///
    /// # Errors
    ///
    /// `ChatNotFound`, `StateForbids`, `RequestIdReused`.
    pub(crate) async fn unarchive_chat(&self, call: &Call, chat: ChatId) -> Result<ChatView, Error> {
        self.simple_command(call, chat, Command::UnarchiveChat).await
    }

    /// Hands in results of calls that the client runs, all or none.
    ///
    /// # Errors
    ///
    /// `ChatNotFound`, `StateForbids`, `FieldInvalid`, `RequestIdReused`.
    pub(crate) async fn submit_tool_results(
        &self,
        call: &Call,
        chat: ChatId,
        results: Vec<SubmittedResult>,
    ) -> Result<ChatView, Error> {
        self.simple_command(call, chat, Command::SubmitToolResults(results)).await
    }

    async fn simple_command(&self, call: &Call, chat: ChatId, command: Command) -> Result<ChatView, Error> {
        let effected = self
            .command(call, chat, |snapshot, context| Ok(decide(&snapshot.chat, command.clone(), context)?))
            .await?;
        Ok(effected.into_reply().chat)
    }
}

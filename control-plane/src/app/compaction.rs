//! What the model shall no longer see.

use chatplane_domain::{ChatId, Command, HistoryEnds, decide};

use super::{App, Call, Error};
use crate::store::{Ask, ChatView};

impl App {
    /// Asks for a summary in place of the history.
    ///
    /// # Errors
    ///
    /// `ChatNotFound`, `StateForbids`, `RequestIdReused`.
    pub(crate) async fn compact_chat(&self, call: &Call, chat: ChatId) -> Result<ChatView, Error> {
        self.command_on_history(call, chat, Command::CompactChat).await
    }

    /// Lets the model forget the history.
    ///
    /// # Errors
    ///
    /// `ChatNotFound`, `StateForbids`, `RequestIdReused`.
    pub(crate) async fn clear_context(&self, call: &Call, chat: ChatId) -> Result<ChatView, Error> {
        self.command_on_history(call, chat, Command::ClearContext).await
    }

    async fn command_on_history(
        &self,
        call: &Call,
        chat: ChatId,
        command: fn(HistoryEnds) -> Command,
    ) -> Result<ChatView, Error> {
        let ask = Ask { history_ends: true, ..Ask::default() };
        let effected = self
            .command_asking(call, chat, ask, |snapshot, context| {
                Ok(decide(&snapshot.chat, command(snapshot.history_ends.unwrap_or_default()), context)?)
            })
            .await?;
        Ok(effected.into_reply().chat)
    }
}

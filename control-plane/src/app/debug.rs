//! Reading what was recorded of model calls.

use chatplane_domain::ChatId;
use uuid::Uuid;

use super::{App, Error};
use crate::{
    authz::Actor,
    store::{DebugPage, DebugRunView, DebugStepView},
};

/// A page of steps has no more of what models were asked and have answered, or one step.
const STEPS_BYTES_MAX: i64 = 2 * 1024 * 1024;

/// Asks for a run with a page of its steps.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DebugRunQuery {
    /// The chat.
    pub chat: ChatId,
    /// The run.
    pub run: Uuid,
    /// The step before the page; 0 for the first page.
    pub after: i32,
    /// How many steps at most.
    pub limit: usize,
}

impl App {
    /// Lists what was recorded of a chat's turns, newest first.
    ///
    /// # Errors
    ///
    /// `ChatNotFound`.
    pub(crate) async fn list_debug_runs(
        &self,
        actor: &Actor,
        chat: ChatId,
        before: Option<Uuid>,
        limit: usize,
    ) -> Result<DebugPage<DebugRunView>, Error> {
        self.get_chat(actor, chat).await?;
        Ok(self.inner.store.debug_runs(chat, before, limit).await?)
    }

    /// What was recorded of one turn.
    ///
    /// # Errors
    ///
    /// `ChatNotFound`, `DebugRunNotFound`.
    pub(crate) async fn get_debug_run(
        &self,
        actor: &Actor,
        query: DebugRunQuery,
    ) -> Result<(DebugRunView, DebugPage<DebugStepView>), Error> {
        let DebugRunQuery { chat, run, after, limit } = query;
        self.get_chat(actor, chat).await?;
        let store = &self.inner.store;
        let view = store.debug_run(chat, run).await?.ok_or(Error::DebugRunNotFound)?;
        let steps = store.debug_steps((chat, run), after, limit, STEPS_BYTES_MAX).await?;
        Ok((view, steps))
    }
}

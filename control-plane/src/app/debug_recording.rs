//! Whether model calls are recorded, and recording them.

use super::{App, Error, settings::permitted};
use crate::{
    authz::{self, Action, Actor, Resource},
    store::{DebugSwitches, DebugSwitchesChange, HandedIn, Recorded},
};

impl App {
    /// Returns whether the caller's turns are recorded.
    ///
    /// # Errors
    ///
    /// What the database says.
    pub(crate) async fn get_debug_recording(&self, actor: &Actor) -> Result<DebugSwitches, Error> {
        let (user, organization) = permitted(actor, Action::ReadSettings)?;
        Ok(self.inner.store.debug_switches(organization, user).await?)
    }

    /// Sets who decides whether turns are recorded, and what the caller has chosen.
    ///
    /// # Errors
    ///
    /// `ActionForbidden` where the policy is set by who is no owner, `ChoiceForbidden` where a
    /// choice is made that the policy does not leave to users. Nothing is stored then.
    pub(crate) async fn update_debug_recording(
        &self,
        actor: &Actor,
        change: DebugSwitchesChange,
    ) -> Result<DebugSwitches, Error> {
        let (user, organization) = permitted(actor, Action::WriteSettings)?;
        if change.policy.is_some() {
            permitted(actor, Action::WriteDebugPolicy)?;
        }
        let stored = self.inner.store.put_debug_switches(organization, user, change).await?;
        stored.ok_or(Error::ChoiceForbidden)
    }

    /// Stores what a model call was, where that is still wanted.
    ///
    /// # Errors
    ///
    /// `LeaseLost` when there was no such lease.
    pub(crate) async fn record_debug_step(&self, actor: &Actor, handed_in: &HandedIn) -> Result<(), Error> {
        authz::may(actor, Action::Dispatch, Resource::Deployment).map_err(Error::chat_denied)?;
        match self.inner.store.record_debug_step(handed_in).await? {
            Recorded::Stored | Recorded::Unwanted => Ok(()),
            Recorded::NeverLeased => Err(Error::LeaseLost),
        }
    }
}

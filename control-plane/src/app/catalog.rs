//! Lists of models and workspaces.

use chatplane_domain::WorkspaceId;

use super::{App, Error};
use crate::{
    authz::{self, Action, Actor, Resource},
    store::{ModelRow, WorkspaceListing},
};

/// A page of models.
pub(crate) struct ModelPage {
    /// The models, by name.
    pub models: Vec<ModelRow>,
    /// Whether there are more.
    pub has_more: bool,
}

/// A page of workspaces, each with whether its agent is connected.
pub(crate) struct WorkspacePage {
    /// The workspaces, by id.
    pub workspaces: Vec<(WorkspaceListing, bool)>,
    /// Whether there are more.
    pub has_more: bool,
}

impl App {
    /// Lists the models that chats can use.
    ///
    /// # Errors
    ///
    /// `CredentialsInvalid`, or what the database says.
    pub(crate) async fn list_models(
        &self,
        actor: &Actor,
        after: Option<&str>,
        limit: usize,
    ) -> Result<ModelPage, Error> {
        authz::may(actor, Action::ListModels, Resource::Deployment).map_err(Error::chat_denied)?;
        let Actor::User { organization, .. } = actor else {
            return Err(Error::wrong_kind());
        };
        let models = self.models_of(*organization).await?;
        let mut rest = models.iter().filter(|model| after.is_none_or(|after| model.name.as_str() > after));
        let page: Vec<ModelRow> = rest.by_ref().take(limit).cloned().collect();
        Ok(ModelPage { models: page, has_more: rest.next().is_some() })
    }

    /// Lists the workspaces that the caller can use.
    ///
    /// # Errors
    ///
    /// `CredentialsInvalid`, or what the database says.
    pub(crate) async fn list_workspaces(
        &self,
        actor: &Actor,
        after: Option<WorkspaceId>,
        limit: usize,
    ) -> Result<WorkspacePage, Error> {
        authz::may(actor, Action::ListWorkspaces, Resource::Deployment).map_err(Error::chat_denied)?;
        let Actor::User { id, .. } = actor else {
            return Err(Error::wrong_kind());
        };
        let one_more = i64::try_from(limit + 1).unwrap_or(i64::MAX);
        let mut listed = self.inner.store.workspaces(*id, after, one_more).await?;
        let has_more = listed.len() > limit;
        listed.truncate(limit);
        let workspaces = listed
            .into_iter()
            .map(|listing| {
                let is_elsewhere = listing.replica.is_some_and(|replica| self.inner.peers.is_linked(replica));
                let online = is_elsewhere || self.inner.workspaces.is_online(listing.workspace_id);
                (listing, online)
            })
            .collect();
        Ok(WorkspacePage { workspaces, has_more })
    }
}

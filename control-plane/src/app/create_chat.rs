//! Creating a chat.

use std::{collections::BTreeMap, time::Duration};

use chatplane_domain::{
    ACTION_TIMEOUT_DEFAULT, ChatId, ClientTool, Context, Effort, OrganizationId, UserId, UserMessage,
    UserPart, WorkspaceId, create, file_ids,
};

use super::{
    App, Call, DeploymentPrompt, Effected, Error,
    jobs::{fallback_title, new_job_id},
    new_id,
    send_message::SentMessage,
};
use crate::{
    authz::{self, Action, Actor, Resource},
    scheduler::Promise,
    store::{Ask, MetadataView, NewChat, Transacted, WorkspaceRow},
};

/// A chat that is to be created.
#[derive(Clone, Debug)]
pub(crate) struct CreateChat {
    /// Pieces of the first message; of files only the ids are read.
    pub parts: Vec<UserPart>,
    /// Workspace whose tools the agent may use.
    pub workspace: Option<WorkspaceId>,
    /// Model that answers; none for the default one.
    pub model: Option<String>,
    /// How much it should think.
    pub effort: Effort,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Instructions for this chat.
    pub system_prompt: Option<String>,
    /// Tools that the client runs.
    pub client_tools: Vec<ClientTool>,
    /// How long the client has to settle calls of its tools; none for the default.
    pub action_timeout: Option<Duration>,
}

impl App {
    /// Creates a chat and starts a turn with its first message.
    ///
    /// # Errors
    ///
    /// `ModelNotFound`, `WorkspaceNotFound`, `FileNotFound`, `LimitExceeded`, `RequestIdReused`.
    pub(crate) async fn create_chat(&self, call: &Call, mut new: CreateChat) -> Result<SentMessage, Error> {
        authz::may(&call.actor, Action::CreateChat, Resource::Deployment).map_err(Error::chat_denied)?;
        let Actor::User { id: owner, organization, .. } = call.actor else {
            return Err(Error::wrong_kind());
        };
        let caps = self.inner.limits.caps;
        let request = call.request.as_ref();
        let beginning = self.inner.store.beginning::<Error>(owner, organization, request).await?;
        if let Some(reply) = beginning.replay {
            return self.sent_message(Effected::Replayed(reply)).await;
        }
        let now = beginning.now;
        let model = self.model(organization, new.model.as_deref()).await?;
        let workspace = self.usable_workspace(&call.actor, new.workspace).await?;
        let files = self.linkable(owner, &file_ids(&new.parts)).await?;
        new.parts = self.resolved(owner, &new.parts).await?.ok_or(Error::FileNotFound)?;
        let promise = self.inner.scheduler.promise(None);
        let lease_offer = promise.as_ref().map(Promise::session);
        let title = fallback_title(&new.parts);
        let metadata = MetadataView { metadata_version: 1, title, labels: new.labels.clone() };
        let deployment_prompt = DeploymentPrompt::of(beginning.deployment_prompt).effective();
        let unborn = unborn((owner, organization), new, model.name, deployment_prompt);
        let queue_max = self.inner.limits.queue_max;
        let decide = |running| {
            let lease_offer = lease_offer.filter(|_| caps.allow(running));
            create(unborn, Context { now, queue_max, lease_offer })
        };
        let title_job = self.inner.titles.generate.then(new_job_id);
        let ask = Ask {
            request: call.request.clone(),
            viewer: Some(owner),
            files: files.iter().map(|file| file.file_id).collect(),
            title_job,
            ..Ask::default()
        };
        let turn_settings = beginning.turn_settings;
        let count_running = (lease_offer.is_some() && caps.any()).then_some((owner, organization));
        let born = NewChat { count_running, ask: &ask, metadata, workspace, turn_settings, files, now };
        match self.inner.store.create(born, decide, || Error::FileNotFound).await? {
            Transacted::Replayed(reply) => self.sent_message(Effected::Replayed(reply)).await,
            Transacted::Applied(applied) => {
                self.after_commit(&applied, promise).await;
                if title_job.is_some() {
                    self.inner.scheduler.job_waits();
                }
                self.sent_message(Effected::Applied(applied)).await
            }
        }
    }

    pub(super) async fn usable_workspace(
        &self,
        actor: &Actor,
        workspace: Option<WorkspaceId>,
    ) -> Result<Option<WorkspaceRow>, Error> {
        let Some(id) = workspace else { return Ok(None) };
        let row = self.inner.store.workspace(id).await?.ok_or(Error::WorkspaceNotFound)?;
        authz::may(actor, Action::UseWorkspace, Resource::Workspace(row.owner_id))
            .map_err(Error::workspace_denied)?;
        Ok(Some(row))
    }
}

/// A chat as the domain is asked for it.
fn unborn(
    (owner, organization): (UserId, OrganizationId),
    new: CreateChat,
    model: String,
    deployment_prompt: Option<String>,
) -> chatplane_domain::CreateChat {
    chatplane_domain::CreateChat {
        id: ChatId(new_id()),
        organization,
        owner,
        model,
        effort: new.effort,
        workspace: new.workspace,
        deployment_prompt,
        system_prompt: new.system_prompt,
        client_tools: new.client_tools,
        action_timeout: new.action_timeout.unwrap_or(ACTION_TIMEOUT_DEFAULT),
        message: UserMessage {
            created_by: owner,
            parts: new.parts,
            model: None,
            requested_model: None,
            effort: None,
            queued_message_id: None,
        },
    }
}

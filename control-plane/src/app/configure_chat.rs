//! Changing a chat's settings.

use std::time::Duration;

use chatplane_domain::{ChatId, ClientTool, Command, Effort, OrganizationId, WorkspaceId, decide};

use super::{App, Call, Error};
use crate::{authz::Actor, store::ChatView};

/// Settings that are to change; what is none stays.
#[derive(Clone, Debug)]
pub(crate) struct ConfigureChat {
    /// The chat.
    pub chat: ChatId,
    /// Model that answers; `Some(None)` is the default one.
    pub model: Option<Option<String>>,
    /// How much it should think.
    pub effort: Option<Effort>,
    /// All tools that the client runs.
    pub client_tools: Option<Vec<ClientTool>>,
    /// Workspace whose tools the agent may use; `Some(None)` takes it away.
    pub workspace: Option<Option<WorkspaceId>>,
    /// The chat's own prompt; `Some(None)` takes it away.
    pub system_prompt: Option<Option<String>>,
    /// How long the client has to settle calls of its tools.
    pub action_timeout: Option<Duration>,
}

impl ConfigureChat {
    /// No change yet to this chat.
    pub(crate) fn of(chat: ChatId) -> Self {
        Self {
            chat,
            model: None,
            effort: None,
            client_tools: None,
            workspace: None,
            system_prompt: None,
            action_timeout: None,
        }
    }
}

/// What has become of the names that new settings hold.
enum Named {
    /// The caller may use them all; the model, if it is to change.
    Usable { model: Option<String> },
    /// There is no such model.
    NoModel,
    /// There is no such workspace, or it is another's.
    NoWorkspace,
}

impl App {
    /// Changes a chat's settings; a worker that runs it uses them from its next model call on.
    ///
    /// # Errors
    ///
    /// `ChatNotFound`, `ModelNotFound`, `WorkspaceNotFound`, `StateForbids`, `RequestIdReused`.
    pub(crate) async fn configure_chat(
        &self,
        call: &Call,
        configure: ConfigureChat,
    ) -> Result<ChatView, Error> {
        let (_, organization) = call.user()?;
        let named = self.named(&call.actor, organization, &configure).await?;
        let effected = self
            .command(call, configure.chat, |snapshot, context| {
                // Another's chat is not found before anything is said about what is named here.
                let model = match &named {
                    Named::Usable { model } => model.clone(),
                    Named::NoModel => return Err(Error::ModelNotFound),
                    Named::NoWorkspace => return Err(Error::WorkspaceNotFound),
                };
                let settings = chatplane_domain::ConfigureChat {
                    model,
                    effort: configure.effort,
                    workspace: configure.workspace,
                    client_tools: configure.client_tools.clone(),
                    system_prompt: configure.system_prompt.clone(),
                    action_timeout: configure.action_timeout,
                };
                Ok(decide(&snapshot.chat, Command::ConfigureChat(settings), context)?)
            })
            .await?;
        Ok(effected.into_reply().chat)
    }

    async fn named(
        &self,
        actor: &Actor,
        organization: OrganizationId,
        configure: &ConfigureChat,
    ) -> Result<Named, Error> {
        let model = match &configure.model {
            Some(name) => match self.model(organization, name.as_deref()).await {
                Ok(model) => Some(model.name),
                Err(Error::ModelNotFound) => return Ok(Named::NoModel),
                Err(error) => return Err(error),
            },
            None => None,
        };
        match self.usable_workspace(actor, configure.workspace.flatten()).await {
            Ok(_) => Ok(Named::Usable { model }),
            Err(Error::WorkspaceNotFound) => Ok(Named::NoWorkspace),
            Err(error) => Err(error),
        }
    }
}

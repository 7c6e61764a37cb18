//! Creating a chat.

use std::collections::BTreeMap;

use chatplane_domain::{ChatId, Context, Effort, UserMessage, WorkspaceId, create};

use super::{App, Call, Effected, Error, new_id, send_message::SentMessage};
use crate::{
    authz::{self, Action, Actor, Resource},
    limits::TITLE_CHARS_MAX,
    scheduler::Promise,
    store::{Ask, MetadataView, Transacted, WorkspaceRow},
};

/// A chat that is to be created.
#[derive(Clone, Debug)]
pub(crate) struct CreateChat {
    /// Text parts of the first message.
    pub texts: Vec<String>,
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
}

impl App {
    /// Creates a chat and starts a turn with its first message.
    ///
    /// # Errors
    ///
    /// `ModelNotFound`, `WorkspaceNotFound`, `RequestIdReused`.
    pub(crate) async fn create_chat(&self, call: &Call, new: CreateChat) -> Result<SentMessage, Error> {
        authz::may(&call.actor, Action::CreateChat, Resource::Deployment).map_err(Error::chat_denied)?;
        let Actor::User { id: owner, organization, .. } = call.actor else {
            return Err(Error::wrong_kind());
        };
        let (now, replay) = self.inner.store.now_and_replay::<Error>(call.request.as_ref()).await?;
        if let Some(reply) = replay {
            return self.sent_message(Effected::Replayed(Box::new(reply))).await;
        }
        let model = self.model(organization, new.model.as_deref()).await?;
        let workspace = self.usable_workspace(&call.actor, new.workspace).await?;
        let promise = self.inner.scheduler.promise(None);
        let context = Context {
            now,
            queue_max: self.inner.limits.queue_max,
            lease_offer: promise.as_ref().map(Promise::session),
        };
        let title = title_of(&new.texts);
        let decision = create(
            chatplane_domain::CreateChat {
                id: ChatId(new_id()),
                organization,
                owner,
                model: model.name,
                effort: new.effort,
                workspace: new.workspace,
                deployment_prompt: self.inner.deployment_prompt.clone(),
                system_prompt: new.system_prompt,
                workspace_notice: workspace.as_ref().map(workspace_notice),
                message: UserMessage {
                    created_by: owner,
                    texts: new.texts,
                    model: None,
                    effort: None,
                    queued_message_id: None,
                },
            },
            context,
        );
        let metadata = MetadataView { metadata_version: 1, title, labels: new.labels };
        let ask = Ask { request: call.request.clone(), ..Ask::default() };
        match self.inner.store.create::<Error>(&decision, &ask, metadata, workspace, now).await? {
            Transacted::Replayed(reply) => self.sent_message(Effected::Replayed(reply)).await,
            Transacted::Applied(applied) => {
                self.after_commit(&applied, promise).await;
                self.sent_message(Effected::Applied(applied)).await
            }
        }
    }

    async fn usable_workspace(
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

/// What the model is told of the workspace.
fn workspace_notice(workspace: &WorkspaceRow) -> String {
    format!("Your tools act in the workspace \"{}\". Paths are relative to its directory.", workspace.name)
}

/// The beginning of the first message, until somebody finds a better title.
fn title_of(texts: &[String]) -> String {
    let words = texts.iter().flat_map(|text| text.split_whitespace());
    let mut title = String::new();
    for word in words {
        let room = TITLE_CHARS_MAX.saturating_sub(title.chars().count() + 1);
        if room == 0 {
            break;
        }
        if !title.is_empty() {
            title.push(' ');
        }
        title.extend(word.chars().filter(|character| !character.is_control()).take(room));
    }
    title
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_title_is_the_first_words_in_one_line() {
        assert_eq!(title_of(&["What is\n in\0 here?".to_owned()]), "What is in here?");
        assert_eq!(title_of(&["x".repeat(500)]).chars().count(), TITLE_CHARS_MAX - 1);
    }
}

//! Who may do what.
//!
//! Every RPC names its action. The answer is one of three: allowed; readable but not
//! allowed, ACTION_FORBIDDEN; not even readable, the resource's NOT_FOUND.

use chatplane_domain::{OrganizationId, ReplicaId, UserId, WorkspaceId};
use uuid::Uuid;

/// On whose behalf a call is made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Actor {
    /// A user.
    User {
        /// Who.
        id: UserId,
        /// Their organization.
        organization: OrganizationId,
        /// Whether they own the deployment.
        is_owner: bool,
    },
    /// A worker.
    Worker,
    /// The agent of one workspace.
    WorkspaceAgent(WorkspaceId),
    /// Another replica.
    Peer(ReplicaId),
}

/// Something that an RPC does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// `chat:create`
    CreateChat,
    /// `chat:read`
    ReadChat,
    /// `chat:write`
    WriteChat,
    /// `file:create`
    CreateFile,
    /// `file:read`
    ReadFile,
    /// `model:list`
    ListModels,
    /// `workspace:list`
    ListWorkspaces,
    /// `workspace:use`
    UseWorkspace,
    /// `settings:read`: the deployment's prompt, the actor's own settings.
    ReadSettings,
    /// `settings:write`: the actor's own settings.
    WriteSettings,
    /// `deployment_prompt:write`
    WriteDeploymentPrompt,
    /// `retention:write`
    WriteRetention,
    /// `debug_policy:write`
    WriteDebugPolicy,
    /// `worker:dispatch`
    Dispatch,
    /// `workspace:attach`
    AttachWorkspace,
    /// `replica:peer`
    Peer,
}

/// What it is done to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Resource {
    /// The deployment as such.
    Deployment,
    /// A chat of this owner.
    Chat(UserId),
    /// A workspace of this owner.
    Workspace(UserId),
    /// A file of this owner.
    File(UserId),
}

/// Why not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Denial {
    /// The token is of the wrong kind for the action.
    WrongKind,
    /// The caller may not know that the resource exists.
    NotFound,
    /// The caller may read the resource, and may not do this to it.
    Forbidden,
}

impl Actor {
    /// The id under which the actor's requests are kept.
    #[must_use]
    pub(crate) fn id(&self) -> Uuid {
        match self {
            Self::User { id, .. } => id.0,
            Self::Worker => Uuid::nil(),
            Self::WorkspaceAgent(workspace) => workspace.0,
            Self::Peer(replica) => replica.0,
        }
    }
}

/// Answers whether the actor may do the action to the resource.
///
/// # Errors
///
/// Why not.
pub(crate) fn may(actor: &Actor, action: Action, resource: Resource) -> Result<(), Denial> {
    match action {
        Action::Dispatch => match actor {
            Actor::Worker => Ok(()),
            Actor::User { .. } | Actor::WorkspaceAgent(_) | Actor::Peer(_) => Err(Denial::WrongKind),
        },
        Action::AttachWorkspace => match actor {
            Actor::WorkspaceAgent(_) => Ok(()),
            Actor::User { .. } | Actor::Worker | Actor::Peer(_) => Err(Denial::WrongKind),
        },
        Action::Peer => match actor {
            Actor::Peer(_) => Ok(()),
            Actor::User { .. } | Actor::Worker | Actor::WorkspaceAgent(_) => Err(Denial::WrongKind),
        },
        Action::CreateChat
        | Action::ReadChat
        | Action::WriteChat
        | Action::CreateFile
        | Action::ReadFile
        | Action::ListModels
        | Action::ListWorkspaces
        | Action::UseWorkspace
        | Action::ReadSettings
        | Action::WriteSettings => match actor {
            Actor::User { id, .. } => owns(*id, resource),
            Actor::Worker | Actor::WorkspaceAgent(_) | Actor::Peer(_) => Err(Denial::WrongKind),
        },
        Action::WriteDeploymentPrompt | Action::WriteRetention | Action::WriteDebugPolicy => match actor {
            Actor::User { is_owner: true, .. } => Ok(()),
            Actor::User { is_owner: false, .. } => Err(Denial::Forbidden),
            Actor::Worker | Actor::WorkspaceAgent(_) | Actor::Peer(_) => Err(Denial::WrongKind),
        },
    }
}

/// Owners of the deployment see no more chats than others: roles come later.
fn owns(user: UserId, resource: Resource) -> Result<(), Denial> {
    match resource {
        Resource::Deployment => Ok(()),
        Resource::Chat(owner) | Resource::Workspace(owner) | Resource::File(owner) if owner == user => Ok(()),
        Resource::Chat(_) | Resource::Workspace(_) | Resource::File(_) => Err(Denial::NotFound),
    }
}

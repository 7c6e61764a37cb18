//! Use cases: what the control plane does, without gRPC and without SQL.
//!
//! Every change of a chat takes one path: the use case names the command, the store
//! transacts (read, decide, compare and set), and effects follow after commit.

mod authenticate;
mod catalog;
pub(crate) mod chain;
mod chats;
mod compaction;
mod configure_chat;
mod create_chat;
mod debug;
mod debug_recording;
mod dispatch;
mod edit_message;
mod effects;
mod error;
mod files;
mod fill_search;
mod fork_chat;
mod hints;
mod holder;
mod jobs;
mod links;
mod list_chats;
mod mark_read;
mod messages;
mod models;
mod peers;
mod prompts;
mod queue;
mod reading;
mod retention;
mod sample_metrics;
mod send_message;
mod settings;
mod tend_search;
mod tools;
mod turn;
mod update_chat;
mod watch_chat;
mod watch_chats;

use std::sync::Arc;

use chatplane_domain::{ChatId, Context, Decision, OrganizationId, ReplicaId, UserId};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::{
    authz::{self, Action, Actor, Resource},
    limits::Limits,
    peers::Peers,
    pubsub::Hub,
    relay::Relay,
    scheduler::{Promise, Scheduler},
    store::{Applied, Ask, Reply, Snapshot, Store, Transacted},
};

// What the use cases take and answer; `grpc` knows the store by these alone.
pub(crate) use crate::store::{
    ActionRequired, ChatView, DebugAttempt, DebugPolicy, DebugRunView, DebugStep, DebugStepView,
    DebugSwitches, DebugSwitchesChange, FileView, FoundAt, HandedIn, JobId, JobLease, ListPosition,
    ListedChat, MessageBounds, MessageView, ModelCall, ModelRow, PendingCall, PromptPage, QueuedView, ReadTo,
    Request, RetentionDays, ThresholdRow, ToolDefinition, WorkspaceListing,
};

pub(crate) use authenticate::hash_token;
pub(crate) use chain::chain;
pub(crate) use configure_chat::ConfigureChat;
pub(crate) use create_chat::CreateChat;
pub(crate) use debug::DebugRunQuery;
pub(crate) use dispatch::*;
pub(crate) use edit_message::EditMessage;
pub(crate) use error::{Error, FieldViolation};
pub(crate) use files::{DownloadFile, ReadFile, UploadFile};
pub(crate) use holder::{HolderCall, HolderReply};
pub(crate) use jobs::{FinishJob, JobResult, TitleSettings, is_blank_title};
pub(crate) use list_chats::ListChats;
pub(crate) use mark_read::MarkRead;
pub(crate) use messages::MessageQuery;
pub(crate) use models::{Credentials, ModelCatalog};
pub(crate) use prompts::PromptQuery;
pub(crate) use queue::QueueQuery;
pub(crate) use retention::Retention;
pub(crate) use send_message::{SendMessage, SentMessage};
pub(crate) use settings::*;
pub(crate) use tools::*;
pub(crate) use turn::{GetTurn, TurnPiece};
pub(crate) use update_chat::{LabelChange, UpdateChat};
pub(crate) use watch_chat::*;

/// What every use case needs.
#[derive(Clone)]
pub(crate) struct App {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) replica: ReplicaId,
    pub(crate) store: Store,
    pub(crate) hub: Hub,
    pub(crate) relay: Relay,
    pub(crate) scheduler: Scheduler,
    pub(crate) workspaces: Workspaces,
    pub(crate) peers: Peers,
    pub(crate) peer_tools: Option<Arc<dyn PeerTools>>,
    pub(crate) uploads: files::Uploads,
    pub(crate) read_notes: mark_read::ReadNotes,
    pub(crate) models: ModelCatalog,
    pub(crate) tokens: authenticate::TokenCache,
    pub(crate) limits: Limits,
    pub(crate) titles: TitleSettings,
    /// Cancelled when streams shall end.
    pub(crate) shutdown: CancellationToken,
}

/// A client's request as the handlers got it: who asks, and how a repeat is known.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    /// On whose behalf.
    pub actor: Actor,
    /// Makes a repeat harmless.
    pub request: Option<Request>,
}

impl Call {
    /// The user who calls; clients are users.
    fn user(&self) -> Result<(UserId, OrganizationId), Error> {
        match self.actor {
            Actor::User { id, organization, .. } => Ok((id, organization)),
            Actor::Worker | Actor::WorkspaceAgent(_) | Actor::Peer(_) => Err(Error::wrong_kind()),
        }
    }
}

impl Actor {
    /// The user who calls; clients are users.
    fn user(&self) -> Result<UserId, Error> {
        match self {
            Self::User { id, .. } => Ok(*id),
            Self::Worker | Self::WorkspaceAgent(_) | Self::Peer(_) => Err(Error::wrong_kind()),
        }
    }
}

/// What a client's command comes to.
pub(crate) enum Effected {
    /// Applied now.
    Applied(Box<Applied>),
    /// Applied before.
    Replayed(Box<Reply>),
}

impl Effected {
    pub(crate) fn reply(&self) -> &Reply {
        match self {
            Self::Applied(applied) => &applied.reply,
            Self::Replayed(reply) => reply,
        }
    }

    pub(crate) fn into_reply(self) -> Reply {
        match self {
            Self::Applied(applied) => applied.reply,
            Self::Replayed(reply) => *reply,
        }
    }
}

impl App {
    /// Puts a replica together.
    #[must_use]
    pub(crate) fn new(parts: AppParts) -> Self {
        let AppParts { replica, store, hub, relay, peers, peer_tools, scheduler, credentials, .. } = parts;
        let (limits, titles, shutdown) = (parts.limits, parts.titles, parts.shutdown);
        let inner = Inner {
            replica,
            models: ModelCatalog::new(credentials, limits.model_cache_ttl),
            tokens: authenticate::TokenCache::new(limits.token_cache_ttl),
            workspaces: Workspaces::default(),
            read_notes: mark_read::ReadNotes::default(),
            uploads: files::Uploads::new(&limits),
            store,
            hub,
            relay,
            peers,
            peer_tools,
            scheduler,
            limits,
            titles,
            shutdown,
        };
        Self { inner: Arc::new(inner) }
    }

    /// A client's command on a chat that exists, with its effects.
    async fn command(
        &self,
        call: &Call,
        chat: ChatId,
        decide: impl Fn(&Snapshot, Context) -> Result<Decision, Error>,
    ) -> Result<Effected, Error> {
        self.command_asking(call, chat, Ask::default(), decide).await
    }

    /// The same for a command that must know more than the chat.
    async fn command_asking(
        &self,
        call: &Call,
        chat: ChatId,
        more: Ask,
        decide: impl Fn(&Snapshot, Context) -> Result<Decision, Error>,
    ) -> Result<Effected, Error> {
        let inner = &self.inner;
        let promise = inner.scheduler.promise(Some(chat));
        let lease_offer = promise.as_ref().map(Promise::session);
        let ask = Ask {
            request: call.request.clone(),
            viewer: Some(call.actor.user()?),
            turn_bytes_max: lease_offer.map(|_| inner.limits.lease_input_bytes_max),
            count_running: lease_offer.is_some() && inner.limits.caps.any(),
            ..more
        };
        let context = |snapshot: &Snapshot| Context {
            now: snapshot.now,
            queue_max: inner.limits.queue_max,
            lease_offer: lease_offer.filter(|_| inner.limits.caps.allow(snapshot.running)),
        };
        let transacted = inner
            .store
            .transact(
                chat,
                &ask,
                |snapshot| require_chat(&call.actor, Action::WriteChat, snapshot),
                |snapshot| {
                    let decision = decide(snapshot, context(snapshot))?;
                    self.check_links(snapshot, &ask, &decision)?;
                    Ok(decision)
                },
            )
            .await?;
        match transacted {
            Transacted::Replayed(reply) => Ok(Effected::Replayed(reply)),
            Transacted::Applied(applied) => {
                self.after_commit(&applied, promise).await;
                Ok(Effected::Applied(applied))
            }
        }
    }
}

/// What a replica is put together from.
pub(crate) struct AppParts {
    /// The replica's id.
    pub replica: ReplicaId,
    /// The database.
    pub store: Store,
    /// Hints.
    pub hub: Hub,
    /// Live parts.
    pub relay: Relay,
    /// The other replicas.
    pub peers: Peers,
    /// How tool calls reach them.
    pub peer_tools: Option<Arc<dyn PeerTools>>,
    /// Sessions and leases.
    pub scheduler: Scheduler,
    /// Keys of providers.
    pub credentials: Credentials,
    /// Limits.
    pub limits: Limits,
    /// Whether titles are written, and by which model.
    pub titles: TitleSettings,
    /// Cancelled when streams shall end.
    pub shutdown: CancellationToken,
}

/// Another's chat is no chat.
pub(crate) fn require_chat(actor: &Actor, action: Action, snapshot: &Snapshot) -> Result<(), Error> {
    authz::may(actor, action, Resource::Chat(snapshot.chat.owner)).map_err(Error::chat_denied)
}

pub(crate) fn new_id() -> Uuid {
    Uuid::now_v7()
}

//! What the store answers: chats, messages and queue entries as they are read.
//!
//! These are the types of `app`; `grpc` converts them to the contract's.

use std::{collections::BTreeMap, time::Duration};

use chatplane_domain::{
    ACTION_TIMEOUT_DEFAULT, Body, CallId, CallKind, Chat, ChatError, ChatId, Effort, Execution, Fence,
    FileId, MessageId, OpenCall, OrganizationId, QueuedMessageId, ReplicaId, Retry, State, UserId, UserPart,
    Versions, Visibility, WorkspaceId,
};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::RowPosition;

/// A chat as its readers see it. Serializable, since replies are kept for repeats.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ChatView {
    /// Its id.
    pub chat_id: ChatId,
    /// Organization of its owner.
    pub organization_id: OrganizationId,
    /// User under whose identity the agent acts.
    pub owner_id: UserId,
    /// Workspace whose tools the agent may use.
    pub workspace_id: Option<WorkspaceId>,
    /// What it is doing.
    pub state: State,
    /// Whether it is archived.
    pub archived: bool,
    /// Name of the model that answers.
    pub model: String,
    /// How much it should think.
    pub effort: Effort,
    /// Names of the tools that the client runs.
    #[serde(default)]
    pub client_tool_names: Vec<String>,
    /// How long the client has to settle calls of its tools.
    #[serde(default = "action_timeout_default")]
    pub action_timeout: Duration,
    /// The calls that a client has to settle; in state `suspended` only.
    #[serde(default)]
    pub action_required: Option<ActionRequired>,
    /// What the last turn came to; empty before its end.
    #[serde(default)]
    pub last_turn_summary: String,
    /// Whether a summary was asked for and is on its way.
    #[serde(default)]
    pub compact_requested: bool,
    /// How many messages wait.
    pub queue_length: usize,
    /// Why it stopped; in state `error` only.
    pub last_error: Option<ChatError>,
    /// The retry in progress.
    pub retry: Option<Retry>,
    /// What changed when.
    pub versions: Versions,
    /// Fence of the last lease; none before the first.
    pub fence: Option<Fence>,
    /// Whether that lease is alive.
    pub leased: bool,
    /// When it was created.
    pub create_time: DateTime<Utc>,
    /// When its execution last changed.
    pub update_time: DateTime<Utc>,
    /// Title, labels and their version.
    pub metadata: MetadataView,
    /// The viewer's place for it among their pinned ones, from 1; none when it is not pinned,
    /// or nobody views it.
    #[serde(default)]
    pub pin_order: Option<i32>,
    /// The last message that the viewer has read.
    #[serde(default)]
    pub read_message_id: Option<MessageId>,
    /// Whether it has an answer that the viewer has not read.
    #[serde(default)]
    pub has_unread: bool,
    /// Files that its messages refer to, in the order of their linking; where it is viewed. They
    /// are not kept with a reply.
    #[serde(skip)]
    pub files: Vec<FileView>,
    /// The chat that it is a child of.
    #[serde(default)]
    pub parent_chat_id: Option<ChatId>,
    /// When it was archived; while it is.
    #[serde(default)]
    pub archive_time: Option<DateTime<Utc>>,
}

/// A file that a user uploaded. Its content never changes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct FileView {
    /// Its id.
    pub file_id: FileId,
    /// Who uploaded it.
    pub owner_id: UserId,
    /// Its name, as the user gave it.
    pub name: String,
    /// What it is, by its content.
    pub media_type: String,
    /// How many bytes it has.
    pub size_bytes: i64,
    /// Of its content, in lower-case hexadecimal.
    pub sha256: String,
    /// When it was uploaded.
    pub create_time: DateTime<Utc>,
}

/// What a view of a chat has beside its execution.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Beside {
    /// Title, labels and their version.
    pub metadata: MetadataView,
    /// When it was created.
    pub create_time: DateTime<Utc>,
    /// When its execution last changed.
    pub update_time: DateTime<Utc>,
    /// The chat that it is a child of.
    pub parent_chat_id: Option<ChatId>,
    /// When it was archived.
    pub archive_time: Option<DateTime<Utc>>,
    /// The viewer's place for it among their pinned ones.
    pub pin_order: Option<i32>,
    /// The last message that the viewer has read.
    pub read_message_id: Option<MessageId>,
    /// Whether it has an answer that the viewer has not read.
    pub has_unread: bool,
    /// Files that its messages refer to.
    pub files: Vec<FileView>,
}

/// What a suspended chat waits for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ActionRequired {
    /// The calls without a result, in order.
    pub calls: Vec<PendingCall>,
    /// When they time out.
    pub deadline: DateTime<Utc>,
}

/// A call that waits for a client.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PendingCall {
    /// The call.
    pub id: CallId,
    /// Name of the tool.
    pub tool_name: String,
    /// Who settles it.
    pub kind: CallKind,
}

impl PendingCall {
    pub(super) fn of(call: OpenCall) -> Self {
        Self { id: call.id, tool_name: call.tool_name, kind: call.kind }
    }
}

/// Replies stored by the release before do not say.
fn action_timeout_default() -> Duration {
    ACTION_TIMEOUT_DEFAULT
}

/// What a chat is called. Changes apart from its execution.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct MetadataView {
    /// Grows by one with every change.
    pub metadata_version: i64,
    /// Short title.
    pub title: String,
    /// Labels by key.
    pub labels: BTreeMap<String, String>,
}

impl ChatView {
    /// The view of a chat as `decide` left it.
    #[must_use]
    pub(crate) fn of(chat: &Chat, beside: Beside) -> Self {
        Self {
            chat_id: chat.id,
            organization_id: chat.organization,
            owner_id: chat.owner,
            workspace_id: chat.settings.workspace,
            state: chat.state(),
            archived: chat.archived(),
            model: chat.settings.model.clone(),
            effort: chat.settings.effort,
            client_tool_names: chat.settings.client_tools.clone(),
            action_timeout: chat.settings.action_timeout,
            action_required: action_required(chat),
            last_turn_summary: chat.last_turn_summary.clone(),
            compact_requested: chat.compact_requested,
            queue_length: chat.queue.len(),
            last_error: chat.last_error().cloned(),
            retry: chat.retry.clone(),
            versions: chat.versions,
            fence: chat.last_lease.as_ref().map(|lease| lease.fence),
            leased: chat.live_lease().is_some(),
            create_time: beside.create_time,
            update_time: beside.update_time,
            metadata: beside.metadata,
            pin_order: beside.pin_order,
            read_message_id: beside.read_message_id,
            has_unread: beside.has_unread,
            files: beside.files,
            parent_chat_id: beside.parent_chat_id,
            archive_time: beside.archive_time,
        }
    }
}

fn action_required(chat: &Chat) -> Option<ActionRequired> {
    let Execution::Suspended { deadline } = chat.execution else { return None };
    let calls = chat.open_calls.iter().cloned().map(PendingCall::of);
    Some(ActionRequired { calls: calls.collect(), deadline })
}

/// A message of a history, live or deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MessageView {
    /// Its id.
    pub id: MessageId,
    /// Who gets to see it.
    pub visibility: Visibility,
    /// What it says. Provider state is read only for workers and empty otherwise.
    pub body: Body,
    /// The snapshot in which the row last changed.
    pub revision: i64,
    /// Bytes of its content, by which pages are cut.
    pub content_bytes: i64,
    /// When it was stored.
    pub create_time: DateTime<Utc>,
    /// Set on the rows of a boundary: the last message that it covers.
    pub covers_through: Option<MessageId>,
}

/// A queued message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct QueuedView {
    /// Its id.
    pub id: QueuedMessageId,
    /// Its place; lower enters first.
    pub position: i64,
    /// Whether it joins the running turn.
    pub steering: bool,
    /// The beginning of its text.
    pub preview_text: String,
    /// Who wrote it.
    pub created_by: UserId,
    /// Model that shall answer it.
    pub model: Option<String>,
    /// How much it should think.
    pub effort: Option<Effort>,
    /// When it was queued.
    pub create_time: DateTime<Utc>,
    /// Its pieces, where it is shown whole; they are not kept with a reply.
    #[serde(skip)]
    pub parts: Vec<UserPart>,
}

/// Where a chat's live lease is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct LiveAt {
    /// Counts the openings of the lease's session.
    pub connection: i64,
    /// The replica that has the session.
    pub replica: ReplicaId,
    /// The lease's fence.
    pub fence: Fence,
}

/// What has changed in a chat since a position, read in one snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SyncPage {
    /// The chat in that snapshot.
    pub chat: ChatView,
    /// Where its live parts are.
    pub live_at: Option<LiveAt>,
    /// Its calls without a result.
    pub open_calls: Vec<CallId>,
    /// Visible messages by `(revision, id)`.
    pub messages: Vec<MessageChange>,
    /// The place before the first of them.
    pub start: RowPosition,
    /// Queue entries by `(revision, id)`; empty while messages are missing.
    pub queue: Vec<QueueChange>,
    /// Whether more messages or entries follow; the rest of the chat is then not yet to
    /// be shown.
    pub more: bool,
}

/// A row of the history that has changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum MessageChange {
    /// It is there.
    Live(MessageView),
    /// It was deleted.
    Deleted {
        /// Its id.
        id: MessageId,
        /// When.
        revision: i64,
    },
}

/// A queue entry that has changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum QueueChange {
    /// It waits.
    Upserted {
        /// The entry.
        entry: QueuedView,
        /// When it changed.
        revision: i64,
    },
    /// It entered the history or was deleted.
    Removed {
        /// Its id.
        id: QueuedMessageId,
        /// When.
        revision: i64,
    },
}

//! Reading chats.

use std::collections::BTreeMap;

use chatplane_domain::{ChatError, ChatId, Fence, OrganizationId, Retry, UserId, Versions, WorkspaceId};
use chrono::{DateTime, Utc};
use sqlx::types::Json;
use uuid::Uuid;

use super::{
    ActionRequired, ChatView, Error, MetadataView, PendingCall, Store, content,
    rows::{CallRow, action_timeout, open_call, word},
};

/// Where a page of chats begins: after the chat that this names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ChatPosition {
    /// When it last changed.
    pub update_time: DateTime<Utc>,
    /// Its id.
    pub chat_id: ChatId,
}

/// A page of chats.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ChatPage {
    /// The chats, most recently changed first.
    pub chats: Vec<ChatView>,
    /// Whether there are more.
    pub has_more: bool,
}

/// The columns of a chat that its readers see.
pub(crate) struct ChatViewRow {
    pub(crate) chat_id: Uuid,
    pub(crate) organization_id: Uuid,
    pub(crate) owner_id: Uuid,
    pub(crate) workspace_id: Option<Uuid>,
    pub(crate) model: String,
    pub(crate) effort: String,
    pub(crate) client_tools: Json<Vec<String>>,
    pub(crate) action_timeout_ms: i64,
    pub(crate) state: String,
    pub(crate) archived: bool,
    pub(crate) queue_length: i32,
    pub(crate) snapshot_version: i64,
    pub(crate) history_version: i64,
    pub(crate) queue_version: i64,
    pub(crate) retry_version: i64,
    pub(crate) error_version: i64,
    pub(crate) retry: Option<Json<Retry>>,
    pub(crate) last_error: Option<Json<ChatError>>,
    pub(crate) fence: i64,
    pub(crate) leased: bool,
    pub(crate) action_deadline: Option<DateTime<Utc>>,
    pub(crate) open_calls: Option<Json<Vec<CallRow>>>,
    pub(crate) last_turn_summary: String,
    pub(crate) compact_requested: bool,
    pub(crate) create_time: DateTime<Utc>,
    pub(crate) update_time: DateTime<Utc>,
    pub(crate) metadata_version: i64,
    pub(crate) title: String,
    pub(crate) labels: Json<BTreeMap<String, String>>,
}

impl ChatViewRow {
    pub(crate) fn view(self) -> Result<ChatView, Error> {
        let calls = self.open_calls.map(|calls| calls.0).unwrap_or_default();
        let action_required = self.action_deadline.map(|deadline| ActionRequired {
            calls: calls.into_iter().map(open_call).map(PendingCall::of).collect(),
            deadline,
        });
        Ok(ChatView {
            chat_id: ChatId(self.chat_id),
            organization_id: OrganizationId(self.organization_id),
            owner_id: UserId(self.owner_id),
            workspace_id: self.workspace_id.map(WorkspaceId),
            state: word(&self.state)?,
            archived: self.archived,
            model: self.model,
            effort: word(&self.effort)?,
            client_tool_names: self.client_tools.0,
            action_timeout: action_timeout(self.action_timeout_ms)?,
            action_required,
            last_turn_summary: content::unescape(self.last_turn_summary),
            compact_requested: self.compact_requested,
            queue_length: usize::try_from(self.queue_length).map_err(|_| Error::RowInvalid)?,
            last_error: self.last_error.map(|error| error.0),
            retry: self.retry.map(|retry| retry.0),
            versions: Versions {
                snapshot: self.snapshot_version,
                history: self.history_version,
                queue: self.queue_version,
                retry: self.retry_version,
                error: self.error_version,
            },
            fence: (self.fence > 0).then_some(Fence(self.fence)),
            leased: self.leased,
            create_time: self.create_time,
            update_time: self.update_time,
            metadata: MetadataView {
                metadata_version: self.metadata_version,
                title: content::unescape(self.title),
                labels: self.labels.0,
            },
        })
    }
}

impl Store {
    /// One chat.
    ///
    /// # Errors
    ///
    /// What the database says.
    pub(crate) async fn chat(&self, chat: ChatId) -> Result<Option<ChatView>, Error> {
        let row = sqlx::query_as!(
            ChatViewRow,
            r#"select
                   c.chat_id, c.organization_id, c.owner_id, c.workspace_id, c.model, c.effort,
                   c.client_tools as "client_tools: Json<Vec<String>>", c.action_timeout_ms, c.state,
                   c.archived, c.queue_length, c.snapshot_version, c.history_version, c.queue_version,
                   c.retry_version, c.error_version, c.retry as "retry: Json<Retry>",
                   c.last_error as "last_error: Json<ChatError>", c.fence, c.leased, c.action_deadline,
                   case when c.action_deadline is not null then (
                       select jsonb_agg(
                           jsonb_build_object(
                               'message_id', o.message_id,
                               'call_index', o.call_index,
                               'tool_name', o.tool_name,
                               'kind', o.kind
                           )
                           order by o.message_id, o.call_index
                       )
                       from calls o
                       where o.chat_id = c.chat_id
                       and not o.settled
                   ) end as "open_calls: Json<Vec<CallRow>>",
                   c.last_turn_summary, c.compact_requested, c.create_time, c.update_time,
                   d.metadata_version, d.title, d.labels as "labels: Json<BTreeMap<String, String>>"
               from chats c
               join chat_metadata d on d.chat_id = c.chat_id
               where c.chat_id = $1"#,
            chat.0,
        )
        .fetch_optional(&self.connections)
        .await?;
        row.map(ChatViewRow::view).transpose()
    }

    /// A user's own root chats, most recently changed first.
    ///
    /// # Errors
    ///
    /// What the database says.
    pub(crate) async fn chats(
        &self,
        owner: UserId,
        archived: bool,
        after: Option<ChatPosition>,
        limit: usize,
    ) -> Result<ChatPage, Error> {
        let one_more = i64::try_from(limit + 1).unwrap_or(i64::MAX);
        let rows = sqlx::query_as!(
            ChatViewRow,
            r#"select
                   c.chat_id, c.organization_id, c.owner_id, c.workspace_id, c.model, c.effort,
                   c.client_tools as "client_tools: Json<Vec<String>>", c.action_timeout_ms, c.state,
                   c.archived, c.queue_length, c.snapshot_version, c.history_version, c.queue_version,
                   c.retry_version, c.error_version, c.retry as "retry: Json<Retry>",
                   c.last_error as "last_error: Json<ChatError>", c.fence, c.leased, c.action_deadline,
                   case when c.action_deadline is not null then (
                       select jsonb_agg(
                           jsonb_build_object(
                               'message_id', o.message_id,
                               'call_index', o.call_index,
                               'tool_name', o.tool_name,
                               'kind', o.kind
                           )
                           order by o.message_id, o.call_index
                       )
                       from calls o
                       where o.chat_id = c.chat_id
                       and not o.settled
                   ) end as "open_calls: Json<Vec<CallRow>>",
                   c.last_turn_summary, c.compact_requested, c.create_time, c.update_time,
                   d.metadata_version, d.title, d.labels as "labels: Json<BTreeMap<String, String>>"
               from chats c
               join chat_metadata d on d.chat_id = c.chat_id
               where c.owner_id = $1
               and c.archived = $2
               and c.parent_chat_id is null
               and ($3::timestamptz is null or (c.update_time, c.chat_id) < ($3, $4))
               order by c.update_time desc, c.chat_id desc
               limit $5"#,
            owner.0,
            archived,
            after.map(|position| position.update_time),
            after.map(|position| position.chat_id.0),
            one_more,
        )
        .fetch_all(&self.connections)
        .await?;
        let has_more = rows.len() > limit;
        let chats = rows.into_iter().take(limit).map(ChatViewRow::view).collect::<Result<_, _>>()?;
        Ok(ChatPage { chats, has_more })
    }
}

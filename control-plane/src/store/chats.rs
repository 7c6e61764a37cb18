//! Reading chats.

use std::collections::BTreeMap;

use chatplane_domain::{ChatError, ChatId, Fence, OrganizationId, Retry, UserId, Versions, WorkspaceId};
use chrono::{DateTime, Utc};
use sqlx::types::Json;
use uuid::Uuid;

use super::{
    ActionRequired, ChatView, Error, FileView, MetadataView, PendingCall, Store, content,
    rows::{CallRow, action_timeout, open_call, read_message, word},
};

/// Reads the columns of a chat that its readers see, `ChatViewRow`, with what follows: `$1` is
/// the viewer, and `c` the chat. What follows says `c.delete_time is null` where it may find a
/// chat that was deleted.
macro_rules! select_chat_views {
    ($rest:literal) => {
        concat!(
            "select \
                 c.chat_id, c.organization_id, c.owner_id, c.workspace_id, c.model, c.effort, \
                 c.client_tools, c.action_timeout_ms, c.state, c.archived, c.queue_length, \
                 c.snapshot_version, c.history_version, c.queue_version, c.retry_version, \
                 c.error_version, c.retry, c.last_error, c.fence, c.leased, c.action_deadline, \
                 case when c.action_deadline is not null then ( \
                     select jsonb_agg( \
                         jsonb_build_object( \
                             'message_id', o.message_id, \
                             'call_index', o.call_index, \
                             'tool_name', o.tool_name, \
                             'kind', o.kind \
                         ) \
                         order by o.message_id, o.call_index \
                     ) \
                     from calls o \
                     where o.chat_id = c.chat_id \
                     and not o.settled \
                 ) end as open_calls, \
                 c.last_turn_summary, c.compact_requested, c.create_time, c.update_time, \
                 d.metadata_version, d.title, d.labels, c.parent_chat_id, c.archive_time, \
                 u.pin_order, u.read_message_id, u.has_unread, \
                 case when c.has_files then ( \
                     select jsonb_agg( \
                         jsonb_build_object( \
                             'file_id', f.file_id, \
                             'owner_id', f.owner_id, \
                             'name', f.name, \
                             'media_type', f.media_type, \
                             'size_bytes', f.size_bytes, \
                             'sha256', encode(f.sha256, 'hex'), \
                             'create_time', f.create_time \
                         ) \
                         order by l.create_time, l.file_id \
                     ) \
                     from chat_files l \
                     join files f on f.file_id = l.file_id \
                     where l.chat_id = c.chat_id \
                 ) end as files \
             from chats c \
             join chat_metadata d on d.chat_id = c.chat_id \
             left join chat_user_metadata u on u.chat_id = c.chat_id and u.user_id = $1 ",
            $rest
        )
    };
}

/// The same, to be followed by what is only known when it is asked.
pub(crate) const CHAT_VIEWS: &str = select_chat_views!("");

/// The columns of a chat that its readers see.
#[derive(sqlx::FromRow)]
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
    pub(crate) parent_chat_id: Option<Uuid>,
    pub(crate) archive_time: Option<DateTime<Utc>>,
    pub(crate) pin_order: Option<i32>,
    pub(crate) read_message_id: Option<i64>,
    pub(crate) has_unread: Option<bool>,
    pub(crate) files: Option<Json<Vec<FileView>>>,
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
            pin_order: self.pin_order,
            read_message_id: read_message(self.read_message_id),
            has_unread: self.has_unread.unwrap_or_default(),
            files: self.files.map(|files| files.0).unwrap_or_default(),
            parent_chat_id: self.parent_chat_id.map(ChatId),
            archive_time: self.archive_time,
        })
    }
}

impl Store {
    /// One chat, as this user sees it.
    ///
    /// # Errors
    ///
    /// What the database says.
    pub(crate) async fn chat(&self, chat: ChatId, viewer: UserId) -> Result<Option<ChatView>, Error> {
        let query = select_chat_views!("where c.chat_id = $2 and c.delete_time is null");
        let row: Option<ChatViewRow> =
            sqlx::query_as(query).bind(viewer.0).bind(chat.0).fetch_optional(&self.connections).await?;
        row.map(ChatViewRow::view).transpose()
    }
}

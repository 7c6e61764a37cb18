//! Rows of the database and what they stand for.

use std::{collections::BTreeMap, time::Duration};

use chatplane_domain::{
    CallId, CallKind, Chat, ChatError, ChatId, Effort, Execution, Fence, JournalId, LastWrite, Lease,
    MessageId, OpenCall, OrganizationId, Queued, QueuedMessageId, Retry, Role, SessionId, Settings, State,
    Usage, UserId, Versions, Visibility, WorkspaceId,
};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sqlx::types::Json;
use uuid::Uuid;

use super::{
    Beside, Error, FileView, MessageView, MetadataView, ShownEntry, TurnSettings,
    content::{self, RowFields},
};
use crate::caps::Running;

/// What `read_chat.sql` answers.
pub(crate) struct ChatRow {
    pub(crate) chat_id: Uuid,
    pub(crate) organization_id: Uuid,
    pub(crate) owner_id: Uuid,
    pub(crate) workspace_id: Option<Uuid>,
    pub(crate) model: String,
    pub(crate) effort: String,
    pub(crate) client_tools: Value,
    pub(crate) client_tools_version: i64,
    pub(crate) action_timeout_ms: i64,
    pub(crate) system_prompt_id: Option<i64>,
    pub(crate) state: String,
    pub(crate) archived: bool,
    pub(crate) snapshot_version: i64,
    pub(crate) history_version: i64,
    pub(crate) queue_version: i64,
    pub(crate) retry_version: i64,
    pub(crate) error_version: i64,
    pub(crate) attempt: i32,
    pub(crate) retry: Option<Json<Retry>>,
    pub(crate) last_error: Option<Json<ChatError>>,
    pub(crate) fence: i64,
    pub(crate) session_id: Option<Uuid>,
    pub(crate) leased: bool,
    pub(crate) last_write: Option<Json<LastWrite>>,
    pub(crate) runnable_since: Option<DateTime<Utc>>,
    pub(crate) interrupt_time: Option<DateTime<Utc>>,
    pub(crate) action_deadline: Option<DateTime<Utc>>,
    pub(crate) next_message_id: i64,
    pub(crate) answered: bool,
    pub(crate) history_bytes: i64,
    pub(crate) covers_through: Option<i64>,
    pub(crate) compact_requested: bool,
    pub(crate) last_turn_summary: String,
    pub(crate) create_time: DateTime<Utc>,
    pub(crate) update_time: DateTime<Utc>,
    pub(crate) metadata_version: i64,
    pub(crate) title: String,
    pub(crate) labels: Json<BTreeMap<String, String>>,
    pub(crate) parent_chat_id: Option<Uuid>,
    pub(crate) archive_time: Option<DateTime<Utc>>,
    pub(crate) last_answer_id: Option<i64>,
    pub(crate) has_files: bool,
    pub(crate) pin_order: Option<i32>,
    pub(crate) read_message_id: Option<i64>,
    pub(crate) has_unread: Option<bool>,
    pub(crate) files: Option<Json<Vec<FileView>>>,
    pub(crate) now: DateTime<Utc>,
    pub(crate) queue: Option<Json<Vec<QueueRow>>>,
    pub(crate) models: Option<Json<Vec<UsableModel>>>,
    pub(crate) open_calls: Option<Json<Vec<CallRow>>>,
    pub(crate) request: Option<Json<StoredRequest>>,
    pub(crate) turn_input: Option<Json<Vec<MessageRow>>>,
    pub(crate) turn_settings: Option<Json<TurnSettings>>,
    pub(crate) workspace: Option<Json<WorkspaceRow>>,
    pub(crate) running: Option<Json<Running>>,
}

/// A request that was accepted before.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct StoredRequest {
    pub(crate) method: String,
    /// In hex.
    pub(crate) body_sha256: String,
    pub(crate) reply: super::Reply,
}

#[derive(Debug, Deserialize)]
pub(crate) struct QueueRow {
    id: Uuid,
    position: i64,
    steering: bool,
    created_by: Uuid,
    model: Option<String>,
    effort: Option<Effort>,
    content_bytes: i64,
    shown: Option<ShownRow>,
}

/// What a queue's entry has beside its header.
#[derive(Debug, Deserialize)]
struct ShownRow {
    preview_text: String,
    create_time: DateTime<Utc>,
}

/// A model that is enabled.
#[derive(Debug, Deserialize)]
pub(crate) struct UsableModel {
    name: String,
    is_default: bool,
}

/// A row of `calls`.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct CallRow {
    pub(crate) message_id: i64,
    pub(crate) call_index: i32,
    pub(crate) tool_name: String,
    pub(crate) kind: CallKind,
    pub(crate) workspace_id: Option<Uuid>,
    pub(crate) journal_id: Option<Uuid>,
}

impl CallRow {
    pub(crate) fn id(&self) -> CallId {
        CallId { message: MessageId(self.message_id), index: self.call_index }
    }
}

/// A workspace as a lease needs it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(crate) struct WorkspaceRow {
    /// Its id.
    pub workspace_id: WorkspaceId,
    /// Who may use it.
    pub owner_id: UserId,
    /// Its name.
    pub name: String,
    /// Tools its agent declared.
    pub tools: Vec<ToolDefinition>,
    /// Journal its agent named.
    pub journal_id: Option<JournalId>,
}

/// A tool that a model may call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ToolDefinition {
    /// Its name.
    pub name: String,
    /// What it does, for the model.
    pub description: String,
    /// JSON Schema of its arguments.
    pub input_schema_json: String,
}

/// A row of `messages`.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct MessageRow {
    pub(crate) id: i64,
    pub(crate) role: Role,
    pub(crate) visibility: Visibility,
    pub(crate) content_version: i16,
    pub(crate) content: Value,
    pub(crate) internal: Option<Value>,
    pub(crate) content_bytes: i64,
    pub(crate) created_by: Option<Uuid>,
    pub(crate) model: Option<String>,
    pub(crate) usage: Option<Usage>,
    pub(crate) runtime_ms: Option<i64>,
    pub(crate) interrupted: bool,
    pub(crate) queued_message_id: Option<Uuid>,
    pub(crate) revision: i64,
    pub(crate) create_time: DateTime<Utc>,
    pub(crate) requested_model: Option<String>,
    pub(crate) covers_through: Option<i64>,
}

impl MessageRow {
    pub(crate) fn view(self) -> Result<MessageView, Error> {
        let fields = RowFields {
            created_by: self.created_by,
            model: self.model,
            requested_model: self.requested_model,
            usage: self.usage,
            runtime_ms: self.runtime_ms,
            interrupted: self.interrupted,
            queued_message_id: self.queued_message_id,
        };
        Ok(MessageView {
            id: MessageId(self.id),
            visibility: self.visibility,
            covers_through: self.covers_through.map(MessageId),
            body: content::decode(self.role, self.content_version, self.content, self.internal, fields)?,
            revision: self.revision,
            content_bytes: self.content_bytes,
            create_time: self.create_time,
        })
    }
}

/// Reads a word of a closed set, such as a state, out of a text column.
pub(crate) fn word<T: serde::de::DeserializeOwned>(text: &str) -> Result<T, Error> {
    serde_json::from_value(Value::String(text.to_owned())).map_err(|_| Error::RowInvalid)
}

/// The text of a word of a closed set.
pub(crate) fn text_of<T: Serialize>(word: T) -> String {
    match serde_json::to_value(word) {
        Ok(Value::String(text)) => text,
        Ok(_) | Err(_) => unreachable!("closed sets serialize as strings"),
    }
}

impl ChatRow {
    /// What a view has beside the chat's execution.
    pub(crate) fn beside(&mut self) -> Beside {
        Beside {
            metadata: self.metadata(),
            create_time: self.create_time,
            update_time: self.update_time,
            parent_chat_id: self.parent_chat_id.map(ChatId),
            archive_time: self.archive_time,
            pin_order: self.pin_order,
            read_message_id: read_message(self.read_message_id),
            has_unread: self.has_unread.unwrap_or_default(),
            files: self.files.take().map(|files| files.0).unwrap_or_default(),
        }
    }

    fn metadata(&self) -> MetadataView {
        MetadataView {
            metadata_version: self.metadata_version,
            title: content::unescape(self.title.clone()),
            labels: self.labels.0.clone(),
        }
    }

    /// The entry of the queue that was asked for; before the queue is taken.
    pub(crate) fn shown_entry(&mut self) -> Option<ShownEntry> {
        let mut entries = self.queue.iter_mut().flat_map(|rows| &mut rows.0);
        let row = entries.find_map(|row| row.shown.take())?;
        Some(ShownEntry { preview_text: content::unescape(row.preview_text), create_time: row.create_time })
    }

    fn queue(&mut self) -> Vec<Queued> {
        let models = self.models.take().map(|models| models.0).unwrap_or_default();
        let rows = self.queue.take().map(|rows| rows.0).unwrap_or_default();
        rows.into_iter().map(|row| queued(row, &models)).collect()
    }

    fn execution(&mut self) -> Result<Execution, Error> {
        let archived = self.archived;
        Ok(match word::<State>(&self.state)? {
            State::Waiting => Execution::Waiting { archived },
            State::Error => {
                Execution::Error { error: self.last_error.take().ok_or(Error::RowInvalid)?.0, archived }
            }
            State::Running if self.leased => Execution::Leased,
            State::Running => Execution::Runnable { since: self.runnable_since.ok_or(Error::RowInvalid)? },
            State::Interrupting => {
                Execution::Interrupting { since: self.interrupt_time.ok_or(Error::RowInvalid)? }
            }
            State::Suspended => {
                Execution::Suspended { deadline: self.action_deadline.ok_or(Error::RowInvalid)? }
            }
        })
    }

    pub(crate) fn chat(&mut self) -> Result<Chat, Error> {
        let client_tools: Vec<String> =
            serde_json::from_value(self.client_tools.clone()).map_err(|_| Error::RowInvalid)?;
        let last_write = self.last_write.take().map(|write| write.0);
        Ok(Chat {
            id: ChatId(self.chat_id),
            organization: OrganizationId(self.organization_id),
            owner: UserId(self.owner_id),
            settings: Settings {
                model: self.model.clone(),
                effort: word(&self.effort)?,
                workspace: self.workspace_id.map(WorkspaceId),
                client_tools,
                client_tools_version: self.client_tools_version,
                action_timeout: action_timeout(self.action_timeout_ms)?,
            },
            execution: self.execution()?,
            versions: Versions {
                snapshot: self.snapshot_version,
                history: self.history_version,
                queue: self.queue_version,
                retry: self.retry_version,
                error: self.error_version,
            },
            queue: self.queue(),
            open_calls: self
                .open_calls
                .take()
                .map(|rows| rows.0)
                .unwrap_or_default()
                .into_iter()
                .map(open_call)
                .collect(),
            attempt: u32::try_from(self.attempt).map_err(|_| Error::RowInvalid)?,
            retry: self.retry.take().map(|retry| retry.0),
            last_lease: self.session_id.map(|session| Lease {
                fence: Fence(self.fence),
                session: SessionId(session),
                last_write,
            }),
            next_message_id: MessageId(self.next_message_id),
            system_prompt: self.system_prompt_id.map(MessageId),
            answered: self.answered,
            history_bytes: self.history_bytes,
            covers_through: self.covers_through.map(MessageId),
            compact_requested: self.compact_requested,
            last_turn_summary: content::unescape(self.last_turn_summary.clone()),
        })
    }
}

/// The last message that somebody has read; 0 is stored for none.
pub(crate) fn read_message(id: Option<i64>) -> Option<MessageId> {
    id.filter(|id| *id > 0).map(MessageId)
}

/// How long a chat's client has to settle calls.
pub(crate) fn action_timeout(millis: i64) -> Result<Duration, Error> {
    u64::try_from(millis).map(Duration::from_millis).map_err(|_| Error::RowInvalid)
}

/// A message whose model is gone or not enabled is answered by the default one, where there
/// is one.
fn queued(row: QueueRow, models: &[UsableModel]) -> Queued {
    let is_usable = |name: &String| models.iter().any(|model| model.name == *name);
    let default = models.iter().find(|model| model.is_default);
    let fallback_model = match &row.model {
        Some(name) if !is_usable(name) => default.map(|model| model.name.clone()),
        Some(_) | None => None,
    };
    Queued {
        id: QueuedMessageId(row.id),
        position: row.position,
        steering: row.steering,
        created_by: UserId(row.created_by),
        model: row.model,
        fallback_model,
        effort: row.effort,
        content_bytes: row.content_bytes,
    }
}

pub(crate) fn open_call(row: CallRow) -> OpenCall {
    OpenCall {
        id: row.id(),
        tool_name: content::unescape(row.tool_name),
        kind: row.kind,
        workspace: row.workspace_id.map(WorkspaceId),
        journal: row.journal_id.map(JournalId),
    }
}

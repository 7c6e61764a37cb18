//! A turn as its holder gets it, and what it is made from.

use std::{fmt, time::Duration};

use chatplane_domain::{
    Body, Chat, ClientTool, Effort, Fence, Inserted, SessionId, State, Visibility, WorkspaceId,
};

use super::{LeaseKey, SettingsMark};
use crate::store::{
    Applied, MessageView, ModelRow, Snapshot, TURN_ROWS_MAX, ToolDefinition, TurnSettings, WorkspaceRow,
};

/// A lease with its turn's input.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Turn {
    /// The lease.
    pub(crate) key: LeaseKey,
    /// Everything but the messages.
    pub(crate) header: TurnHeader,
    /// The input; none when it is too large to come along.
    pub(crate) messages: Option<Vec<MessageView>>,
}

/// What a worker knows of a chat beside its messages.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct TurnHeader {
    /// What the chat is doing.
    pub(crate) state: State,
    /// Version of the chat.
    pub(crate) snapshot_version: i64,
    /// Version of its history.
    pub(crate) history_version: i64,
    /// Number of the last write applied under the lease.
    pub(crate) last_write_no: i64,
    /// Tries of the current model call so far, this one included.
    pub(crate) attempt: u32,
    /// The model to call.
    pub(crate) model: ModelConfig,
    /// How much it should think.
    pub(crate) effort: Effort,
    /// Tools of the chat's workspace.
    pub(crate) tools: Vec<ToolDefinition>,
    /// The chat's workspace.
    pub(crate) workspace: Option<WorkspaceId>,
    /// Tools that the client runs.
    pub(crate) client_tools: Vec<ClientTool>,
    /// What the model is told of the workspace; empty for none.
    pub(crate) workspace_notice: String,
    /// The owner's own instructions; empty for none.
    pub(crate) user_instructions: String,
    /// Percent of the context at which the history is summarized; 100 for never.
    pub(crate) compaction_threshold_percent: i32,
    /// Whether the turn is to make a summary and nothing else.
    pub(crate) compact_requested: bool,
    /// Whether model calls are to be handed in for debugging.
    pub(crate) debug_recording: bool,
}

/// A model as a worker needs it.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct ModelConfig {
    /// Name by which chats refer to it.
    pub(crate) name: String,
    /// Wire format and provider.
    pub(crate) provider: String,
    /// Base URL of the provider.
    pub(crate) endpoint: String,
    /// The provider's own name of the model.
    pub(crate) provider_model: String,
    /// The provider's key: a secret.
    pub(crate) api_key: String,
    /// How many tokens fit its context.
    pub(crate) context_tokens_max: i64,
    /// How many tokens an answer may have.
    pub(crate) output_tokens_max: i64,
    /// How long the first token may take.
    pub(crate) first_token_timeout: Duration,
    /// How long a stream may be silent after that.
    pub(crate) silence_timeout: Duration,
}

impl ModelConfig {
    /// A model of the catalog with the key of its provider.
    pub(crate) fn of(row: ModelRow, api_key: String) -> Self {
        let millis = |ms: i64| Duration::from_millis(u64::try_from(ms).unwrap_or_default());
        Self {
            api_key,
            name: row.name,
            provider: row.provider,
            endpoint: row.endpoint,
            provider_model: row.provider_model,
            context_tokens_max: row.context_tokens_max,
            output_tokens_max: row.output_tokens_max,
            first_token_timeout: millis(row.first_token_timeout_ms),
            silence_timeout: millis(row.silence_timeout_ms),
        }
    }
}

impl fmt::Debug for ModelConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ModelConfig").field("name", &self.name).finish_non_exhaustive()
    }
}

/// What a turn is made from, all of one version of the chat.
#[derive(Clone, Debug)]
pub(crate) struct TurnInput {
    pub(crate) chat: Chat,
    pub(crate) settings: TurnSettings,
    pub(crate) workspace: Option<WorkspaceRow>,
    pub(crate) messages: Option<Vec<MessageView>>,
}

/// The model that a turn is run on.
#[derive(Clone, Debug)]
pub(crate) struct TurnModel {
    /// As the worker gets it.
    pub(crate) config: ModelConfig,
    /// As the catalog has it.
    pub(crate) row: ModelRow,
}

impl TurnInput {
    pub(crate) fn read(snapshot: Snapshot) -> Self {
        Self {
            chat: snapshot.chat,
            // Read with every input, and with every turn of a lease that lives.
            settings: snapshot.turn_settings.unwrap_or_default(),
            workspace: snapshot.workspace,
            messages: snapshot.turn_input,
        }
    }

    /// The input as the write left it that made the lease: what it read, and what it
    /// wrote itself. None where the write changed more than that.
    pub(crate) fn written(applied: &Applied, bytes_max: i64) -> Option<Self> {
        let Applied { snapshot, decision, .. } = applied;
        let chat = &decision.chat;
        let mut messages = snapshot.turn_input.clone()?;
        let settings = applied.turn_settings()?;
        if let Some(change) = &decision.change {
            let is_known = change.delete_from.is_none()
                && change.delete_one.is_none()
                && chat.settings.workspace == snapshot.chat.settings.workspace
                && chat.covers_through == snapshot.chat.covers_through;
            if !is_known {
                return None;
            }
            for inserted in &change.inserted {
                let Inserted::New(message) = inserted else {
                    return None;
                };
                if message.visibility != Visibility::User {
                    messages.push(as_stored(chat, message.clone(), snapshot));
                }
            }
        }
        let bytes: i64 = messages.iter().map(|message| message.content_bytes).sum();
        let is_small = bytes <= bytes_max
            && usize::try_from(TURN_ROWS_MAX).is_ok_and(|rows_max| messages.len() <= rows_max);
        is_small.then(|| Self {
            chat: chat.clone(),
            settings,
            workspace: snapshot.workspace.clone(),
            messages: Some(messages),
        })
    }

    /// Whether this lease is the chat's, and lives.
    pub(crate) fn is_leased(&self, session: SessionId, fence: Fence) -> bool {
        self.chat.live_lease().is_some_and(|lease| lease.session == session && lease.fence == fence)
    }

    pub(crate) fn settings_mark(&self) -> SettingsMark {
        SettingsMark::of(&self.chat.settings)
    }

    /// The turn, to be run on this model.
    pub(crate) fn turn(self, key: LeaseKey, model: TurnModel) -> Turn {
        Turn { key, header: self.header(model), messages: self.messages }
    }

    pub(crate) fn header(&self, model: TurnModel) -> TurnHeader {
        let chat = &self.chat;
        let last_write = chat.last_lease.as_ref().and_then(|lease| lease.last_write);
        // The agent acts strictly as the chat's owner.
        let workspace = self.workspace.as_ref().filter(|workspace| workspace.owner_id == chat.owner);
        TurnHeader {
            state: chat.state(),
            snapshot_version: chat.versions.snapshot,
            history_version: chat.versions.history,
            last_write_no: last_write.map_or(0, |write| write.write_no),
            attempt: chat.attempt,
            compaction_threshold_percent: self.settings.compaction_threshold_percent(&model.row),
            model: model.config,
            effort: chat.settings.effort,
            tools: workspace.map(|workspace| workspace.tools.clone()).unwrap_or_default(),
            workspace: workspace.map(|workspace| workspace.workspace_id),
            client_tools: self.settings.client_tools.clone(),
            workspace_notice: workspace.map(workspace_notice).unwrap_or_default(),
            user_instructions: self.settings.user_instructions.clone(),
            compact_requested: chat.compact_requested,
            debug_recording: self.settings.debug_recording,
        }
    }
}

/// What the model is told of the workspace. It is no row: what a turn says of it is what
/// the chat is configured for then.
fn workspace_notice(workspace: &WorkspaceRow) -> String {
    format!("Your tools act in the workspace \"{}\". Paths are relative to its directory.", workspace.name)
}

/// A message as its row will be read.
fn as_stored(chat: &Chat, mut message: chatplane_domain::Message, snapshot: &Snapshot) -> MessageView {
    if let Body::User(user) = &mut message.body {
        user.model.get_or_insert_with(|| chat.settings.model.clone());
    }
    let content_bytes = i64::try_from(message.body.content_bytes()).unwrap_or(i64::MAX);
    MessageView {
        id: message.id,
        visibility: message.visibility,
        body: message.body,
        revision: chat.versions.snapshot,
        content_bytes,
        create_time: snapshot.now,
        covers_through: message.covers_through,
    }
}

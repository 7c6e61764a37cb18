//! Commands of clients that change what a chat is set to.

use super::{client_outcome, forbid, unchanged};
use crate::{Body, Chat, ConfigureChat, Context, Decision, Execution, Rejection, Visibility, draft::Draft};

pub(super) fn configure_chat(
    chat: &Chat,
    configure: ConfigureChat,
    context: Context,
) -> Result<Decision, Rejection> {
    if chat.archived() {
        return Err(forbid(chat, "ConfigureChat"));
    }
    // An error with a queue is not idle: its next message is on its way.
    let idle = chat.queue.is_empty()
        && matches!(chat.execution, Execution::Waiting { .. } | Execution::Error { .. });
    if configure.system_prompt.is_some() && (!idle || chat.answered) {
        return Err(forbid(chat, "ConfigureChat"));
    }
    let mut draft = Draft::new(chat, context);
    let settings = &mut draft.chat.settings;
    settings.model = configure.model.unwrap_or_else(|| settings.model.clone());
    settings.effort = configure.effort.unwrap_or(settings.effort);
    settings.workspace = configure.workspace.unwrap_or(settings.workspace);
    settings.action_timeout = configure.action_timeout.unwrap_or(settings.action_timeout);
    let mut changed = *settings != chat.settings;
    if let Some(tools) = configure.client_tools
        && !(tools.is_empty() && chat.settings.client_tools.is_empty())
    {
        draft.define_client_tools(tools);
        changed = true;
    }
    if let Some(prompt) = configure.system_prompt {
        changed |= set_system_prompt(&mut draft, chat, prompt);
    }
    if !changed {
        return Ok(unchanged(chat, client_outcome()));
    }
    if chat.live_lease().is_some() {
        draft.tell_reload();
    }
    Ok(draft.finish_client(None))
}

/// Answers whether there was anything to do.
fn set_system_prompt(draft: &mut Draft<'_>, chat: &Chat, prompt: Option<String>) -> bool {
    if chat.system_prompt.is_none() && prompt.is_none() {
        return false;
    }
    if let Some(old) = chat.system_prompt {
        draft.delete_one(old);
    }
    draft.chat.system_prompt = prompt.map(|prompt| draft.insert(Visibility::Model, Body::System(prompt)));
    true
}

pub(super) fn archive_chat(chat: &Chat, context: Context) -> Result<Decision, Rejection> {
    set_archived(chat, false, "ArchiveChat", context)
}

pub(super) fn unarchive_chat(chat: &Chat, context: Context) -> Result<Decision, Rejection> {
    set_archived(chat, true, "UnarchiveChat", context)
}

/// Turns `archived` from the given value to the other.
fn set_archived(
    chat: &Chat,
    from: bool,
    command: &'static str,
    context: Context,
) -> Result<Decision, Rejection> {
    let mut draft = Draft::new(chat, context);
    match &mut draft.chat.execution {
        Execution::Waiting { archived } | Execution::Error { archived, .. } if *archived == from => {
            *archived = !from;
        }
        Execution::Waiting { .. }
        | Execution::Error { .. }
        | Execution::Runnable { .. }
        | Execution::Leased
        | Execution::Interrupting { .. }
        | Execution::Suspended { .. } => return Err(forbid(chat, command)),
    }
    Ok(draft.finish_client(None))
}

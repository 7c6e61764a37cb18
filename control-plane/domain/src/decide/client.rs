//! Commands of clients.

use super::{client_outcome, forbid, unchanged};
use crate::{
    Body, BusyBehavior, CallKind, Chat, ConfigureChat, Context, Decision, EditMessage, EditQueuedMessage,
    Execution, Outcome, QueuedMessageId, Rejection, Role, SendMessage, SubmittedResult, SyntheticReason,
    TOOL_OUTPUT_BYTES_MAX, ToolResult, Visibility, draft::Draft, queue,
};

pub(super) fn send_message(chat: &Chat, send: SendMessage, context: Context) -> Result<Decision, Rejection> {
    let SendMessage { id, message, busy } = send;
    let mut draft = Draft::new(chat, context);
    match &chat.execution {
        Execution::Waiting { archived: true } | Execution::Error { archived: true, .. } => {
            return Err(forbid(chat, "SendMessage"));
        }
        Execution::Waiting { archived: false } | Execution::Error { archived: false, .. }
            if chat.queue.is_empty() =>
        {
            draft.insert_user(message);
            draft.run();
            return Ok(draft.finish_client(None));
        }
        // One in, one out: a full queue is no obstacle.
        Execution::Waiting { archived: false } | Execution::Error { archived: false, .. } => {
            let queued = draft.queue_push(id, message, false);
            draft.run_head_or_wait();
            return Ok(draft.finish_client(Some(queued)));
        }
        Execution::Runnable { .. } | Execution::Suspended { .. } if busy == BusyBehavior::Interrupt => {
            draft.close_open_calls(SyntheticReason::Superseded);
            let queued = if chat.queue.is_empty() {
                draft.insert_user(message);
                None
            } else {
                let queued = draft.queue_push(id, message, false);
                draft.enter_head();
                Some(queued)
            };
            draft.run();
            return Ok(draft.finish_client(queued));
        }
        Execution::Runnable { .. }
        | Execution::Leased
        | Execution::Interrupting { .. }
        | Execution::Suspended { .. } => {}
    }
    if chat.queue.len() >= context.queue_max {
        return Err(Rejection::QueueFull { queue_max: context.queue_max });
    }
    let interrupting = matches!(chat.execution, Execution::Interrupting { .. });
    let queued = draft.queue_push(id, message, busy == BusyBehavior::Steer && !interrupting);
    if busy == BusyBehavior::Interrupt && chat.execution == Execution::Leased {
        draft.interrupt();
    }
    Ok(draft.finish_client(Some(queued)))
}

pub(super) fn edit_message(chat: &Chat, edit: EditMessage, context: Context) -> Result<Decision, Rejection> {
    if chat.archived() {
        return Err(forbid(chat, "EditMessage"));
    }
    match edit.target_role {
        None => return Err(Rejection::MessageNotFound),
        Some(Role::User) => {}
        Some(Role::System | Role::Assistant | Role::Tool) => {
            return Err(Rejection::FieldInvalid {
                field: "message_id",
                description: "only a user message can be edited".to_owned(),
            });
        }
    }
    let mut draft = Draft::new(chat, context);
    draft.queue_clear();
    draft.forget_open_calls();
    draft.delete_from(edit.target);
    draft.insert_user(edit.replacement);
    if chat.live_lease().is_some() {
        draft.keep_lease();
        draft.tell_reload();
    } else {
        draft.run();
    }
    Ok(draft.finish_client(None))
}

/// Nothing changes: the message is where it shall be.
fn stays_queued(chat: &Chat, index: usize) -> Decision {
    let outcome = Outcome::Client { entered: Vec::new(), queued: Some(chat.queue[index].clone()) };
    unchanged(chat, outcome)
}

fn queued_index(chat: &Chat, id: QueuedMessageId) -> Result<usize, Rejection> {
    queue::find(&chat.queue, id).ok_or(Rejection::QueuedMessageNotFound)
}

pub(super) fn edit_queued_message(
    chat: &Chat,
    edit: EditQueuedMessage,
    context: Context,
) -> Result<Decision, Rejection> {
    if chat.archived() {
        return Err(forbid(chat, "EditQueuedMessage"));
    }
    let index = queued_index(chat, edit.id)?;
    let mut draft = Draft::new(chat, context);
    draft.queue_edit(index, edit.texts);
    Ok(draft.finish_client(Some(chat.queue[index].clone())))
}

pub(super) fn delete_queued_message(
    chat: &Chat,
    id: QueuedMessageId,
    context: Context,
) -> Result<Decision, Rejection> {
    if chat.archived() {
        return Err(forbid(chat, "DeleteQueuedMessage"));
    }
    let index = queued_index(chat, id)?;
    let mut draft = Draft::new(chat, context);
    draft.queue_delete(index);
    Ok(draft.finish_client(None))
}

pub(super) fn move_queued_message(
    chat: &Chat,
    id: QueuedMessageId,
    to: usize,
    context: Context,
) -> Result<Decision, Rejection> {
    if chat.archived() {
        return Err(forbid(chat, "MoveQueuedMessage"));
    }
    let index = queued_index(chat, id)?;
    // Steering messages stay before ordinary ones: a move stays among its kind.
    let kind = chat.queue[index].steering;
    let first = chat.queue.iter().position(|queued| queued.steering == kind).unwrap_or(index);
    let last = chat.queue.iter().rposition(|queued| queued.steering == kind).unwrap_or(index);
    let to = to.clamp(first, last);
    if to == index {
        return Ok(stays_queued(chat, index));
    }
    let mut draft = Draft::new(chat, context);
    draft.queue_move(index, to);
    Ok(draft.finish_client(Some(chat.queue[index].clone())))
}

pub(super) fn promote_queued_message(
    chat: &Chat,
    id: QueuedMessageId,
    context: Context,
) -> Result<Decision, Rejection> {
    if chat.archived() || chat.queue.is_empty() {
        return Err(forbid(chat, "PromoteQueuedMessage"));
    }
    let index = queued_index(chat, id)?;
    if index == 0 && matches!(chat.execution, Execution::Interrupting { .. }) {
        return Ok(stays_queued(chat, index));
    }
    let mut draft = Draft::new(chat, context);
    draft.queue_move(index, 0);
    match chat.execution {
        Execution::Leased => draft.interrupt(),
        Execution::Interrupting { .. } => {}
        Execution::Error { .. } | Execution::Runnable { .. } | Execution::Suspended { .. } => {
            draft.close_open_calls(SyntheticReason::Superseded);
            draft.run_head_or_wait();
        }
        Execution::Waiting { .. } => return Err(forbid(chat, "PromoteQueuedMessage")),
    }
    Ok(draft.finish_client(Some(chat.queue[index].clone())))
}

pub(super) fn interrupt_chat(chat: &Chat, context: Context) -> Result<Decision, Rejection> {
    if chat.archived() {
        return Err(forbid(chat, "InterruptChat"));
    }
    let mut draft = Draft::new(chat, context);
    match chat.execution {
        Execution::Waiting { .. } | Execution::Error { .. } | Execution::Interrupting { .. } => {
            return Ok(unchanged(chat, client_outcome()));
        }
        Execution::Leased => draft.interrupt(),
        Execution::Runnable { .. } | Execution::Suspended { .. } => {
            draft.close_open_calls(SyntheticReason::Interrupted);
            draft.run_head_or_wait();
        }
    }
    Ok(draft.finish_client(None))
}

pub(super) fn submit_tool_results(
    chat: &Chat,
    results: Vec<SubmittedResult>,
    context: Context,
) -> Result<Decision, Rejection> {
    if !matches!(chat.execution, Execution::Suspended { .. }) {
        return Err(forbid(chat, "SubmitToolResults"));
    }
    let invalid = |description: &str| {
        Err(Rejection::FieldInvalid { field: "results", description: description.to_owned() })
    };
    if results.is_empty() {
        return invalid("at least one result is needed");
    }
    let mut draft = Draft::new(chat, context);
    for result in results {
        let open = draft.chat.open_calls.iter().find(|open| open.id == result.call);
        if open.is_none_or(|open| open.kind != CallKind::Client) {
            return invalid("each result must name a pending call of a client tool, once");
        }
        if result.output.len() > TOOL_OUTPUT_BYTES_MAX {
            return invalid(&format!("an output has at most {TOOL_OUTPUT_BYTES_MAX} bytes"));
        }
        draft.settle(result.call, |open| ToolResult {
            call: open.id,
            tool_name: open.tool_name.clone(),
            output: result.output,
            is_error: result.is_error,
            synthetic: None,
            runtime_ms: 0,
        });
    }
    if draft.chat.open_calls.is_empty() {
        draft.enter_steering();
        draft.run();
    }
    Ok(draft.finish_client(None))
}

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
    settings.client_tools = configure.client_tools.unwrap_or_else(|| settings.client_tools.clone());
    if *settings == chat.settings && configure.system_prompt.is_none() {
        return Ok(unchanged(chat, client_outcome()));
    }
    if let Some(prompt) = configure.system_prompt {
        if let Some(old) = chat.system_prompt {
            draft.delete_one(old);
        }
        draft.chat.system_prompt = Some(draft.insert(Visibility::Model, Body::System(prompt)));
    }
    if chat.live_lease().is_some() {
        draft.tell_reload();
    }
    Ok(draft.finish_client(None))
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

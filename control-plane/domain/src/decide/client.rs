//! Commands of clients that begin, stop or settle a turn.

use super::{client_outcome, forbid, unchanged};
use crate::{
    BusyBehavior, CallKind, Chat, Context, Decision, EditMessage, Execution, Rejection, Role, SendMessage,
    SubmittedResult, SyntheticReason, TOOL_OUTPUT_BYTES_MAX, ToolResult, draft::Draft,
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
            draft.end_interrupted(SyntheticReason::Superseded);
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
    draft.delete_from(edit.target, edit.boundary_below);
    draft.chat.answered = edit.answered_below;
    draft.insert_user(edit.replacement);
    if chat.live_lease().is_some() {
        draft.keep_lease();
        draft.tell_reload();
    } else {
        draft.run();
    }
    Ok(draft.finish_client(None))
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
            draft.end_interrupted(SyntheticReason::Interrupted);
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

//! Commands of clients that concern the queue.

use super::{forbid, unchanged};
use crate::{
    Chat, Context, Decision, EditQueuedMessage, Execution, Outcome, QueuedMessageId, Rejection,
    SyntheticReason, draft::Draft, queue,
};

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
    draft.queue_edit(index, edit.parts);
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
        // Its turn has ended already.
        Execution::Error { .. } => draft.run_head_or_wait(),
        Execution::Runnable { .. } | Execution::Suspended { .. } => {
            draft.end_interrupted(SyntheticReason::Superseded);
            draft.run_head_or_wait();
        }
        Execution::Waiting { .. } => return Err(forbid(chat, "PromoteQueuedMessage")),
    }
    Ok(draft.finish_client(Some(chat.queue[index].clone())))
}

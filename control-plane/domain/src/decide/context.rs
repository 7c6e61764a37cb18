//! Commands of clients that change how much of the history the model sees.

use super::forbid;
use crate::{Chat, Context, Decision, Execution, HistoryEnds, MessageId, Rejection, draft::Draft};

/// Name of the call that shows a summary to users.
pub const CHAT_SUMMARIZED: &str = "chat_summarized";
/// Name of the call that shows a cleared context to users.
pub const CONTEXT_CLEARED: &str = "context_cleared";

pub(super) fn compact_chat(chat: &Chat, ends: HistoryEnds, context: Context) -> Result<Decision, Rejection> {
    let idle = match chat.execution {
        Execution::Waiting { archived } | Execution::Error { archived, .. } => !archived,
        Execution::Runnable { .. }
        | Execution::Leased
        | Execution::Interrupting { .. }
        | Execution::Suspended { .. } => false,
    };
    if !idle || after_boundary(chat, ends.last_answer).is_none() {
        return Err(forbid(chat, "CompactChat"));
    }
    let mut draft = Draft::new(chat, context);
    draft.chat.compact_requested = true;
    draft.run();
    Ok(draft.finish_client(None))
}

pub(super) fn clear_context(chat: &Chat, ends: HistoryEnds, context: Context) -> Result<Decision, Rejection> {
    let idle = match chat.execution {
        Execution::Waiting { archived } | Execution::Error { archived, .. } => {
            // A message that waits behind an error is on its way: the chat is not idle.
            !archived && chat.queue.is_empty()
        }
        Execution::Runnable { .. }
        | Execution::Leased
        | Execution::Interrupting { .. }
        | Execution::Suspended { .. } => false,
    };
    let Some(last) = after_boundary(chat, ends.last).filter(|_| idle) else {
        return Err(forbid(chat, "ClearContext"));
    };
    let mut draft = Draft::new(chat, context);
    draft.insert_clear_context(last);
    draft.wait();
    Ok(draft.finish_client(None))
}

/// The row, if the newest boundary does not cover it.
fn after_boundary(chat: &Chat, row: Option<MessageId>) -> Option<MessageId> {
    row.filter(|row| chat.covers_through.is_none_or(|covered| *row > covered))
}

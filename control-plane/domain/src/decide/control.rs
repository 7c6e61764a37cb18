//! Commands of the control plane itself: leasing and the sweeps.

use chrono::TimeDelta;

use super::forbid;
use crate::{
    Chat, ChatError, Context, Decision, Execution, ExpireCause, ExpireLease, Rejection, SessionId,
    SyntheticReason, draft::Draft,
};

/// A holder has this long to hand in what an interrupted step has; tools get 5 s of it.
pub const INTERRUPTION_MAX: TimeDelta = TimeDelta::seconds(10);

pub(super) fn lease(chat: &Chat, session: SessionId, context: Context) -> Result<Decision, Rejection> {
    if !matches!(chat.execution, Execution::Runnable { .. }) {
        return Err(forbid(chat, "Lease"));
    }
    let mut draft = Draft::new(chat, context);
    draft.lease(session);
    Ok(draft.finish_applied())
}

pub(super) fn expire_lease(
    chat: &Chat,
    expire: ExpireLease,
    context: Context,
) -> Result<Decision, Rejection> {
    let Some(lease) = chat.live_lease() else {
        return Err(forbid(chat, "ExpireLease"));
    };
    if lease.fence != expire.fence {
        return Err(Rejection::NotDue);
    }
    let overdue = match chat.execution {
        Execution::Interrupting { since } => since + INTERRUPTION_MAX <= context.now,
        _ => false,
    };
    if expire.cause == ExpireCause::InterruptionOverdue && !overdue {
        return Err(Rejection::NotDue);
    }
    let mut draft = Draft::new(chat, context);
    draft.tell_lost();
    if chat.execution == Execution::Leased {
        draft.run();
    } else {
        draft.end_interrupted(SyntheticReason::Interrupted);
        draft.run_head_or_wait();
    }
    Ok(draft.finish_applied())
}

pub(super) fn expire_calls(chat: &Chat, context: Context) -> Result<Decision, Rejection> {
    let Execution::Suspended { deadline } = chat.execution else {
        return Err(forbid(chat, "ExpireCalls"));
    };
    if deadline > context.now {
        return Err(Rejection::NotDue);
    }
    let mut draft = Draft::new(chat, context);
    draft.close_open_calls(SyntheticReason::TimedOut);
    draft.enter_steering();
    draft.run();
    Ok(draft.finish_applied())
}

pub(super) fn fail_runnable(chat: &Chat, error: ChatError, context: Context) -> Result<Decision, Rejection> {
    if !matches!(chat.execution, Execution::Runnable { .. }) {
        return Err(forbid(chat, "FailRunnable"));
    }
    let mut draft = Draft::new(chat, context);
    draft.stop_with(error);
    Ok(draft.finish_applied())
}

/// Retention's last step. What the chat cost stays, and its errors' kinds; what anybody has
/// said or configured does not.
pub(super) fn delete_chat(chat: &Chat, context: Context) -> Result<Decision, Rejection> {
    if !chat.archived() {
        return Err(forbid(chat, "DeleteChat"));
    }
    let mut draft = Draft::new(chat, context);
    draft.erase();
    Ok(draft.finish_applied())
}

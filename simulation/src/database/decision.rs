//! `decide`, and what a planted bug makes of it.

use chatplane_domain::{
    Body, Chat, Command, Context, Decision, Execution, HolderCommand, Inserted, Outcome, Rejection, decide,
};

use crate::bug::Bug;

/// Decides, with a rule left out or none.
pub(crate) fn decide_with(
    bug: Option<Bug>,
    chat: &Chat,
    command: Command,
    context: Context,
) -> Result<Decision, Rejection> {
    let command = match command {
        Command::Holder(holder) => Command::Holder(holder_command(bug, chat, holder)?),
        other => other,
    };
    let is_lease = matches!(command, Command::Lease(_));
    let used_again = match (bug, &command) {
        (Some(Bug::MessageIdUsedAgain), Command::EditMessage(edit)) => {
            Some(Chat { next_message_id: edit.target, ..chat.clone() })
        }
        _ => None,
    };
    let mut decision = decide(used_again.as_ref().unwrap_or(chat), command, context)?;
    match bug {
        Some(Bug::LeaseWithoutVersion) if is_lease => decision.chat.versions.snapshot -= 1,
        Some(Bug::LeaseIsNoTry) if is_lease => decision.chat.attempt = chat.attempt.min(1),
        Some(Bug::OrphanedCalls) => forget_synthetic(&mut decision),
        Some(Bug::ReplayWithVersionsOfNow) => {
            if let Outcome::Replayed(outcome) = &mut decision.outcome {
                outcome.history_version = chat.versions.history;
                outcome.snapshot_version = chat.versions.snapshot;
            }
        }
        Some(Bug::InterruptionForgetsHead) => leave_head(chat, &mut decision),
        _ => {}
    }
    Ok(decision)
}

fn holder_command(
    bug: Option<Bug>,
    chat: &Chat,
    mut holder: HolderCommand,
) -> Result<HolderCommand, Rejection> {
    match (bug, &chat.last_lease) {
        (Some(Bug::FenceNotCompared), Some(lease)) => {
            (holder.header.session, holder.header.fence) = (lease.session, lease.fence);
        }
        (Some(Bug::StalenessBeforeReplay), Some(lease))
            if (lease.session, lease.fence) == (holder.header.session, holder.header.fence)
                && holder.header.history_version != chat.versions.history =>
        {
            return Err(Rejection::Superseded);
        }
        _ => {}
    }
    Ok(holder)
}

fn forget_synthetic(decision: &mut Decision) {
    let Some(change) = &mut decision.change else { return };
    change.inserted.retain(|inserted| match inserted {
        Inserted::New(message) => !matches!(&message.body, Body::Tool(result) if result.synthetic.is_some()),
        Inserted::Queued { .. } => true,
    });
}

/// As if the lease ended with the interruption, and nobody looked at the queue.
fn leave_head(before: &Chat, decision: &mut Decision) {
    let ends = matches!(before.execution, Execution::Interrupting { .. })
        && decision.chat.execution == Execution::Leased;
    let Some(change) = decision.change.as_mut().filter(|_| ends) else { return };
    change.inserted.retain(|inserted| matches!(inserted, Inserted::New(_)));
    decision.chat.queue.clone_from(&before.queue);
    decision.chat.execution = Execution::Waiting { archived: false };
}

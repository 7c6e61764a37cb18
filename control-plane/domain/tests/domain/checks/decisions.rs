//! What a decision may do to a chat.

use chatplane_domain::{Chat, Decision, Effect, Execution, Inserted, MessageId, Outcome, State};

/// Checks a decision against the chat that it was made for.
pub(crate) fn check_decision(before: &Chat, decision: &Decision) {
    let Some(change) = &decision.change else {
        assert_eq!(&decision.chat, before, "what changes nothing moves no version");
        assert_eq!(decision.effects, []);
        return;
    };
    check_versions(before, decision);
    check_ids(before, decision);
    check_attempt(before, decision);
    check_effects(before, decision);
    check_boundary(before, decision);
    check_summary_line(before, decision);

    // A write that changes nothing would have to say so.
    let mut still = decision.chat.clone();
    still.versions.snapshot -= 1;
    let rows = change.queue_content.is_some() || change.client_tools.is_some();
    assert!(rows || &still != before, "a write changes something");
}

/// Invariant 2.
fn check_versions(before: &Chat, decision: &Decision) {
    let change = decision.change.as_ref().expect("something changes");
    let (old, new) = (before.versions, decision.chat.versions);
    assert_eq!(new.snapshot, old.snapshot + 1, "every write is one version");
    let parts = [
        (
            old.history,
            new.history,
            !change.inserted.is_empty() || change.delete_from.is_some() || change.delete_one.is_some(),
        ),
        (old.queue, new.queue, change.queue_content.is_some() || before.queue != decision.chat.queue),
        (old.retry, new.retry, before.retry != decision.chat.retry),
        (old.error, new.error, before.last_error() != decision.chat.last_error()),
    ];
    for (old, version, changed) in parts {
        assert_eq!(version, if changed { new.snapshot } else { old });
    }
}

/// Message ids count up, without a gap within a write.
fn check_ids(before: &Chat, decision: &Decision) {
    let change = decision.change.as_ref().expect("something changes");
    let mut next = before.next_message_id;
    for inserted in &change.inserted {
        assert_eq!(inserted.message_id(), next, "ids count up");
        next = next.next();
    }
    assert_eq!(decision.chat.next_message_id, next);
}

/// 0 after every change of the history, but 1 where a holder goes on with it; each
/// lease and each retry is a try.
fn check_attempt(before: &Chat, decision: &Decision) {
    let after = &decision.chat;
    if after.state() != State::Running {
        return;
    }
    let changed = after.versions.history == after.versions.snapshot;
    let kept = if changed || before.state() != State::Running { 0 } else { before.attempt };
    let leased = decision.effects.iter().any(|effect| matches!(effect, Effect::Deliver(_)));
    let retried = after.retry.is_some() && after.retry != before.retry;
    let held = after.execution == Execution::Leased;
    let tries = kept + u32::from(leased) + u32::from(retried);
    assert_eq!(after.attempt, tries.max(u32::from(held)));
}

/// Nobody waits for a sweep to hear what a write did.
fn check_effects(before: &Chat, decision: &Decision) {
    let after = &decision.chat;
    let has = |wanted: fn(&Effect) -> bool| decision.effects.iter().any(wanted);
    let runnable = matches!(after.execution, Execution::Runnable { .. });
    assert_eq!(has(|effect| matches!(effect, Effect::Runnable)), runnable);

    let interrupted = before.state() != State::Interrupting && after.state() == State::Interrupting;
    assert_eq!(has(|effect| matches!(effect, Effect::Interrupt(..))), interrupted);

    let fence = |chat: &Chat| chat.last_lease.as_ref().map_or(0, |lease| lease.fence.0);
    let leased = fence(after) != fence(before);
    assert_eq!(has(|effect| matches!(effect, Effect::Deliver(_))), leased);
    assert_eq!(fence(after), fence(before) + i64::from(leased), "fences count up");

    let applied = decision.outcome == Outcome::Applied;
    let taken = applied && before.live_lease().is_some();
    assert_eq!(has(|effect| matches!(effect, Effect::Lost(..))), taken);
}

/// Boundaries cover more and more; only an edit goes back. A summary is asked for in an
/// idle chat, and an accepted one is what was asked for.
fn check_boundary(before: &Chat, decision: &Decision) {
    let change = decision.change.as_ref().expect("something changes");
    let after = &decision.chat;
    let covers: Vec<MessageId> = change
        .inserted
        .iter()
        .filter_map(|inserted| match inserted {
            Inserted::New(message) => message.covers_through,
            Inserted::Queued { .. } => None,
        })
        .collect();
    match covers.as_slice() {
        [] if change.delete_from.is_some() => assert!(after.covers_through <= before.covers_through),
        [] => assert_eq!(after.covers_through, before.covers_through),
        [first, ..] => {
            assert!(Some(*first) > before.covers_through, "each boundary covers more");
            assert!(covers.iter().all(|other| other == first), "one boundary a write");
            assert_eq!(after.covers_through, Some(*first));
            assert!(!after.compact_requested);
        }
    }
    if after.compact_requested && !before.compact_requested {
        assert!(matches!(before.state(), State::Waiting | State::Error), "an idle chat is compacted");
        assert_eq!(change.inserted, [], "nothing enters with the wish for a summary");
        assert_eq!(after.queue, before.queue);
    }
    assert!(!after.compact_requested || change.delete_from.is_none(), "an edit forgets the wish");
}

/// Every turn that ends says what it came to.
fn check_summary_line(before: &Chat, decision: &Decision) {
    let after = &decision.chat;
    let edited = decision.change.as_ref().is_some_and(|change| change.delete_from.is_some());
    let line = after.last_turn_summary.as_str();
    if before.last_error().is_none() && after.last_error().is_some() {
        assert_eq!(line, "Stopped by an error");
    }
    let interrupted = before.state() == State::Interrupting && after.state() != State::Interrupting;
    if interrupted && !edited {
        assert_eq!(line, "Interrupted");
    }
    assert!(line.chars().count() <= 120);
}

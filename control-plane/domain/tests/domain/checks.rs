//! The invariants of the specification, as far as the pure core holds them. Their
//! numbers are those of its list; 7 across requests and 8 belong to the store.

use std::collections::BTreeSet;

use chatplane_domain::{
    Body, CallId, Chat, Decision, Effect, Execution, MessageId, Outcome, Queued, QueuedMessageId, State,
};

use crate::{
    database::{Database, Fate},
    states::short,
};

/// Checks what the database holds between two writes.
pub(crate) fn check_rows(database: &Database) {
    short(&database.chat);
    check_history(database);
    check_queue(database);
    check_fates(database);
    check_model(database);
    let bytes = database.live().map(|(_, row)| row.body.content_bytes());
    let bytes = i64::try_from(bytes.sum::<usize>()).expect("test histories are small");
    assert_eq!(database.chat.history_bytes, bytes, "the bytes of the live history");
    let prompt = database.chat.system_prompt;
    let role = prompt.and_then(|id| database.role(id));
    assert_eq!(prompt.is_some(), role.is_some(), "the chat's prompt is a live row");
}

/// The chat's model is that of the last message that entered and named one.
fn check_model(database: &Database) {
    let revision = database.chat.versions.snapshot;
    let new = database.live().filter(|(_, row)| row.revision == revision);
    let named = new.filter_map(|(_, row)| match &row.body {
        Body::User(message) => message.model.as_ref(),
        Body::System(_) | Body::Assistant(_) | Body::Tool(_) => None,
    });
    if let Some(model) = named.last() {
        assert_eq!(&database.chat.settings.model, model);
    }
}

/// Invariant 1: every call has exactly one result before the next user or assistant
/// message, and the calls without one are the chat's open calls.
fn check_history(database: &Database) {
    let mut open: BTreeSet<CallId> = BTreeSet::new();
    for (id, row) in database.live() {
        match &row.body {
            Body::System(_) => {}
            Body::User(_) => assert!(open.is_empty(), "a call has no result before message {id:?}"),
            Body::Assistant(answer) => {
                assert!(open.is_empty(), "a call has no result before message {id:?}");
                let calls = (0_i32..).zip(answer.calls());
                open.extend(calls.map(|(index, _)| CallId { message: id, index }));
            }
            Body::Tool(result) => assert!(open.remove(&result.call), "a result has an open call, once"),
        }
    }
    let stored: BTreeSet<CallId> = database.calls.keys().copied().collect();
    let known: BTreeSet<CallId> = database.chat.open_calls.iter().map(|call| call.id).collect();
    assert_eq!(open, stored, "the stored calls are those of the history");
    assert_eq!(stored, known, "the chat knows its open calls");
    assert_eq!(known.len(), database.chat.open_calls.len());
}

/// Positions grow along the queue, steering messages stand before ordinary ones, and
/// the rows are what the chat says.
fn check_queue(database: &Database) {
    let mut stored: Vec<Queued> = database.queue.values().cloned().collect();
    stored.sort_by_key(|queued| queued.position);
    assert_eq!(stored, database.chat.queue, "the stored queue is the chat's");
    for pair in stored.windows(2) {
        assert!(pair[0].position < pair[1].position, "positions are unique");
        assert!(pair[0].steering || !pair[1].steering, "steering stands first");
    }
    for queued in &stored {
        let bytes: usize = database.contents[&queued.id].iter().map(String::len).sum();
        assert_eq!(usize::try_from(queued.content_bytes), Ok(bytes));
    }
}

/// Invariant 5: a queued message waits, or reached the history exactly once, or was
/// deleted.
fn check_fates(database: &Database) {
    let mut reached: Vec<(QueuedMessageId, MessageId)> = Vec::new();
    for (id, row) in &database.rows {
        if let Body::User(message) = &row.body
            && let Some(queued) = message.queued_message_id
        {
            assert_eq!(message.texts, database.contents[&queued], "its last content enters");
            reached.push((queued, *id));
        }
    }
    for (queued, fate) in &database.fates {
        let rows: Vec<MessageId> =
            reached.iter().filter(|(id, _)| id == queued).map(|(_, row)| *row).collect();
        assert_eq!(database.queue.contains_key(queued), *fate == Fate::Waiting);
        match fate {
            Fate::Entered(row) => assert_eq!(rows, [*row]),
            Fate::Waiting | Fate::Deleted => assert_eq!(rows, []),
        }
    }
}

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

    // A write that changes nothing would have to say so.
    let mut still = decision.chat.clone();
    still.versions.snapshot -= 1;
    let rows = change.queue_content.is_some();
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

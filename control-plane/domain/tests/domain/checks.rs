//! The invariants of the specification, as far as the pure core holds them. Their
//! numbers are those of its list; 7 across requests and 8 belong to the store.

mod decisions;
mod forks;

use std::collections::BTreeSet;

use chatplane_domain::{
    Body, CallId, MessageId, Queued, QueuedMessageId, Role, State, Visibility, content_bytes,
};

use crate::{
    database::{Database, Fate, Row},
    states::short,
};

pub(crate) use decisions::check_decision;
pub(crate) use forks::check_fork;

/// Checks what the database holds between two writes.
pub(crate) fn check_rows(database: &Database) {
    short(&database.chat);
    check_history(database);
    check_boundaries(database);
    check_prompt(database);
    check_queue(database);
    check_fates(database);
    let tools = database.tools.iter().map(|tool| &tool.name);
    assert!(tools.eq(&database.chat.settings.client_tools), "the names are those of the definitions");
    let has_answer = database.answered_below(database.chat.next_message_id);
    assert_eq!(database.chat.answered, has_answer, "an answer that was deleted is none");
    let prompt = database.chat.system_prompt;
    let role = prompt.and_then(|id| database.role(id));
    assert_eq!(prompt.is_some(), role.is_some(), "the chat's prompt is a live row");
}

/// The chat's model is that of the last message that entered with the last write and
/// named one.
pub(crate) fn check_model(database: &Database) {
    let revision = database.chat.versions.snapshot;
    let new = database.history().filter(|(_, row)| row.revision == revision);
    let named = new.filter_map(|(_, row)| match &row.body {
        Body::User(message) => message.model.as_ref(),
        Body::System(_) | Body::Assistant(_) | Body::Tool(_) => None,
    });
    if let Some(model) = named.last() {
        assert_eq!(&database.chat.settings.model, model);
    }
}

/// Invariant 1: every call has exactly one result before the next user or assistant
/// message. Answers the calls that have none.
fn check_calls<'a>(rows: impl Iterator<Item = (MessageId, &'a Row)>) -> BTreeSet<CallId> {
    let mut open: BTreeSet<CallId> = BTreeSet::new();
    for (id, row) in rows {
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
    open
}

/// The calls of the history without a result are the chat's open calls.
fn check_history(database: &Database) {
    let open = check_calls(database.history());
    let stored: BTreeSet<CallId> = database.calls.keys().copied().collect();
    let known: BTreeSet<CallId> = database.chat.open_calls.iter().map(|call| call.id).collect();
    assert_eq!(open, stored, "the stored calls are those of the history");
    assert_eq!(stored, known, "the chat knows its open calls");
    assert_eq!(known.len(), database.chat.open_calls.len());
}

/// A boundary is whole: perhaps a summary for the model, then a call and its result for
/// users. The newest one is the chat's.
fn check_boundaries(database: &Database) {
    assert_eq!(database.chat.covers_through, database.newest_boundary(), "the newest boundary");
    let marks: BTreeSet<MessageId> = database.live().filter_map(|(_, row)| row.covers_through).collect();
    for through in marks {
        let rows = || database.live().filter(move |(_, row)| row.covers_through == Some(through));
        let shape: Vec<(Role, Visibility)> =
            rows().map(|(_, row)| (row.body.role(), row.visibility)).collect();
        let shown = [(Role::Assistant, Visibility::User), (Role::Tool, Visibility::User)];
        match shape.strip_prefix(&[(Role::User, Visibility::Model)]) {
            Some(rest) => assert_eq!(rest, shown, "a summary up to {through:?}"),
            None => assert_eq!(shape, shown, "a cleared context up to {through:?}"),
        }
        assert_eq!(check_calls(rows()), BTreeSet::new());
        assert!(rows().all(|(id, _)| id > through), "a boundary stands behind what it covers");
    }
}

/// Invariant 1 again, of what the model gets to see.
fn check_prompt(database: &Database) {
    let chat = &database.chat;
    let prompt = database.prompt();
    let open = check_calls(prompt.iter().copied());
    assert!(chat.open_calls.iter().all(|call| open.contains(&call.id)), "the model sees its open calls");
    assert_eq!(open.len(), chat.open_calls.len());
    assert_eq!(chat.history_bytes, database.prompt_bytes(), "the bytes of what the model sees");
    let spoken = prompt.iter().any(|(_, row)| row.body.role() == Role::User);
    assert!(spoken || chat.state() != State::Running, "providers refuse a prompt without a user's message");
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
        let bytes = content_bytes(&database.contents[&queued.id]);
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
            assert_eq!(message.parts, database.contents[&queued], "its last content enters");
            assert!(message.requested_model.is_none() || message.model.is_some(), "a model takes its place");
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

//! Interleavings of a summary, which is made beside the turn, with what others do
//! meanwhile.

use chatplane_domain::{
    BusyBehavior, CallKind, Chat, Command, EditMessage, HolderWrite, MessageId, NextStep, Outcome, Rejection,
    Role, Summary, create,
};

use crate::{
    database::{CompareLost, Database},
    fixtures::{
        accepted, answer, context, creation, finished, holder, next_header, refused, send, session, step,
        summarizing, summary, user_message, write, written,
    },
};

/// A chat whose first turn has ended, and whose second runs: question 1, answer 2,
/// question 3.
fn second_turn() -> Database {
    let mut database = Database::create(&create(creation("question"), context()));
    let mut apply = |command: &dyn Fn(&Chat) -> Command| store(&mut database, command);
    apply(&|_| Command::Lease(session(1)));
    apply(&|chat| write(chat, step(Some(answer(&[])), NextStep::Finish)));
    apply(&|_| send(1, BusyBehavior::Queue));
    apply(&|_| Command::Lease(session(1)));
    database
}

fn store(database: &mut Database, command: &dyn Fn(&Chat) -> Command) {
    let chat = database.read();
    let decision = accepted(&chat, command(&chat));
    assert_eq!(database.write(chat.versions.snapshot, &decision), Ok(()));
}

/// The row is replaced by a client.
fn edit_at(database: &mut Database, target: i64) {
    let target = MessageId(target);
    let edit = EditMessage {
        target,
        target_role: database.role(target),
        boundary_below: database.boundary_below(target),
        answered_below: database.answered_below(target),
        replacement: user_message("replacement"),
    };
    assert_eq!(edit.target_role, Some(Role::User));
    store(database, &|_| Command::EditMessage(edit.clone()));
}

/// A summary up to a row, made from a version of the history, as it is now found.
fn made_from(database: &Database, through: i64, version: i64) -> Summary {
    Summary { covered: database.covered(MessageId(through), version), ..summary(through) }
}

/// Rows of the boundary that came of the holder's next step.
fn finish_with(database: &mut Database, summary: &Summary) -> i64 {
    let finish = summarizing(summary.clone(), Some(answer(&[])), NextStep::Finish);
    store(database, &|chat| write(chat, finish.clone()));
    let lease = database.chat.last_lease.as_ref().expect("it was leased");
    lease.last_write.expect("it has written").outcome.boundary
}

#[test]
fn a_summary_whose_rows_were_edited_is_ignored_and_its_step_is_stored() {
    let mut database = second_turn();
    let version = database.chat.versions.history;
    let header = next_header(&database.chat);
    let late = summarizing(made_from(&database, 2, version), Some(answer(&[])), NextStep::Finish);

    edit_at(&mut database, 1);

    assert_eq!(refused(&database.chat, holder(header, late)), Rejection::Superseded);
    let again = made_from(&database, 2, version);
    assert!(!again.covered.live && again.covered.changed_since);
    assert_eq!(finish_with(&mut database, &again), 0);
    assert_eq!(database.chat.covers_through, None);
}

#[test]
fn a_summary_survives_an_edit_and_messages_behind_what_it_covers() {
    let mut database = second_turn();
    let version = database.chat.versions.history;

    edit_at(&mut database, 3);
    store(&mut database, &|_| send(2, BusyBehavior::Steer));
    store(&mut database, &|chat| write(chat, step(Some(answer(&[])), NextStep::Continue)));

    let summary = made_from(&database, 2, version);
    assert_eq!(finish_with(&mut database, &summary), 3);
    assert_eq!(database.chat.covers_through, Some(MessageId(2)));
}

#[test]
fn of_two_summaries_the_one_that_covers_more_stays() {
    let mut database = second_turn();
    let version = database.chat.versions.history;
    let first = made_from(&database, 2, version);
    let go_on = summarizing(first.clone(), None, NextStep::Continue);
    store(&mut database, &|chat| write(chat, go_on.clone()));

    assert_eq!(finish_with(&mut database, &first), 0, "the same again");

    assert_eq!(database.newest_boundary(), Some(MessageId(2)));
    assert_eq!(database.prompt().first().map(|(id, _)| *id), Some(MessageId(4)), "the summary comes first");
}

#[test]
fn a_summary_does_not_cut_a_step_in_two() {
    let mut database = second_turn();
    let calling = step(Some(answer(&[CallKind::Worker])), NextStep::Continue);
    store(&mut database, &|chat| write(chat, calling.clone()));
    store(&mut database, &|chat| {
        let results = chat.open_calls.iter().map(|call| finished(call.id)).collect();
        write(chat, HolderWrite::CommitToolResults(results))
    });
    let version = database.chat.versions.history;

    assert!(!made_from(&database, 4, version).covered.live, "the answer without its result");
    assert!(made_from(&database, 5, version).covered.live);
}

#[test]
fn a_repeated_write_with_a_summary_tells_of_its_boundary_again() {
    let database = second_turn();
    let chat = database.chat.clone();
    let header = next_header(&chat);
    let step = || summarizing(summary(2), Some(answer(&[])), NextStep::Finish);

    let committed = accepted(&chat, holder(header, step()));
    let repeated = accepted(&committed.chat, holder(header, step()));

    assert_eq!(written(&committed).boundary, 3);
    assert_eq!(repeated.outcome, Outcome::Replayed(written(&committed)));
    assert_eq!(repeated.change, None);
}

#[test]
fn a_message_and_a_summary_that_were_both_asked_for_do_not_both_win() {
    let mut database = second_turn();
    store(&mut database, &|chat| write(chat, step(Some(answer(&[])), NextStep::Finish)));
    let read = database.read();
    let compact = accepted(&read, Command::CompactChat(database.ends()));
    let sent = accepted(&read, send(9, BusyBehavior::Queue));

    assert_eq!(database.write(read.versions.snapshot, &compact), Ok(()));
    assert_eq!(database.write(read.versions.snapshot, &sent), Err(CompareLost));
    store(&mut database, &|_| send(9, BusyBehavior::Queue));

    assert_eq!(database.chat.queue.len(), 1, "it waits for the summary");
    assert!(database.chat.compact_requested);
}

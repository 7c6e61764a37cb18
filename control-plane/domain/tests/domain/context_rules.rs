//! CompactChat and ClearContext, and what boundaries mean to other commands.

use chatplane_domain::{
    Body, BusyBehavior, Chat, Command, EditMessage, Effect, ErrorKind, ExpireCause, Fence, HolderWrite,
    Message, MessageId, NextStep, Role, Usage, Visibility, decide,
};

use crate::{
    database::Database,
    fixtures::{
        accepted, answer, chat_error, context, creation, edit, ends, expire, inserted, new_rows, offering,
        queued_id, send, session, step, summarizing, summary, user_message, write,
    },
    states::{chat_in, push, short, with_two_queued},
};

fn compact() -> Command {
    Command::CompactChat(ends(3, Some(3)))
}

/// A chat in this state whose turn is to make a summary.
fn asked(state: &str) -> Chat {
    Chat { compact_requested: true, ..chat_in(state) }
}

fn words(message: &Message) -> &str {
    match &message.body {
        Body::User(message) => message.parts[0].as_text().expect("they are words"),
        Body::Tool(result) => &result.output,
        Body::System(_) | Body::Assistant(_) => panic!("a message or a result was expected"),
    }
}

#[test]
fn a_chat_that_is_asked_for_a_summary_runs_with_its_history_and_queue_untouched() {
    for (state, after) in [("W", "R0"), ("E0", "R0"), ("E1", "R1")] {
        let chat = with_two_queued(chat_in(state));

        let compacted = accepted(&chat, compact());

        assert_eq!(short(&compacted.chat), after);
        assert!(compacted.chat.compact_requested);
        assert_eq!(inserted(&compacted), []);
        assert_eq!(compacted.chat.queue, chat.queue);
        assert_eq!(compacted.chat.versions.history, chat.versions.history);
        assert_eq!(compacted.chat.attempt, 0);
        assert_eq!(compacted.effects, [Effect::Runnable]);
    }
}

#[test]
fn a_summary_takes_the_error_away() {
    let compacted = accepted(&chat_in("E0"), compact()).chat;

    assert_eq!(compacted.last_error(), None);
    assert_eq!(compacted.versions.error, compacted.versions.snapshot);
}

#[test]
fn a_summary_that_is_asked_for_goes_to_the_offered_session() {
    let compacted = decide(&chat_in("W"), compact(), offering(session(2))).expect("it is accepted");

    assert_eq!(compacted.chat.live_lease().map(|lease| lease.session), Some(session(2)));
    assert!(compacted.chat.compact_requested);
}

#[test]
fn an_answer_that_a_boundary_covers_is_not_summarized_again() {
    let covered = Chat { covers_through: Some(MessageId(3)), ..chat_in("W") };

    for last_answer in [None, Some(2), Some(3)] {
        assert!(decide(&covered, Command::CompactChat(ends(9, last_answer)), context()).is_err());
    }
    accepted(&covered, Command::CompactChat(ends(9, Some(4))));
}

#[test]
fn the_wish_for_a_summary_outlives_a_lease_but_no_exit_from_running() {
    let kept = [
        ("R0", Command::Lease(session(2))),
        ("L0", write(&asked("L0"), HolderWrite::Release)),
        ("L0", expire(Fence(3), ExpireCause::SessionEnded)),
        ("L0", Command::InterruptChat),
        ("L0", send(5, BusyBehavior::Queue)),
        ("L0", send(5, BusyBehavior::Steer)),
    ];
    for (state, command) in kept {
        let name = command.name();
        assert!(accepted(&asked(state), command).chat.compact_requested, "{name}");
    }

    let finish = || step(Some(answer(&[])), NextStep::Finish);
    let waiting = step(Some(answer(&[chatplane_domain::CallKind::Client])), NextStep::Suspend);
    let ended = || HolderWrite::FinishInterruption { partial: None, results: Vec::new() };
    let cleared = [
        ("R0", Command::InterruptChat),
        ("R1", Command::InterruptChat),
        ("R0", send(5, BusyBehavior::Interrupt)),
        ("R1", send(5, BusyBehavior::Interrupt)),
        ("R1", Command::PromoteQueuedMessage(queued_id(1))),
        ("R0", edit(2)),
        ("L0", edit(2)),
        ("I0", edit(2)),
        ("R0", Command::FailRunnable(chat_error(ErrorKind::ModelUnusable))),
        ("L0", write(&asked("L0"), finish())),
        ("L1", write(&asked("L1"), finish())),
        ("L0", write(&asked("L0"), waiting)),
        ("L0", write(&asked("L0"), HolderWrite::Fail(chat_error(ErrorKind::CompactionFailed)))),
        ("I0", write(&asked("I0"), ended())),
        ("I1", write(&asked("I1"), ended())),
        ("I0", expire(Fence(3), ExpireCause::SessionEnded)),
        ("I1", expire(Fence(3), ExpireCause::SessionEnded)),
    ];
    for (state, command) in cleared {
        let name = command.name();
        assert!(!accepted(&asked(state), command).chat.compact_requested, "{name} in {state}");
    }
}

#[test]
fn a_message_that_joins_the_turn_wants_an_answer_and_no_summary() {
    let mut chat = asked("L0");
    push(&mut chat, 1, true);
    let untrue = chatplane_domain::Summary {
        covered: chatplane_domain::Covered { live: false, changed_since: false },
        ..summary(3)
    };

    let finished = accepted(&chat, write(&chat, summarizing(untrue, None, NextStep::Finish)));

    assert_eq!(short(&finished.chat), "L0");
    assert!(!finished.chat.compact_requested);
}

#[test]
fn a_cleared_context_is_a_call_and_its_result_for_users_alone() {
    let cleared = accepted(&chat_in("W"), Command::ClearContext(ends(3, Some(3))));

    let rows = new_rows(&cleared);
    let [call, result] = rows.as_slice() else {
        panic!("two rows were expected, not {rows:?}");
    };
    assert_eq!([call.id, result.id], [4, 5].map(MessageId));
    for row in [call, result] {
        assert_eq!((row.visibility, row.covers_through), (Visibility::User, Some(MessageId(3))));
    }
    let Body::Assistant(shown) = &call.body else {
        panic!("a call was expected");
    };
    let calls: Vec<_> =
        shown.calls().map(|call| (call.tool_name.as_str(), call.arguments_json.as_str())).collect();
    assert_eq!(calls, [("context_cleared", "{}")]);
    assert_eq!((shown.model.as_str(), shown.usage), ("demo", Usage::default()));
    assert_eq!(words(result), "The model does not see the messages above any more.");

    let change = cleared.change.as_ref().expect("rows are written");
    assert_eq!((&change.calls_opened, &change.calls_closed), (&Vec::new(), &Vec::new()));
    assert_eq!(cleared.chat.open_calls, []);
    assert_eq!(cleared.chat.covers_through, Some(MessageId(3)));
    assert_eq!(cleared.chat.versions.history, cleared.chat.versions.snapshot);
    assert_eq!(cleared.effects, []);
}

#[test]
fn a_cleared_context_takes_the_error_away() {
    let cleared = accepted(&chat_in("E0"), Command::ClearContext(ends(2, None))).chat;

    assert_eq!(short(&cleared), "W");
    assert_eq!(cleared.versions.error, cleared.versions.snapshot);
}

#[test]
fn an_edit_ends_the_boundaries_that_cover_the_message_and_no_others() {
    // Two boundaries stand behind message 8: one covers 3, the other 8.
    let chat = Chat { covers_through: Some(MessageId(8)), next_message_id: MessageId(15), ..chat_in("W") };
    let edit_at = |target, boundary_below: Option<i64>| {
        Command::EditMessage(EditMessage {
            target: MessageId(target),
            target_role: Some(Role::User),
            boundary_below: boundary_below.map(MessageId),
            answered_below: false,
            replacement: user_message("replacement"),
        })
    };

    for (target, below) in [(2, None), (5, Some(3)), (12, Some(8))] {
        let edited = accepted(&chat, edit_at(target, below));

        assert_eq!(edited.chat.covers_through, below.map(MessageId), "{target}");
        let change = edited.change.expect("rows are deleted");
        assert_eq!(change.delete_from, Some(MessageId(target)));
    }
}

/// A chat of a question and an answer, then cleared, then a question and an answer again.
fn cleared_between() -> Database {
    let answered = |chat: &Chat| {
        let leased = accepted(chat, Command::Lease(session(1)));
        let finish = step(Some(answer(&[])), NextStep::Finish);
        let finished = accepted(&leased.chat, write(&leased.chat, finish));
        [leased, finished]
    };
    let mut database = Database::create(&chatplane_domain::create(creation("question"), context()));
    let mut store = |decisions: &mut dyn FnMut(&Database) -> Vec<chatplane_domain::Decision>| {
        for decision in decisions(&database) {
            let read = database.chat.versions.snapshot;
            database.write(read, &decision).expect("nobody else writes");
        }
    };
    store(&mut |database| answered(&database.chat).into());
    store(&mut |database| vec![accepted(&database.chat, Command::ClearContext(database.ends()))]);
    store(&mut |database| vec![accepted(&database.chat, send(1, BusyBehavior::Queue))]);
    store(&mut |database| answered(&database.chat).into());
    database
}

#[test]
fn the_model_sees_nothing_of_what_was_cleared_until_an_edit_goes_back() {
    let mut database = cleared_between();
    let seen = |database: &Database| database.prompt().iter().map(|(id, _)| id.0).collect::<Vec<_>>();
    // Question 1 and answer 2 are covered by 3 and 4; 5 and 6 follow.
    assert_eq!(seen(&database), [5, 6]);

    let edited = accepted(&database.chat, edit(1));
    database.write(edited.chat.versions.snapshot - 1, &edited).expect("nobody else writes");

    assert_eq!(seen(&database), [7]);
    assert_eq!(database.live().count(), 1, "the boundary went with what it covered");
}

#[test]
fn a_boundary_outlives_an_edit_behind_it_though_its_rows_have_higher_ids() {
    let mut database = cleared_between();
    let behind = MessageId(5);
    let command = Command::EditMessage(EditMessage {
        target: behind,
        target_role: database.role(behind),
        boundary_below: database.boundary_below(behind),
        answered_below: database.answered_below(behind),
        replacement: user_message("replacement"),
    });

    let edited = accepted(&database.chat, command);
    database.write(edited.chat.versions.snapshot - 1, &edited).expect("nobody else writes");

    let live: Vec<i64> = database.live().map(|(id, _)| id.0).collect();
    assert_eq!(live, [1, 2, 3, 4, 7]);
    assert_eq!(database.chat.covers_through, Some(MessageId(2)));
}

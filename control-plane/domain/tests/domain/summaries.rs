//! Summaries that come with a step: what they become, and when they are ignored.

use chatplane_domain::{
    Body, CallId, CallKind, Chat, Covered, Disposition, MessageId, NextStep, SUMMARY_BYTES_MAX, Summary,
    Usage, UserPart, Visibility, WriteOutcome,
};

use crate::{
    fixtures::{
        accepted, answer, inserted, names_field, new_rows, refused, summarizing, summary, user, write,
        written,
    },
    states::{chat_in, short, with_calls, with_two_queued},
};

fn finishing(chat: &Chat, summary: Summary) -> chatplane_domain::Command {
    write(chat, summarizing(summary, Some(answer(&[])), NextStep::Finish))
}

fn alone(chat: &Chat, next: NextStep) -> chatplane_domain::Command {
    write(chat, summarizing(summary(3), None, next))
}

#[test]
fn a_summary_is_three_rows_before_the_answer_it_came_with() {
    let committed = accepted(&chat_in("L0"), finishing(&chat_in("L0"), summary(2)));

    let rows = new_rows(&committed);
    let [words, call, result, answered] = rows.as_slice() else {
        panic!("four rows were expected, not {rows:?}");
    };
    for row in [words, call, result] {
        assert_eq!(row.covers_through, Some(MessageId(2)));
    }
    let Body::User(said) = &words.body else { panic!("the summary is a user's message") };
    assert_eq!(words.visibility, Visibility::Model);
    let words = [UserPart::Text("it went well".to_owned())];
    assert_eq!((said.created_by, said.parts.as_slice()), (user(), words.as_slice()));

    let Body::Assistant(shown) = &call.body else { panic!("the summary is shown as a call") };
    assert_eq!(call.visibility, Visibility::User);
    assert_eq!((shown.model.as_str(), shown.runtime_ms), ("scribe", 5));
    assert_eq!(shown.usage, Usage { input_tokens: 70, output_tokens: 3, ..Usage::default() });
    let calls: Vec<_> =
        shown.calls().map(|call| (call.tool_name.as_str(), call.arguments_json.as_str())).collect();
    assert_eq!(calls, [("chat_summarized", r#"{"source":"automatic","percent":72,"tokens":720}"#)]);

    let Body::Tool(output) = &result.body else { panic!("the call has a result") };
    assert_eq!(result.visibility, Visibility::User);
    assert_eq!(output.call, CallId { message: call.id, index: 0 });
    assert_eq!((output.output.as_str(), output.is_error, output.synthetic), ("it went well", false, None));

    assert_eq!((answered.visibility, answered.covers_through), (Visibility::Both, None));
    let change = committed.change.as_ref().expect("rows are written");
    assert_eq!((&change.calls_opened, &change.calls_closed), (&Vec::new(), &Vec::new()));
    assert_eq!(committed.chat.covers_through, Some(MessageId(2)));
}

#[test]
fn a_summary_that_was_asked_for_says_so() {
    let chat = Chat { compact_requested: true, ..chat_in("L0") };

    let committed = accepted(&chat, alone(&chat, NextStep::Finish));

    let rows = new_rows(&committed);
    let Body::Assistant(shown) = &rows[1].body else { panic!("the summary is shown as a call") };
    let manual = shown.calls().all(|call| call.arguments_json.contains(r#""source":"manual""#));
    assert!(manual);
    assert_eq!(short(&committed.chat), "W");
    assert_eq!(committed.chat.last_turn_summary, chat.last_turn_summary, "no turn has ended");
}

#[test]
fn a_reply_tells_the_boundary_from_the_answer_and_what_followed_it() {
    let chat = with_two_queued(chat_in("L1"));

    let committed = accepted(&chat, finishing(&chat, summary(3)));

    let outcome = WriteOutcome {
        snapshot_version: 11,
        history_version: 11,
        disposition: Disposition::NextTurn,
        first_message_id: MessageId(4),
        boundary: 3,
        committed: 1,
        added: 1,
    };
    assert_eq!(written(&committed), outcome);
}

#[test]
fn an_outcome_of_a_release_without_summaries_has_no_boundary() {
    let stored = r#"{"snapshot_version":8,"history_version":8,"disposition":"continues",
        "first_message_id":3,"committed":1,"added":0}"#;

    let outcome: WriteOutcome = serde_json::from_str(stored).expect("it is a stored outcome");

    assert_eq!(outcome.boundary, 0);
}

#[test]
fn a_summary_is_ignored_and_its_step_stored_unless_it_is_still_true() {
    let chat = Chat { covers_through: Some(MessageId(2)), ..chat_in("L0") };
    let with = |live, changed_since| Summary { covered: Covered { live, changed_since }, ..summary(3) };
    let untrue =
        [with(false, false), with(true, true), with(false, true), summary(2), summary(1), summary(-1)];

    for summary in untrue {
        let committed = accepted(&chat, finishing(&chat, summary));

        let outcome = written(&committed);
        assert_eq!((outcome.boundary, outcome.committed), (0, 1));
        assert_eq!(inserted(&committed).len(), 1);
        assert_eq!(committed.chat.covers_through, Some(MessageId(2)));
        assert_eq!(short(&committed.chat), "W");
    }

    let committed = accepted(&chat, finishing(&chat, with(true, false)));
    assert_eq!(written(&committed).boundary, 3);
}

#[test]
fn a_turn_that_waited_for_a_summary_goes_on_without_an_answer() {
    let chat = chat_in("L1");

    let committed = accepted(&chat, alone(&chat, NextStep::Continue));

    let outcome = written(&committed);
    assert_eq!((outcome.boundary, outcome.committed, outcome.added), (3, 0, 0));
    assert_eq!(outcome.disposition, Disposition::Continues);
    assert_eq!(short(&committed.chat), "L1");
    assert_eq!(committed.chat.attempt, 1, "the next model call is a new one");
}

#[test]
fn a_summary_ends_only_a_turn_that_was_asked_for_it() {
    let chat = chat_in("L0");

    let rejection = refused(&chat, alone(&chat, NextStep::Finish));

    assert!(names_field(&rejection, "answer"));
}

#[test]
fn a_summary_without_an_answer_waits_for_open_calls() {
    for kind in [CallKind::Worker, CallKind::Client] {
        let chat = Chat { compact_requested: true, ..with_calls(chat_in("L0"), &[kind]) };
        for next in [NextStep::Continue, NextStep::Finish, NextStep::Suspend] {
            assert!(names_field(&refused(&chat, alone(&chat, next)), "summary"), "{kind:?} {next:?}");
        }
    }
}

#[test]
fn a_summary_may_come_with_an_answer_that_calls_tools() {
    let chat = chat_in("L0");
    let calling = summarizing(summary(3), Some(answer(&[CallKind::Worker])), NextStep::Continue);

    let committed = accepted(&chat, write(&chat, calling));

    let calls: Vec<CallId> = committed.chat.open_calls.iter().map(|call| call.id).collect();
    assert_eq!(calls, [CallId { message: MessageId(7), index: 0 }]);
}

#[test]
fn a_summary_has_words_and_bounds_and_names_a_row_that_is_there() {
    let chat = chat_in("L0");
    let of = |text: &str| Summary { text: text.to_owned(), ..summary(3) };

    accepted(&chat, finishing(&chat, of(&"x".repeat(SUMMARY_BYTES_MAX))));

    for text in ["", " \n\t", &"x".repeat(SUMMARY_BYTES_MAX + 1)] {
        assert!(names_field(&refused(&chat, finishing(&chat, of(text))), "summary.text"));
    }
    let beyond = refused(&chat, finishing(&chat, summary(4)));
    assert!(names_field(&beyond, "summary.covers_through"));
}

#[test]
fn a_summary_that_meets_an_interrupt_is_dropped() {
    for summary in [summary(3), Summary { text: String::new(), ..summary(3) }] {
        let chat = chat_in("I0");

        let committed = accepted(&chat, finishing(&chat, summary));

        assert_eq!((written(&committed).boundary, written(&committed).committed), (0, 1));
        assert_eq!(committed.chat.covers_through, None);
        assert_eq!(committed.chat.last_turn_summary, "Interrupted");
    }
}

#[test]
fn what_users_alone_see_of_a_boundary_costs_the_model_nothing() {
    let chat = chat_in("L0");

    let committed = accepted(&chat, finishing(&chat, summary(3)));

    // Beside what the store counts anew: the summary, and "so far so good" with its state.
    let words = i64::try_from("it went well".len() + "so far so good".len() + 2).expect("it is short");
    assert_eq!(committed.chat.history_bytes, chat.history_bytes + words);
}

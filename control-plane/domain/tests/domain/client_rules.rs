//! SendMessage, the queue, InterruptChat, SubmitToolResults, archives, creation.

use chatplane_domain::{
    Body, BusyBehavior, CallKind, Chat, Command, Context, CreateChat, Decision, EditQueuedMessage, Effect,
    Effort, Fence, Inserted, MessageId, NextStep, Outcome, QueuedMessageId, Rejection, SendMessage,
    SubmittedResult, TOOL_OUTPUT_BYTES_MAX, UserMessage, UserPart, Versions, create, decide,
};

use crate::{
    fixtures::{
        ACTION_TIMEOUT, QUEUE_MAX, accepted, answer, client_tool, context, creation, entered, inserted,
        names_field, offering, queue, queued_id, refused, send, session, step, submitted, user_message,
        write,
    },
    states::{call_id, chat_in, push, short, with_calls, with_two_queued},
};

fn order(chat: &Chat) -> Vec<QueuedMessageId> {
    chat.queue.iter().map(|queued| queued.id).collect()
}

fn full(state: &str) -> Chat {
    let mut chat = with_two_queued(chat_in(state));
    push(&mut chat, 3, false);
    assert_eq!(chat.queue.len(), QUEUE_MAX);
    chat
}

fn hello() -> CreateChat {
    CreateChat {
        deployment_prompt: Some("be brief".to_owned()),
        system_prompt: Some("be kind".to_owned()),
        ..creation("hello")
    }
}

#[test]
fn a_new_chat_is_runnable_with_its_rows_in_order_at_version_one() {
    let created = create(hello(), context());

    assert_eq!(short(&created.chat), "R0");
    let versions = Versions { snapshot: 1, history: 1, ..Versions::default() };
    assert_eq!(created.chat.versions, versions);
    let bodies = inserted(&created).iter().map(|row| match row {
        Inserted::New(message) => &message.body,
        Inserted::Queued { .. } => panic!("a new chat has no queue"),
    });
    let expected = [
        Body::System("be brief".to_owned()),
        Body::System("be kind".to_owned()),
        Body::User(user_message("hello")),
    ];
    assert!(bodies.eq(&expected));
    assert_eq!(created.chat.system_prompt, Some(MessageId(2)));
    let outcome = Outcome::Client { entered: vec![MessageId(3)], queued: None };
    assert_eq!(created.outcome, outcome);
}

#[test]
fn a_new_chat_is_leased_in_the_same_write_where_a_session_is_free() {
    let created = create(hello(), offering(session(2)));

    let lease = created.chat.live_lease().expect("it was offered").clone();
    assert_eq!((lease.fence, lease.session), (Fence::FIRST, session(2)));
    assert_eq!(created.chat.versions.snapshot, 1);
    assert_eq!(created.chat.attempt, 1);
    assert_eq!(created.effects, [Effect::Deliver(lease)]);
}

#[test]
fn the_head_enters_when_a_message_wakes_a_stopped_chat_and_a_full_queue_is_no_obstacle() {
    for busy in [BusyBehavior::Queue, BusyBehavior::Steer, BusyBehavior::Interrupt] {
        let sent = accepted(&full("E1"), send(5, busy));

        assert_eq!(entered(&sent), [queued_id(1)]);
        assert_eq!(order(&sent.chat), [2, 3, 5].map(queued_id));
        assert_eq!(sent.chat.last_error(), None);
        assert_eq!(sent.chat.versions.error, sent.chat.versions.snapshot);
        let Outcome::Client { queued, .. } = sent.outcome else {
            panic!("a client is told");
        };
        assert_eq!(queued.map(|queued| queued.id), Some(queued_id(5)));
    }
}

#[test]
fn a_full_queue_takes_no_more_from_a_busy_chat() {
    let rejection = Rejection::QueueFull { queue_max: QUEUE_MAX };
    for state in ["R1", "L1", "I1", "S1"] {
        for busy in [BusyBehavior::Queue, BusyBehavior::Steer] {
            assert_eq!(refused(&full(state), send(5, busy)), rejection, "{state}");
        }
    }
    for state in ["L1", "I1"] {
        assert_eq!(refused(&full(state), send(5, BusyBehavior::Interrupt)), rejection);
    }
}

#[test]
fn an_interrupting_message_goes_to_the_queues_end_and_the_head_enters() {
    for state in ["R1", "S1"] {
        let sent = accepted(&full(state), send(5, BusyBehavior::Interrupt));

        assert_eq!(entered(&sent), [queued_id(1)], "{state}");
        assert_eq!(order(&sent.chat), [2, 3, 5].map(queued_id), "{state}");
    }
    for state in ["R0", "S0"] {
        let sent = accepted(&chat_in(state), send(5, BusyBehavior::Interrupt));

        let last = inserted(&sent).last().expect("it enters");
        assert!(matches!(last, Inserted::New(message) if matches!(message.body, Body::User(_))));
        assert_eq!(order(&sent.chat), []);
    }
}

#[test]
fn an_interrupting_message_stops_the_holder_and_waits() {
    let sent = accepted(&chat_in("L1"), send(5, BusyBehavior::Interrupt));

    assert_eq!(short(&sent.chat), "I1");
    assert_eq!(order(&sent.chat), [1, 5].map(queued_id));
    assert_eq!(sent.effects, [Effect::Interrupt(session(1), Fence(3))]);
}

#[test]
fn the_chats_model_is_that_of_the_last_message_that_entered() {
    let message = || {
        Command::SendMessage(SendMessage {
            id: queued_id(5),
            message: UserMessage {
                model: Some("another".to_owned()),
                effort: Some(Effort::High),
                ..user_message("with a model")
            },
            busy: BusyBehavior::Queue,
        })
    };

    let direct = accepted(&chat_in("W"), message()).chat;
    let waiting = accepted(&chat_in("R0"), message()).chat;
    let entered = accepted(&waiting, Command::InterruptChat).chat;

    assert_eq!((direct.settings.model.as_str(), direct.settings.effort), ("another", Effort::High));
    assert_eq!(waiting.settings.model, "demo");
    assert_eq!((entered.settings.model.as_str(), entered.settings.effort), ("another", Effort::High));
}

#[test]
fn a_model_that_is_gone_is_replaced_when_its_message_enters() {
    let mut chat = with_two_queued(chat_in("L1"));
    chat.queue[0].model = Some("gone".to_owned());
    chat.queue[0].fallback_model = Some("default".to_owned());
    chat.queue[1].model = Some("here".to_owned());
    let finish = |chat: &Chat| accepted(chat, write(chat, step(Some(answer(&[])), NextStep::Finish)));

    let first = finish(&chat);
    let second = finish(&first.chat);

    let fallbacks = |decision: &Decision| -> Vec<Option<String>> {
        let rows = inserted(decision).iter();
        rows.filter_map(|row| match row {
            Inserted::Queued { fallback_model, .. } => Some(fallback_model.clone()),
            Inserted::New(_) => None,
        })
        .collect()
    };
    assert_eq!(
        (first.chat.settings.model.as_str(), fallbacks(&first)),
        ("default", vec![Some("default".to_owned())])
    );
    assert_eq!((second.chat.settings.model.as_str(), fallbacks(&second)), ("here", vec![None]));
}

#[test]
fn a_new_chat_has_its_clients_tools() {
    let tools = vec![client_tool("open_page")];

    let created = create(CreateChat { client_tools: tools.clone(), ..creation("hello") }, context());

    assert_eq!(created.chat.settings.client_tools, ["open_page"]);
    assert_eq!(created.chat.settings.action_timeout, ACTION_TIMEOUT);
    assert_eq!(created.change.and_then(|change| change.client_tools), Some(tools));
    assert_eq!(create(creation("hello"), context()).change.and_then(|change| change.client_tools), None);
}

#[test]
fn an_interrupt_of_a_chat_that_nobody_works_on_changes_nothing() {
    for state in ["W", "E0", "E1", "I0", "I1"] {
        let chat = chat_in(state);

        let interrupted = accepted(&chat, Command::InterruptChat);

        assert_eq!((interrupted.chat, interrupted.change), (chat, None));
        assert_eq!(interrupted.effects, []);
    }
}

#[test]
fn a_queued_message_is_edited_in_place() {
    let chat = with_two_queued(chat_in("L1"));
    let command = Command::EditQueuedMessage(EditQueuedMessage {
        id: queued_id(1),
        parts: vec![UserPart::Text("longer than before".to_owned())],
    });

    let edited = accepted(&chat, command);

    assert_eq!(order(&edited.chat), order(&chat));
    assert_eq!(edited.chat.queue[0].content_bytes, 18);
    let change = edited.change.expect("the content changed");
    assert_eq!(change.queue_upserted, [edited.chat.queue[0].clone()]);
    assert_eq!(edited.chat.versions.queue, edited.chat.versions.snapshot);
    assert_eq!(edited.chat.versions.history, chat.versions.history);
}

#[test]
fn a_moved_message_stays_among_its_kind() {
    let mut chat = chat_in("L0");
    for (number, steering) in [(1, true), (2, true), (3, false), (4, false)] {
        push(&mut chat, number, steering);
    }
    let to = |number, index| {
        let id = queued_id(number);
        accepted(&chat, Command::MoveQueuedMessage { id, index }).chat
    };

    assert_eq!(order(&to(4, 0)), [1, 2, 4, 3].map(queued_id));
    assert_eq!(order(&to(1, 9)), [2, 1, 3, 4].map(queued_id));
    assert_eq!(order(&to(3, 99)), [1, 2, 4, 3].map(queued_id));
}

#[test]
fn a_move_writes_one_row_and_all_of_them_where_there_is_no_room() {
    let roomy = full("L1");
    let mut tight = full("L1");
    for (place, queued) in (1_i64..).zip(&mut tight.queue) {
        queued.position = place;
    }
    let command = || Command::MoveQueuedMessage { id: queued_id(3), index: 1 };

    for (chat, rows) in [(roomy, 1), (tight, 3)] {
        let moved = accepted(&chat, command());

        assert_eq!(order(&moved.chat), [1, 3, 2].map(queued_id));
        assert!(moved.chat.queue.is_sorted_by(|a, b| a.position < b.position));
        assert_eq!(moved.change.expect("it moved").queue_upserted.len(), rows);
    }
}

#[test]
fn a_move_to_its_own_place_changes_nothing_and_shows_the_message() {
    let chat = chat_in("L1");

    let moved = accepted(&chat, Command::MoveQueuedMessage { id: queued_id(1), index: 7 });

    assert_eq!(moved.change, None);
    let outcome = Outcome::Client { entered: Vec::new(), queued: Some(chat.queue[0].clone()) };
    assert_eq!(moved.outcome, outcome);
}

#[test]
fn a_promoted_message_stands_before_all() {
    let mut chat = chat_in("L0");
    for (number, steering) in [(1, true), (2, false), (3, false)] {
        push(&mut chat, number, steering);
    }

    let promoted = accepted(&chat, Command::PromoteQueuedMessage(queued_id(3)));
    let again = accepted(&promoted.chat, Command::PromoteQueuedMessage(queued_id(2)));

    assert_eq!(queue(&promoted.chat), [3, 1, 2].map(|number| (queued_id(number), false)));
    assert_eq!(short(&promoted.chat), "I1");
    assert_eq!(order(&again.chat), [2, 3, 1].map(queued_id));
    assert_eq!(again.effects, [], "the holder knows already");
}

#[test]
fn promoting_the_head_of_an_interrupted_chat_changes_nothing() {
    let chat = with_two_queued(chat_in("I1"));

    let promoted = accepted(&chat, Command::PromoteQueuedMessage(queued_id(1)));

    assert_eq!((promoted.chat, promoted.change), (chat, None));
}

#[test]
fn a_promoted_message_enters_at_once_where_nobody_works() {
    for state in ["E1", "R1", "S1"] {
        let chat = with_two_queued(chat_in(state));

        let promoted = accepted(&chat, Command::PromoteQueuedMessage(queued_id(2)));

        assert_eq!(entered(&promoted), [queued_id(2)], "{state}");
        assert_eq!(order(&promoted.chat), [queued_id(1)], "{state}");
        assert_eq!(short(&promoted.chat), "R1", "{state}");
    }
}

#[test]
fn results_must_name_pending_calls_of_clients_once_and_nothing_is_stored_otherwise() {
    let chat = with_calls(chat_in("S0"), &[CallKind::Client, CallKind::Approval, CallKind::Client]);
    let attempts =
        [vec![], vec![call_id(0), call_id(0)], vec![call_id(0), call_id(1)], vec![call_id(0), call_id(9)]];

    for calls in attempts {
        let results = calls.into_iter().map(submitted).collect();
        let rejection = refused(&chat, Command::SubmitToolResults(results));
        assert!(names_field(&rejection, "results"));
    }
}

#[test]
fn a_clients_result_has_a_bound() {
    let result = |bytes| {
        Command::SubmitToolResults(vec![SubmittedResult {
            output: "x".repeat(bytes),
            ..submitted(call_id(0))
        }])
    };

    accepted(&chat_in("S0"), result(TOOL_OUTPUT_BYTES_MAX));

    let rejection = refused(&chat_in("S0"), result(TOOL_OUTPUT_BYTES_MAX + 1));
    assert!(names_field(&rejection, "results"));
}

#[test]
fn a_settled_chat_goes_to_the_offered_session_and_a_partly_settled_one_does_not() {
    let chat = with_calls(chat_in("S0"), &[CallKind::Client, CallKind::Client]);
    let submit = |indices: &[i32]| {
        let results = indices.iter().map(|index| submitted(call_id(*index)));
        Command::SubmitToolResults(results.collect())
    };
    let offered = Context { lease_offer: Some(session(2)), ..context() };

    let partly = decide(&chat, submit(&[1]), offered).expect("one is settled");
    let settled = decide(&chat, submit(&[0, 1]), offered).expect("both are settled");

    assert_eq!(partly.chat.execution, chat.execution);
    assert_eq!(settled.chat.live_lease().map(|lease| lease.session), Some(session(2)));
}

#[test]
fn archiving_keeps_the_queue_and_the_error() {
    for state in ["W", "E0", "E1"] {
        let chat = chat_in(state);

        let archived = accepted(&chat, Command::ArchiveChat).chat;
        let back = accepted(&archived, Command::UnarchiveChat).chat;

        assert_eq!(short(&archived), format!("X{state}"));
        assert_eq!((back.execution, back.queue), (chat.execution, chat.queue));
    }
}

#[test]
fn a_refusal_names_the_state_and_the_command() {
    let rejection = refused(&chat_in("XE1"), send(5, BusyBehavior::Queue));

    assert_eq!(rejection.to_string(), "the chat is error and archived, which forbids SendMessage");
}

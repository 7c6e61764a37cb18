//! ForkChat: a copy up to a message, idle and whole.

use chatplane_domain::{
    CallKind, Chat, ChatId, ForkChat, MessageId, OrganizationId, Outcome, SyntheticReason::Forked, UserId,
    Versions, fork,
};
use uuid::Uuid;

use crate::{
    fixtures::{inserted, offering, session, synthetic_results},
    states::{EXISTING, call_id, chat_in, open_call, push, short},
};

fn up_to(target: i64) -> ForkChat {
    ForkChat {
        id: ChatId(Uuid::from_u128(2)),
        organization: OrganizationId(Uuid::from_u128(3)),
        owner: UserId(Uuid::from_u128(8)),
        target: MessageId(target),
        covers_through: None,
        unanswered: Vec::new(),
        answered: true,
    }
}

#[test]
fn a_copy_waits_at_version_one_whatever_its_source_does() {
    for state in EXISTING {
        let mut source = chat_in(state);
        source.settings.model = "another".to_owned();
        source.settings.client_tools = vec!["open_page".to_owned()];

        let copy = fork(&source, up_to(3), offering(session(2)));

        assert_eq!(short(&copy.chat), "W", "{state}");
        assert_eq!(copy.chat.id, ChatId(Uuid::from_u128(2)));
        assert_eq!(copy.chat.owner, UserId(Uuid::from_u128(8)));
        assert_eq!(copy.chat.settings, source.settings);
        assert_eq!(copy.chat.versions, Versions { snapshot: 1, history: 1, ..Versions::default() });
        assert_eq!((copy.chat.queue.as_slice(), &copy.chat.last_lease), ([].as_slice(), &None));
        assert_eq!((copy.chat.attempt, copy.chat.last_turn_summary.as_str()), (0, ""));
        assert_eq!(inserted(&copy), []);
        assert_eq!(copy.outcome, Outcome::Client { entered: Vec::new(), queued: None });
        assert_eq!(copy.effects, []);
    }
}

#[test]
fn a_copy_is_as_answered_and_as_covered_as_the_rows_that_were_copied() {
    let source = Chat {
        covers_through: Some(MessageId(9)),
        next_message_id: MessageId(20),
        compact_requested: true,
        ..chat_in("L0")
    };

    let copy = fork(&source, ForkChat { answered: false, ..up_to(2) }, offering(session(2))).chat;
    let covered =
        fork(&source, ForkChat { covers_through: Some(MessageId(3)), ..up_to(5) }, offering(session(2)));

    assert!(!copy.answered && !copy.compact_requested);
    assert_eq!((copy.covers_through, copy.next_message_id), (None, MessageId(20)));
    assert_eq!(copy.system_prompt, Some(MessageId(1)));
    assert_eq!(covered.chat.covers_through, Some(MessageId(3)));
}

#[test]
fn calls_that_were_open_at_the_target_are_closed_in_the_copy_and_go_on_in_the_source() {
    let kinds = [CallKind::Worker, CallKind::Client];
    let calls = (0_i32..).zip(kinds).map(|(index, kind)| open_call(index, kind)).collect();
    let mut source = chat_in("L1");
    push(&mut source, 2, true);

    let copy = fork(&source, ForkChat { unanswered: calls, ..up_to(3) }, offering(session(2)));

    assert_eq!(synthetic_results(&copy), [(call_id(0), Forked), (call_id(1), Forked)]);
    let ids: Vec<MessageId> = inserted(&copy).iter().map(chatplane_domain::Inserted::message_id).collect();
    assert_eq!(ids, [source.next_message_id, source.next_message_id.next()]);
    assert_eq!(copy.chat.open_calls, []);
    let change = copy.change.as_ref().expect("a copy is written");
    assert_eq!(change.calls_closed, [], "the copy never had them");
    assert_eq!(copy.effects, [], "what runs, runs for the source");
}

//! EditMessage: a user's message is replaced, and what followed it is gone.

use chatplane_domain::{
    CallKind, Chat, Command, ConfigureChat, Effect, Fence, HolderWrite, MessageId, Rejection, Role,
};

use crate::{
    fixtures::{
        accepted, edit, edit_of, holder, inserted, names_field, next_header, queued_id, refused, retry,
        session, write,
    },
    states::{EXISTING, call_id, chat_in, short, with_calls, with_two_queued},
};

#[test]
fn an_edit_deletes_the_message_and_all_after_it_and_clears_the_queue() {
    for state in EXISTING.into_iter().filter(|state| !state.starts_with('X')) {
        let chat = with_two_queued(chat_in(state));

        let edited = accepted(&chat, edit(2));

        let change = edited.change.as_ref().expect("the history changed");
        assert_eq!(change.delete_from, Some(MessageId(2)), "{state}");
        assert_eq!(inserted(&edited).len(), 1, "{state}");
        assert_eq!(inserted(&edited)[0].message_id(), MessageId(4), "{state}");
        let cleared: Vec<_> = chat.queue.iter().map(|queued| queued.id).collect();
        assert_eq!(change.queue_deleted, cleared, "{state}");
        assert_eq!(edited.chat.queue, [], "{state}");
        let held = u32::from(edited.chat.live_lease().is_some());
        assert_eq!(edited.chat.attempt, held, "{state}");
    }
}

#[test]
fn an_edit_forgets_open_calls_with_the_answer_that_asked_for_them() {
    let chat = with_calls(chat_in("L1"), &[CallKind::Worker, CallKind::Client]);

    let edited = accepted(&chat, edit(2));

    let change = edited.change.as_ref().expect("the history changed");
    assert_eq!(change.calls_closed, [call_id(0), call_id(1)]);
    assert_eq!(inserted(&edited).len(), 1, "no result is made up for a deleted call");
    assert_eq!(edited.chat.open_calls, []);
    assert!(edited.effects.contains(&Effect::CancelCalls(vec![call_id(0)])));
}

#[test]
fn an_edit_keeps_the_lease_and_tells_the_holder() {
    for state in ["L0", "L1", "I0", "I1"] {
        let chat = chat_in(state);

        let edited = accepted(&chat, edit(2));

        assert_eq!(short(&edited.chat), "L0");
        assert_eq!(edited.chat.last_lease, chat.last_lease);
        assert_eq!(edited.effects, [Effect::Reload(session(1), Fence(3))]);
    }
}

#[test]
fn an_edit_supersedes_what_the_holder_was_doing() {
    let chat = chat_in("L0");
    let header = next_header(&chat);

    let edited = accepted(&chat, edit(2)).chat;

    assert_eq!(refused(&edited, holder(header, HolderWrite::Release)), Rejection::Superseded);
    accepted(&edited, write(&edited, HolderWrite::Release));
}

#[test]
fn an_edit_ends_a_retry() {
    let chat = chat_in("L0");
    let retrying = accepted(&chat, write(&chat, retry())).chat;

    let edited = accepted(&retrying, edit(2)).chat;

    assert_eq!(edited.retry, None);
    assert_eq!(edited.versions.retry, edited.versions.snapshot);
}

#[test]
fn only_a_live_user_message_can_be_edited() {
    let chat = chat_in("W");

    assert_eq!(refused(&chat, edit_of(9, None)), Rejection::MessageNotFound);
    for role in [Role::System, Role::Assistant, Role::Tool] {
        let rejection = refused(&chat, edit_of(3, Some(role)));
        assert!(names_field(&rejection, "message_id"), "{role:?}");
    }
}

#[test]
fn an_edit_spares_the_chats_prompt_wherever_it_stands() {
    let unanswered = Chat { answered: false, ..chat_in("W") };
    let configure = || {
        Command::ConfigureChat(ConfigureChat {
            system_prompt: Some(Some("Be kind.".to_owned())),
            ..ConfigureChat::default()
        })
    };
    let configured = accepted(&unanswered, configure()).chat;
    assert_eq!(configured.system_prompt, Some(MessageId(4)));

    for target in [2, 5] {
        let edited = accepted(&configured, edit(target)).chat;

        assert_eq!(edited.system_prompt, Some(MessageId(4)));
    }
}

#[test]
fn a_message_that_an_edit_cleared_is_not_found_any_more() {
    let edited = accepted(&chat_in("L1"), edit(2)).chat;

    let delete = Command::DeleteQueuedMessage(queued_id(1));

    assert_eq!(refused(&edited, delete), Rejection::QueuedMessageNotFound);
}

//! Pages of messages and of the queue, and a chat as it is listed.

use chatplane_domain::{
    Body, BusyBehavior, CallKind, ChatId, Command, EditQueuedMessage, Fence, MessageId, NextStep,
    SubmittedResult, UserPart, content_bytes,
};

use super::world::{World, applied, call, call_of, ids, step, summary, text, world};
use crate::store::{
    ActionRequired, Ask, ChatView, MessageBounds, MessagePage, MessageView, QueuePage, QueuedView,
    Transacted, TurnBounds,
};

const MIB: usize = 1024 * 1024;

async fn page(world: &World, chat: ChatId, after: i64, before: i64, limit: usize) -> (Vec<i64>, bool) {
    let bound = |id: i64| (id > 0).then_some(MessageId(id));
    let bounds = MessageBounds { after: bound(after), before: bound(before) };
    let MessagePage { messages, has_more } =
        world.store.messages(chat, bounds, limit).await.expect("it answers");
    (ids(&messages), has_more)
}

/// A chat with answers of these sizes from message 3 on: 1 is a prompt that no user sees.
async fn answered(world: &World, sizes: &[usize]) -> ChatId {
    let mut new = world.new_chat_of("first");
    new.deployment_prompt = Some("nobody sees this".to_owned());
    let chat = applied(world.create(new, &Ask::default()).await).decision.chat.id;
    world.lease(chat).await;
    for size in sizes {
        world.answer(chat, vec![text(&"x".repeat(*size))], NextStep::Continue).await;
    }
    chat
}

#[tokio::test]
async fn messages_are_listed_newest_first_or_above_a_bound_oldest_first() {
    let world = world().await;
    let chat = answered(&world, &[1, 1, 1]).await;

    assert_eq!(page(&world, chat, 0, 0, 4).await, (vec![5, 4, 3, 2], false));
    assert_eq!(page(&world, chat, 0, 0, 3).await, (vec![5, 4, 3], true));
    assert_eq!(page(&world, chat, 0, 4, 3).await, (vec![3, 2], false));
    assert_eq!(page(&world, chat, 2, 5, 1).await, (vec![4], true));
    assert_eq!(page(&world, chat, 2, 5, 2).await, (vec![4, 3], false));
    assert_eq!(page(&world, chat, 1, 0, 3).await, (vec![2, 3, 4], true));
    assert_eq!(page(&world, chat, 4, 0, 3).await, (vec![5], false));
    assert_eq!(page(&world, chat, 5, 0, 3).await, (vec![], false));
}

#[tokio::test]
async fn pages_of_messages_are_cut_by_bytes_in_both_directions_and_have_one_at_least() {
    let world = world().await;
    let chat = answered(&world, &[MIB, MIB / 2, 2 * MIB - 20, 1]).await;

    assert_eq!(page(&world, chat, 0, 0, 10).await, (vec![6, 5], true));
    assert_eq!(page(&world, chat, 0, 6, 10).await, (vec![5], true));
    assert_eq!(page(&world, chat, 0, 5, 10).await, (vec![4, 3, 2], false));
    assert_eq!(page(&world, chat, 2, 0, 10).await, (vec![3, 4], true));
    assert_eq!(page(&world, chat, 3, 0, 10).await, (vec![4], true));
    assert_eq!(page(&world, chat, 4, 0, 10).await, (vec![5, 6], false));
}

#[tokio::test]
async fn the_queue_is_read_in_pages_with_whole_messages() {
    let world = world().await;
    let chat = answered(&world, &[]).await;
    let mut sent = Vec::new();
    for (text, busy) in [
        ("first".to_owned(), BusyBehavior::Queue),
        ("x".repeat(3 * MIB / 2), BusyBehavior::Queue),
        ("before\0 them".to_owned(), BusyBehavior::Steer),
    ] {
        sent.extend(world.apply(chat, world.send_busy(&text, busy)).await.reply.queued.map(|it| it.id));
    }
    let queue_page =
        async |after, limit| world.store.queue_page(chat, after, limit).await.expect("it answers");

    let first = queue_page(None, 2).await;
    let second = queue_page(Some(first.entries[1].position), 2).await;
    let beyond = queue_page(Some(second.entries[0].position), 2).await;

    let texts = |page: &QueuePage| -> Vec<_> {
        page.entries.iter().map(|entry| (entry.id, content_bytes(&entry.parts), entry.steering)).collect()
    };
    assert_eq!(texts(&first), [(sent[2], 12, true), (sent[0], 5, false)]);
    assert_eq!(texts(&second), [(sent[1], 3 * MIB / 2, false)]);
    assert_eq!((first.has_more, second.has_more, beyond.has_more), (true, false, false));
    assert_eq!(texts(&beyond), []);
    assert_eq!(first.entries[0].preview_text, "before  them");
    assert_eq!(first.entries[0].parts, [UserPart::Text("before\0 them".to_owned())]);
    let headers = world.store.queue(chat).await.expect("it answers");
    assert!(headers.iter().all(|header| header.parts.is_empty()));
    assert_eq!(headers.len(), 3);
}

#[tokio::test]
async fn pages_of_the_queue_are_cut_by_bytes() {
    let world = world().await;
    let chat = answered(&world, &[]).await;
    for _ in 0..3 {
        world.apply(chat, world.send(&"x".repeat(MIB))).await;
    }

    let first = world.store.queue_page(chat, None, 10).await.expect("it answers");
    let after = Some(first.entries[1].position);
    let second = world.store.queue_page(chat, after, 10).await.expect("it answers");

    assert_eq!((first.entries.len(), first.has_more), (2, true));
    assert_eq!((second.entries.len(), second.has_more), (1, false));
}

#[tokio::test]
async fn the_reply_to_a_command_shows_the_entry_as_it_was_queued_and_without_its_content() {
    let world = world().await;
    let chat = answered(&world, &[]).await;
    let queued = world.apply(chat, world.send("first\0")).await.reply.queued.expect("it waits");
    world.apply(chat, world.send("second")).await;
    let request = world.request(1);
    let ask = Ask { queued: Some(queued.id), ..Ask::default() };
    let repeatable = Ask { request: Some(request), ..ask.clone() };
    let replied = async |ask: &Ask, command: Command| {
        applied(world.transact(chat, ask, command).await).reply.queued.expect("it waits")
    };
    let moving = Command::MoveQueuedMessage { id: queued.id, index: 1 };

    let moved = replied(&repeatable, moving.clone()).await;
    let again = world.transact(chat, &repeatable, moving).await;
    let parts = vec![UserPart::Text("other".to_owned())];
    let edit = EditQueuedMessage { id: queued.id, parts: parts.clone() };
    let edited = replied(&ask, Command::EditQueuedMessage(edit)).await;

    assert_eq!((moved.preview_text.as_str(), moved.create_time), ("first ", queued.create_time));
    assert_eq!(moved.parts, []);
    assert!(moved.position > queued.position);
    let Ok(Transacted::Replayed(again)) = again else { panic!("it is a repeat: {again:?}") };
    assert_eq!(again.queued, Some(moved));
    assert_eq!((edited.preview_text.as_str(), edited.create_time), ("other", queued.create_time));
    let listed = world.store.queue_page(chat, None, 10).await.expect("it answers").entries;
    assert_eq!(listed[1], QueuedView { parts, ..edited });
}

#[tokio::test]
async fn a_suspended_chat_says_which_calls_wait_for_whom_and_until_when() {
    let world = world().await;
    let chat = answered(&world, &[]).await;
    let parts = vec![call_of("one\0", "{}", CallKind::Client), call_of("two", "{}", CallKind::Client)];
    let suspended = applied(world.hold(chat, step(Some(parts), NextStep::Suspend, None)).await);

    let both = world.view(chat).await;
    let submitted = SubmittedResult {
        call: both.action_required.as_ref().expect("it waits").calls[0].id,
        output: "done".to_owned(),
        is_error: false,
    };
    world.apply(chat, Command::SubmitToolResults(vec![submitted])).await;
    let one = world.view(chat).await;

    // A worker's write is not told what its reader has not read.
    assert_eq!(both, ChatView { has_unread: true, ..suspended.reply.chat });
    let ActionRequired { calls, deadline } = both.action_required.expect("it waits");
    let known: Vec<_> = calls.iter().map(|call| (call.tool_name.as_str(), call.kind)).collect();
    assert_eq!(known, [("one\0", CallKind::Client), ("two", CallKind::Client)]);
    let waits = vec![calls[1].clone()];
    assert_eq!(one.action_required, Some(ActionRequired { calls: waits, deadline }));
}

#[tokio::test]
async fn what_a_turn_came_to_is_kept_with_the_chat() {
    let world = world().await;
    let chat = answered(&world, &[]).await;

    let ended = world.answer(chat, vec![text("All\0 done.\nMore.")], NextStep::Finish).await;

    let view = world.view(chat).await;
    assert_eq!(view, ChatView { has_unread: true, ..ended.reply.chat });
    assert_eq!(view.last_turn_summary, world.snapshot(chat, &Ask::default()).await.chat.last_turn_summary);
    assert!(view.last_turn_summary.starts_with("All"), "{:?}", view.last_turn_summary);
}

#[tokio::test]
async fn a_turn_is_read_in_pages_without_what_is_covered() {
    let world = world().await;
    let chat = answered(&world, &[10, 10]).await;
    // 5 to 7 cover 3, 8 is an answer: the model sees 1, 4, 5 and 8.
    let step = step(Some(vec![call(CallKind::Worker)]), NextStep::Continue, Some(summary(3, "in short")));
    let held = applied(world.hold(chat, step).await);
    let versions = held.decision.chat.versions;
    let bounds = TurnBounds {
        chat,
        fence: Fence::FIRST,
        session: held.decision.chat.last_lease.expect("it is held").session,
        history_version: versions.history,
        after_revision: 0,
        resent_from: None,
    };
    let pages = async |bounds: TurnBounds, bytes_max| {
        let (mut pages, mut after) = (Vec::new(), MessageId(0));
        loop {
            let page = world.store.turn_page(bounds, after, bytes_max).await.expect("it answers");
            let page = page.expect("the lease lives");
            after = page.messages.last().map_or(after, |last| last.id);
            pages.push(ids(&page.messages));
            if page.is_last {
                return pages;
            }
        }
    };

    assert_eq!(world.prompt(chat).await, [1, 4, 5, 8]);
    assert_eq!(pages(bounds, 1_000_000).await, [[1, 4, 5, 8]]);
    assert_eq!(pages(bounds, 1).await, [[1], [4], [5], [8]]);
    let newer = TurnBounds { after_revision: versions.history - 1, ..bounds };
    assert_eq!(pages(newer, 1_000_000).await, [[5, 8]]);
    let resent = TurnBounds { resent_from: Some(MessageId::FIRST), ..newer };
    assert_eq!(pages(resent, 1_000_000).await, [[1, 4, 5, 8]]);
    let other = TurnBounds { history_version: versions.history - 1, ..bounds };
    assert_eq!(world.store.turn_page(other, MessageId(0), 1).await.expect("it answers"), None);
}

#[tokio::test]
async fn provider_state_goes_to_workers_only() {
    let world = world().await;
    let chat = answered(&world, &[1]).await;
    let states = |bodies: &[MessageView]| -> Vec<usize> {
        let answers = bodies.iter().filter_map(|message| match &message.body {
            Body::Assistant(answer) => Some(answer),
            _ => None,
        });
        answers.flat_map(|answer| &answer.parts).map(|part| part.provider_state.len()).collect()
    };
    let ask = Ask { turn_bytes_max: Some(i64::MAX), for_holder: true, ..Ask::default() };

    let seen = world.store.messages(chat, MessageBounds::default(), 10).await.expect("it answers").messages;
    let polled = MessageBounds { after: Some(MessageId(1)), before: None };
    let polled = world.store.messages(chat, polled, 10).await.expect("it answers").messages;
    let read = world.snapshot(chat, &ask).await.turn_input.expect("it is small");

    assert_eq!((states(&seen), states(&polled), states(&read)), (vec![0], vec![0], vec![5]));
}

//! Copies of chats: what is copied, and what is not.

use chatplane_domain::{
    AnswerContent, Body, CallKind, Chat, ChatId, Command, ConfigureChat, HolderWrite, MessageId, NextStep,
    State, SyntheticReason,
};
use uuid::Uuid;

use super::world::{World, applied, call_of, fork_of, result, step, summary, text, tool, world};
use crate::store::{Ask, Request, TransactError, Transacted};

/// The copy of a chat up to a message.
async fn forked(world: &World, chat: ChatId, target: i64) -> ChatId {
    applied(world.fork(chat, target, None).await).reply.chat.chat_id
}

/// What a chat's messages say.
async fn said(world: &World, chat: ChatId, ids: &[i64]) -> Vec<Body> {
    let ids: Vec<MessageId> = ids.iter().map(|id| MessageId(*id)).collect();
    let messages = world.store.messages_by_id(chat, &ids).await.expect("it answers");
    messages.into_iter().map(|message| message.body).collect()
}

#[tokio::test]
async fn a_copy_has_the_messages_up_to_the_target_the_settings_and_the_title() {
    let world = world().await;
    let mut new = world.new_chat_of("first");
    new.deployment_prompt = Some("be good".to_owned());
    new.client_tools = vec![tool("ask")];
    let source = applied(world.create(new, &Ask::default()).await).decision.chat.id;
    world.lease(source).await;
    world.apply(source, world.send("second")).await;
    world
        .answer(source, vec![text("one"), AnswerContent::Reasoning("hm".to_owned())], NextStep::Finish)
        .await;
    let before = world.snapshot(source, &Ask::default()).await;

    let copied = applied(world.fork(source, 3, None).await);

    let copy = copied.reply.chat.chat_id;
    assert_eq!(world.snapshot(source, &Ask::default()).await.chat, before.chat, "the source stays as it is");
    assert_eq!(world.live(copy).await, [1, 2, 3]);
    assert_eq!(said(&world, copy, &[1, 2, 3]).await, said(&world, source, &[1, 2, 3]).await);
    assert_eq!(world.prompt(copy).await, [1, 2, 3], "with what only workers see");
    let read = world.view(copy).await;
    assert_eq!(read, copied.reply.chat);
    assert_eq!((read.state, read.versions.snapshot, read.versions.history), (State::Waiting, 1, 1));
    assert_eq!((read.metadata.title.as_str(), read.metadata.metadata_version), ("a title", 1));
    assert_eq!(read.client_tool_names, ["ask"]);
    let ask = Ask { turn_bytes_max: Some(1024), ..Ask::default() };
    let copy_as_read = world.snapshot(copy, &ask).await;
    assert_eq!(copy_as_read.turn_settings.expect("it was asked for").client_tools, [tool("ask")]);
    let decided = Chat { history_bytes: copy_as_read.chat.history_bytes, ..copied.decision.chat.clone() };
    assert_eq!(copy_as_read.chat, decided);
    let bytes = "be good".len() + "first".len() + "one".len() + "hm".len() + 2 * "state".len();
    assert_eq!(copy_as_read.chat.history_bytes, i64::try_from(bytes).expect("few"));
    assert_eq!(world.count("select count(*) from model_calls").await, 0);
    // It goes on above every id that its source has given away.
    world.apply(copy, world.send("go on")).await;
    assert_eq!(world.live(copy).await, [1, 2, 3, 5]);
    assert_eq!(world.live(source).await, [1, 2, 3, 4]);
}

#[tokio::test]
async fn calls_without_a_result_among_the_copies_get_one() {
    let world = world().await;
    let source = world.new_chat().await;
    world.lease(source).await;
    let parts = vec![
        text("Let me see."),
        call_of("first_tool", "{}", CallKind::Worker),
        call_of("second\0tool", "{}", CallKind::Client),
        call_of("third_tool", "{}", CallKind::Worker),
    ];
    world.answer(source, parts, NextStep::Continue).await;
    // The results of the second and the third call are not there yet, or behind the target.
    applied(world.hold(source, HolderWrite::CommitToolResults(vec![result(2, 0, "done")])).await);
    applied(world.hold(source, HolderWrite::CommitToolResults(vec![result(2, 2, "late")])).await);

    let copy = forked(&world, source, 3).await;

    assert_eq!(world.live(copy).await, [1, 2, 3, 5, 6]);
    let results: Vec<_> = said(&world, copy, &[5, 6])
        .await
        .into_iter()
        .map(|body| match body {
            Body::Tool(result) => {
                (result.call.message.0, result.call.index, result.tool_name, result.synthetic)
            }
            other => panic!("it is a result: {other:?}"),
        })
        .collect();
    let forked_call = |index, name: &str| (2, index, name.to_owned(), Some(SyntheticReason::Forked));
    assert_eq!(results, [forked_call(1, "second\0tool"), forked_call(2, "third_tool")]);
    assert_eq!(world.count("select count(*) from calls where not settled").await, 1, "the source's own");
    // A copy of the copy finds the same calls answered, or not.
    let again = forked(&world, copy, 2).await;
    assert_eq!(world.live(again).await, [1, 2, 7, 8, 9]);
}

#[tokio::test]
async fn a_boundary_is_copied_by_what_it_covers() {
    let world = world().await;
    let source = world.new_chat().await;
    world.lease(source).await;
    world.apply(source, world.send("second")).await;
    world.answer(source, vec![text("one")], NextStep::Finish).await;
    let both = step(Some(vec![text("two")]), NextStep::Finish, Some(summary(2, "in short")));
    applied(world.hold(source, both).await);

    // 4 to 6 cover 2; 7 is the answer of 3.
    let below = forked(&world, source, 1).await;
    let at = forked(&world, source, 2).await;
    let above = forked(&world, source, 3).await;
    let shown = forked(&world, source, 5).await;

    assert_eq!((world.live(below).await, world.prompt(below).await), (vec![1], vec![1]));
    assert_eq!((world.live(at).await, world.prompt(at).await), (vec![1, 2, 4, 5, 6], vec![4]));
    assert_eq!((world.live(above).await, world.prompt(above).await), (vec![1, 2, 3, 4, 5, 6], vec![3, 4]));
    assert_eq!(world.live(shown).await, world.live(above).await, "a boundary's row is a target, too");
    assert_eq!(world.count("select count(distinct history_bytes) from chats").await, 4);
    for (target, bytes) in [(at, "in short"), (above, "in shortsecond"), (below, "first")] {
        let chat = world.snapshot(target, &Ask::default()).await.chat;
        assert_eq!(chat.history_bytes, i64::try_from(bytes.len()).expect("few"));
    }
}

#[tokio::test]
async fn what_users_do_not_see_or_is_deleted_is_no_target() {
    let world = world().await;
    let mut new = world.new_chat_of("first");
    new.deployment_prompt = Some("be good".to_owned());
    let source = applied(world.create(new, &Ask::default()).await).decision.chat.id;
    applied(world.edit(source, 2, "other").await);

    for target in [0, 1, 2, 4] {
        let refused = world.fork(source, target, None).await;
        assert!(matches!(refused, Err(TransactError::Refused(_))), "{target}: {refused:?}");
    }
    let unknown = world.fork(ChatId(Uuid::now_v7()), 3, None).await;
    assert!(matches!(unknown, Err(TransactError::ChatNotFound)), "{unknown:?}");
    assert_eq!(world.count("select count(*) from chats").await, 1);
}

#[tokio::test]
async fn an_edit_between_the_read_and_the_copy_is_noticed_and_a_message_is_not_copied_with_it() {
    let world = world().await;
    let source = world.new_chat().await;
    let ask = Ask { fork: Some(MessageId(1)), request: Some(world.request(1)), ..Ask::default() };
    let snapshot = world.snapshot(source, &ask).await;
    let stale = fork_of(&snapshot, ChatId(Uuid::now_v7()), 1).expect("it is there");

    applied(world.edit(source, 1, "other").await);
    let wrote = world.store.write_copy(&snapshot, &stale, &ask).await.expect("it answers");

    assert!(!wrote);
    assert_eq!(world.count("select count(*) from chats").await, 1);
    assert_eq!(world.count("select count(*) from messages").await, 2);
    assert_eq!(world.count("select count(*) from requests").await, 0);
    // What is only queued is no change of the history.
    let ask = Ask { fork: Some(MessageId(2)), ..ask };
    let snapshot = world.snapshot(source, &ask).await;
    let fresh = fork_of(&snapshot, ChatId(Uuid::now_v7()), 2).expect("it is there");
    world.apply(source, world.send("waits")).await;
    assert!(world.store.write_copy(&snapshot, &fresh, &ask).await.expect("it answers"));
    assert_eq!(world.live(fresh.chat.id).await, [2]);
}

#[tokio::test]
async fn tools_that_were_defined_between_the_read_and_the_copy_are_noticed() {
    let world = world().await;
    let mut new = world.new_chat_of("first");
    new.client_tools = vec![tool("ask")];
    let source = applied(world.create(new, &Ask::default()).await).decision.chat.id;
    let ask = Ask { fork: Some(MessageId(1)), ..Ask::default() };
    let snapshot = world.snapshot(source, &ask).await;
    let stale = fork_of(&snapshot, ChatId(Uuid::now_v7()), 1).expect("it is there");

    let configure = ConfigureChat { client_tools: Some(vec![tool("look")]), ..ConfigureChat::default() };
    world.apply(source, Command::ConfigureChat(configure)).await;
    let wrote = world.store.write_copy(&snapshot, &stale, &ask).await.expect("it answers");

    assert!(!wrote);
    let copy = forked(&world, source, 1).await;
    let copy = world.snapshot(copy, &Ask { turn_bytes_max: Some(0), ..Ask::default() }).await;
    assert_eq!(copy.chat.settings.client_tools, ["look"]);
    assert_eq!(copy.turn_settings.expect("it was asked for").client_tools, [tool("look")]);
}

#[tokio::test]
async fn edits_and_copies_at_once_all_get_through_and_a_copy_is_of_one_moment() {
    let world = world().await;
    let source = world.new_chat().await;
    let edits = async {
        for number in 1..=20 {
            applied(world.edit(source, number, &format!("edit {number}")).await);
        }
    };
    let copies = async {
        let mut copies = Vec::new();
        for _ in 0..20 {
            let target = *world.live(source).await.last().expect("one is always there");
            match world.fork(source, target, None).await {
                Ok(Transacted::Applied(applied)) => copies.push((target, applied.reply.chat.chat_id)),
                Err(TransactError::Refused(_)) => {}
                other => panic!("it is copied, or the message is gone: {other:?}"),
            }
        }
        copies
    };

    let ((), copies) = tokio::join!(edits, copies);

    for (target, copy) in copies {
        assert_eq!(world.live(copy).await, [target]);
    }
}

#[tokio::test]
async fn a_repeated_copy_is_made_once() {
    let world = world().await;
    let source = world.new_chat().await;
    let request = Request { method: "ForkChat", ..world.request(1) };

    let (first, second) = tokio::join!(
        world.fork(source, 1, Some(request.clone())),
        world.fork(source, 1, Some(request.clone()))
    );

    let copies = [first, second].map(|outcome| match outcome.expect("both are answered") {
        Transacted::Applied(applied) => applied.reply.chat,
        Transacted::Replayed(reply) => reply.chat,
    });
    assert_eq!(copies[0], copies[1]);
    assert_eq!(world.count("select count(*) from chats").await, 2);
    let other = Request { body_sha256: [2; 32], ..request };
    let reused = world.fork(source, 1, Some(other)).await;
    assert!(matches!(reused, Err(TransactError::RequestIdReused)));
}

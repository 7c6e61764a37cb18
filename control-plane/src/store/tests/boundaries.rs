//! Summaries, cleared contexts and edits across them: which rows live, and what the model
//! sees of them.

use chatplane_domain::{
    AnswerContent, Body, CallKind, ChatId, Command, ConfigureChat, Covered, HistoryEnds, HolderWrite,
    MessageId, NextStep, Outcome, Role, ToolCall, Visibility,
};

use super::world::{World, applied, call, result, step, summary, text, world};
use crate::store::{Ask, Target};

type Row = (i64, bool, Option<i64>, i64);

/// Rows with whether they are deleted, what they cover and when they last changed.
async fn rows(world: &World) -> Vec<Row> {
    let sql = "select id, deleted, covers_through, revision from messages order by id";
    sqlx::query_as(sql).fetch_all(&world.pool).await.expect("the statement is right")
}

fn deleted(rows: &[Row]) -> Vec<i64> {
    rows.iter().filter(|row| row.1).map(|row| row.0).collect()
}

/// A chat with two turns, the last one waiting for its answer: 1 and 2, 3 and no more.
async fn leased_in_its_second_turn(world: &World) -> ChatId {
    let chat = world.new_chat().await;
    world.lease(chat).await;
    world.apply(chat, world.send("second")).await;
    world.answer(chat, vec![text("one")], NextStep::Finish).await;
    chat
}

#[tokio::test]
async fn a_summary_takes_the_place_of_what_it_covers_and_is_shown_to_users_as_a_call() {
    let world = world().await;
    let chat = leased_in_its_second_turn(&world).await;

    let step = step(Some(vec![text("two")]), NextStep::Finish, Some(summary(2, "in \0 short")));
    let applied = applied(world.hold(chat, step).await);

    let Outcome::Written(outcome) = applied.decision.outcome else { panic!("it is a holder's") };
    assert_eq!((outcome.first_message_id, outcome.boundary, outcome.committed), (MessageId(4), 3, 1));
    assert_eq!(world.prompt(chat).await, [3, 4, 7], "the summary, and what is not covered");
    let seen = world.store.messages(chat, Default::default(), 10).await.expect("it answers").messages;
    let shown: Vec<_> = seen.iter().map(|row| (row.id.0, row.visibility, row.covers_through)).collect();
    let covers = Some(MessageId(2));
    assert_eq!(shown[1], (6, Visibility::User, covers));
    assert_eq!(shown[2], (5, Visibility::User, covers));
    assert_eq!(shown.iter().map(|row| row.0).collect::<Vec<_>>(), [7, 6, 5, 3, 2, 1]);
    let Body::Assistant(call) = &seen[2].body else { panic!("it is a call") };
    let AnswerContent::ToolCall(ToolCall { tool_name, .. }) = &call.parts[0].content else {
        panic!("it is a call")
    };
    assert_eq!((tool_name.as_str(), call.model.as_str()), ("chat_summarized", "summarizer"));
    let Body::Tool(said) = &seen[1].body else { panic!("it is a result") };
    assert_eq!(said.output, "in \0 short");
    assert_eq!(world.count("select count(*) from calls").await, 0, "nobody runs it");
    let bytes = "in \0 short".len() + "second".len() + "two".len() + "state".len();
    assert_eq!(world.count("select history_bytes from chats").await, i64::try_from(bytes).expect("few"));
}

#[tokio::test]
async fn a_cleared_context_leaves_the_instructions_and_what_comes_after() {
    let world = world().await;
    let mut new = world.new_chat_of("first");
    new.deployment_prompt = Some("be good".to_owned());
    new.system_prompt = Some("be short".to_owned());
    let chat = applied(world.create(new, &Ask::default()).await).decision.chat.id;
    world.lease(chat).await;
    world.answer(chat, vec![text("one")], NextStep::Finish).await;

    applied(world.clear(chat).await);
    let cleared = world.prompt(chat).await;
    let refused = world.clear(chat).await;
    world.apply(chat, world.send("again")).await;

    assert_eq!(cleared, [1, 2]);
    assert!(refused.is_err(), "there is nothing behind the boundary");
    assert_eq!(world.prompt(chat).await, [1, 2, 7]);
    assert_eq!(world.live(chat).await, [1, 2, 3, 4, 5, 6, 7], "everything stays readable");
    let bytes = "be good".len() + "be short".len() + "again".len();
    assert_eq!(world.count("select history_bytes from chats").await, i64::try_from(bytes).expect("few"));
}

#[tokio::test]
async fn an_edit_kills_the_boundaries_that_cover_its_target_and_spares_those_below() {
    let world = world().await;
    let chat = leased_in_its_second_turn(&world).await;
    // 4 to 6 cover 2; 7 is the answer of 3.
    let first = step(Some(vec![text("two")]), NextStep::Finish, Some(summary(2, "one")));
    applied(world.hold(chat, first).await);
    world.apply(chat, world.send("third")).await;
    world.lease(chat).await;
    // 9 to 11 cover 7; 12 is the answer of 8.
    let second = step(Some(vec![text("three")]), NextStep::Finish, Some(summary(7, "two")));
    applied(world.hold(chat, second).await);
    assert_eq!(world.prompt(chat).await, [8, 9, 12]);

    // The boundary that covers 2 is made of rows above 3, and stays.
    applied(world.edit(chat, 3, "other").await);

    let all = rows(&world).await;
    assert_eq!(deleted(&all), [3, 7, 8, 9, 10, 11, 12]);
    assert_eq!(world.prompt(chat).await, [4, 13]);
    assert_eq!(world.count("select covers_through from chats").await, 2);
    let version = world.count("select snapshot_version from chats").await;
    let spared: Vec<i64> = all.iter().filter(|row| !row.1 && row.3 == version).map(|row| row.0).collect();
    assert_eq!(spared, [4, 5, 6, 13], "readers who forget all from 3 on get the boundary again");

    // One that is covered brings back what is below it.
    applied(world.edit(chat, 1, "from the start").await);
    assert_eq!(world.live(chat).await, [14]);
    assert_eq!(world.prompt(chat).await, [14]);
    assert_eq!(world.count("select count(*) from chats where covers_through is null").await, 1);
    let bytes = i64::try_from("from the start".len()).expect("few");
    assert_eq!(world.count("select history_bytes from chats").await, bytes);
}

#[tokio::test]
async fn an_edit_below_a_boundary_shows_the_model_what_that_had_covered() {
    let world = world().await;
    let chat = world.new_chat().await;
    world.lease(chat).await;
    world.answer(chat, vec![text("one")], NextStep::Finish).await;
    world.apply(chat, world.send("second")).await;
    world.apply(chat, Command::InterruptChat).await;
    applied(world.clear(chat).await);
    let cleared = world.prompt(chat).await;

    applied(world.edit(chat, 3, "other").await);

    assert_eq!(cleared, Vec::<i64>::new());
    assert_eq!(world.prompt(chat).await, [1, 2, 6]);
    assert_eq!(deleted(&rows(&world).await), [3, 4, 5]);
}

#[tokio::test]
async fn instructions_stay_through_edits_and_are_replaced_one_by_one() {
    let world = world().await;
    let mut new = world.new_chat_of("first");
    new.deployment_prompt = Some("be good".to_owned());
    let chat = applied(world.create(new, &Ask::default()).await).decision.chat.id;
    world.apply(chat, Command::InterruptChat).await;
    let prompt = |text: &str| {
        let system_prompt = Some(Some(text.to_owned()));
        Command::ConfigureChat(ConfigureChat { system_prompt, ..ConfigureChat::default() })
    };
    world.apply(chat, prompt("be short")).await;
    world.apply(chat, prompt("be brief")).await;
    let configured = world.prompt(chat).await;

    applied(world.edit(chat, 2, "other").await);

    assert_eq!(configured, [1, 2, 4]);
    assert_eq!(world.prompt(chat).await, [1, 4, 5]);
    assert_eq!(deleted(&rows(&world).await), [2, 3]);
    let bytes = "be good".len() + "be brief".len() + "other".len();
    assert_eq!(world.count("select history_bytes from chats").await, i64::try_from(bytes).expect("few"));
}

#[tokio::test]
async fn a_command_is_told_what_it_needs_of_the_history_and_rows_of_boundaries_are_none() {
    let world = world().await;
    let chat = leased_in_its_second_turn(&world).await;
    let both = step(Some(vec![text("two")]), NextStep::Finish, Some(summary(2, "in short")));
    applied(world.hold(chat, both).await);
    let facts = async |ask: Ask| world.snapshot(chat, &ask).await;
    let target = async |id| facts(Ask { target: Some(MessageId(id)), ..Ask::default() }).await.target;
    let covered = async |id, version| {
        facts(Ask { covered: Some((MessageId(id), version)), ..Ask::default() }).await.covered
    };

    let asked = facts(Ask { history_ends: true, ..Ask::default() }).await;
    let ends = HistoryEnds { last: Some(MessageId(7)), last_answer: Some(MessageId(7)) };
    assert_eq!(asked.history_ends, Some(ends));
    let created_by = Some(world.user);
    let below = Target { role: Role::User, created_by, boundary_below: None, answer_below: None };
    let above = Target { boundary_below: Some(MessageId(2)), answer_below: Some(MessageId(2)), ..below };
    assert_eq!(target(1).await, Some(below));
    assert_eq!(target(3).await, Some(above));
    assert_eq!(target(7).await, Some(Target { role: Role::Assistant, created_by: None, ..above }));
    for no_target in [0, 4, 5, 6, 8] {
        assert_eq!(target(no_target).await, None);
    }
    let version = asked.chat.versions.history;
    assert_eq!(covered(3, version).await, Some(Covered { live: true, changed_since: false }));
    assert_eq!(covered(3, 2).await, Some(Covered { live: true, changed_since: true }));
    assert_eq!(covered(5, version).await, Some(Covered { live: false, changed_since: false }));
    assert_eq!(facts(Ask::default()).await.covered, None);
}

#[tokio::test]
async fn a_summary_of_what_is_not_there_any_more_is_ignored_and_its_step_is_stored() {
    let world = world().await;
    let chat = leased_in_its_second_turn(&world).await;
    applied(world.edit(chat, 3, "other").await);

    // The edit left the lease: 3 is dead, 4 took its place.
    let late = step(Some(vec![text("two")]), NextStep::Finish, Some(summary(3, "in short")));
    applied(world.hold(chat, late).await);

    assert_eq!(world.live(chat).await, [1, 2, 4, 5]);
    assert_eq!(world.prompt(chat).await, [1, 2, 4, 5]);
}

#[tokio::test]
async fn a_summary_that_would_part_a_call_from_its_result_is_ignored() {
    let world = world().await;
    let chat = world.new_chat().await;
    world.lease(chat).await;
    world.answer(chat, vec![call(CallKind::Worker), call(CallKind::Worker)], NextStep::Continue).await;
    for index in [0, 1] {
        let results = HolderWrite::CommitToolResults(vec![result(2, index, "done")]);
        applied(world.hold(chat, results).await);
    }

    for (through, expected) in [(2, vec![1, 2, 3, 4]), (3, vec![1, 2, 3, 4]), (4, vec![5, 6, 7])] {
        let early = step(Some(vec![text("on")]), NextStep::Continue, Some(summary(through, "in short")));
        applied(world.hold(chat, early).await);
        let seen = world.prompt(chat).await;
        assert!(seen.starts_with(&expected), "covered through {through}: {seen:?}");
    }
}

#[tokio::test]
async fn a_holder_gets_everything_anew_once_something_below_has_changed() {
    let world = world().await;
    let chat = leased_in_its_second_turn(&world).await;
    let deleted_from = async |revision| world.store.deleted_from(chat, revision).await.expect("it answers");

    let before = deleted_from(1).await;
    let both = step(Some(vec![call(CallKind::Worker)]), NextStep::Continue, Some(summary(2, "in short")));
    let summarized = applied(world.hold(chat, both).await).decision.chat.versions.history;
    let results = vec![result(7, 0, "done")];
    applied(world.hold(chat, HolderWrite::CommitToolResults(results)).await);

    assert_eq!(before, None, "messages that are new change nothing below");
    assert_eq!(deleted_from(summarized - 1).await, Some(MessageId::FIRST));
    assert_eq!(deleted_from(summarized).await, None);
    applied(world.edit(chat, 1, "other").await);
    assert_eq!(deleted_from(summarized).await, Some(MessageId::FIRST));
}

#[tokio::test]
async fn a_summary_that_would_cut_a_step_is_told() {
    let world = world().await;
    let chat = leased_in_its_second_turn(&world).await;
    let parts = vec![call(CallKind::Worker), call(CallKind::Worker)];
    applied(world.hold(chat, step(Some(parts), NextStep::Continue, None)).await);
    let results = vec![result(4, 0, "one"), result(4, 1, "two")];
    applied(world.hold(chat, HolderWrite::CommitToolResults(results)).await);
    let live = async |id| {
        let ask = Ask { covered: Some((MessageId(id), i64::MAX)), ..Ask::default() };
        world.snapshot(chat, &ask).await.covered.expect("it was asked for").live
    };

    assert_eq!([live(3).await, live(4).await, live(5).await, live(6).await], [true, false, false, true]);
}

#[tokio::test]
async fn instructions_may_be_changed_again_when_an_edit_has_deleted_every_answer() {
    let world = world().await;
    let chat = world.new_chat().await;
    world.lease(chat).await;
    world.answer(chat, vec![text("one")], NextStep::Finish).await;
    world.apply(chat, world.send("second")).await;
    let answered = async || world.snapshot(chat, &Ask::default()).await.chat.answered;

    applied(world.edit(chat, 3, "other").await);
    let one_is_left = answered().await;
    applied(world.edit(chat, 1, "other").await);

    assert_eq!((one_is_left, answered().await), (true, false));
}

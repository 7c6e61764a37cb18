//! Histories that grow too long.

use std::sync::Arc;

use chatplane_domain::ErrorKind;
use chatplane_proto::{
    chat::v1 as chat,
    worker::v1::{self as proto, session_response::Message as Down},
};
use tokio::sync::Semaphore;

use super::{
    ControlPlane, RunningWorker, ScriptedModel,
    control_plane::Tool,
    model::{Beat, answer, begin, call, end, end_at, fail, say, used, words},
};
use crate::llm::{ModelCall, PromptMessage, StopReason, UserPiece};

/// A chat with a tool, whose history is summarized at 70 percent.
pub(super) async fn start() -> ControlPlane {
    let control_plane = ControlPlane::start().await;
    control_plane.state().tools.insert("list_dir", Tool::Ends("a.txt"));
    control_plane.state().compaction_threshold_percent = 70;
    control_plane
}

/// A step with a call, whose prompt had so many tokens of 1000.
pub(super) fn step_at(input_tokens: i64) -> Vec<Beat> {
    [call("list_dir", "{}"), end_at(input_tokens, StopReason::ToolUse)].concat()
}

pub(super) fn waiting(gate: &Arc<Semaphore>, beats: Vec<Beat>) -> Vec<Beat> {
    [vec![Beat::Wait(gate.clone())], beats].concat()
}

pub(super) fn gate() -> Arc<Semaphore> {
    Arc::new(Semaphore::new(0))
}

fn last_words(call: &ModelCall) -> String {
    words(call.messages.last().unwrap()).join("|")
}

pub(super) fn is_summary_request(call: &ModelCall) -> bool {
    let asks =
        |piece: &UserPiece| matches!(piece, UserPiece::Text(text) if text.starts_with("Write a summary"));
    matches!(call.messages.last(), Some(PromptMessage::User { parts }) if asks(&parts[0]))
}

#[tokio::test]
async fn a_summary_that_is_ready_rides_on_the_next_commit_and_takes_the_place_of_what_it_covers() {
    let control_plane = start().await;
    let gate = gate();
    let model = ScriptedModel::new([
        step_at(800),
        answer("all of it, in short"),
        waiting(&gate, step_at(810)),
        answer("done"),
    ]);
    let _worker = RunningWorker::start(&control_plane, &model);
    control_plane.lease().await;
    let closed = |state: &super::control_plane::State| {
        state.live(0).iter().any(|piece| piece.contains("short")) && model.open_streams() == 1
    };
    control_plane.until("the summary", closed).await;

    gate.add_permits(1);
    control_plane.until("the end", |state| !state.leased).await;

    let state = control_plane.state();
    let summary = state.summaries[0].clone();
    assert_eq!((summary.covers_through, summary.text.as_str()), (3, "all of it, in short"));
    assert_eq!((summary.context_tokens, summary.context_percent, summary.model_call), (800, 80, 2));
    assert_eq!(summary.model, "smart");
    assert_eq!(summary.usage.unwrap().output_tokens, 5);
    let writes: Vec<_> = state.writes.iter().map(|(name, _)| *name).collect();
    assert_eq!(writes, ["CommitStep", "CommitToolResults", "CommitStep", "CommitToolResults", "CommitStep"]);
    let last = model.calls()[3].clone();
    assert_eq!(words(&last.messages[0])[1], "all of it, in short");
    assert_eq!(last.messages.len(), 3, "the summary and the step after it: {:?}", last.messages);
    assert_eq!(state.usage, [], "the commit has its tokens");
    assert_eq!(state.live(0).iter().filter(|piece| *piece == "start 0 Summary").count(), 1);
    assert!(!state.live(0).contains(&"closed abandoned=true".to_owned()));
}

#[tokio::test]
async fn a_summary_is_asked_for_with_the_prompt_of_the_turn_and_one_more_message() {
    let control_plane = start().await;
    control_plane.state().user_instructions = "be brief";
    let model = ScriptedModel::new([step_at(800), answer("in short"), answer("done")]);
    let _worker = RunningWorker::start(&control_plane, &model);

    control_plane.lease().await;
    control_plane.until("the end", |state| state.fence == 1 && !state.leased).await;

    let calls = model.calls();
    let (asked, turn) = (&calls[1], &calls[2]);
    assert!(is_summary_request(asked) && !is_summary_request(turn));
    let (_, prefix) = asked.messages.split_last().unwrap();
    assert_eq!(prefix, &turn.messages[..prefix.len()]);
    assert_eq!((&asked.system, &asked.tools), (&turn.system, &turn.tools));
    assert_eq!(asked.effort, turn.effort);
    assert_eq!((asked.output_tokens_max, turn.output_tokens_max), (250, 4096), "a quarter of the context");
}

#[tokio::test]
async fn a_summary_that_is_not_ready_when_the_turn_ends_is_dropped_with_its_tokens_told() {
    let control_plane = start().await;
    let slow = [used(), begin("too slow"), vec![Beat::Hang]].concat();
    let gate = gate();
    let model = ScriptedModel::new([step_at(800), slow, waiting(&gate, answer("done"))]);
    let _worker = RunningWorker::start(&control_plane, &model);
    control_plane.lease().await;
    control_plane
        .until("the summary", |state| state.live(0).iter().any(|piece| piece.contains("slow")))
        .await;

    gate.add_permits(1);
    control_plane.until("the report", |state| !state.usage.is_empty()).await;

    let state = control_plane.state();
    assert!(!state.leased);
    assert_eq!((state.usage[0].model_call, state.summaries.len()), (2, 0));
    assert_eq!(state.told().last().unwrap(), "done");
}

#[tokio::test]
async fn a_summary_beside_the_turn_that_fails_or_is_empty_is_not_tried_again_in_that_turn() {
    for failing in [fail(ErrorKind::Overloaded, true), [say(" \n"), end(StopReason::EndTurn)].concat()] {
        let control_plane = start().await;
        let model = ScriptedModel::new([step_at(800), failing, step_at(810), answer("done")]);
        let _worker = RunningWorker::start(&control_plane, &model);

        control_plane.lease().await;
        control_plane.until("the end", |state| state.fence == 1 && !state.leased).await;

        assert_eq!(control_plane.state().told().last().unwrap(), "done");
        assert_eq!(control_plane.state().retries, [], "nobody waits for it");
        assert_eq!(model.calls().iter().filter(|call| is_summary_request(call)).count(), 1);
    }
}

#[tokio::test]
async fn at_the_hard_limit_the_turn_waits_for_a_new_summary() {
    let control_plane = start().await;
    let model = ScriptedModel::new([step_at(960), answer("in short"), answer("done")]);
    let _worker = RunningWorker::start(&control_plane, &model);

    control_plane.lease().await;
    control_plane.until("the end", |state| state.fence == 1 && !state.leased).await;

    let state = control_plane.state();
    let writes = [("CommitStep", 1), ("CommitToolResults", 2), ("CommitStep", 3), ("CommitStep", 4)];
    assert_eq!(state.writes, writes);
    assert_eq!(state.summaries[0].covers_through, 3);
    let calls = model.calls();
    assert!(is_summary_request(&calls[1]));
    assert!(last_words(&calls[2]).ends_with("|in short"), "{:?}", calls[2].messages);
    assert_eq!(calls[2].messages.len(), 1);
}

#[tokio::test]
async fn a_refusal_for_its_length_lets_the_turn_wait_for_the_summary_on_its_way() {
    let control_plane = start().await;
    let gate = gate();
    let model = ScriptedModel::new([
        step_at(800),
        waiting(&gate, answer("in short")),
        fail(ErrorKind::ContextLength, false),
        answer("done"),
    ]);
    let _worker = RunningWorker::start(&control_plane, &model);
    control_plane.lease().await;
    control_plane.until("the refusal", |_| model.calls().len() == 3 && model.open_streams() == 1).await;

    gate.add_permits(1);
    control_plane.until("the end", |state| !state.leased).await;

    let state = control_plane.state();
    assert_eq!(state.told().last().unwrap(), "done");
    assert_eq!(model.calls().iter().filter(|call| is_summary_request(call)).count(), 1);
    assert_eq!(state.writes[2..], [("CommitStep", 3), ("CommitStep", 4)]);
}

#[tokio::test]
async fn a_chat_that_is_too_long_even_so_ends_with_a_sentence_that_says_what_to_do() {
    let control_plane = start().await;
    let model = ScriptedModel::new([
        step_at(100),
        fail(ErrorKind::ContextLength, false),
        answer("in short"),
        fail(ErrorKind::ContextLength, false),
    ]);
    let _worker = RunningWorker::start(&control_plane, &model);

    control_plane.lease().await;
    control_plane.until("the end", |state| state.fence == 1 && !state.leased).await;

    let error = control_plane.state().error.clone().unwrap();
    assert_eq!(error.kind(), chat::ErrorKind::CompactionFailed);
    assert!(error.message.contains("clear the context"), "{}", error.message);
}

#[tokio::test]
async fn a_first_message_that_is_too_long_keeps_the_providers_own_refusal() {
    let control_plane = start().await;
    let model = ScriptedModel::new([fail(ErrorKind::ContextLength, false)]);
    let _worker = RunningWorker::start(&control_plane, &model);

    control_plane.lease().await;
    control_plane.until("the end", |state| state.fence == 1 && !state.leased).await;

    assert_eq!(control_plane.state().error.clone().unwrap().kind(), chat::ErrorKind::ContextLength);
    assert_eq!(model.calls().len(), 1);
}

#[tokio::test]
async fn a_history_that_is_too_long_to_be_summarized_at_once_is_summarized_in_part() {
    let control_plane = start().await;
    let model = ScriptedModel::new([
        step_at(100),
        step_at(100),
        fail(ErrorKind::ContextLength, false),
        fail(ErrorKind::ContextLength, false),
        answer("in short"),
        answer("done"),
    ]);
    let _worker = RunningWorker::start(&control_plane, &model);

    control_plane.lease().await;
    control_plane.until("the end", |state| state.fence == 1 && !state.leased).await;

    let covered: Vec<i64> =
        control_plane.state().summaries.iter().map(|summary| summary.covers_through).collect();
    assert_eq!(covered, [3]);
    assert_eq!(control_plane.state().told().last().unwrap(), "done");
    assert_eq!(model.calls()[5].messages.len(), 3, "the summary, and the step that it leaves");
}

/// A person asks for a summary of a chat that waits.
pub(super) async fn asked_for() -> ControlPlane {
    let control_plane = ControlPlane::start().await;
    let model = ScriptedModel::new([answer("hello")]);
    let worker = RunningWorker::start(&control_plane, &model);
    control_plane.lease().await;
    control_plane.until("the end", |state| state.fence == 1 && !state.leased).await;
    worker.stop().await.unwrap();
    let mut state = control_plane.state();
    state.writes.clear();
    state.down = None;
    state.compact_requested = true;
    drop(state);
    control_plane
}

#[tokio::test]
async fn a_summary_that_was_asked_for_is_all_that_the_turn_makes() {
    let control_plane = asked_for().await;
    let model = ScriptedModel::new([answer("in short")]);
    let _worker = RunningWorker::start(&control_plane, &model);

    control_plane.lease().await;
    control_plane.until("the end", |state| state.fence == 2 && !state.leased).await;

    let state = control_plane.state();
    assert_eq!(state.writes, [("CommitStep", 1)]);
    assert_eq!((state.summaries[0].covers_through, state.compact_requested), (2, false));
    assert_eq!(state.told(), ["hi", "hello", "in short"]);
}

#[tokio::test]
async fn the_queue_goes_on_after_a_summary_that_was_asked_for() {
    let control_plane = asked_for().await;
    control_plane.state().queue.push_back("and now?".to_owned());
    let model = ScriptedModel::new([answer("in short"), answer("second")]);
    let _worker = RunningWorker::start(&control_plane, &model);

    control_plane.lease().await;
    control_plane.until("the end", |state| state.fence == 2 && !state.leased).await;

    assert_eq!(control_plane.state().told(), ["hi", "hello", "in short", "and now?", "second"]);
    assert_eq!(last_words(&model.calls()[1]), "and now?");
}

#[tokio::test]
async fn an_empty_summary_that_was_asked_for_is_tried_again_and_then_an_error() {
    let control_plane = asked_for().await;
    let empty = || [say(" "), end(StopReason::EndTurn)].concat();
    let model = ScriptedModel::new([empty(), empty()]);
    let _worker = RunningWorker::start(&control_plane, &model);

    control_plane.lease().await;
    control_plane.until("the end", |state| state.fence == 2 && !state.leased).await;

    assert_eq!(control_plane.state().writes, [("RecordRetry", 1), ("Fail", 2)]);
    let retried = control_plane.state().retries[0].error.clone().unwrap();
    assert_eq!(retried.kind(), chat::ErrorKind::CompactionFailed);
    let error = control_plane.state().error.clone().unwrap();
    assert_eq!(error.kind(), chat::ErrorKind::CompactionFailed);
    assert!(error.message.contains("was empty"), "{}", error.message);
    control_plane.until("both reports", |state| state.usage.len() == 2).await;
}

#[tokio::test]
async fn a_failed_summary_that_was_asked_for_is_repeated_as_any_model_call() {
    let control_plane = asked_for().await;
    let model = ScriptedModel::new([fail(ErrorKind::Overloaded, true), answer("in short")]);
    let _worker = RunningWorker::start(&control_plane, &model);

    control_plane.lease().await;
    control_plane.until("the end", |state| state.fence == 2 && !state.leased).await;

    assert_eq!(control_plane.state().writes, [("RecordRetry", 1), ("CommitStep", 2)]);
    assert_eq!(control_plane.state().summaries[0].model_call, 2);
}

#[tokio::test]
async fn a_stop_ends_the_wait_for_a_summary_and_closes_its_connection() {
    let control_plane = asked_for().await;
    let model = ScriptedModel::new([[used(), begin("too slow"), vec![Beat::Hang]].concat()]);
    let _worker = RunningWorker::start(&control_plane, &model);
    control_plane.lease().await;
    control_plane.until("the summary", |state| state.connections.last().unwrap().len() > 2).await;

    let interrupt = control_plane.interrupt();
    control_plane.send(Down::Interrupt(interrupt));
    control_plane.until("the report", |state| !state.usage.is_empty()).await;

    control_plane.until("the end", |state| !state.leased).await;
    assert_eq!(control_plane.state().writes, [("FinishInterruption", 1)]);
    assert_eq!(model.open_streams(), 0);
}

#[tokio::test]
async fn a_summary_that_the_control_plane_leaves_again_and_again_ends_the_turn() {
    let control_plane = start().await;
    control_plane.state().summaries_ignored = true;
    let model =
        ScriptedModel::new([step_at(960), answer("one"), answer("two"), answer("three"), answer("never")]);
    let _worker = RunningWorker::start(&control_plane, &model);

    control_plane.lease().await;
    control_plane.until("the end", |state| state.fence == 1 && !state.leased).await;

    assert_eq!(control_plane.state().summaries.len(), 3);
    assert_eq!(control_plane.state().error.clone().unwrap().kind(), chat::ErrorKind::CompactionFailed);
    control_plane.until("the reports", |state| state.usage.len() == 3).await;
}

#[tokio::test]
async fn an_edit_drops_the_summary_of_what_is_gone() {
    let control_plane = start().await;
    let gate = gate();
    let model = ScriptedModel::new([
        step_at(800),
        [used(), begin("of the old"), vec![Beat::Hang]].concat(),
        waiting(&gate, answer("to the old")),
        answer("to the new"),
    ]);
    let _worker = RunningWorker::start(&control_plane, &model);
    control_plane.lease().await;
    control_plane.until("the summary", |state| state.live(0).iter().any(|piece| piece.contains("old"))).await;

    let reload = control_plane.edit(1, "edited");
    control_plane.send(Down::Reload(reload));
    control_plane.until("the end", |state| !state.leased).await;

    assert_eq!(control_plane.state().told(), ["edited", "to the new"]);
    assert_eq!(control_plane.state().summaries, []);
    assert_eq!(model.open_streams(), 0);
    control_plane.until("the report", |state| !state.usage.is_empty()).await;
}

#[tokio::test]
async fn a_new_replica_gets_the_summary_on_its_way_from_where_it_says() {
    let control_plane = start().await;
    let gate = gate();
    let slow = [begin("one two"), vec![Beat::Wait(gate.clone())], end(StopReason::EndTurn)].concat();
    let model = ScriptedModel::new([step_at(960), slow, answer("done")]);
    let _worker = RunningWorker::start(&control_plane, &model);
    control_plane.lease().await;
    control_plane.until("the summary", |state| state.live(0).iter().any(|piece| piece.contains("two"))).await;

    let (base_version, index) = *control_plane.state().streams(0).last().unwrap();
    let stream = Some(chat::StreamId { base_version, index });
    control_plane.state().positions = vec![proto::LivePosition { stream, part: 0, offset: 4 }];
    control_plane.break_stream();
    control_plane.until("the rest", |state| state.connections.len() == 2 && !state.live(1).is_empty()).await;
    gate.add_permits(1);
    control_plane.until("the end", |state| !state.leased).await;

    assert_eq!(control_plane.state().live(1)[0], "0@4 two");
    assert_eq!(control_plane.state().summaries[0].text, "one two");
}

#[tokio::test]
async fn a_lost_lease_drops_its_summary() {
    let control_plane = start().await;
    let slow = [used(), begin("too slow"), vec![Beat::Hang]].concat();
    let model = ScriptedModel::new([step_at(800), slow]);
    let _worker = RunningWorker::start(&control_plane, &model);
    control_plane.lease().await;
    control_plane
        .until("the summary", |state| state.live(0).iter().any(|piece| piece.contains("slow")))
        .await;

    let key = proto::LeaseKey { chat_id: super::control_plane::CHAT_ID.to_owned(), fence: 1 };
    control_plane.send(Down::Lost(proto::Lost { lease: Some(key) }));
    control_plane.until("the report", |state| !state.usage.is_empty()).await;

    control_plane.until("nothing is open", |_| model.open_streams() == 0).await;
}

#[tokio::test]
async fn a_turn_that_is_summarized_on_its_way_does_not_get_more_model_calls() {
    let control_plane = start().await;
    let steps = std::iter::repeat_with(|| step_at(100)).take(20);
    let model = ScriptedModel::new([step_at(100), step_at(960), answer("in short")].into_iter().chain(steps));
    let _worker = RunningWorker::start(&control_plane, &model);

    control_plane.lease().await;
    control_plane.until("the end", |state| state.fence == 1 && !state.leased).await;

    assert_eq!(control_plane.state().error.clone().unwrap().kind(), chat::ErrorKind::TurnLimit);
    assert_eq!(model.calls().len(), 7, "six answers and a summary");
}

//! How summaries end: in time for the last answer of a turn, too late for it, or cut off.

use std::sync::Arc;

use chatplane_domain::ErrorKind;
use chatplane_proto::{chat::v1 as chat, worker::v1::session_response::Message as Down};
use tokio::sync::Semaphore;

use super::{
    ControlPlane, RunningWorker, ScriptedModel,
    compaction::{asked_for, gate, is_summary_request, start, step_at, waiting},
    control_plane::TOKEN,
    model::{Beat, answer, begin, call, end, end_at, fail, say, used},
};
use crate::llm::StopReason;

/// The last answer of a turn beside a summary that ends when the gate opens.
async fn last_answer_before_its_summary(
    summary: Vec<Beat>,
    last: Vec<Beat>,
) -> (ControlPlane, Arc<ScriptedModel>, RunningWorker, Arc<Semaphore>) {
    let control_plane = start().await;
    control_plane.state().client_tools.push("ask");
    let gate = gate();
    let model = ScriptedModel::new([step_at(800), waiting(&gate, summary), last]);
    let worker = RunningWorker::start_patient(&control_plane, &model, &["--token", TOKEN]);
    control_plane.lease().await;
    control_plane.until("the answer", |state| state.live(0).iter().any(|piece| piece.contains("done"))).await;
    control_plane.heard().await;
    assert_eq!(control_plane.state().writes.len(), 2, "the answer waits for its summary");
    (control_plane, model, worker, gate)
}

#[tokio::test]
async fn the_last_answer_of_a_turn_waits_a_moment_for_its_summary() {
    let (control_plane, model, _worker, gate) =
        last_answer_before_its_summary(answer("in short"), answer("done")).await;

    gate.add_permits(1);
    control_plane.until("the end", |state| !state.leased).await;

    let state = control_plane.state();
    assert_eq!((state.summaries[0].text.as_str(), state.summaries[0].covers_through), ("in short", 3));
    assert_eq!(state.writes.last(), Some(&("CommitStep", 3)));
    assert_eq!((state.told().last().unwrap().as_str(), model.calls().len()), ("done", 3));
    assert_eq!(state.usage, [], "the commit has its tokens");
}

#[tokio::test]
async fn an_answer_that_asks_the_client_waits_a_moment_for_its_summary_too() {
    let asks = [say("done"), call("ask", "{}"), end(StopReason::ToolUse)].concat();
    let (control_plane, _model, _worker, gate) =
        last_answer_before_its_summary(answer("in short"), asks).await;

    gate.add_permits(1);
    control_plane.until("the end", |state| !state.leased).await;

    let state = control_plane.state();
    assert!(state.suspended);
    assert_eq!((state.summaries.len(), state.writes.len()), (1, 3));
}

#[tokio::test]
async fn the_last_answer_of_a_turn_is_committed_without_a_summary_that_fails_meanwhile() {
    let failing = fail(ErrorKind::Overloaded, true);
    let (control_plane, _model, _worker, gate) =
        last_answer_before_its_summary(failing, answer("done")).await;

    gate.add_permits(1);
    control_plane.until("the end", |state| !state.leased).await;

    assert_eq!(control_plane.state().summaries, []);
    assert_eq!(control_plane.state().told().last().unwrap(), "done");
}

#[tokio::test]
async fn a_stop_ends_the_wait_of_the_last_answer_for_its_summary() {
    let (control_plane, model, _worker, _gate) =
        last_answer_before_its_summary(answer("in short"), answer("done")).await;

    let interrupt = control_plane.interrupt();
    control_plane.send(Down::Interrupt(interrupt));
    control_plane.until("the end", |state| !state.leased).await;

    assert_eq!(control_plane.state().told().last().unwrap(), "done", "it was complete");
    assert_eq!(control_plane.state().summaries, []);
    control_plane.until("nothing is open", |_| model.open_streams() == 0).await;
}

/// An answer that ends its turn, whose prompt had so many tokens of 1000.
fn answer_at(input_tokens: i64) -> Vec<Beat> {
    [say("said"), end_at(input_tokens, StopReason::EndTurn)].concat()
}

#[tokio::test]
async fn a_summary_beside_a_turn_that_came_to_nothing_is_not_begun_again_until_the_context_has_grown() {
    let late = || [used(), begin("too slow"), vec![Beat::Hang]].concat();
    for in_vain in [late(), fail(ErrorKind::Overloaded, true), cut_off()] {
        let control_plane = start().await;
        control_plane.state().queue.extend(["two", "three", "four"].map(str::to_owned));
        let turns = [answer_at(800), in_vain, answer_at(810), answer_at(849), answer_at(850)];
        let model = ScriptedModel::new(turns.into_iter().chain([answer("in short"), answer_at(860)]));
        let _worker = RunningWorker::start(&control_plane, &model);

        control_plane.lease().await;
        control_plane.until("the first turns", |state| state.fence == 1 && !state.leased).await;
        let of_first = model.calls().iter().filter(|call| is_summary_request(call)).count();
        // Another lease of the same chat.
        control_plane.state().user("five");
        control_plane.lease().await;
        control_plane.until("the end", |state| state.fence == 2 && !state.leased).await;

        assert_eq!(of_first, 1);
        let asked: Vec<bool> = model.calls().iter().map(is_summary_request).collect();
        assert_eq!(asked, [false, true, false, false, false, true, false]);
    }
}

#[tokio::test]
async fn the_hard_limit_makes_the_turn_wait_for_a_summary_also_where_one_came_to_nothing() {
    let control_plane = start().await;
    control_plane.state().queue.extend(["two", "three"].map(str::to_owned));
    let failing = fail(ErrorKind::Overloaded, true);
    let model =
        ScriptedModel::new([answer_at(940), failing, answer_at(950), answer("in short"), answer_at(100)]);
    let _worker = RunningWorker::start(&control_plane, &model);

    control_plane.lease().await;
    control_plane.until("the end", |state| state.fence == 1 && !state.leased).await;

    assert_eq!(control_plane.state().summaries[0].text, "in short");
}

/// A summary that reached the limit of its tokens.
fn cut_off() -> Vec<Beat> {
    [say("in sh"), end(StopReason::MaxTokens)].concat()
}

#[tokio::test]
async fn a_summary_that_is_cut_off_is_asked_for_once_more_with_twice_the_room() {
    let control_plane = asked_for().await;
    let model = ScriptedModel::new([cut_off(), answer("in short")]);
    let _worker = RunningWorker::start(&control_plane, &model);

    control_plane.lease().await;
    control_plane.until("the end", |state| state.fence == 2 && !state.leased).await;

    assert_eq!(control_plane.state().writes, [("CommitStep", 1)]);
    assert_eq!(control_plane.state().summaries[0].text, "in short");
    let rooms: Vec<i64> = model.calls().iter().map(|call| call.output_tokens_max).collect();
    assert_eq!(rooms, [250, 500]);
    control_plane.until("the report of the first", |state| state.usage.len() == 1).await;
}

#[tokio::test]
async fn a_summary_that_is_cut_off_again_has_failed_with_a_sentence_that_says_what_to_do() {
    let control_plane = asked_for().await;
    let model = ScriptedModel::new([cut_off(), cut_off()]);
    let _worker = RunningWorker::start(&control_plane, &model);

    control_plane.lease().await;
    control_plane.until("the end", |state| state.fence == 2 && !state.leased).await;

    assert_eq!(control_plane.state().writes, [("Fail", 1)]);
    let error = control_plane.state().error.clone().unwrap();
    assert_eq!(error.kind(), chat::ErrorKind::CompactionFailed);
    assert!(error.message.contains("clear the context"), "{}", error.message);
    assert_eq!(model.calls().len(), 2);
}

#[tokio::test]
async fn a_summary_beside_the_turn_that_is_cut_off_is_asked_for_once_more_too() {
    let control_plane = start().await;
    let gate = gate();
    let (first, more) = (waiting(&gate, step_at(810)), || step_at(810));
    let model =
        ScriptedModel::new([step_at(800), cut_off(), first, cut_off(), more(), more(), answer("done")]);
    let _worker = RunningWorker::start(&control_plane, &model);
    control_plane.lease().await;
    control_plane.until("the first summary", |state| !state.usage.is_empty()).await;

    gate.add_permits(1);
    control_plane.until("the end", |state| !state.leased).await;

    let calls = model.calls();
    let rooms: Vec<i64> =
        calls.iter().filter(|call| is_summary_request(call)).map(|call| call.output_tokens_max).collect();
    assert_eq!(rooms, [250, 500]);
    assert_eq!(control_plane.state().summaries, []);
}

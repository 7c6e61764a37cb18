//! Turns that the user stops.

use chatplane_proto::worker::v1::session_response::Message as Down;

use super::{
    ControlPlane, RunningWorker, ScriptedModel,
    control_plane::{TOKEN, Tool},
    model::{Beat, answer, begin, call, end, end_at, say, used},
};
use crate::llm::StopReason;

fn hanging(beats: &[Vec<Beat>]) -> Vec<Beat> {
    [beats.concat(), vec![Beat::Hang]].concat()
}

#[tokio::test]
async fn a_stopped_answer_is_kept_as_far_as_it_came_and_its_connection_is_closed() {
    let control_plane = ControlPlane::start().await;
    let model =
        ScriptedModel::new([hanging(&[used(), say("one"), call("list_dir", "{}"), begin("two thr")])]);
    let worker = RunningWorker::start(&control_plane, &model);
    control_plane.lease().await;
    control_plane.until("the answer", |state| state.live(0).iter().any(|piece| piece.contains("thr"))).await;

    let interrupt = control_plane.interrupt();
    control_plane.send(Down::Interrupt(interrupt));
    control_plane.until("the end", |state| !state.leased).await;

    assert_eq!(control_plane.state().told(), ["hi", "interrupted one | two thr"]);
    assert_eq!(control_plane.state().writes, [("FinishInterruption", 1)]);
    assert_eq!(model.open_streams(), 0);
    worker.stop().await.unwrap();
    assert_eq!(control_plane.state().usage, [], "its tokens are stored with it");
}

#[tokio::test]
async fn a_late_interrupt_does_not_stop_the_next_answer() {
    let control_plane = ControlPlane::start().await;
    control_plane.state().queue.push_back("next".to_owned());
    let gate = std::sync::Arc::new(tokio::sync::Semaphore::new(0));
    let first = [say("first"), vec![Beat::Wait(gate.clone())], end(StopReason::EndTurn)].concat();
    let second = [say("second"), vec![Beat::Wait(gate.clone())], end(StopReason::EndTurn)].concat();
    let model = ScriptedModel::new([first, second]);
    let _worker = RunningWorker::start(&control_plane, &model);
    control_plane.lease().await;
    control_plane.until("the first", |state| state.live(0).iter().any(|piece| piece.contains("first"))).await;

    let interrupt = control_plane.interrupt();
    gate.add_permits(1);
    control_plane
        .until("the second", |state| state.live(0).iter().any(|piece| piece.contains("second")))
        .await;
    control_plane.send(Down::Interrupt(interrupt.clone()));
    control_plane.send(Down::Ping(chatplane_proto::worker::v1::Ping { ping_no: 1, renewed_age_ms: 0 }));
    let is_pong =
        |message: &_| matches!(message, chatplane_proto::worker::v1::session_request::Message::Pong(_));
    control_plane.until("the pong", |state| state.connections[0].iter().any(is_pong)).await;
    gate.add_permits(1);
    control_plane.until("the end", |state| !state.leased).await;

    assert_eq!(control_plane.state().told(), ["hi", "first", "next", "second"]);
}

#[tokio::test]
async fn running_tools_are_let_go_and_what_has_ended_is_handed_in() {
    let control_plane = ControlPlane::start().await;
    control_plane.state().tools.extend([("slow", Tool::Hangs("working")), ("quick", Tool::Ends("done"))]);
    let step = [call("slow", "{}"), call("quick", "{}"), end(StopReason::ToolUse)];
    let model = ScriptedModel::new([step.concat()]);
    let _worker = RunningWorker::start(&control_plane, &model);
    control_plane.lease().await;
    control_plane
        .until("the output", |state| state.live(0).iter().any(|piece| piece.contains("working")))
        .await;
    control_plane.until("the result", |state| state.told().len() == 3).await;

    let interrupt = control_plane.interrupt();
    control_plane.send(Down::Interrupt(interrupt));
    control_plane.until("the end", |state| !state.leased).await;

    assert_eq!(control_plane.state().told()[2..], ["result 1 of 2: done"]);
    assert_eq!(control_plane.state().writes.last(), Some(&("FinishInterruption", 3)));
}

#[tokio::test]
async fn running_tools_are_awaited_for_a_moment_and_what_they_came_to_is_kept() {
    let control_plane = ControlPlane::start().await;
    let gate = std::sync::Arc::new(tokio::sync::Semaphore::new(0));
    control_plane.state().tools.insert("slow", Tool::EndsAfter(gate.clone(), "working"));
    let model = ScriptedModel::new([[call("slow", "{}"), end(StopReason::ToolUse)].concat()]);
    let _worker = RunningWorker::start(&control_plane, &model);
    control_plane.lease().await;
    control_plane
        .until("the output", |state| state.live(0).iter().any(|piece| piece.contains("working")))
        .await;

    let interrupt = control_plane.interrupt();
    control_plane.send(Down::Interrupt(interrupt));
    control_plane.heard().await;
    gate.add_permits(1);
    control_plane.until("the end", |state| !state.leased).await;

    assert_eq!(control_plane.state().told()[2..], ["result 0 of 2: cancelled"]);
    assert_eq!(control_plane.state().writes, [("CommitStep", 1), ("FinishInterruption", 2)]);
}

#[tokio::test]
async fn calls_that_wait_for_their_turn_do_not_begin_after_a_stop() {
    let control_plane = ControlPlane::start().await;
    let gate = std::sync::Arc::new(tokio::sync::Semaphore::new(0));
    control_plane.state().tools.insert("slow", Tool::EndsAfter(gate.clone(), "working"));
    let many = [vec![call("slow", "{}"); 20].concat(), end(StopReason::ToolUse)].concat();
    let model = ScriptedModel::new([many]);
    let _worker = RunningWorker::start(&control_plane, &model);
    control_plane.lease().await;
    control_plane.until("all that run at a time", |state| state.tool_calls.len() == 16).await;

    let interrupt = control_plane.interrupt();
    control_plane.send(Down::Interrupt(interrupt));
    control_plane.heard().await;
    gate.add_permits(20);
    control_plane.until("the end", |state| !state.leased).await;

    assert_eq!(control_plane.state().tool_calls.len(), 16);
    let results = control_plane.state().told().iter().filter(|told| told.starts_with("result")).count();
    assert_eq!(results, 16);
}

#[tokio::test]
async fn a_stop_just_before_a_write_of_results_is_not_forgotten() {
    let control_plane = ControlPlane::start().await;
    control_plane.state().tools.extend([("slow", Tool::Hangs("working")), ("quick", Tool::Ends("done"))]);
    let step = [call("slow", "{}"), call("quick", "{}"), end(StopReason::ToolUse)];
    let model = ScriptedModel::new([step.concat()]);
    let _worker = RunningWorker::start(&control_plane, &model);
    control_plane.state().results_unreachable = true;
    control_plane.lease().await;
    let is_results = |write: &(&str, i64)| write.0 == "CommitToolResults";
    control_plane.until("a try of the results", |state| state.writes.iter().any(is_results)).await;

    // The stop comes before the results get through, its message after their reply.
    let interrupt = control_plane.interrupt();
    control_plane.state().results_unreachable = false;
    control_plane.until("the result", |state| state.told().len() == 3).await;

    control_plane.send(Down::Interrupt(interrupt));
    control_plane.until("the end", |state| !state.leased).await;

    assert_eq!(control_plane.state().writes.last().unwrap().0, "FinishInterruption");
}

#[tokio::test]
async fn a_stop_during_the_pause_of_a_retry_ends_the_turn() {
    let control_plane = ControlPlane::start().await;
    let mut failing = super::model::fail(chatplane_domain::ErrorKind::Overloaded, true);
    if let [Beat::Fail(failure)] = failing.as_mut_slice() {
        failure.retry_after = Some(std::time::Duration::from_secs(300));
    }
    let model = ScriptedModel::new([failing, answer("never")]);
    let _worker = RunningWorker::start(&control_plane, &model);
    control_plane.lease().await;
    control_plane.until("the retry", |state| state.writes.len() == 1).await;
    assert_eq!(control_plane.state().retries[0].delay_ms, 300_000, "the provider's wish is a lower bound");

    let interrupt = control_plane.interrupt();
    control_plane.send(Down::Interrupt(interrupt));
    control_plane.until("the end", |state| !state.leased).await;

    assert_eq!(control_plane.state().told(), ["hi"]);
    assert_eq!(control_plane.state().writes, [("RecordRetry", 1), ("FinishInterruption", 2)]);
}

#[tokio::test]
async fn a_stop_while_tools_run_closes_the_connection_of_a_summary_at_once() {
    let control_plane = ControlPlane::start().await;
    let gate = std::sync::Arc::new(tokio::sync::Semaphore::new(0));
    control_plane.state().tools.insert("quick", Tool::Ends("done"));
    control_plane.state().tools.insert("slow", Tool::EndsAfter(gate.clone(), "working"));
    control_plane.state().compaction_threshold_percent = 70;
    let model = ScriptedModel::new([
        [call("quick", "{}"), end_at(800, StopReason::ToolUse)].concat(),
        hanging(&[used(), begin("too slow")]),
        [call("slow", "{}"), end(StopReason::ToolUse)].concat(),
    ]);
    let _worker = RunningWorker::start_patient(&control_plane, &model, &["--token", TOKEN]);
    control_plane.lease().await;
    control_plane
        .until("the output", |state| state.live(0).iter().any(|piece| piece.contains("working")))
        .await;
    assert_eq!(model.open_streams(), 1, "the summary's");

    let interrupt = control_plane.interrupt();
    control_plane.send(Down::Interrupt(interrupt));
    control_plane.until("the report", |state| !state.usage.is_empty()).await;

    assert_eq!(model.open_streams(), 0);
    gate.add_permits(1);
    control_plane.until("the end", |state| !state.leased).await;
    assert_eq!(control_plane.state().told().last().unwrap(), "result 0 of 4: cancelled");
}

#[tokio::test]
async fn the_end_of_the_drain_ends_the_wait_for_stopped_tools() {
    let control_plane = ControlPlane::start().await;
    control_plane.state().tools.insert("slow", Tool::Hangs("working"));
    let model = ScriptedModel::new([[call("slow", "{}"), end(StopReason::ToolUse)].concat()]);
    let arguments = ["--token", TOKEN, "--drain-timeout", "0"];
    let worker = RunningWorker::start_patient(&control_plane, &model, &arguments);
    control_plane.lease().await;
    control_plane
        .until("the output", |state| state.live(0).iter().any(|piece| piece.contains("working")))
        .await;
    let interrupt = control_plane.interrupt();
    control_plane.send(Down::Interrupt(interrupt));
    control_plane.heard().await;

    worker.stop().await.unwrap();

    assert_eq!(control_plane.state().writes, [("CommitStep", 1), ("FinishInterruption", 2)]);
}

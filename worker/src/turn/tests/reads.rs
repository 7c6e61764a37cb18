//! Turns that are read while they run, and while they change.

use std::sync::Arc;

use chatplane_proto::worker::v1::{session_request::Message as Up, session_response::Message as Down};
use tokio::sync::Semaphore;

use super::{
    ControlPlane, RunningWorker, ScriptedModel,
    control_plane::Tool,
    model::{Beat, answer, begin, call, end},
};
use crate::llm::{PromptMessage, StopReason, UserPiece};

#[tokio::test]
async fn an_incomplete_lease_is_read_before_it_is_run() {
    let control_plane = ControlPlane::start().await;
    let model = ScriptedModel::new([answer("read")]);
    let _worker = RunningWorker::start(&control_plane, &model);

    control_plane.lease_incomplete().await;
    control_plane.until("the end", |state| !state.leased).await;

    assert_eq!(control_plane.state().told(), ["hi", "read"]);
    assert_eq!(control_plane.state().turns_read, 1);
}

#[tokio::test]
async fn an_edit_in_the_middle_of_a_read_makes_it_begin_anew() {
    let control_plane = ControlPlane::start().await;
    control_plane.state().edits_during_reads.push_back("edited");
    let model = ScriptedModel::new([answer("to the edited")]);
    let _worker = RunningWorker::start(&control_plane, &model);

    control_plane.lease_incomplete().await;
    control_plane.until("the second read", |state| state.turns_read == 2).await;
    control_plane.until("the end", |state| !state.leased).await;

    assert_eq!(control_plane.state().told(), ["edited", "to the edited"]);
    let prompts: Vec<_> = model.calls().into_iter().map(|call| call.messages).collect();
    assert_eq!(prompts, [[PromptMessage::User { parts: vec![UserPiece::Text("edited".to_owned())] }]]);
}

#[tokio::test]
async fn an_edit_in_the_middle_of_a_read_beside_an_answer_makes_it_begin_anew() {
    let control_plane = ControlPlane::start().await;
    control_plane.state().edits_during_reads.push_back("edited twice");
    let model = ScriptedModel::new([[begin("to the old "), vec![Beat::Hang]].concat(), answer("to the new")]);
    let _worker = RunningWorker::start(&control_plane, &model);
    control_plane.lease().await;
    control_plane.until("the answer", |state| !state.live(0).is_empty()).await;

    let reload = control_plane.edit(1, "edited");
    control_plane.send(Down::Reload(reload));
    control_plane.until("the second read", |state| state.turns_read == 2).await;
    control_plane.until("the end", |state| !state.leased).await;

    assert_eq!(control_plane.state().told(), ["edited twice", "to the new"]);
}

#[tokio::test]
async fn a_turn_that_can_never_be_read_whole_is_given_up() {
    let control_plane = ControlPlane::start().await;
    control_plane.state().edits_during_reads.extend(["edited"; 200]);
    let model = ScriptedModel::new([]);
    let _worker = RunningWorker::start(&control_plane, &model);

    control_plane.lease_incomplete().await;
    let none_held = |message: &Up| matches!(message, Up::LeasesChanged(changed) if changed.leases.is_empty());
    control_plane
        .until("the end", |state| state.turns_read > 0 && state.connections[0].iter().any(none_held))
        .await;

    assert_eq!(control_plane.state().turns_read, 101, "the first read, and a bounded number of others");
    assert_eq!(model.calls().len(), 0);
}

#[tokio::test]
async fn a_slow_read_holds_up_neither_the_output_of_tools_nor_an_interrupt() {
    let control_plane = ControlPlane::start().await;
    let gate = Arc::new(Semaphore::new(0));
    control_plane.state().tools.insert("slow", Tool::Waits(gate.clone(), "working"));
    control_plane.state().reads_hang = true;
    let model = ScriptedModel::new([[call("slow", "{}"), end(StopReason::ToolUse)].concat()]);
    let _worker = RunningWorker::start(&control_plane, &model);
    control_plane.lease().await;
    control_plane.until("the call", |state| state.tool_calls.len() == 1).await;

    let reload = control_plane.new_settings("smarter");
    control_plane.send(Down::Reload(reload));
    control_plane.until("the read", |state| state.turns_read == 1).await;
    gate.add_permits(1);
    let is_output = |piece: &String| piece.contains("working");
    control_plane.until("the output", |state| state.live(0).iter().any(is_output)).await;
    let interrupt = control_plane.interrupt();
    control_plane.send(Down::Interrupt(interrupt));
    control_plane.until("the end", |state| !state.leased).await;

    assert_eq!(control_plane.state().writes, [("CommitStep", 1), ("FinishInterruption", 2)]);
    assert_eq!(control_plane.state().turns_read, 1, "nobody waited for it");
}

#[tokio::test]
async fn the_next_live_stream_is_named_after_the_version_that_the_read_told() {
    let control_plane = ControlPlane::start().await;
    let model = ScriptedModel::new([[begin("to the old "), vec![Beat::Hang]].concat(), answer("to the new")]);
    let _worker = RunningWorker::start(&control_plane, &model);
    control_plane.lease().await;
    control_plane.until("the answer", |state| !state.live(0).is_empty()).await;

    // A queued message moves the version once more between the edit and the read.
    let reload = control_plane.edit(1, "edited");
    control_plane.state().snapshot += 1;
    let told = (reload.snapshot_version + 1, 0);
    control_plane.send(Down::Reload(reload));
    control_plane.until("the next stream", |state| state.streams(0).len() == 2).await;

    assert_eq!(control_plane.state().streams(0), [(2, 0), told]);
}

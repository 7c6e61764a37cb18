//! Connections that break, leases that are lost, workers that stop.

use chatplane_proto::{
    chat::v1 as chat,
    worker::v1::{self as proto, session_request::Message as Up, session_response::Message as Down},
};

use tonic::Code;

use super::{
    ControlPlane, RunningWorker, ScriptedModel,
    control_plane::{CHAT_ID, Fault, TOKEN},
    model::{Beat, answer, begin, end, say, used},
};
use crate::{llm::StopReason, run::RunError};

fn lease_key(fence: i64) -> Option<proto::LeaseKey> {
    Some(proto::LeaseKey { chat_id: CHAT_ID.to_owned(), fence })
}

#[tokio::test]
async fn a_new_replica_gets_the_live_stream_from_where_it_says() {
    let control_plane = ControlPlane::start().await;
    let gate = std::sync::Arc::new(tokio::sync::Semaphore::new(0));
    let beats =
        [say("first part"), begin("second"), vec![Beat::Wait(gate.clone())], end(StopReason::EndTurn)];
    let model = ScriptedModel::new([beats.concat()]);
    let _worker = RunningWorker::start(&control_plane, &model);
    control_plane.lease().await;
    control_plane
        .until("the answer", |state| state.live(0).iter().any(|piece| piece.contains("second")))
        .await;

    let stream = Some(chat::StreamId { base_version: 2, index: 0 });
    control_plane.state().positions = vec![proto::LivePosition { stream, part: 0, offset: 6 }];
    control_plane.break_stream();
    control_plane.until("the rest", |state| state.connections.len() == 2 && state.live(1).len() == 3).await;
    gate.add_permits(1);
    control_plane.until("the end", |state| !state.leased).await;

    let open = control_plane.state().connections[1][0].clone();
    let Up::Open(open) = open else { panic!("{open:?}") };
    assert_eq!((open.session_id.as_str(), open.leases.as_slice()), ("session", &[lease_key(1).unwrap()][..]));
    assert_eq!(control_plane.state().live(1)[..3], ["0@6 part", "start 1 Text", "1@0 second"]);
    assert_eq!(control_plane.state().told(), ["hi", "first part | second"]);
    assert_eq!(model.calls().len(), 1, "the answer went on");
}

#[tokio::test]
async fn a_committed_stream_is_closed_so_that_replicas_free_it() {
    let control_plane = ControlPlane::start().await;
    let gate = std::sync::Arc::new(tokio::sync::Semaphore::new(0));
    let beats = [say("words"), vec![Beat::Wait(gate.clone())], end(StopReason::EndTurn)].concat();
    let model = ScriptedModel::new([beats]);
    let _worker = RunningWorker::start(&control_plane, &model);
    control_plane.lease().await;
    control_plane
        .until("the answer", |state| state.live(0).iter().any(|piece| piece.contains("words")))
        .await;

    gate.add_permits(1);

    let closed = "closed abandoned=false".to_owned();
    control_plane.until("the close", |state| state.live(0).last() == Some(&closed)).await;
}

#[tokio::test]
async fn a_lost_lease_stops_its_model_call_and_only_its_tokens_are_told() {
    let control_plane = ControlPlane::start().await;
    let model = ScriptedModel::new([[used(), begin("in vain"), vec![Beat::Hang]].concat()]);
    let _worker = RunningWorker::start(&control_plane, &model);
    control_plane.lease().await;
    control_plane.until("the answer", |state| state.live(0).iter().any(|piece| piece.contains("vain"))).await;

    control_plane.send(Down::Lost(proto::Lost { lease: lease_key(1) }));
    control_plane.until("the report", |state| !state.usage.is_empty()).await;

    assert_eq!(model.open_streams(), 0);
    assert_eq!(control_plane.state().writes, []);
    let none_held = |message: &Up| matches!(message, Up::LeasesChanged(changed) if changed.leases.is_empty());
    control_plane.until("the list", |state| state.connections[0].iter().any(none_held)).await;
}

#[tokio::test]
async fn a_lease_delivered_twice_is_run_once() {
    let control_plane = ControlPlane::start().await;
    let model = ScriptedModel::new([[begin("once"), vec![Beat::Hang]].concat()]);
    let _worker = RunningWorker::start(&control_plane, &model);
    control_plane.lease().await;
    control_plane.until("the answer", |state| !state.live(0).is_empty()).await;

    control_plane.deliver_again();
    control_plane.send(Down::Ping(proto::Ping { ping_no: 7, renewed_age_ms: 0 }));
    let pong = Up::Pong(proto::Pong { ping_no: 7, leases: lease_key(1).into_iter().collect() });
    control_plane.until("the pong", |state| state.connections[0].contains(&pong)).await;

    assert_eq!(model.calls().len(), 1);
}

#[tokio::test]
async fn a_stopping_worker_ends_its_step_and_gives_the_lease_back() {
    let control_plane = ControlPlane::start().await;
    let gate = std::sync::Arc::new(tokio::sync::Semaphore::new(0));
    let beats = [say("so far"), vec![Beat::Wait(gate.clone())], end(StopReason::PauseTurn)].concat();
    let model = ScriptedModel::new([beats]);
    let mut worker = RunningWorker::start(&control_plane, &model);
    control_plane.lease().await;
    control_plane.until("the answer", |state| !state.live(0).is_empty()).await;

    worker.shutdown.cancel();
    control_plane
        .until("the notice", |state| state.connections[0].contains(&Up::Draining(proto::Draining {})))
        .await;
    gate.add_permits(1);
    worker.ended().await.unwrap();

    assert_eq!(control_plane.state().writes, [("CommitStep", 1), ("Release", 2)]);
    assert_eq!(control_plane.state().told(), ["hi", "so far"]);
}

#[tokio::test]
async fn a_step_that_outlasts_the_drain_is_given_back_as_it_is() {
    let control_plane = ControlPlane::start().await;
    let model = ScriptedModel::new([[used(), begin("too slow"), vec![Beat::Hang]].concat()]);
    let arguments = ["--token", TOKEN, "--drain-timeout", "0"];
    let mut worker = RunningWorker::start_with(&control_plane, &model, &arguments);
    control_plane.lease().await;
    control_plane.until("the answer", |state| !state.live(0).is_empty()).await;

    worker.shutdown.cancel();
    worker.ended().await.unwrap();

    assert_eq!(control_plane.state().writes, [("Release", 1)]);
    assert_eq!(control_plane.state().usage.len(), 1, "the unfinished answer was paid for");
}

#[tokio::test]
async fn a_lease_whose_writes_are_refused_is_given_back_when_it_is_delivered_again() {
    let control_plane = ControlPlane::start().await;
    let refuse = || Fault::Refuse(Code::InvalidArgument, "FIELD_INVALID");
    control_plane.state().faults.extend([refuse(), refuse()]);
    let model = ScriptedModel::new([answer("refused")]);
    let _worker = RunningWorker::start(&control_plane, &model);
    control_plane.lease().await;
    let none_held = |message: &Up| matches!(message, Up::LeasesChanged(changed) if changed.leases.is_empty());
    control_plane.until("the end", |state| state.connections[0].iter().any(none_held)).await;

    control_plane.deliver_again();
    control_plane.until("the release", |state| !state.leased).await;

    assert_eq!(control_plane.state().writes, [("CommitStep", 1), ("Fail", 1), ("Release", 1)]);
    assert_eq!(model.calls().len(), 1, "it is not run a second time");
}

#[tokio::test]
async fn a_wrong_token_ends_the_worker_with_a_sentence_that_names_the_flag() {
    let control_plane = ControlPlane::start().await;
    let model = ScriptedModel::new([]);
    let mut worker = RunningWorker::start_with(&control_plane, &model, &["--token", "cp_wrong"]);

    let error = worker.ended().await.unwrap_err();

    assert!(matches!(error, RunError::TokenRefused));
    assert!(error.to_string().contains("--token"));
}

#[tokio::test]
async fn a_lease_that_ended_with_a_refused_answer_pays_for_no_further_one() {
    let control_plane = ControlPlane::start().await;
    control_plane.state().faults.push_back(Fault::Refuse(Code::InvalidArgument, "FIELD_INVALID"));
    let model = ScriptedModel::new([answer("refused")]);
    let _worker = RunningWorker::start(&control_plane, &model);

    control_plane.lease().await;
    let none_held = |message: &Up| matches!(message, Up::LeasesChanged(changed) if changed.leases.is_empty());
    control_plane.until("the end", |state| state.connections[0].iter().any(none_held)).await;

    assert_eq!(control_plane.state().writes, [("CommitStep", 1), ("Fail", 1)]);
    assert_eq!(model.calls().len(), 1);
}

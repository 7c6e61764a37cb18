//! Turns that run to their end, through what may go wrong on the way.

use chatplane_domain::ErrorKind;
use chatplane_proto::{chat::v1 as chat, worker::v1::session_response::Message as Down};
use tonic::Code;

use super::{
    ControlPlane, RunningWorker, ScriptedModel,
    control_plane::{Fault, KEY, Tool},
    model::{USAGE, answer, begin, call, end, fail, say, used},
};
use crate::llm::{PromptMessage, StopReason, UserPiece};

#[tokio::test]
async fn a_turn_of_one_step_is_streamed_and_committed_once() {
    let control_plane = ControlPlane::start().await;
    let model = ScriptedModel::new([answer("hello there")]);
    let worker = RunningWorker::start(&control_plane, &model);

    control_plane.lease().await;
    control_plane.until("the end", |state| state.fence == 1 && !state.leased).await;

    assert_eq!(control_plane.state().told(), ["hi", "hello there"]);
    assert_eq!(control_plane.state().writes, [("CommitStep", 1)]);
    let stored = control_plane.state().messages[1].message.clone().unwrap();
    assert_eq!(stored.usage.unwrap().output_tokens, USAGE.output_tokens);
    assert_eq!(stored.model, "smart");
    let call = &model.calls()[0];
    assert_eq!(call.messages, [PromptMessage::User { parts: vec![UserPiece::Text("hi".to_owned())] }]);
    assert_eq!((call.api_key.as_str(), call.provider_model.as_str()), (KEY, "smart"));
    worker.stop().await.unwrap();
    assert_eq!(control_plane.state().usage, []);
}

#[tokio::test]
async fn tools_run_after_the_commit_of_their_step_and_the_model_reads_their_results() {
    let control_plane = ControlPlane::start().await;
    control_plane
        .state()
        .tools
        .extend([("list_dir", Tool::Ends("a.txt")), ("read_file", Tool::Ends("text"))]);
    let step = [
        say("I look"),
        call("list_dir", "{}"),
        call("read_file", r#"{"path":"a"}"#),
        end(StopReason::ToolUse),
    ];
    let model = ScriptedModel::new([step.concat(), answer("done")]);
    let _worker = RunningWorker::start(&control_plane, &model);

    control_plane.lease().await;
    control_plane.until("the end", |state| state.fence == 1 && !state.leased).await;

    let mut told = control_plane.state().told();
    told[2..4].sort();
    let step = r#"I look | call 0 list_dir({}) | call 1 read_file({"path":"a"})"#;
    assert_eq!(told, ["hi", step, "result 0 of 2: a.txt", "result 1 of 2: text", "done"]);
    assert_eq!(control_plane.state().writes[0], ("CommitStep", 1));
    let messages = &model.calls()[1].messages;
    assert!(matches!(&messages[1], PromptMessage::Assistant { message_id: 2, parts } if parts.len() == 3));
    assert_eq!(messages.len(), 4, "two rows of results: {messages:?}");
    assert_eq!(control_plane.state().turns_read, 0, "everything was known from the replies");
}

#[tokio::test]
async fn a_call_that_cannot_run_gets_a_result_that_the_model_can_act_on() {
    let control_plane = ControlPlane::start().await;
    control_plane.state().tools.insert("list_dir", Tool::Ends("a.txt"));
    let step = [call("rm", "{}"), call("list_dir", "[broken"), end(StopReason::ToolUse)];
    let model = ScriptedModel::new([step.concat(), answer("sorry")]);
    let _worker = RunningWorker::start(&control_plane, &model);

    control_plane.lease().await;
    control_plane.until("the end", |state| state.fence == 1 && !state.leased).await;

    let told = control_plane.state().told();
    let errors = told.iter().filter(|line| line.starts_with("error")).cloned().collect::<Vec<_>>().join("\n");
    assert!(errors.contains("no such tool. The tools are: list_dir"), "{told:?}");
    assert!(errors.contains("not a JSON object"), "{told:?}");
    assert_eq!(control_plane.state().tool_calls, []);
    assert_eq!(told.last().unwrap(), "sorry");
}

#[tokio::test]
async fn a_tool_call_whose_stream_breaks_is_asked_for_again_by_its_id() {
    let control_plane = ControlPlane::start().await;
    control_plane.state().tools.insert("flaky", Tool::BreaksOnce("out"));
    let model =
        ScriptedModel::new([[call("flaky", "{}"), end(StopReason::ToolUse)].concat(), answer("done")]);
    let _worker = RunningWorker::start(&control_plane, &model);

    control_plane.lease().await;
    control_plane.until("the end", |state| state.fence == 1 && !state.leased).await;

    let state = control_plane.state();
    assert_eq!(state.told()[2], "result 0 of 2: out");
    assert_eq!(state.tool_calls.len(), 2);
    assert_eq!(state.tool_calls[0].call, state.tool_calls[1].call);
}

#[tokio::test]
async fn a_commit_whose_reply_is_lost_is_repeated_under_its_number_and_stored_once() {
    let control_plane = ControlPlane::start().await;
    control_plane.state().faults.extend([Fault::Unreachable, Fault::LoseReply, Fault::Unreachable]);
    let model = ScriptedModel::new([answer("once")]);
    let _worker = RunningWorker::start(&control_plane, &model);

    control_plane.lease().await;
    control_plane.until("four tries", |state| state.writes.len() == 4).await;

    assert_eq!(control_plane.state().writes, [("CommitStep", 1); 4]);
    assert_eq!(control_plane.state().told(), ["hi", "once"]);
    assert_eq!(model.calls().len(), 1);
}

#[tokio::test]
async fn a_superseded_answer_is_dropped_reported_and_given_anew() {
    let control_plane = ControlPlane::start().await;
    let gate = std::sync::Arc::new(tokio::sync::Semaphore::new(0));
    let held = [say("old"), vec![super::model::Beat::Wait(gate.clone())], end(StopReason::EndTurn)].concat();
    let model = ScriptedModel::new([held, answer("new")]);
    let _worker = RunningWorker::start(&control_plane, &model);
    control_plane.lease().await;
    control_plane
        .until("the old answer", |state| state.live(0).iter().any(|piece| piece.contains("old")))
        .await;

    // The message that would tell it is lost.
    control_plane.edit(1, "edited");
    gate.add_permits(1);
    control_plane.until("the end", |state| !state.leased).await;

    assert_eq!(control_plane.state().told(), ["edited", "new"]);
    assert_eq!(control_plane.state().writes, [("CommitStep", 1), ("CommitStep", 1)]);
    assert_eq!(
        model.calls()[1].messages,
        [PromptMessage::User { parts: vec![UserPiece::Text("edited".to_owned())] }]
    );
    control_plane.until("the report", |state| !state.usage.is_empty()).await;
    assert_eq!(control_plane.state().usage[0].model_call, 1);
}

#[tokio::test]
async fn an_edit_drops_the_running_model_call() {
    let control_plane = ControlPlane::start().await;
    let model = ScriptedModel::new([begin("to the old "), answer("to the new")].map(|mut beats| {
        beats.push(super::model::Beat::Hang);
        beats
    }));
    let _worker = RunningWorker::start(&control_plane, &model);
    control_plane.lease().await;
    control_plane
        .until("the old answer", |state| state.live(0).iter().any(|piece| piece.contains("old")))
        .await;

    let reload = control_plane.edit(1, "edited");
    control_plane.send(Down::Reload(reload));
    control_plane.until("the end", |state| !state.leased).await;

    assert_eq!(control_plane.state().told(), ["edited", "to the new"]);
    assert_eq!(model.open_streams(), 0);
}

#[tokio::test]
async fn new_settings_count_from_the_next_model_call_on() {
    let control_plane = ControlPlane::start().await;
    control_plane.state().tools.insert("list_dir", Tool::Ends("a.txt"));
    let gate = std::sync::Arc::new(tokio::sync::Semaphore::new(0));
    let step = [
        say("I look"),
        vec![super::model::Beat::Wait(gate.clone())],
        call("list_dir", "{}"),
        end(StopReason::ToolUse),
    ];
    let model = ScriptedModel::new([step.concat(), answer("done")]);
    let _worker = RunningWorker::start(&control_plane, &model);
    control_plane.lease().await;
    control_plane.until("the answer", |state| !state.live(0).is_empty()).await;

    let reload = control_plane.new_settings("smarter");
    control_plane.send(Down::Reload(reload));
    control_plane.until("the read", |state| state.turns_read == 1).await;
    gate.add_permits(1);
    control_plane.until("the end", |state| !state.leased).await;

    let models: Vec<String> = model.calls().into_iter().map(|call| call.provider_model).collect();
    assert_eq!(models, ["smart", "smarter"]);
    let stored = control_plane.state().messages[1].message.clone().unwrap();
    assert_eq!(stored.model, "smart", "an answer names the model that gave it");
}

#[tokio::test]
async fn a_failed_call_is_recorded_and_repeated() {
    let control_plane = ControlPlane::start().await;
    let failing = [begin("half an "), used(), fail(ErrorKind::Overloaded, true)].concat();
    let model = ScriptedModel::new([failing, answer("whole")]);
    let _worker = RunningWorker::start(&control_plane, &model);

    control_plane.lease().await;
    control_plane.until("the end", |state| state.fence == 1 && !state.leased).await;

    assert_eq!(control_plane.state().told(), ["hi", "whole"]);
    assert_eq!(control_plane.state().writes, [("RecordRetry", 1), ("CommitStep", 2)]);
    let error = control_plane.state().retries[0].error.clone().unwrap();
    assert_eq!((error.kind(), error.status_code), (chat::ErrorKind::Overloaded, 503));
    control_plane.until("the report", |state| !state.usage.is_empty()).await;
    let report = control_plane.state().usage[0].clone();
    assert_eq!((report.model_call, report.usage.unwrap().input_tokens), (1, USAGE.input_tokens));
}

#[tokio::test]
async fn a_call_that_keeps_failing_ends_with_what_it_met_last() {
    let control_plane = ControlPlane::start().await;
    let model = ScriptedModel::new((0..3).map(|_| fail(ErrorKind::Overloaded, true)));
    let _worker = RunningWorker::start(&control_plane, &model);

    control_plane.lease().await;
    control_plane.until("the end", |state| state.fence == 1 && !state.leased).await;

    assert_eq!(control_plane.state().writes, [("RecordRetry", 1), ("RecordRetry", 2), ("Fail", 3)]);
    let error = control_plane.state().error.clone().unwrap();
    assert_eq!(error.kind(), chat::ErrorKind::AttemptsExhausted);
    assert_eq!((error.detail.as_str(), error.status_code), ("because", 503));
}

#[tokio::test]
async fn a_call_that_may_be_paid_for_and_comes_to_nothing_again_and_again_has_fewer_tries() {
    for kinds in [[ErrorKind::Timeout; 2], [ErrorKind::MalformedResponse, ErrorKind::Timeout]] {
        let control_plane = ControlPlane::start().await;
        let model = ScriptedModel::new(kinds.map(|kind| fail(kind, true)));
        let _worker = RunningWorker::start(&control_plane, &model);

        control_plane.lease().await;
        control_plane.until("the end", |state| state.fence == 1 && !state.leased).await;

        assert_eq!(control_plane.state().writes, [("RecordRetry", 1), ("Fail", 2)]);
        let error = control_plane.state().error.clone().unwrap();
        assert_eq!(error.kind(), chat::ErrorKind::AttemptsExhausted);
        assert!(error.message.contains("failed 2 times"), "{}", error.message);
    }
}

#[tokio::test]
async fn only_failures_in_a_row_that_ran_out_of_time_are_counted_together() {
    let control_plane = ControlPlane::start().await;
    let (slow, busy) = (fail(ErrorKind::Timeout, true), fail(ErrorKind::Overloaded, true));
    let model = ScriptedModel::new([slow, busy, answer("whole")]);
    let _worker = RunningWorker::start(&control_plane, &model);

    control_plane.lease().await;
    control_plane.until("the end", |state| state.fence == 1 && !state.leased).await;

    let writes = control_plane.state().writes.clone();
    assert_eq!(writes, [("RecordRetry", 1), ("RecordRetry", 2), ("CommitStep", 3)]);
}

#[tokio::test]
async fn a_later_step_has_as_many_tries_and_its_last_failure_is_told_by_the_worker() {
    let control_plane = ControlPlane::start().await;
    let first = [say("so far"), end(StopReason::PauseTurn)].concat();
    let failing = (0..3).map(|_| fail(ErrorKind::Overloaded, true));
    let model = ScriptedModel::new([first].into_iter().chain(failing));
    let _worker = RunningWorker::start(&control_plane, &model);

    control_plane.lease().await;
    control_plane.until("the end", |state| state.fence == 1 && !state.leased).await;

    let writes = [("CommitStep", 1), ("RecordRetry", 2), ("RecordRetry", 3), ("Fail", 4)];
    assert_eq!(control_plane.state().writes, writes);
    let error = control_plane.state().error.clone().unwrap();
    assert_eq!(error.kind(), chat::ErrorKind::AttemptsExhausted);
    assert_eq!(error.message, "The model call failed 3 times, at last with: It failed.");
}

#[tokio::test]
async fn a_failure_that_no_repetition_helps_ends_the_turn() {
    let control_plane = ControlPlane::start().await;
    let model = ScriptedModel::new([fail(ErrorKind::Authentication, false)]);
    let _worker = RunningWorker::start(&control_plane, &model);

    control_plane.lease().await;
    control_plane.until("the end", |state| state.fence == 1 && !state.leased).await;

    assert_eq!(control_plane.state().writes, [("Fail", 1)]);
    assert_eq!(control_plane.state().error.clone().unwrap().kind(), chat::ErrorKind::Authentication);
}

#[tokio::test]
async fn a_refused_write_ends_the_turn_as_a_defect_under_the_same_number() {
    let control_plane = ControlPlane::start().await;
    control_plane.state().faults.push_back(Fault::Refuse(Code::InvalidArgument, "FIELD_INVALID"));
    let model = ScriptedModel::new([answer("refused")]);
    let _worker = RunningWorker::start(&control_plane, &model);

    control_plane.lease().await;
    control_plane.until("the end", |state| state.fence == 1 && !state.leased).await;

    assert_eq!(control_plane.state().writes, [("CommitStep", 1), ("Fail", 1)]);
    assert_eq!(control_plane.state().error.clone().unwrap().kind(), chat::ErrorKind::Internal);
}

#[tokio::test]
async fn the_same_lease_runs_the_next_turn_with_the_message_that_entered() {
    let control_plane = ControlPlane::start().await;
    control_plane.state().queue.push_back("and now?".to_owned());
    let model = ScriptedModel::new([answer("first"), answer("second")]);
    let _worker = RunningWorker::start(&control_plane, &model);

    control_plane.lease().await;
    control_plane.until("the end", |state| state.fence == 1 && !state.leased).await;

    assert_eq!(control_plane.state().told(), ["hi", "first", "and now?", "second"]);
    assert_eq!(model.calls()[1].messages.len(), 3);
}

#[tokio::test]
async fn a_paused_answer_is_continued() {
    let control_plane = ControlPlane::start().await;
    let model =
        ScriptedModel::new([[say("so far"), end(StopReason::PauseTurn)].concat(), answer("and so on")]);
    let _worker = RunningWorker::start(&control_plane, &model);

    control_plane.lease().await;
    control_plane.until("the end", |state| state.fence == 1 && !state.leased).await;

    assert_eq!(control_plane.state().told(), ["hi", "so far", "and so on"]);
}

//! What is recorded of model calls.

use chatplane_domain::ErrorKind;
use chatplane_proto::{
    chat::v1 as chat,
    worker::v1::{self as proto, session_response::Message as Down},
};

use super::{
    ControlPlane, RunningWorker, ScriptedModel,
    control_plane::{CHAT_ID, KEY, Tool},
    model::{Beat, answer, begin, call, end, fail, say, used},
};
use crate::llm::StopReason;

async fn start() -> ControlPlane {
    let control_plane = ControlPlane::start().await;
    control_plane.state().aside.debug_recording = true;
    control_plane
}

async fn at_rest(control_plane: &ControlPlane) {
    control_plane.until("the end", |state| state.fence == 1 && !state.leased).await;
}

/// The steps, once there are so many.
async fn steps(control_plane: &ControlPlane, count: usize) -> Vec<proto::RecordDebugStepRequest> {
    control_plane.until("the recordings", |state| state.aside.steps.len() >= count).await;
    control_plane.state().aside.steps.clone()
}

fn json(text: &str) -> serde_json::Value {
    serde_json::from_str(text).unwrap()
}

#[tokio::test]
async fn nothing_is_recorded_unless_the_turn_says_so() {
    let control_plane = ControlPlane::start().await;
    let model = ScriptedModel::new([answer("done")]);
    let worker = RunningWorker::start(&control_plane, &model);

    control_plane.lease().await;
    at_rest(&control_plane).await;
    worker.stop().await.unwrap();

    assert_eq!(control_plane.state().aside.steps, []);
}

#[tokio::test]
async fn every_step_of_a_turn_is_recorded_with_its_answer_and_without_key_or_bytes() {
    let control_plane = start().await;
    {
        let mut state = control_plane.state();
        state.tools.insert("list_dir", Tool::Ends("the sk-secret"));
        let file = state.file("a.png", "image/png", b"\x89PNG\r\n\x1a\nbytes of a user");
        state.user_parts(vec![file]);
    }
    let step = [say("I look."), call("list_dir", "{}"), end(StopReason::ToolUse)];
    let model = ScriptedModel::new([step.concat(), answer("done")]);
    let worker = RunningWorker::start(&control_plane, &model);

    control_plane.lease().await;
    at_rest(&control_plane).await;
    worker.stop().await.unwrap();

    let steps = steps(&control_plane, 2).await;
    let [first, second] = &steps[..] else { panic!("{steps:?}") };
    for (step, model_call) in [(first, 1), (second, 2)] {
        assert_eq!((step.session_id.as_str(), step.fence, step.model_call), ("session", 1, model_call));
        assert_eq!((step.trigger_message_id, step.run_history_tip_message_id), (2, 2));
        let recorded = format!("{step:?}");
        assert!(!recorded.contains("bytes of a user") && !recorded.contains(KEY), "{recorded}");
        assert!(recorded.contains("a.png"), "{recorded}");
    }
    let [first, second] = [first, second].map(|step| step.step.clone().unwrap());
    assert_eq!((first.assistant_message_id, first.history_tip_message_id), (3, 2));
    assert_eq!((second.assistant_message_id, second.history_tip_message_id), (5, 4));
    assert_eq!((first.model.as_str(), first.error.clone(), first.truncated), ("smart", None, false));
    assert_eq!(first.usage.unwrap().output_tokens, 5);
    let [attempt] = &first.attempts[..] else { panic!("{first:?}") };
    assert_eq!((attempt.attempt, attempt.error.clone()), (1, None));
    let request = json(&first.request_json);
    assert_eq!(request["purpose"], "answer");
    assert_eq!(request["tools"], serde_json::json!(["list_dir"]));
    assert_eq!(request["messages"][1]["parts"][1]["type"], "image");
    assert_eq!(request["messages"][1]["parts"][1]["size_bytes"], 23);
    assert_eq!(json(&first.response_json)["parts"][0]["text"], "I look.");
    assert_eq!(json(&second.request_json)["messages"][3]["results"][0]["output"], "the [key]");
    assert_eq!(json(&second.response_json)["stop_reason"], "end_turn");
    let start = first.start_time.unwrap();
    assert!(start.seconds > 0 && second.start_time.unwrap().seconds >= start.seconds);
}

#[tokio::test]
async fn the_tries_of_a_call_are_one_step_with_what_each_met() {
    let control_plane = start().await;
    let model = ScriptedModel::new([
        fail(ErrorKind::Overloaded, true),
        fail(ErrorKind::RateLimited, true),
        answer("done"),
    ]);
    let worker = RunningWorker::start(&control_plane, &model);

    control_plane.lease().await;
    at_rest(&control_plane).await;
    worker.stop().await.unwrap();

    let steps = steps(&control_plane, 1).await;
    let [step] = &steps[..] else { panic!("{steps:?}") };
    assert_eq!(step.model_call, 3, "the last try names it");
    let step = step.step.clone().unwrap();
    let attempts: Vec<_> = step
        .attempts
        .iter()
        .map(|attempt| (attempt.attempt, attempt.error.as_ref().map(chat::ChatError::kind)))
        .collect();
    let (overloaded, limited) = (chat::ErrorKind::Overloaded, chat::ErrorKind::RateLimited);
    assert_eq!(attempts, [(1, Some(overloaded)), (2, Some(limited)), (3, None)]);
    assert_eq!((step.error, step.assistant_message_id), (None, 2));
}

#[tokio::test]
async fn a_call_that_breaks_off_is_recorded_with_its_error_and_what_it_had_said() {
    let control_plane = start().await;
    let model = ScriptedModel::new([
        fail(ErrorKind::Overloaded, true),
        [begin("half of sk-secret"), used(), fail(ErrorKind::InvalidRequest, false)].concat(),
    ]);
    let worker = RunningWorker::start(&control_plane, &model);

    control_plane.lease().await;
    at_rest(&control_plane).await;
    worker.stop().await.unwrap();

    let steps = steps(&control_plane, 1).await;
    let [step] = &steps[..] else { panic!("{steps:?}") };
    let step = step.step.clone().unwrap();
    assert_eq!(step.attempts.len(), 2);
    assert_eq!(step.error.unwrap().kind(), chat::ErrorKind::InvalidRequest);
    assert_eq!(step.assistant_message_id, 0);
    let part = serde_json::json!({"type": "text", "text": "half of [key]"});
    assert_eq!(json(&step.response_json), serde_json::json!({"stop_reason": null, "parts": [part]}));
    assert_eq!(step.usage.unwrap().output_tokens, 5);
    assert!(step.first_token_ms >= 0 && step.duration_ms >= step.first_token_ms);
}

#[tokio::test]
async fn what_a_try_had_said_is_kept_until_another_says_something() {
    let control_plane = start().await;
    let model = ScriptedModel::new([
        [begin("half"), fail(ErrorKind::Timeout, true)].concat(),
        fail(ErrorKind::InvalidRequest, false),
        [begin("ha"), fail(ErrorKind::Timeout, true)].concat(),
        answer("whole"),
    ]);
    let worker = RunningWorker::start(&control_plane, &model);
    control_plane.lease().await;
    at_rest(&control_plane).await;
    control_plane.state().user("again");

    control_plane.lease().await;
    control_plane.until("the end", |state| state.fence == 2 && !state.leased).await;
    worker.stop().await.unwrap();

    let steps = steps(&control_plane, 2).await;
    let told: Vec<_> = steps
        .iter()
        .map(|step| json(&step.step.as_ref().unwrap().response_json)["parts"][0]["text"].clone())
        .collect();
    assert_eq!(told, ["half", "whole"]);
}

#[tokio::test]
async fn a_call_whose_lease_is_lost_is_recorded_as_far_as_it_came() {
    let control_plane = start().await;
    let model = ScriptedModel::new([[begin("two thr"), vec![Beat::Hang]].concat()]);
    let worker = RunningWorker::start(&control_plane, &model);
    control_plane.lease().await;
    control_plane.until("the answer", |state| state.live(0).iter().any(|piece| piece.contains("thr"))).await;

    let key = proto::LeaseKey { chat_id: CHAT_ID.to_owned(), fence: 1 };
    control_plane.send(Down::Lost(proto::Lost { lease: Some(key) }));

    let steps = steps(&control_plane, 1).await;
    worker.stop().await.unwrap();
    let [step] = &steps[..] else { panic!("{steps:?}") };
    let step = step.step.clone().unwrap();
    assert_eq!((step.assistant_message_id, step.error), (0, None));
    assert_eq!(json(&step.response_json)["parts"][0]["text"], "two thr");
}

#[tokio::test]
async fn a_summary_that_breaks_off_is_recorded_as_far_as_it_came() {
    let control_plane = super::compaction::start().await;
    control_plane.state().aside.debug_recording = true;
    let broken = [begin("in sh"), fail(ErrorKind::Timeout, true)].concat();
    let model = ScriptedModel::new([super::compaction::step_at(800), broken, answer("done")]);
    let worker = RunningWorker::start(&control_plane, &model);

    control_plane.lease().await;
    at_rest(&control_plane).await;
    worker.stop().await.unwrap();

    let steps = steps(&control_plane, 3).await;
    let is_summary = |step: &chat::DebugStep| json(&step.request_json)["purpose"] == "summary";
    let step = steps.iter().filter_map(|step| step.step.clone()).find(is_summary).unwrap();
    assert_eq!(step.error.unwrap().kind(), chat::ErrorKind::Timeout);
    assert_eq!(json(&step.response_json)["parts"][0]["text"], "in sh");
}

#[tokio::test]
async fn a_call_that_never_says_anything_has_no_response() {
    let control_plane = start().await;
    let model = ScriptedModel::new([fail(ErrorKind::InvalidRequest, false)]);
    let worker = RunningWorker::start(&control_plane, &model);

    control_plane.lease().await;
    at_rest(&control_plane).await;
    worker.stop().await.unwrap();

    let steps = steps(&control_plane, 1).await;
    assert_eq!(steps[0].step.as_ref().unwrap().response_json, "");
}

#[tokio::test]
async fn a_call_that_the_user_stops_is_recorded_as_far_as_it_came() {
    let control_plane = start().await;
    let model = ScriptedModel::new([[begin("two thr"), vec![Beat::Hang]].concat()]);
    let worker = RunningWorker::start(&control_plane, &model);
    control_plane.lease().await;
    control_plane.until("the answer", |state| state.live(0).iter().any(|piece| piece.contains("thr"))).await;

    let interrupt = control_plane.interrupt();
    control_plane.send(Down::Interrupt(interrupt));
    control_plane.until("the end", |state| !state.leased).await;
    worker.stop().await.unwrap();

    let steps = steps(&control_plane, 1).await;
    let [step] = &steps[..] else { panic!("{steps:?}") };
    let step = step.step.clone().unwrap();
    assert_eq!((step.assistant_message_id, step.error), (2, None));
    assert_eq!(json(&step.response_json)["parts"][0]["text"], "two thr");
}

#[tokio::test]
async fn the_next_turn_of_the_same_lease_is_another_run() {
    let control_plane = start().await;
    control_plane.state().queue.push_back("next".to_owned());
    let model = ScriptedModel::new([answer("one"), answer("two")]);
    let worker = RunningWorker::start(&control_plane, &model);

    control_plane.lease().await;
    at_rest(&control_plane).await;
    worker.stop().await.unwrap();

    let steps = steps(&control_plane, 2).await;
    let runs: Vec<_> =
        steps.iter().map(|step| (step.trigger_message_id, step.run_history_tip_message_id)).collect();
    assert_eq!(runs, [(1, 1), (3, 3)]);
}

#[tokio::test]
async fn a_recording_that_is_never_taken_holds_no_turn_up() {
    let control_plane = start().await;
    control_plane.state().aside.recording_hangs = true;
    for number in 0..40 {
        control_plane.state().queue.push_back(format!("message {number}"));
    }
    let model = ScriptedModel::new((0..41).map(|_| answer("done")));
    let worker = RunningWorker::start(&control_plane, &model);

    control_plane.lease().await;
    at_rest(&control_plane).await;

    assert_eq!(model.calls().len(), 41);
    assert_eq!(control_plane.state().aside.steps.len(), 1, "the others wait, or are lost");
    worker.stop().await.unwrap();
}

#[tokio::test]
async fn a_request_without_end_is_cut_and_said_to_be() {
    let control_plane = start().await;
    control_plane.state().user(&format!("é {KEY} ").repeat(200_000));
    let model = ScriptedModel::new([answer("done")]);
    let worker = RunningWorker::start(&control_plane, &model);

    control_plane.lease().await;
    at_rest(&control_plane).await;
    worker.stop().await.unwrap();

    let steps = steps(&control_plane, 1).await;
    let step = steps[0].step.clone().unwrap();
    assert!(step.truncated && step.request_json.len() <= 1024 * 1024, "{}", step.request_json.len());
    assert!(step.request_json.len() > 1_000_000);
    assert!(step.request_json.contains(" [key]") && !step.request_json.contains(KEY));
    assert_eq!(json(&step.response_json)["parts"][0]["text"], "done");
}

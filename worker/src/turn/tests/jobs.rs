//! Jobs beside the turns.

use std::{sync::Arc, time::Duration};

use chatplane_domain::{Effort, ErrorKind};
use chatplane_proto::{
    chat::v1 as chat,
    worker::v1::{self as proto, finish_job_request::Result as Told, session_response::Message as Down},
};
use tokio::{sync::Semaphore, task::yield_now, time::timeout};

use super::{
    ControlPlane, RunningWorker, ScriptedModel,
    control_plane::{CHAT_ID, Fault, TOKEN},
    model::{Beat, answer, begin, call, end, fail, say, used},
};
use crate::llm::{ModelCall, PromptMessage, StopReason, UserPiece};

const EXCERPT: &str = "User: How does the garden grow?";

fn job_id(number: usize) -> String {
    format!("0198c5a0-0000-7000-8000-0000000001{number:02}")
}

fn title_job(number: usize) -> proto::Job {
    let model = proto::ModelConfig {
        name: "smart".to_owned(),
        provider: "scripted".to_owned(),
        provider_model: "smart-1".to_owned(),
        api_key: "key".to_owned(),
        output_tokens_max: 100_000,
        first_token_timeout_ms: 1000,
        silence_timeout_ms: 1000,
        ..proto::ModelConfig::default()
    };
    proto::Job {
        job_id: job_id(number),
        attempt: 1,
        chat_id: CHAT_ID.to_owned(),
        model: Some(model),
        timeout_ms: 60_000,
        kind: Some(proto::job::Kind::Title(proto::TitleJob { excerpt: EXCERPT.to_owned() })),
    }
}

async fn deliver(control_plane: &ControlPlane, job: proto::Job) {
    control_plane.until("a session", |state| state.down.is_some()).await;
    control_plane.send(Down::Job(job));
}

/// The answers of jobs, once there are so many.
async fn answers(control_plane: &ControlPlane, count: usize) -> Vec<proto::FinishJobRequest> {
    control_plane.until("the answers of jobs", |state| state.jobs.len() == count).await;
    control_plane.state().jobs.clone()
}

fn usage() -> Option<chat::Usage> {
    Some(chat::Usage { input_tokens: 10, output_tokens: 5, ..chat::Usage::default() })
}

fn answered(number: usize, title: &str) -> proto::FinishJobRequest {
    proto::FinishJobRequest {
        session_id: "session".to_owned(),
        job_id: job_id(number),
        attempt: 1,
        result: Some(Told::Title(title.to_owned())),
        model: "smart".to_owned(),
        usage: usage(),
        chat_id: CHAT_ID.to_owned(),
    }
}

fn error(answer: &proto::FinishJobRequest) -> &chat::ChatError {
    match &answer.result {
        Some(Told::Error(error)) => error,
        other => panic!("no error: {other:?}"),
    }
}

/// What every error of a job says that another worker or another time may mend.
fn is_retryable(answer: &proto::FinishJobRequest, kind: chat::ErrorKind) -> bool {
    error(answer).kind() == kind && error(answer).retryable
}

#[tokio::test]
async fn a_title_is_asked_for_without_tools_and_handed_in_with_its_tokens() {
    let control_plane = ControlPlane::start().await;
    let model = ScriptedModel::new([answer("How gardens grow")]);
    let _worker = RunningWorker::start(&control_plane, &model);

    deliver(&control_plane, title_job(1)).await;
    let answers = answers(&control_plane, 1).await;

    assert_eq!(answers, [answered(1, "How gardens grow")]);
    let calls = model.calls();
    let [ModelCall { provider_model, effort, system, messages, tools, output_tokens_max, .. }] = &calls[..]
    else {
        panic!("{} calls", calls.len())
    };
    assert_eq!((provider_model.as_str(), tools.len(), *output_tokens_max), ("smart-1", 0, 4096));
    assert_eq!(*effort, Effort::Unspecified, "some servers refuse a call that names one");
    assert!(system[0].starts_with("You write titles for conversations."), "{system:?}");
    let [PromptMessage::User { parts }] = &messages[..] else { panic!("{messages:?}") };
    assert!(matches!(&parts[..], [UserPiece::Text(text)] if text.contains(EXCERPT)), "{parts:?}");
    assert_eq!(control_plane.state().writes, [], "no chat was written to");
}

#[tokio::test]
async fn only_what_a_model_says_is_a_title() {
    let control_plane = ControlPlane::start().await;
    let beats = [say("How gardens "), call("look", "{}"), say("grow"), end(StopReason::ToolUse)].concat();
    let model = ScriptedModel::new([beats, end(StopReason::EndTurn)]);
    let _worker = RunningWorker::start(&control_plane, &model);

    deliver(&control_plane, title_job(1)).await;
    let first = answers(&control_plane, 1).await;
    deliver(&control_plane, title_job(2)).await;
    let both = answers(&control_plane, 2).await;

    assert_eq!(first, [answered(1, "How gardens grow")]);
    assert_eq!(both[1], answered(2, ""), "nothing said is no error: the title stays");
}

#[tokio::test]
async fn jobs_above_the_limit_are_answered_with_an_error_to_be_retried() {
    let control_plane = ControlPlane::start().await;
    let gate = Arc::new(Semaphore::new(0));
    let held = || [vec![Beat::Wait(gate.clone())], answer("late")].concat();
    let model = ScriptedModel::new([held(), held(), held(), held()]);
    let _worker = RunningWorker::start(&control_plane, &model);

    for number in 0..5 {
        deliver(&control_plane, title_job(number)).await;
    }
    let refused = answers(&control_plane, 1).await;
    gate.add_permits(4);
    let all = answers(&control_plane, 5).await;

    assert_eq!(refused[0].job_id, job_id(4));
    assert!(is_retryable(&refused[0], chat::ErrorKind::Overloaded), "{:?}", refused[0]);
    assert_eq!((refused[0].model.as_str(), refused[0].usage), ("", Some(chat::Usage::default())));
    assert!(all[1..].iter().all(|answer| answer.result == Some(Told::Title("late".to_owned()))), "{all:?}");
    assert_eq!(model.calls().len(), 4);
}

#[tokio::test]
async fn a_job_delivered_twice_is_done_once() {
    let control_plane = ControlPlane::start().await;
    let gate = Arc::new(Semaphore::new(0));
    let model = ScriptedModel::new([[vec![Beat::Wait(gate.clone())], answer("once")].concat()]);
    let _worker = RunningWorker::start(&control_plane, &model);

    deliver(&control_plane, title_job(1)).await;
    deliver(&control_plane, title_job(1)).await;
    deliver(&control_plane, proto::Job { kind: None, ..title_job(2) }).await;
    answers(&control_plane, 1).await;
    gate.add_permits(1);
    let answers = answers(&control_plane, 2).await;

    assert_eq!(answers[1], answered(1, "once"));
    assert_eq!(model.calls().len(), 1);
}

#[tokio::test]
async fn a_job_that_takes_too_long_is_stopped_and_its_tokens_are_told() {
    let control_plane = ControlPlane::start().await;
    let model = ScriptedModel::new([[used(), begin("How"), vec![Beat::Hang]].concat()]);
    let _worker = RunningWorker::start(&control_plane, &model);

    deliver(&control_plane, proto::Job { timeout_ms: 50, ..title_job(1) }).await;
    let answers = answers(&control_plane, 1).await;

    assert!(is_retryable(&answers[0], chat::ErrorKind::Timeout), "{answers:?}");
    assert_eq!((answers[0].model.as_str(), answers[0].usage), ("smart", usage()));
    assert_eq!(model.open_streams(), 0);
}

#[tokio::test]
async fn a_failed_call_is_told_as_its_provider_meant_it() {
    let control_plane = ControlPlane::start().await;
    let model =
        ScriptedModel::new([fail(ErrorKind::Authentication, false), fail(ErrorKind::RateLimited, true)]);
    let _worker = RunningWorker::start(&control_plane, &model);

    deliver(&control_plane, title_job(1)).await;
    answers(&control_plane, 1).await;
    deliver(&control_plane, title_job(2)).await;
    let answers = answers(&control_plane, 2).await;

    assert_eq!(error(&answers[0]).kind(), chat::ErrorKind::Authentication);
    assert!(!error(&answers[0]).retryable, "a key does not mend itself");
    assert!(is_retryable(&answers[1], chat::ErrorKind::RateLimited), "{answers:?}");
    assert_eq!(model.calls().len(), 2, "the control plane decides whether to try again");
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_no_title() {
    let control_plane = ControlPlane::start().await;
    let model = ScriptedModel::new([[used(), begin("How gar")].concat()]);
    let _worker = RunningWorker::start(&control_plane, &model);

    deliver(&control_plane, title_job(1)).await;
    let answers = answers(&control_plane, 1).await;

    assert!(is_retryable(&answers[0], chat::ErrorKind::MalformedResponse), "{answers:?}");
    assert_eq!(answers[0].usage, usage());
}

#[tokio::test]
async fn what_a_worker_does_not_know_is_answered_without_calling_anybody() {
    let control_plane = ControlPlane::start().await;
    let model = ScriptedModel::new([]);
    let _worker = RunningWorker::start(&control_plane, &model);
    let mut elsewhere = title_job(2);
    elsewhere.model.as_mut().unwrap().provider = "another".to_owned();

    deliver(&control_plane, proto::Job { kind: None, ..title_job(1) }).await;
    answers(&control_plane, 1).await;
    deliver(&control_plane, elsewhere).await;
    let answers = answers(&control_plane, 2).await;

    assert!(is_retryable(&answers[0], chat::ErrorKind::Internal), "{answers:?}");
    assert!(is_retryable(&answers[1], chat::ErrorKind::ModelUnusable), "{answers:?}");
    assert_eq!(model.calls().len(), 0);
}

#[tokio::test]
async fn an_answer_is_repeated_until_it_is_heard() {
    let control_plane = ControlPlane::start().await;
    control_plane.state().job_faults.extend([Fault::Unreachable, Fault::LoseReply]);
    let model = ScriptedModel::new([answer("heard"), answer("next")]);
    let _worker = RunningWorker::start(&control_plane, &model);

    deliver(&control_plane, title_job(1)).await;
    control_plane.until("all faults", |state| state.job_faults.is_empty()).await;
    deliver(&control_plane, title_job(2)).await;
    let answers = answers(&control_plane, 2).await;

    assert_eq!(answers, [answered(1, "heard"), answered(2, "next")]);
    assert_eq!(model.calls().len(), 2, "the model is not asked again");
}

#[tokio::test]
async fn a_job_takes_no_slot_and_goes_on_while_the_worker_drains() {
    let control_plane = ControlPlane::start().await;
    let [turn, title] = [(), ()].map(|()| Arc::new(Semaphore::new(0)));
    let answer_of =
        |gate: &Arc<Semaphore>, words| [begin(""), vec![Beat::Wait(gate.clone())], answer(words)].concat();
    let model = ScriptedModel::new([answer_of(&turn, "grown"), answer_of(&title, "How gardens grow")]);
    let arguments = ["--token", TOKEN, "--slots", "1"];
    let mut worker = RunningWorker::start_with(&control_plane, &model, &arguments);
    control_plane.lease().await;
    control_plane.until("the answer", |state| !state.live(0).is_empty()).await;

    deliver(&control_plane, title_job(1)).await;
    worker.shutdown.cancel();
    title.add_permits(1);
    let answers = answers(&control_plane, 1).await;
    turn.add_permits(1);
    worker.ended().await.unwrap();

    assert_eq!(answers, [answered(1, "How gardens grow")]);
    assert_eq!(control_plane.state().writes, [("CommitStep", 1)]);
}

#[tokio::test]
async fn what_still_runs_when_the_worker_ends_is_given_up_and_told() {
    let control_plane = ControlPlane::start().await;
    let passed = Arc::new(Semaphore::new(1));
    let beats = [used(), begin("How"), vec![Beat::Wait(passed.clone()), Beat::Hang]].concat();
    let model = ScriptedModel::new([beats]);
    let worker = RunningWorker::start(&control_plane, &model);
    deliver(&control_plane, title_job(1)).await;
    let used_up = async {
        while passed.available_permits() > 0 {
            yield_now().await;
        }
    };
    timeout(Duration::from_secs(20), used_up).await.expect("the model answers");

    worker.stop().await.unwrap();

    let answers = answers(&control_plane, 1).await;
    assert!(is_retryable(&answers[0], chat::ErrorKind::Internal), "{answers:?}");
    assert_eq!((answers[0].model.as_str(), answers[0].usage), ("smart", usage()));
    assert_eq!(model.open_streams(), 0);
}

//! Storing steps.

use chatplane_proto::{chat::v1 as proto, worker::v1 as worker};
use chatplane_tests::Client;

use crate::{Stage, field, reason, set};

fn error(kind: proto::ErrorKind) -> proto::ChatError {
    proto::ChatError { kind: kind.into(), message: "Busy.".to_owned(), retryable: true, ..Default::default() }
}

#[tokio::test]
async fn a_step_is_read_as_it_was_handed_in_and_a_repeat_of_it_is_harmless() {
    let mut stage = Stage::new().await;
    let (chat, users) = stage.chat(2).await;
    let usage = proto::Usage { input_tokens: 5, output_tokens: 3, ..Default::default() };
    let mut request = stage.step(&chat, 1, users[0]);
    let start_time = request.step.as_ref().and_then(|step| step.start_time);
    let step = proto::DebugStep {
        step: 0,
        assistant_message_id: users[1],
        history_tip_message_id: users[0],
        model: "test".to_owned(),
        request_json: "{\"cut\": \"a\0b".to_owned(),
        response_json: "{\"parts\":[]}".to_owned(),
        truncated: true,
        usage: Some(usage),
        attempts: vec![
            proto::DebugAttempt {
                attempt: 1,
                duration_ms: 4,
                error: Some(error(proto::ErrorKind::Overloaded)),
            },
            proto::DebugAttempt { attempt: 2, duration_ms: 6, error: None },
        ],
        error: Some(error(proto::ErrorKind::Timeout)),
        start_time,
        first_token_ms: 7,
        duration_ms: 10,
    };
    request.step = Some(step.clone());

    stage.record(request.clone()).await.expect("it is stored");
    stage.record(request).await.expect("it is there");

    let runs = stage.runs(&chat).await;
    let [run] = &runs[..] else { panic!("{runs:?}") };
    assert_eq!((run.trigger_message_id, run.history_tip_message_id, run.step_count), (users[0], users[0], 1));
    assert_eq!(run.usage, Some(usage));
    let micros = |time: Option<prost_types::Timestamp>| {
        time.map(|time| (time.seconds, time.nanos / 1000)).expect("it has a time")
    };
    assert_eq!(micros(run.start_time), micros(start_time));
    let steps = stage.steps(run).await;
    let stored = proto::DebugStep {
        step: 1,
        request_json: "{\"cut\": \"a\u{fffd}b".to_owned(),
        start_time: steps[0].start_time,
        ..step
    };
    assert_eq!(steps, [stored]);
    assert_eq!(micros(steps[0].start_time), micros(start_time));
}

#[tokio::test]
async fn steps_of_a_turn_are_one_run_under_all_its_leases_and_of_none_one_a_lease() {
    let mut stage = Stage::new().await;
    let (chat, users) = stage.chat(2).await;
    let started = [(1, 1, users[0]), (1, 2, users[0]), (2, 1, users[0]), (2, 2, users[1])];
    let of_none = [(3, 1, 0), (3, 2, 0), (1, 9, 0)];

    for (fence, model_call, trigger) in started.into_iter().chain(of_none) {
        let step = stage.step(&chat, model_call, trigger);
        stage.record(worker::RecordDebugStepRequest { fence, ..step }).await.expect("it is stored");
    }

    let runs = stage.runs(&chat).await;
    let seen: Vec<_> = runs.iter().map(|run| (run.trigger_message_id, run.step_count)).collect();
    assert_eq!(seen, [(0, 1), (0, 2), (users[1], 1), (users[0], 3)], "newest first");
    let steps = stage.steps(&runs[3]).await;
    assert_eq!(steps.iter().map(|step| step.step).collect::<Vec<_>>(), [1, 2, 3]);
}

#[tokio::test]
async fn a_step_that_comes_after_an_edit_stores_nothing_of_what_is_gone() {
    let mut stage = Stage::new().await;
    let (chat, users) = stage.chat(3).await;
    stage.record(stage.step(&chat, 1, users[2])).await.expect("it is stored");
    stage.edit(&chat, users[2]).await;
    assert_eq!(stage.runs(&chat).await, []);

    let late = stage.step(&chat, 2, users[2]);
    let mut tip = stage.step(&chat, 3, users[1]);
    tip.run_history_tip_message_id = users[2];
    let mut step_tip = stage.step(&chat, 4, users[1]);
    step_tip.step.as_mut().expect("it has one").history_tip_message_id = users[2];
    let mut answer = stage.step(&chat, 5, users[1]);
    answer.step.as_mut().expect("it has one").assistant_message_id = users[2];
    for gone in [late, tip, step_tip, answer] {
        stage.record(gone).await.expect("it is no error");
    }

    assert_eq!(stage.runs(&chat).await, []);
    stage.record(stage.step(&chat, 6, users[1])).await.expect("it is stored");
    let runs = stage.runs(&chat).await;
    assert_eq!(runs.iter().map(|run| run.trigger_message_id).collect::<Vec<_>>(), [users[1]]);
}

#[tokio::test]
async fn nothing_is_stored_once_recording_is_forbidden() {
    let mut stage = Stage::new().await;
    let (chat, users) = stage.chat(1).await;
    let mut owner = Client::new(&stage.cluster.url(), &stage.cluster.tokens.owner);
    set(&mut owner, proto::DebugPolicy::Forbidden, None).await.expect("owners set the policy");
    stage.record(stage.step(&chat, 1, users[0])).await.expect("it is no error");
    set(&mut owner, proto::DebugPolicy::Allowed, None).await.expect("owners set the policy");
    stage.record(stage.step(&chat, 2, users[0])).await.expect("it is no error");
    assert_eq!(stage.runs(&chat).await, []);

    set(&mut stage.client, proto::DebugPolicy::Unspecified, Some(true)).await.expect("users choose");
    stage.record(stage.step(&chat, 3, users[0])).await.expect("it is stored");

    assert_eq!(stage.runs(&chat).await.len(), 1);
}

#[tokio::test]
async fn a_step_of_no_lease_and_one_that_is_none_are_refused() {
    let mut stage = Stage::new().await;
    let (chat, users) = stage.chat(1).await;
    let good = stage.step(&chat, 1, users[0]);
    let with = |change: fn(&mut proto::DebugStep)| {
        let mut request = good.clone();
        change(request.step.as_mut().expect("it has one"));
        request
    };
    let other = uuid::Uuid::now_v7().to_string();
    let never_leased = [
        worker::RecordDebugStepRequest { fence: 4, ..good.clone() },
        worker::RecordDebugStepRequest { session_id: other.clone(), ..good.clone() },
        worker::RecordDebugStepRequest { chat_id: other, ..good.clone() },
    ];
    let invalid = [
        ("chat_id", worker::RecordDebugStepRequest { chat_id: "x".to_owned(), ..good.clone() }),
        ("session_id", worker::RecordDebugStepRequest { session_id: "x".to_owned(), ..good.clone() }),
        ("fence", worker::RecordDebugStepRequest { fence: 0, ..good.clone() }),
        ("model_call", worker::RecordDebugStepRequest { model_call: 0, ..good.clone() }),
        ("trigger_message_id", worker::RecordDebugStepRequest { trigger_message_id: -1, ..good.clone() }),
        ("step", worker::RecordDebugStepRequest { step: None, ..good.clone() }),
        ("step.request_json", with(|step| step.request_json = "x".repeat(1024 * 1024 + 1))),
        ("step.response_json", with(|step| step.response_json = "x".repeat(1024 * 1024 + 1))),
        ("step.attempts", with(|step| step.attempts = vec![proto::DebugAttempt::default(); 101])),
        ("step.start_time", with(|step| step.start_time = None)),
        ("step.duration_ms", with(|step| step.duration_ms = -1)),
        ("step.first_token_ms", with(|step| step.first_token_ms = -1)),
        (
            "step.usage",
            with(|step| {
                step.usage = Some(proto::Usage { input_tokens: -1, ..Default::default() });
            }),
        ),
    ];

    for request in never_leased {
        let refused = stage.record(request).await.expect_err("there was no such lease");
        assert_eq!(reason(&refused), "LEASE_LOST");
    }
    for (wrong, request) in invalid {
        let refused = stage.record(request).await.expect_err(wrong);
        assert_eq!((reason(&refused).as_str(), field(&refused).as_str()), ("FIELD_INVALID", wrong));
    }
    assert_eq!(stage.runs(&chat).await, []);
}

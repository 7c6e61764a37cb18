//! Calls that a client settles: the holder goes, the chat waits, the turn goes on.

use std::time::Duration;

use chatplane_control_plane::SchedulerLimits;
use chatplane_proto::{
    chat::v1::{self as chat, CallKind, watch_chat_response::Event},
    worker::v1::{self as proto, session_response::Message as Down},
};
use chatplane_tests::{Client, DEADLINE, text};
use futures::StreamExt as _;
use tokio::time::timeout;
use tonic::Code;

use crate::{
    comes_to, reason,
    replica::{Replica, World, quick},
    worker::{Held, Worker, calls_of, commit_of, result},
};

const BOTH: [(&str, CallKind); 2] = [("list_dir", CallKind::Unspecified), ("ask_user", CallKind::Client)];

fn ask_user() -> chat::ToolDefinition {
    chat::ToolDefinition {
        name: "ask_user".to_owned(),
        description: "Asks the user.".to_owned(),
        input_schema_json: r#"{"type": "object"}"#.to_owned(),
    }
}

/// A chat with a tool of the client's, leased.
async fn started(world: &World, replica: &Replica, action_timeout_ms: i64) -> (Client, Worker, Held) {
    let mut worker = Worker::open(replica, &world.worker_token, 1).await;
    let mut client = world.client(replica);
    let request = chat::CreateChatRequest {
        parts: vec![text("Hello")],
        client_tools: vec![ask_user()],
        action_timeout_ms,
        ..Default::default()
    };
    client.chats.create_chat(request).await.expect("it is created");
    let held = worker.lease().await;
    (client, worker, held)
}

/// Commits the worker's own call, and leaves the chat to the client.
async fn suspend(worker: &mut Worker, held: &mut Held) -> proto::WriteOutcome {
    worker.commit(held, calls_of(&BOTH), proto::NextStep::Continue).await.expect("committed");
    let results = proto::CommitToolResultsRequest { header: held.write(), results: vec![result(2, "a.txt")] };
    let stored = worker.calls.commit_tool_results(results).await.expect("stored").into_inner();
    held.written(&stored.outcome.expect("an outcome"));
    let outcome = worker.calls.commit_step(suspension(held)).await.expect("suspended").into_inner().outcome;
    worker.forget(held).await;
    outcome.expect("an outcome")
}

fn suspension(held: &Held) -> proto::CommitStepRequest {
    proto::CommitStepRequest {
        header: held.write(),
        next: proto::NextStep::Suspend.into(),
        ..Default::default()
    }
}

fn asked(call_index: i32) -> Option<chat::CallId> {
    Some(chat::CallId { message_id: 2, call_index })
}

#[tokio::test]
async fn a_step_with_calls_of_both_kinds_runs_the_workers_and_then_waits_for_the_client() {
    let world = World::new().await;
    let replica = world.replica(quick()).await;
    let (mut client, mut worker, mut held) = started(&world, &replica, 0).await;
    assert_eq!(held.header.client_tools, [ask_user()]);

    worker.commit(&mut held, calls_of(&BOTH), proto::NextStep::Continue).await.expect("committed");
    let early = worker.calls.commit_step(suspension(&held)).await.expect_err("a call of the worker is open");
    let foreign = proto::ToolResult { call: asked(1), ..result(2, "yes") };
    let foreign = proto::CommitToolResultsRequest { header: held.write(), results: vec![foreign] };
    let foreign = worker.calls.commit_tool_results(foreign).await.expect_err("it is the client's to settle");
    let results = proto::CommitToolResultsRequest { header: held.write(), results: vec![result(2, "a.txt")] };
    let stored = worker.calls.commit_tool_results(results).await.expect("stored").into_inner();
    held.written(&stored.outcome.expect("an outcome"));
    let outcome = worker.calls.commit_step(suspension(&held)).await.expect("suspended").into_inner().outcome;
    worker.forget(&held).await;

    assert_eq!([reason(&early), reason(&foreign)], ["FIELD_INVALID", "FIELD_INVALID"]);
    assert_eq!(outcome.expect("an outcome").disposition(), proto::Disposition::Released);
    let waiting = comes_to(&mut client, &held.chat, chat::ChatState::Suspended).await;
    let required = waiting.action_required.expect("something is required");
    let pending =
        chat::PendingCall { call: asked(1), tool_name: "ask_user".to_owned(), kind: CallKind::Client.into() };
    assert_eq!(required.calls, [pending]);
    let (deadline, now) = (required.deadline.expect("a deadline"), waiting.update_time.expect("a time"));
    assert_eq!((deadline.seconds - now.seconds, deadline.nanos), (300, now.nanos));

    let results = vec![chat::SubmittedResult { call: asked(1), output: "yes".to_owned(), is_error: false }];
    let request =
        chat::SubmitToolResultsRequest { chat_id: held.chat.clone(), results, ..Default::default() };
    client.chats.submit_tool_results(request).await.expect("it is taken");
    let again = worker.lease().await;
    assert_eq!((again.fence, again.messages.len()), (2, 4));
}

#[tokio::test]
async fn calls_that_nobody_settles_time_out_on_a_replica_that_never_saw_the_chat() {
    let world = World::new().await;
    let never = Duration::from_secs(3600);
    let lazy = world.replica(SchedulerLimits { sweep_every: never, ..quick() }).await;
    let (mut client, mut worker, mut held) = started(&world, &lazy, 1_000).await;
    suspend(&mut worker, &mut held).await;
    drop(worker);

    let other = world.replica(quick()).await;
    let mut next = Worker::open(&other, &world.worker_token, 1).await;
    let again = next.lease().await;

    assert_eq!((again.chat.as_str(), again.fence), (held.chat.as_str(), 2));
    let last = again.messages.last().and_then(|last| last.message.as_ref()).expect("a message");
    let Some(chat::part::Kind::ToolResult(result)) = &last.parts[0].kind else { panic!("{last:?}") };
    assert_eq!((result.call_index, result.is_error), (1, true));
    assert_eq!(result.synthetic_reason(), chat::SyntheticReason::TimedOut);
    let late = vec![chat::SubmittedResult { call: asked(1), ..Default::default() }];
    let late = chat::SubmitToolResultsRequest { chat_id: held.chat, results: late, ..Default::default() };
    let late = client.chats.submit_tool_results(late).await.expect_err("it is too late");
    assert_eq!((late.code(), reason(&late).as_str()), (Code::FailedPrecondition, "STATE_FORBIDS"));
}

#[tokio::test]
async fn a_watcher_is_told_what_a_suspended_chat_waits_for_and_a_lost_reply_is_given_again() {
    let world = World::new().await;
    let replica = world.replica(quick()).await;
    let (mut client, mut worker, mut held) = started(&world, &replica, 0).await;
    let mut events = client.watch(&held.chat, "").await.expect("it is watched");
    let outcome = suspend(&mut worker, &mut held).await;

    let again = worker.calls.commit_step(suspension(&held)).await.expect("a repeat").into_inner().outcome;

    assert_eq!(again, Some(outcome));
    let required = loop {
        let event = timeout(DEADLINE, events.next()).await.expect("in time").expect("it goes on");
        if let Some(Event::ActionRequired(required)) = event.expect("it goes on").event {
            break required;
        }
    };
    assert_eq!(required.calls.len(), 1);
    let next = timeout(DEADLINE, events.next()).await.expect("in time").expect("it goes on");
    let Some(Event::State(state)) = next.expect("it goes on").event else { panic!("the state is next") };
    assert_eq!(state.state(), chat::ChatState::Suspended);
}

#[tokio::test]
async fn a_lease_that_is_given_back_with_calls_of_the_client_open_finds_them_open() {
    let world = World::new().await;
    let replica = world.replica(quick()).await;
    let (mut client, mut worker, mut held) = started(&world, &replica, 0).await;
    let only = [("ask_user", CallKind::Client)];
    worker.commit(&mut held, calls_of(&only), proto::NextStep::Continue).await.expect("committed");
    let release = proto::ReleaseRequest { header: held.write() };
    worker.calls.release(release).await.expect("released");
    worker.forget(&held).await;

    let again = worker.lease().await;
    let outcome = worker.calls.commit_step(suspension(&again)).await.expect("suspended").into_inner().outcome;

    assert_eq!(outcome.expect("an outcome").disposition(), proto::Disposition::Released);
    comes_to(&mut client, &held.chat, chat::ChatState::Suspended).await;
}

#[tokio::test]
async fn a_holder_is_told_to_read_the_turn_again_when_the_chat_is_configured() {
    let world = World::new().await;
    let replica = world.replica(quick()).await;
    let (mut client, mut worker, held) = started(&world, &replica, 0).await;
    let other = chat::ToolDefinition { description: "Asks nicely.".to_owned(), ..ask_user() };
    let configure = chat::ConfigureChatRequest {
        chat_id: held.chat.clone(),
        update_mask: Some(prost_types::FieldMask { paths: vec!["client_tools".to_owned()] }),
        client_tools: vec![other.clone()],
        ..Default::default()
    };

    let configured = client.chats.configure_chat(configure).await.expect("configured").into_inner();
    let told = worker.next().await.expect("a word");
    let read = crate::writes::get_turn(&mut worker, held.get(0)).await.expect("the turn is read");

    let snapshot_version = configured.chat.expect("a chat").snapshot_version;
    assert_eq!(told, Down::Reload(proto::Reload { lease: Some(held.lease_key()), snapshot_version }));
    assert_eq!(read.header.client_tools, [other]);
    // The history is what it was: what the holder commits is taken.
    let mut held = held;
    worker.finish(&mut held).await;
}

#[tokio::test]
async fn a_call_of_a_kind_that_nobody_knows_is_refused() {
    let world = World::new().await;
    let replica = world.replica(quick()).await;
    let (_client, mut worker, held) = started(&world, &replica, 0).await;
    let mut request = commit_of(&held, calls_of(&BOTH), proto::NextStep::Continue);
    let Some(chat::part::Kind::ToolCall(call)) =
        &mut request.answer.as_mut().expect("an answer").parts[0].kind
    else {
        panic!("a call comes first")
    };
    call.kind = 7;

    let refused = worker.calls.commit_step(request).await.expect_err("it is refused");

    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::InvalidArgument, "FIELD_INVALID"));
}

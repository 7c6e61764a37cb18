//! Calls that the client settles.

use chatplane_proto::{chat::v1 as chat, worker::v1 as proto};

use super::{
    ControlPlane, RunningWorker, ScriptedModel,
    control_plane::{State, Tool},
    model::{Beat, answer, call, end, say},
};
use crate::llm::StopReason;

fn result(call_index: i32, output: &str) -> proto::ToolResult {
    let call = Some(chat::CallId { message_id: 2, call_index });
    proto::ToolResult { call, output: output.to_owned(), ..proto::ToolResult::default() }
}

/// Who settles the calls of a message.
fn kinds(state: &State, row: usize) -> Vec<chat::CallKind> {
    let parts = &state.messages[row].message.as_ref().unwrap().parts;
    let kinds = parts.iter().filter_map(|part| match part.kind.as_ref().unwrap() {
        chat::part::Kind::ToolCall(part) => Some(part.kind()),
        _ => None,
    });
    kinds.collect()
}

#[tokio::test]
async fn a_call_of_a_clients_tool_gives_the_chat_back_at_once() {
    let control_plane = ControlPlane::start().await;
    control_plane.state().client_tools.push("ask_user");
    let step = [say("May I?"), call("ask_user", "{}"), end(StopReason::ToolUse)].concat();
    let model = ScriptedModel::new([step, answer("thanks")]);
    let _worker = RunningWorker::start(&control_plane, &model);

    control_plane.lease().await;
    control_plane.until("the wait", |state| state.suspended).await;

    assert_eq!(control_plane.state().writes, [("CommitStep", 1)], "the answer itself suspends");
    assert_eq!(kinds(&control_plane.state(), 1), [chat::CallKind::Client]);
    assert_eq!(model.calls()[0].tools[0].name, "ask_user");
    control_plane.state().submit(vec![result(0, "yes")]);
    control_plane.lease().await;
    control_plane.until("the end", |state| state.fence == 2 && !state.leased).await;
    let told = ["hi", "May I? | call 0 ask_user({})", "result 0 of 2: yes", "thanks"];
    assert_eq!(control_plane.state().told(), told);
}

#[tokio::test]
async fn a_step_with_both_kinds_runs_the_workers_calls_before_it_waits() {
    let control_plane = ControlPlane::start().await;
    control_plane.state().client_tools.push("ask_user");
    control_plane.state().tools.insert("list_dir", Tool::Ends("a.txt"));
    let step = [call("ask_user", "{}"), call("list_dir", "{}"), end(StopReason::ToolUse)].concat();
    let model = ScriptedModel::new([step, answer("done")]);
    let _worker = RunningWorker::start(&control_plane, &model);

    control_plane.lease().await;
    control_plane.until("the wait", |state| state.suspended).await;

    let writes = [("CommitStep", 1), ("CommitToolResults", 2), ("CommitStep", 3)];
    assert_eq!(control_plane.state().writes, writes);
    assert_eq!(control_plane.state().told()[2..], ["result 1 of 2: a.txt"]);
    assert_eq!(kinds(&control_plane.state(), 1), [chat::CallKind::Client, chat::CallKind::Unspecified]);
    assert_eq!(model.calls().len(), 1);
}

#[tokio::test]
async fn a_lease_that_finds_only_the_clients_calls_open_gives_the_chat_back() {
    let control_plane = ControlPlane::start().await;
    control_plane.state().client_tools.push("ask_user");
    let step = [call("ask_user", "{}"), call("ask_user", "{}"), end(StopReason::ToolUse)].concat();
    let model = ScriptedModel::new([step]);
    let _worker = RunningWorker::start(&control_plane, &model);
    control_plane.lease().await;
    control_plane.until("the wait", |state| state.suspended).await;

    control_plane.state().submit(vec![result(0, "yes")]);
    control_plane.lease().await;
    control_plane.until("the wait", |state| state.suspended).await;

    assert_eq!(control_plane.state().writes, [("CommitStep", 1), ("CommitStep", 1)]);
    assert_eq!(model.calls().len(), 1);
}

#[tokio::test]
async fn a_worker_that_stops_leaves_a_waiting_chat_to_its_client_and_to_no_other_worker() {
    let control_plane = ControlPlane::start().await;
    control_plane.state().client_tools.push("ask_user");
    control_plane.state().tools.insert("list_dir", Tool::Ends("a.txt"));
    let gate = std::sync::Arc::new(tokio::sync::Semaphore::new(0));
    control_plane.state().tools.insert("slow", Tool::Waits(gate.clone(), "slow"));
    let step = [call("ask_user", "{}"), say("and"), vec![Beat::Wait(gate.clone())], end(StopReason::ToolUse)];
    let model = ScriptedModel::new([step.concat()]);
    let mut worker = RunningWorker::start(&control_plane, &model);
    control_plane.lease().await;
    control_plane.until("the answer", |state| !state.live(0).is_empty()).await;

    worker.shutdown.cancel();
    gate.add_permits(1);
    worker.ended().await.unwrap();

    assert!(control_plane.state().suspended);
    assert_eq!(control_plane.state().writes, [("CommitStep", 1)]);
}

#[tokio::test]
async fn a_clients_tool_takes_the_place_of_the_workspaces_with_its_name() {
    let control_plane = ControlPlane::start().await;
    control_plane.state().client_tools.push("read_file");
    control_plane.state().tools.insert("read_file", Tool::Ends("never"));
    let model = ScriptedModel::new([[call("read_file", "{}"), end(StopReason::ToolUse)].concat()]);
    let _worker = RunningWorker::start(&control_plane, &model);

    control_plane.lease().await;
    control_plane.until("the wait", |state| state.suspended).await;

    assert_eq!(model.calls()[0].tools.len(), 1);
    assert_eq!(control_plane.state().tool_calls, []);
}

#[tokio::test]
async fn a_clients_call_with_broken_arguments_does_not_bother_the_client() {
    let control_plane = ControlPlane::start().await;
    control_plane.state().client_tools.push("ask_user");
    let step = [call("ask_user", "[broken"), end(StopReason::ToolUse)].concat();
    let model = ScriptedModel::new([step, answer("sorry")]);
    let _worker = RunningWorker::start(&control_plane, &model);

    control_plane.lease().await;
    control_plane.until("the end", |state| state.fence == 1 && !state.leased).await;

    let told = control_plane.state().told();
    assert!(told[2].starts_with("error 0 of 2") && told[2].contains("not a JSON object"), "{told:?}");
    assert_eq!(told[3], "sorry");
}

//! Tool calls on one stream.

use std::sync::atomic::Ordering;

use chatplane_proto::workspace::v1::{
    CallTool, CancelTool, ToolCallId, ToolOutput, attach_request::Message as FromAgent,
    attach_response::Message as ToAgent,
};

use super::{
    super::{Limits, asked::LATE_HOLDER},
    agent::{Agent, limits},
    control_plane::{ControlPlane, call_id, ended},
};

#[tokio::test]
async fn an_agent_registers_first_with_its_token_and_tools() {
    let mut control_plane = ControlPlane::start().await;
    let _agent = Agent::start(control_plane.address).await;

    let mut attached = control_plane.attached().await;
    let register = attached.register().await;

    assert_eq!(attached.authorization, "Bearer right");
    assert_eq!(register.agent_version, env!("CARGO_PKG_VERSION"));
    assert!(uuid::Uuid::try_parse(&register.journal_id).is_ok());
    let names: Vec<_> = register.tools.iter().map(|tool| &tool.name[..]).collect();
    assert_eq!(names, ["list_dir", "read_file", "gate", "writer", "broken", "change"]);
    for tool in register.tools {
        let schema: serde_json::Value = serde_json::from_str(&tool.input_schema_json).unwrap();
        assert!(schema.is_object() && !tool.description.is_empty());
    }
}

#[tokio::test]
async fn calls_are_answered_with_what_the_tools_find() {
    let mut control_plane = ControlPlane::start().await;
    let agent = Agent::start(control_plane.address).await;
    std::fs::write(agent.place.dir.path().join("hello.txt"), "hello\n").unwrap();
    let mut attached = control_plane.registered().await;

    attached.call(0, 1, "list_dir", "{}").await;
    assert_eq!(attached.ended().await, ended(0, "hello.txt  6 bytes", false));
    attached.call(1, 1, "read_file", r#"{"path": "hello.txt"}"#).await;
    assert_eq!(attached.ended().await, ended(1, "     1\thello\n(lines 1-1 of 1)", false));
    attached.call(2, 1, "read_file", r#"{"path": "../secret"}"#).await;
    let refused = attached.ended().await;
    assert!(refused.is_error && refused.output.contains("outside the workspace"), "{refused:?}");
}

#[tokio::test]
async fn calls_that_cannot_run_get_an_error_result() {
    let mut control_plane = ControlPlane::start().await;
    let _agent = Agent::start(control_plane.address).await;
    let mut attached = control_plane.registered().await;

    attached.call(0, 1, "remove", "{}").await;
    let unknown =
        "There is no tool `remove`. The tools are: list_dir, read_file, gate, writer, broken, change.";
    assert_eq!(attached.ended().await, ended(0, unknown, true));
    attached.call(1, 1, "list_dir", "[1]").await;
    assert_eq!(attached.ended().await, ended(1, "The arguments are not a JSON object.", true));
    attached.call(2, 1, "broken", "{}").await;
    assert_eq!(attached.ended().await, ended(2, "The tool failed by a defect of its own.", true));
    let malformed = ToolCallId { chat_id: "nonsense".to_owned(), call: None };
    attached
        .send(ToAgent::CallTool(CallTool { call_id: Some(malformed.clone()), ..CallTool::default() }))
        .await;
    let refused = attached.ended().await;
    assert_eq!((refused.call_id, refused.is_error), (Some(malformed), true));
    attached.send(ToAgent::CallTool(CallTool::default())).await;
    attached.ping(1).await;
}

#[tokio::test]
async fn pings_are_answered_while_calls_run() {
    let mut control_plane = ControlPlane::start().await;
    let agent = Agent::start(control_plane.address).await;
    let mut attached = control_plane.registered().await;

    attached.call(0, 1, "gate", "{}").await;
    attached.call(1, 1, "list_dir", "{}").await;

    assert_eq!(attached.ended().await, ended(1, "(the directory is empty)", false));
    attached.ping(4).await;
    agent.gate.open.add_permits(1);
    assert_eq!(attached.ended().await, ended(0, "run 1", false));
}

#[tokio::test]
async fn what_a_tool_writes_comes_in_pieces_before_its_end() {
    let mut control_plane = ControlPlane::start().await;
    let _agent = Agent::start(control_plane.address).await;
    let mut attached = control_plane.registered().await;

    attached.call(0, 1, "writer", "{}").await;

    let mut written = 0;
    while written < 600 * 1024 {
        let FromAgent::ToolOutput(ToolOutput { call_id: id, data }) = attached.next().await else {
            panic!("the end came before the output")
        };
        assert_eq!(id, Some(call_id(0)));
        assert!(data.len() <= 256 * 1024);
        written += data.len();
    }
    assert_eq!(attached.ended().await, ended(0, "written", false));
}

#[tokio::test]
async fn a_cancelled_call_ends_and_says_so() {
    let mut control_plane = ControlPlane::start().await;
    let _agent = Agent::start(control_plane.address).await;
    let mut attached = control_plane.registered().await;

    attached.call(0, 1, "gate", "{}").await;
    attached.send(ToAgent::CancelTool(CancelTool { call_id: Some(call_id(9)) })).await;
    attached.ping(1).await;
    attached.send(ToAgent::CancelTool(CancelTool { call_id: Some(call_id(0)) })).await;

    assert_eq!(attached.ended().await, ended(0, "cancelled", true));
}

#[tokio::test]
async fn a_repeated_call_that_runs_is_not_run_twice() {
    let mut control_plane = ControlPlane::start().await;
    let agent = Agent::start(control_plane.address).await;
    let mut attached = control_plane.registered().await;

    attached.call(0, 1, "gate", "{}").await;
    attached.call(0, 2, "gate", "{}").await;
    attached.ping(1).await;
    agent.gate.open.add_permits(10);

    assert_eq!(attached.ended().await, ended(0, "run 1", false));
    attached.ping(2).await;
    assert_eq!(agent.gate.started.load(Ordering::Relaxed), 1);
    attached.call(0, 2, "gate", "{}").await;
    assert_eq!(attached.ended().await, ended(0, "run 2", false));
}

#[tokio::test]
async fn a_lower_fence_is_refused_on_later_streams_too() {
    let mut control_plane = ControlPlane::start().await;
    let _agent = Agent::start(control_plane.address).await;
    let mut attached = control_plane.registered().await;
    attached.call(0, 5, "list_dir", "{}").await;
    attached.ended().await;

    attached.call(1, 4, "list_dir", "{}").await;
    assert_eq!(attached.ended().await, ended(1, LATE_HOLDER, true));
    drop(attached);

    let mut attached = control_plane.registered().await;
    attached.call(2, 4, "list_dir", "{}").await;
    assert_eq!(attached.ended().await, ended(2, LATE_HOLDER, true));
    attached.call(2, 5, "list_dir", "{}").await;
    assert!(!attached.ended().await.is_error);
}

#[tokio::test]
async fn a_late_holder_cannot_end_the_call_of_the_rightful_one() {
    let mut control_plane = ControlPlane::start().await;
    let agent = Agent::start(control_plane.address).await;
    let mut attached = control_plane.registered().await;
    attached.call(0, 5, "gate", "{}").await;

    attached.call(0, 4, "gate", "{}").await;

    attached.ping(1).await;
    agent.gate.open.add_permits(1);
    assert_eq!(attached.ended().await, ended(0, "run 1", false));
}

#[tokio::test]
async fn too_many_calls_are_refused_and_none_waits() {
    let mut control_plane = ControlPlane::start().await;
    let agent = Agent::start_with(control_plane.address, "right", Limits { calls_max: 2, ..limits() }).await;
    let mut attached = control_plane.registered().await;

    for index in 0..3 {
        attached.call(index, 1, "gate", "{}").await;
    }

    let busy = "The workspace is busy: 2 tool calls are running. Try again later.";
    assert_eq!(attached.ended().await, ended(2, busy, true));
    agent.gate.open.add_permits(2);
    assert!(!attached.ended().await.is_error);
    attached.call(2, 1, "list_dir", "{}").await;
    assert!(!attached.ended().await.is_error);
}

//! Streams that break, are refused, or are not there yet.

use std::time::Duration;

use tonic::Status;

use super::{
    super::Limits,
    DEADLINE,
    agent::{Agent, limits},
    control_plane::{ControlPlane, ended},
    soon,
};
use crate::RunError;

#[tokio::test]
async fn an_agent_comes_back_after_a_restart_of_the_control_plane() {
    let mut control_plane = ControlPlane::start().await;
    let address = control_plane.address;
    let agent = Agent::start(address).await;
    let mut attached = control_plane.registered().await;
    attached.call(0, 1, "gate", "{}").await;
    attached.ping(1).await;

    attached.fail(Status::unavailable("stopping")).await;
    control_plane.stop().await;
    let mut control_plane = ControlPlane::start_at(address).await;

    let mut attached = control_plane.registered().await;
    agent.gate.open.add_permits(10);
    attached.call(0, 1, "gate", "{}").await;
    assert_eq!(attached.ended().await, ended(0, "run 2", false));
}

#[tokio::test]
async fn an_agent_waits_for_a_control_plane_that_is_not_there_yet() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let _agent = Agent::start(address).await;

    let mut control_plane = ControlPlane::start_at(address).await;

    control_plane.registered().await;
}

#[tokio::test]
async fn a_stream_without_pings_is_opened_again() {
    let mut control_plane = ControlPlane::start().await;
    let limits = Limits { ping_silence: Duration::from_millis(50), ..limits() };
    let _agent = Agent::start_with(control_plane.address, "right", limits).await;

    let silent = control_plane.registered().await;

    control_plane.registered().await;
    drop(silent);
}

#[tokio::test]
async fn a_registration_without_an_answer_is_tried_again() {
    let mut control_plane = ControlPlane::start().await;
    let limits = Limits { register: Duration::from_millis(200), ..limits() };
    let _agent = Agent::start_with(control_plane.address, "right", limits).await;

    let mute = control_plane.attached().await;

    control_plane.registered().await;
    drop(mute);
}

#[tokio::test]
async fn a_refused_token_ends_the_agent_and_names_where_it_came_from() {
    let control_plane = ControlPlane::start().await;
    let agent = Agent::start_with(control_plane.address, "wrong", limits()).await;

    let error = agent.result().await.unwrap_err();

    let expected = "the control plane refused the token given by \
                    --token (CHATPLANE_WORKSPACE_TOKEN): no such token";
    assert_eq!(error.to_string(), expected);
}

#[tokio::test]
async fn a_token_refused_in_the_stream_is_final_too() {
    let mut control_plane = ControlPlane::start().await;
    let agent = Agent::start(control_plane.address).await;

    control_plane.attached().await.fail(Status::permission_denied("a user's token")).await;

    assert!(matches!(agent.result().await, Err(RunError::TokenRefused { .. })));
}

#[tokio::test]
async fn a_replaced_agent_does_not_come_back() {
    let mut control_plane = ControlPlane::start().await;
    let agent = Agent::start(control_plane.address).await;

    control_plane.registered().await.fail(Status::already_exists("replaced")).await;

    assert!(matches!(agent.result().await, Err(RunError::Replaced)));
}

#[tokio::test]
async fn a_stopping_agent_reports_what_still_runs() {
    let mut control_plane = ControlPlane::start().await;
    let agent =
        Agent::start_with(control_plane.address, "right", Limits { drain: DEADLINE, ..limits() }).await;
    let mut attached = control_plane.registered().await;
    attached.call(0, 1, "gate", "{}").await;
    attached.ping(1).await;

    agent.shutdown.cancel();
    agent.gate.open.add_permits(1);

    assert_eq!(attached.ended().await, ended(0, "run 1", false));
    assert!(soon("the end", attached.from_agent.message()).await.unwrap().is_none());
    drop(attached);
    assert!(agent.result().await.is_ok());
}

#[tokio::test]
async fn a_stopping_agent_does_not_wait_for_ever() {
    let mut control_plane = ControlPlane::start().await;
    let limits = Limits { drain: Duration::from_millis(10), ..limits() };
    let agent = Agent::start_with(control_plane.address, "right", limits).await;
    let mut attached = control_plane.registered().await;
    attached.call(0, 1, "gate", "{}").await;
    attached.ping(1).await;

    agent.shutdown.cancel();

    assert!(agent.result().await.is_ok());
}

#[tokio::test]
async fn an_agent_stops_while_it_waits_to_connect() {
    let limits = Limits { backoff_min: DEADLINE * 10, backoff_max: DEADLINE * 10, ..limits() };
    let agent = Agent::start_with("127.0.0.1:1".parse().unwrap(), "right", limits).await;

    agent.shutdown.cancel();

    assert!(agent.result().await.is_ok());
}
